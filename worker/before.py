"""How mailboxes are before a restore changes them: an incremental archive of those that are there.

It lies beside the journal of the restore, and in no catalog. Mailboxes that are not there are told in it as
gone: a restore that is taken back (``undo``) takes them away. On the host of the staging area the task that
restores mailboxes keeps them first (``kept_or_told``); from others a task of its own does that
(``tasks.keeping``).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.files import LocalFile
from ..proto.archive.reader import ArchiveReader, open_sealed
from ..proto.directories import sync_directory
from ..proto.errors import BackupError, DamagedError, StagingError, StoreError
from ..proto.records import (
    STAGING,
    ArchiveId,
    BackupMode,
    Departed,
    Location,
    Parents,
    Partition,
    RunId,
    Skipped,
    Unit,
)
from ..proto.structs import Record, replace
from .archives.places import Places
from .backup import back_up
from .comparing.known import OpenParents
from .load import LoadLimits, bounded
from .packing.settings import ArchiveSettings
from .staging.area import StagingArea, open_sink
from .stores import registry
from .unkept import SUFFIX, UNNAMED, Unkept, note_unkept, read_unkept

NOT_KEPT = "before"
"""Why a restore of a mailbox can't be taken back: how it was is not kept."""

_UNREAD = "it could not be read"


class Before(Record, kw_only=True):
    """What is to be kept before a restore task, in the file ``name`` of the staging ``area``: the mailboxes
    in ``target`` of the users of ``places`` (see ``MailTarget.open_mailbox``), as ``group`` of the
    ``partition`` of the backup. What is not new lies in ``parents``, archives of the same area. ``began`` is
    in seconds since 1970."""

    name: str
    archive: ArchiveId
    restore: RunId
    target: Partition
    partition: str
    group: str
    places: Mapping[str, bytes]
    parents: Parents
    area: StagingArea
    began: float

    @property
    def path(self) -> Path:
        """The file, on the host of the staging area."""
        return Path(self.area.path, self.name)


def keep(
    before: Before,
    attempt: int,
    load: LoadLimits,
    *,
    host: str = "",
    grant: bytes = b"",
    read_grant: bytes = b"",
) -> Mapping[str, str]:
    """Keep it; returns of which users that could not be done, and why. What an earlier attempt has sealed
    stays: since then they may have been changed. ``host`` is where this runs (empty: on the staging host);
    ``grant`` lets it write the file, ``read_grant`` read the parents. Raises BackupError; where there is no
    room at once (``staging.space.lack_of``), as the restore does not wait for that."""
    store = registry.open_removal(replace(before.target, name=before.partition), before.places)
    there, gone = [], []
    for user in sorted(before.places):
        with suppress(StoreError):  # who can't lie anywhere is told of by the restore
            if store.stands(user):
                there.append(user)
            else:
                gone.append(Departed(user=user, reason="removed"))
    kept = _kept_earlier(before, host, grant)
    if kept is not None:
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
    places = Places((before.area,), host, read_grant)
    parents = OpenParents(before.parents, places.open, before.area.keys, before.area.sealing)

    def refuse_to_wait(waiting: str) -> None:
        if waiting:
            path = str(before.path)
            raise StagingError(f"can't write {path}: {waiting}", path=path, errno=errno.ENOSPC)

    sink = open_sink(before.area, before.name, host, attempt, grant, refuse_to_wait, before.area.keys)
    with closing(places), closing(parents):
        report = back_up(
            unit,
            bounded(store, load, host),
            sink,
            ArchiveSettings(run_started=before.began),
            lambda _told: None,
            mode=BackupMode(apart=True),
            parents=parents,
            sealing=before.area.sealing,
        )
    stored = {mailbox.user for mailbox in report.mailboxes}
    why = {LogicalPath.parse(skip.path).user: skip.detail for skip in report.unopened}
    return {user: why.get(user, _UNREAD) for user in there if user not in stored}


def _kept_earlier(before: Before, host: str, grant: bytes) -> set[str] | None:
    """Of whom an earlier attempt has kept how their mailboxes were, or that there was none; None: it has
    sealed nothing."""
    with closing(Places((before.area,), host, grant)) as places:
        try:
            file = places.open(Location(STAGING, before.name))
        except DamagedError as error:
            if error.facts.get("reason") != "missing":
                raise
            return None
        with closing(file):
            if isinstance(file, LocalFile):
                # Who sealed it may have died before its name was durable.
                sync_directory(before.path.parent)
            return set(users_in(open_sealed(file, keys=before.area.keys)))


def users_in(archive: ArchiveReader) -> dict[str, bool]:
    """The users of whom an archive of before tells, and whether they had a mailbox. Raises DamagedError."""
    there = {mailbox.user: True for mailbox in archive.directory.mailboxes}
    return {**{departure.user: False for departure in archive.departures()}, **there}


def kept_or_told(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    """The same; where nothing can be kept, that of all of them. Of whom that is so is durable then, and stays
    so. Raises StagingError where it can't be recorded: nothing may be changed."""
    return _told_before(before) or _kept_now(before, attempt, load)


def _kept_now(before: Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
    try:
        lost = keep(before, attempt, load)
    except BackupError as error:
        lost = dict.fromkeys(before.places, error.message)
    if lost:
        note_unkept(before.path, Unkept(before.partition, lost))
    return lost


def _told_before(before: Before) -> Mapping[str, str]:
    """What an earlier attempt has recorded. Raises StagingError."""
    try:
        unkept = read_unkept(before.path.with_name(before.path.name + SUFFIX))
    except FileNotFoundError:
        return {}
    return dict.fromkeys(before.places, UNNAMED) if unkept is None else unkept.users


def not_kept(path: str, why: str) -> Skipped:
    """What is told of a mailbox whose restore can't be taken back."""
    return Skipped(path, NOT_KEPT, f"it can't be taken back, as it could not be kept as it was: {why}")
