"""What is kept so that a restore can be taken back (``keeping``): archives of the mailboxes as they were
before, beside its journal (``before.NUMBER.PLACE``, as they are none of the backup), and holds on the moments
that these refer to.

Both are let go after ``KEPT_DAYS``, or when the directory of the restore is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from ...groups.paths import LogicalPath
from ...proto.directories import sync_directory
from ...proto.errors import DamagedError, NotFoundError, StagingError
from ...proto.records import STAGING, ArchiveId, Location, Partition
from ...proto.structs import Record, field
from ...worker.archives.holdings import Holdings
from ...worker.archives.names import before_name
from ...worker.archives.opened import opened_archives, read_beginning
from ...worker.before import users_in
from ...worker.choice import Choice
from ...worker.unkept import SUFFIX, UNNAMED, read_unkept
from ..holds import drop_holds_of
from ..structure_keys import area_at
from .journal import Journal, read_journal
from .record import Order, area_of, directory_of, read_order, restores_of

KEPT_DAYS = 30
"""So long after it was begun a restore can be taken back, at most."""

_NAME = re.compile(r"before\.(\d+)\.([0-9a-f]{16})")
_UNDOING, _UNDONE = "undoing", "undone"


class Mailbox(NamedTuple):
    """A mailbox that a restore has changed: the partition of the backup that it came from, ``place_of`` the
    target, and its user there. A map may give several users of a partition one name, in several targets."""

    partition: str
    place: str
    user: str


class KeptBefore(Record, kw_only=True):
    """How mailboxes were before a restore: the archive that tells of each, None where there was no such
    mailbox; and the archives that this takes beside those of the backup. ``unkept`` are mailboxes that may
    have been changed without that, and why; in targets that are ``unnamed``, all that are not kept."""

    mailboxes: Mapping[Mailbox, ArchiveId | None] = field(default_factory=dict)
    archives: Holdings = field(default_factory=Holdings)
    references: frozenset[ArchiveId] = frozenset()
    unkept: Mapping[Mailbox, str] = field(default_factory=dict)
    unnamed: frozenset[str] = frozenset()

    @property
    def why(self) -> str:
        """Why some mailboxes are not kept that may have been changed; empty: there are none."""
        return next(iter(self.unkept.values()), UNNAMED if self.unnamed else "")

    def why_unkept(self, mailbox: Mailbox) -> str:
        """Why it is not known how a mailbox was that may have been changed; empty: it is known, or the
        mailbox is as it was."""
        if mailbox in self.mailboxes:
            return ""
        return self.unkept.get(mailbox) or (UNNAMED if mailbox.place in self.unnamed else "")

    def may_have_changed(self, mailboxes: Collection[Mailbox]) -> bool:
        """Whether the restore may have changed some of these, from wherever they came."""
        changed = {(mailbox.place, mailbox.user) for mailbox in (*self.mailboxes, *self.unkept)}
        return any(one.place in self.unnamed or (one.place, one.user) in changed for one in mailboxes)

    def beside(self, archives: Holdings, backup: Holdings) -> Holdings:
        """Some archives of a ``backup``, and all that is needed to know how mailboxes were."""
        more = backup.of(self.references)
        return Holdings(
            locations={**archives.locations, **more.locations, **self.archives.locations},
            encrypted=archives.encrypted | more.encrypted,
            # The same area twice, unless the backup is read from elsewhere: how that is reached counts.
            places=(*self.archives.places, *archives.places),
            unlocked=archives.unlocked,
        )


def whose(choice: Choice, target: Partition) -> Mailbox:
    """The mailbox that a choice is restored to."""
    return Mailbox(choice.path.partition or "", place_of(target), choice.to_user)


def place_of(target: Partition) -> str:
    """What tells a target from others: the same for all restores that go there."""
    where = "\0".join((target.format, target.path, *sorted(target.hosts)))
    return blake3(os.fsencode(where)).hexdigest(length=8)


def read_before(directory: Path) -> KeptBefore:
    """What is kept in the directory of a restore. Raises DamagedError, StagingError."""
    locations, places = {}, {}
    for path in sorted(directory.glob("before.*")):
        if named := _NAME.fullmatch(path.name):
            archive = read_beginning(str(path)).archive
            name = before_name(directory.name, int(named[1]), named[2])
            locations[archive] = (Location(STAGING, name),)
            places[archive] = named[2]
    archives = Holdings(locations=locations, places=(area_at(area_of(directory)),))
    mailboxes: dict[Mailbox, ArchiveId | None] = {}
    references: set[ArchiveId] = set()
    with opened_archives(archives) as opened:
        for archive in locations:
            reader = opened(archive)
            if reader.damage:
                raise DamagedError(f"{reader.file.name} is damaged: how mailboxes were before is not known")
            partition, place = reader.header.partition, places[archive]
            for user, stood in users_in(reader).items():
                mailboxes[Mailbox(partition, place, user)] = archive if stood else None
            references.update(reader.directory.references)
    unkept, unnamed = _unkept_in(directory)
    return KeptBefore(
        mailboxes=mailboxes,
        archives=archives,
        references=frozenset(references),
        unkept=unkept,
        unnamed=unnamed,
    )


def _unkept_in(directory: Path) -> tuple[dict[Mailbox, str], frozenset[str]]:
    unkept: dict[Mailbox, str] = {}
    unnamed: set[str] = set()
    for path in sorted(directory.glob(f"before.*{SUFFIX}")):
        if named := _NAME.fullmatch(path.name.removesuffix(SUFFIX)):
            place = named[2]
            if (told := read_unkept(path)) is None:
                unnamed.add(place)
            else:
                unkept.update((Mailbox(told.partition, place, user), why) for user, why in told.users.items())
    return unkept, frozenset(unnamed)


def last_number(directory: Path) -> int:
    """The greatest number of what is kept, or was to be. Of an attempt that was ended early any may be there,
    in any order."""
    found = (_NAME.match(path.name) for path in directory.glob("before.*"))
    return max((int(one[1]) for one in found if one), default=0)


def discard_unfinished(directory: Path) -> None:
    """Remove what counts for nothing, of an attempt that was ended early: it takes room. Who still writes it
    is refused."""
    for path in directory.glob("before.*"):
        if not _NAME.fullmatch(path.name.removesuffix(SUFFIX)):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def note_undoing(directory: Path, undo: str) -> None:
    """Record that another restore begins to take this one back: it is durable before anything goes. Raises
    StagingError."""
    path = directory / _UNDOING
    try:
        with path.open("w", encoding="ascii") as file:
            file.write(undo + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(directory)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def note_undone(directory: Path, undo: str) -> None:
    """Record that a restore was taken back, by another one. Raises OSError."""
    (directory / _UNDONE).write_text(undo + "\n", encoding="ascii")


def is_undone(directory: Path) -> bool:
    """Whether a restore was taken back."""
    return (directory / _UNDONE).exists()


def is_begun_to_be_undone(directory: Path) -> bool:
    """Whether something of what a restore has done may be taken back, whatever its journal says."""
    return is_undone(directory) or (directory / _UNDOING).exists()


def later_ones(staging: Path, restore: str, mailboxes: Collection[Mailbox]) -> Iterator[str]:
    """The restores after this one that have changed some of the same mailboxes, from wherever they came, and
    were not taken back."""
    for one in restores_of(staging):
        if one <= restore:
            continue
        directory = directory_of(staging, one)
        with suppress(DamagedError):
            if not is_undone(directory) and read_before(directory).may_have_changed(mailboxes):
                yield one


def lasting_ones(staging: Path, order: Order, mailboxes: Collection[Mailbox]) -> Iterator[str]:
    """The restores after this one that can't be taken back, and have brought mail to the same places for some
    of the same users."""
    users = {mailbox.user for mailbox in mailboxes}
    for restore in restores_of(staging):
        if restore <= order.restore:
            continue
        directory = directory_of(staging, restore)
        with suppress(NotFoundError, StagingError):
            later = read_order(directory)
            if not later.lasting or later.places.isdisjoint(order.places):
                continue
            done = Journal(earlier=read_journal(directory / "journal.jsonl"))
            if any(LogicalPath.parse(path).user in users for _, path in done.mailboxes()):
                yield restore


def forget_before(staging: Path, now: datetime) -> None:
    """Let go of what restores have kept that were begun too long ago, and of the holds of those that are not
    known any more. Raises BackupError."""
    known = restores_of(staging)
    over = {one for one in known if not _is_kept(staging, one, now)}
    for one in over:
        with suppress(NotFoundError):  # another restore has forgotten it meanwhile
            for path in directory_of(staging, one).glob("before.*"):
                path.unlink(missing_ok=True)
    kept = set(known) - over
    drop_holds_of(staging, lambda one: one not in kept and not _is_kept(staging, one, now))


def _is_kept(staging: Path, restore: str, now: datetime) -> bool:
    with suppress(NotFoundError):
        return now - read_order(directory_of(staging, restore)).begun <= timedelta(days=KEPT_DAYS)
    return False
