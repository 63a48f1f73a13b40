"""What verifications found whole, and when, and whose mail they found lacking: ``verify.json`` of the staging
area. One that was interrupted goes on from there. Nothing relies on it but who looks for a good moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.records import ArchiveId, RunId
from ...proto.structs import Record, field, replace
from ..snapshots import read_snapshot, write_snapshot

if TYPE_CHECKING:
    from ...worker.verifying.losses import Loss  # costs much, and who only asks what is recorded needs it not

_SECONDS = 1.0  # between two writings: there may be very many archives


class Order(Record, kw_only=True):
    """What a verification was asked for: as the options of ``verify``."""

    path: str = "/"
    host: str | None = None
    data: bool = False
    at: str | None = None
    since: datetime | None = None
    share: float | None = None


class Checked(Record, kw_only=True):
    """When an archive was last found whole: each ``frame`` of it; the pieces of all ``messages`` of the
    mailboxes whose newest version it tells of, and all their ``data``. None: never yet."""

    frames: datetime | None = None
    messages: datetime | None = None
    data: datetime | None = None


class Unfinished(Record, kw_only=True):
    """A verification that has not ended: the ids of archives that it found whole in themselves, and of those
    whose mail it found whole."""

    order: Order
    began: datetime
    archives: tuple[str, ...] = ()
    mail: tuple[str, ...] = ()


class Lacking(Record, kw_only=True):
    """Something of the mailbox at ``path`` can't be restored as it was at the moments from ``first`` to
    ``last`` (empty: to this day). ``data``: it took reading the mail to find that."""

    path: str
    first: str
    last: str = ""
    data: bool = False

    def holds_at(self, run: RunId) -> bool:
        """Whether a moment is one of these."""
        return self.first <= run and (not self.last or run <= self.last)


class CheckRecord(Record, kw_only=True):
    """All that is recorded; archives by their ids. ``lacking`` is what the last verification of each mailbox
    found."""

    archives: Mapping[str, Checked] = field(default_factory=dict)
    unfinished: Unfinished | None = None
    lacking: tuple[Lacking, ...] = ()

    def read_since(self, then: datetime | None) -> tuple[str, ...]:
        """The archives that were read since then, and found whole; None for no such time."""
        return tuple(
            archive
            for archive, checked in self.archives.items()
            if then is not None and checked.frames is not None and checked.frames >= then
        )


def read_checked(staging: Path) -> CheckRecord:
    """What is recorded in a staging area; an empty record if there is none that can be read."""
    return read_snapshot(_place(staging), CheckRecord) or CheckRecord()


class Wholeness:
    """What a verification has found whole, so that it need not be looked at again: archives in themselves,
    and the mail of which they tell."""

    def __init__(self, archives: Iterable[str] = (), mail: Iterable[str] = ()) -> None:
        self._archives = set(archives)
        self._mail = set(mail)

    def has_archive(self, archive: ArchiveId) -> bool:
        """Whether an archive is known to be whole in itself."""
        return archive.hex() in self._archives

    def has_mail(self, archive: ArchiveId) -> bool:
        """Whether the mail of which it tells is known to be whole."""
        return archive.hex() in self._mail

    def archive_whole(self, archive: ArchiveId) -> None:
        """An archive was found whole in itself."""
        self._archives.add(archive.hex())

    def archive_damaged(self, archive: ArchiveId) -> None:
        """An archive was found damaged in itself."""
        self._archives.discard(archive.hex())

    def mail_whole(self, archive: ArchiveId) -> None:
        """The mail of which it tells was found whole."""
        self._mail.add(archive.hex())


class Journal(Wholeness):
    """Records what a verification finds whole. It is written now and then, and when the context ends; where
    that can't be done, the verification goes on without. Archives that were ``read_since`` then, and found
    whole, need not be read again."""

    def __init__(
        self,
        staging: Path,
        order: Order,
        now: Callable[[], datetime],
        *,
        resumed: Unfinished | None = None,
        read_since: datetime | None = None,
    ) -> None:
        record = read_checked(staging)
        begun = resumed or Unfinished(order=order, began=now(), archives=record.read_since(read_since))
        super().__init__(begun.archives, begun.mail)
        self._path = _place(staging)
        self._now = now
        self._written = now()
        self._order = order
        self._known = dict(record.archives)
        self._lacking = record.lacking
        self._unfinished: Unfinished | None = begun

    def __enter__(self) -> Journal:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def archive_whole(self, archive: ArchiveId) -> None:
        """See Wholeness."""
        super().archive_whole(archive)
        now = self._now()
        self._note(archive, frames=now)

    def archive_damaged(self, archive: ArchiveId) -> None:
        """See Wholeness."""
        super().archive_damaged(archive)
        self._known.pop(archive.hex(), None)

    def mail_whole(self, archive: ArchiveId) -> None:
        """See Wholeness."""
        super().mail_whole(archive)
        now = self._now()
        if self._order.data:
            self._note(archive, messages=now, data=now)
        else:
            self._note(archive, messages=now)

    def ended(self, archives: set[ArchiveId], losses: Iterable[Loss] = ()) -> None:
        """The verification has looked at everything, and found these losses. Only what is recorded of these
        ``archives``, all that there are, is kept."""
        self._unfinished = None
        found = (
            Lacking(
                path=_mailbox(*loss.mailbox),
                first=loss.first,
                last="" if loss.current else loss.last,
                data=self._order.data,
            )
            for loss in losses
        )
        self._lacking = tuple(dict.fromkeys((*filter(self._stands, self._lacking), *found)))
        kept = {archive_id.hex() for archive_id in archives}
        self._known = {archive: checked for archive, checked in self._known.items() if archive in kept}

    def _stands(self, lacking: Lacking) -> bool:
        """Whether what an earlier verification found is not looked at again by this one: one that reads no
        mail finds nothing of what only reading it had shown."""
        order = self._order
        whole = (order.host, order.share, order.at, order.since) == (None, None, None, None)
        again = whole and LogicalPath.parse(order.path).covers(LogicalPath.parse(lacking.path))
        return not again or (lacking.data and not order.data)

    def _note(self, archive: ArchiveId, **when: datetime) -> None:
        if self._order.share is None and self._order.at is None:
            name = archive.hex()
            self._known[name] = replace(self._known.get(name, Checked()), **when)
        if (self._now() - self._written).total_seconds() >= _SECONDS:
            self._write()

    def _write(self) -> None:
        self._written = self._now()
        unfinished = self._unfinished and replace(
            self._unfinished,
            archives=tuple(sorted(self._archives)),
            mail=tuple(sorted(self._mail)),
        )
        with suppress(OSError):
            write_snapshot(
                self._path,
                CheckRecord(archives=self._known, unfinished=unfinished, lacking=self._lacking),
            )


def _mailbox(partition: str, user: str) -> str:
    """The path of a mailbox; of all, where it is not known whose it is."""
    return str(LogicalPath(partition, EVERYBODY, user) if user else LogicalPath(partition))


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "verify.json"
