"""How mailboxes are before a restore changes them: an incremental archive of those that are there.

It lies beside the journal of the restore, and in no catalog. Mailboxes that are not there are told in it as
gone: a restore that is taken back (``undo``) takes them away.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import BackupError, StoreError
from ..proto.records import ArchiveId, BackupMode, Departed, Parents, Partition, RunId, Skipped, Unit
from .archives.places import Places
from .backup import back_up
from .comparing.known import OpenParents
from .load import LoadLimits, bounded
from .packing.settings import ArchiveSettings
from .staging.area import StagingArea
from .staging.sinks import StagedFile
from .staging.space import Space
from .stores import registry

NOT_KEPT = "before"
"""Why a restore of a mailbox can't be taken back: how it was is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is to be kept before a restore task, in the file ``path``: the mailboxes in ``target`` of the
    users of ``places`` (see ``MailTarget.open_mailbox``), as ``group`` of the ``partition`` of the backup.
    What is not new lies in ``parents``, archives of the staging ``area``. ``began`` is in seconds since
    1970."""

    path: str
    archive: ArchiveId
    restore: RunId
    target: Partition
    partition: str
    group: str
    places: Mapping[str, bytes]
    parents: Parents
    area: StagingArea
    began: float


def keep(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    """Keep it; returns of which users that could not be done, and why. What an earlier attempt has sealed
    stays: since then they may have been changed. Raises BackupError."""
    path = Path(before.path)
    if path.exists():
        return {}
    store = registry.open_removal(replace(before.target, name=before.partition), before.places)
    there, gone = [], []
    for user in sorted(before.places):
        with suppress(StoreError):  # who can't lie anywhere is told of by the restore
            if store.stands(user):
                there.append(user)
            else:
                gone.append(Departed(user=user, reason="removed"))
    unit = Unit(
        run=before.restore,
        partition=replace(before.target, name=before.partition),
        group=before.group,
        shard=0,
        users=tuple(there),
        archive=before.archive,
        departed=tuple(gone),
    )
    places = Places((before.area,), "", b"")
    parents = OpenParents(before.parents, places.open)
    sink = StagedFile(path, epoch=attempt, space=Space(path.parent, before.area.reserve_bytes))
    with closing(places), closing(parents):
        report = back_up(
            unit,
            bounded(store, load, ""),
            sink,
            ArchiveSettings(run_started=before.began),
            lambda _told: None,
            mode=BackupMode(apart=True),
            parents=parents,
        )
    kept = {one.user for one in report.mailboxes}
    why = {LogicalPath.parse(one.path).user: one.detail for one in report.unopened}
    return {user: why.get(user, "it could not be read") for user in there if user not in kept}


def kept_or_told(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    """The same; where nothing can be kept, that of all of them."""
    try:
        return keep(before, attempt, load)
    except BackupError as error:
        return dict.fromkeys(before.places, error.message)


def not_kept(path: str, why: str) -> Skipped:
    """What is told of a mailbox whose restore can't be taken back."""
    return Skipped(path, NOT_KEPT, f"it can't be taken back, as it could not be kept as it was: {why}")
