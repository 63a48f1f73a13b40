"""All that can be told of a staging area from what lies in it: what goes on, what is there, what was done."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, NotFoundError
from ...proto.records import Partition
from ...proto.structs import Record, field, replace
from ...worker.staging.receiver_status import STATUS_FILE, ReceiverStatus
from ...worker.staging.space import Room, Space
from ..catalog import Catalog
from ..erasing.progress import Progress as ErasureProgress
from ..erasing.progress import not_done
from ..governing.state import GovernorState, fresh_states
from ..history import CopyStanding, GoodBackup, RunRecord
from ..key_checks import CheckedRecipient, checked_recipients, known_recipients
from ..lock import lock_owner
from ..places import on_same_device
from ..restores.status import RestoreStatus, unfinished_restores
from ..service.database import place as service_file
from ..service.notices import ChannelStanding, NoticeRecord
from ..serving.standing import QueueStanding, queue_standing
from ..settings import CHECK_EVERY_SECONDS, Config
from ..snapshots import read_snapshot
from ..structure_keys import encrypts
from ..sweeping.record import LastSweep, last_sweeps
from ..sweeping.strays import Strays, last_strays
from ..wanted_volumes import WantedVolume, wanted_volumes
from .status import RunStatus, run_state, status_file

RECEIVER_SECONDS = 10.0
"""A receiver that has told nothing for so long is down: it tells of itself each second."""

_LAST_RUNS = 5


class Overview(Record, kw_only=True):
    """A staging area at the time ``taken``.

    ``owner`` holds its lock, None if nobody does. ``run`` is told by that owner; None while it tells
    nothing: it is just beginning, or is no run. ``receiver`` is what that told last, None if there was
    none yet. ``runs`` are the newest ones, newest first, their states as ``run_state`` knows them;
    ``restores`` those that are not done, or not wholly. ``same_device`` are the partitions whose mail
    would be lost with the staging area. ``encrypted`` says whether archives are, as of the last run
    (None: the directory of keys can't be read), ``recipients`` for whom, as far as the keys are here;
    ``erasures`` are those that are not done; ``governed`` the hosts whose users are minded at this
    moment; ``queue`` is that of operations, None: there is none; ``unreached`` are the receivers of
    notices who can't be reached.
    """

    staging: Path
    taken: datetime
    owner: str | None
    run: RunStatus | None
    receiver: ReceiverStatus | None
    room: Room
    reserve_bytes: int
    runs: tuple[RunRecord, ...]
    good: tuple[GoodBackup, ...]
    copies: CopyStanding = field(default_factory=CopyStanding)
    sweeps: tuple[LastSweep, ...] = ()
    wanted_volumes: tuple[WantedVolume, ...] = ()
    strays: tuple[Strays, ...] = ()
    restores: tuple[RestoreStatus, ...] = ()
    same_device: tuple[str, ...] = ()
    encrypted: bool | None = None
    recipients: tuple[CheckedRecipient, ...] = ()
    erasures: tuple[ErasureProgress, ...] = ()
    governed: tuple[GovernorState, ...] = ()
    queue: QueueStanding | None = None
    unreached: tuple[ChannelStanding, ...] = ()


def take_overview(
    staging: Path,
    now: datetime,
    *,
    reserve_bytes: int = 0,
    wanted: Collection[tuple[str, str]] | None = None,
    partitions: Iterable[Partition] = (),
    check_every_seconds: float = CHECK_EVERY_SECONDS,
) -> Overview:
    """Look at a staging area. Of the last good backups only those of ``wanted`` (partition, group) are
    told, if it is not None; ``partitions`` must not lie on its device; private keys are to be tried every
    ``check_every_seconds``. Raises StagingError, and DamagedError
    for a catalog that is none."""
    room = Space(staging, reserve_bytes).room()
    runs: list[RunRecord] = []
    good: list[GoodBackup] = []
    copies = CopyStanding()
    try:
        with Catalog.open(staging) as catalog:
            runs = catalog.runs(_LAST_RUNS)
            good = catalog.last_good()
            copies = catalog.copy_standing()
    except NotFoundError:
        pass
    sweeps = last_sweeps(staging)
    looks = (last_strays(staging, sweep.destination) for sweep in sweeps)
    return Overview(
        staging=staging,
        taken=now,
        owner=lock_owner(staging),
        run=going_run(staging),
        receiver=receiver_of(staging),
        room=room,
        reserve_bytes=reserve_bytes,
        runs=tuple(replace(run, state=run_state(run, staging)) for run in runs),
        good=tuple(backup for backup in good if wanted is None or (backup.partition, backup.group) in wanted),
        copies=copies,
        sweeps=sweeps,
        strays=tuple(look for look in looks if look is not None),
        wanted_volumes=wanted_volumes(staging),
        restores=unfinished_restores(staging),
        same_device=on_same_device(partitions, staging),
        erasures=not_done(staging),
        governed=fresh_states(staging, now),
        unreached=_unreached(staging),
        encrypted=_encrypted(staging),
        recipients=_recipients(staging, now, check_every_seconds),
        queue=queue_standing(staging),
    )


def _unreached(staging: Path) -> tuple[ChannelStanding, ...]:
    """The receivers of notices that can't be reached."""
    if not service_file(staging).exists():
        return ()
    return tuple(channel for channel in NoticeRecord(staging).channels() if channel.failing_since is not None)


def _encrypted(staging: Path) -> bool | None:
    with suppress(BackupError, OSError):
        return encrypts(staging)
    return None


def _recipients(staging: Path, now: datetime, every_seconds: float) -> tuple[CheckedRecipient, ...]:
    """None where this user may not read the directory of keys."""
    with suppress(BackupError, OSError):
        recipients, checks = known_recipients(staging)
        return checked_recipients(recipients, checks, now, every_seconds)
    return ()


def going_run(staging: Path) -> RunStatus | None:
    """What the owner of the lock tells of its run; not what an earlier one has left. Raises StagingError."""
    owner = lock_owner(staging)
    status = None if owner is None else read_snapshot(status_file(staging), RunStatus)
    if status is None or owner is None or not owner.startswith(f"pid {status.pid} "):
        return None
    return status


def receiver_of(staging: Path) -> ReceiverStatus | None:
    """What the receiver told last; None if there was none yet. It may be long dead: see its ``time``."""
    return read_snapshot(staging / STATUS_FILE, ReceiverStatus)


def configured_groups(config: Config) -> frozenset[tuple[str, str]]:
    """Every (partition, group) that the configuration asks for."""
    return frozenset(
        (partition.name, group) for partition in config.partitions for group in config.groups.rules.names()
    )
