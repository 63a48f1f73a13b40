"""How mailboxes are before a restore changes them: an incremental archive of those that are there.

It lies beside the journal of the restore, and in no catalog. Mailboxes that are not there are told in it as
gone: a restore that is taken back (``undo``) takes them away.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.reader import open_sealed
from ..proto.errors import BackupError, StoreError
from ..proto.records import ArchiveId, BackupMode, Departed, Parents, Partition, RunId, Skipped, Unit
from .archives.places import Places, open_local
from .backup import back_up
from .comparing.known import OpenParents
from .load import LoadLimits, bounded
from .packing.settings import ArchiveSettings
from .staging.area import StagingArea
from .staging.sinks import StagedFile
from .staging.space import Space
from .stores import registry
from .unkept import SUFFIX, UNNAMED, Unkept, note_unkept, read_unkept

NOT_KEPT = "before"
"""Why a restore of a mailbox can't be taken back: how it was is not kept."""

_UNREAD = "it could not be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is to be kept before a restore task, in the file ``path``: the mailboxes in ``target`` of the
    users of ``places`` (see ``MailTarget.open_mailbox``), as ``group`` of the ``partition`` of the backup.
    What is not new lies in ``parents``, archives of the staging ``area``. ``began`` is in seconds since
    1970. ``unkept`` are users whom an earlier attempt may have changed without keeping them, and why: what is
    there now of theirs is kept by no later one."""

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
    unkept: Mapping[str, str] = field(default_factory=dict)


def keep(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    """Keep it; returns of which users that could not be done, and why. What an earlier attempt has sealed
    stays: since then they may have been changed. Raises BackupError."""
    path = Path(before.path)
    store = registry.open_removal(replace(before.target, name=before.partition), before.places)
    there, gone = [], []
    for user in sorted(before.places):
        with suppress(StoreError):  # who can't lie anywhere is told of by the restore
            if store.stands(user):
                there.append(user)
            else:
                gone.append(Departed(user=user, reason="removed"))
    if path.exists():
        kept = _kept_in(path)
        return {user: _UNREAD for user in there if user not in kept}
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
    return {user: why.get(user, _UNREAD) for user in there if user not in kept}


def _kept_in(path: Path) -> set[str]:
    """The users of whom an archive tells how their mailboxes were, or that there was none."""
    with closing(open_local(str(path))) as file:
        reader = open_sealed(file)
        there = {one.user for one in reader.directory.mailboxes}
        return there | {one.user for one in reader.departures()}


def kept_or_told(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    """The same; where nothing can be kept, that of all of them. Of whom that is so is durable then, and stays
    so. Raises StagingError where it can't be recorded: nothing may be changed."""
    return {**before.unkept, **(_told_before(before) or _kept_now(before, attempt, load))}


def _kept_now(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    if not before.places:
        return {}
    try:
        lost = keep(before, attempt, load)
    except BackupError as error:
        lost = dict.fromkeys(before.places, error.message)
    if lost:
        note_unkept(Path(before.path), Unkept(before.partition, lost))
    return lost


def _told_before(before: Before) -> Mapping[str, str]:
    """What an earlier attempt has recorded. Raises StagingError."""
    try:
        unkept = read_unkept(Path(before.path + SUFFIX))
    except FileNotFoundError:
        return {}
    return dict.fromkeys(before.places, UNNAMED) if unkept is None else unkept.users


def not_kept(path: str, why: str) -> Skipped:
    """What is told of a mailbox whose restore can't be taken back."""
    return Skipped(path, NOT_KEPT, f"it can't be taken back, as it could not be kept as it was: {why}")
