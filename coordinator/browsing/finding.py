"""Which messages of a backup match a query: as it was at one time, or through all kept moments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from ...groups.paths import LogicalPath, message_path
from ...proto.errors import DamagedError, ErasedError, NotFoundError, UsageError
from ...proto.records import RunId, Skipped
from ...proto.structs import Record
from ...worker.archives.opened import OpenArchives
from ..backup_set import BackupSet
from ..history import MailboxVersion, Version
from .header_text import file_name, header_date, header_text
from .levels import branches, time_ns
from .metadata import MailboxFrames
from .past import Past
from .search import Hit, MailboxSearch, Matcher, Query
from .timeline import Span, Timeline


class FoundMessage(Record, kw_only=True):
    """A message that matches. ``path`` names it at the moment ``last``, the last at which it is in its
    folder; it came there with ``first``. ``date`` is what its header says; times are None where none is told.
    """

    path: str
    first: RunId
    last: RunId
    date: datetime | None
    arrived: datetime | None
    size_bytes: int
    sender: str
    recipients: str
    subject: str
    message_id: str
    attachments: tuple[str, ...]


class Finder:
    """A search through mailboxes, one after the other. ``damaged`` tells what could not be searched;
    ``ended_at`` is the moment before which nothing was, where a search through all was to end early."""

    def __init__(self, archives: OpenArchives, path: LogicalPath, query: Query) -> None:
        self.damaged: list[Skipped] = []
        self.ended_at: RunId | None = None
        self._archives = archives
        self._path = path
        self._matcher = Matcher(query)
        self._selected = path.folder is None

    def at_one_time(self, backup: BackupSet) -> Iterator[FoundMessage]:
        """What matches in the newest version of each mailbox. Raises NotFoundError."""
        for version in sorted(backup.select(self._path), key=lambda one: (one.partition, one.user)):
            search = self._search(version)
            names = self._look_at(search, version, version.run, version.run)
            yield from self._found(version, search, search.hits(), names)
        self._check_selected()

    def at_any_time(
        self,
        past: Past,
        *,
        deleted: bool,
        before: RunId | None = None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[FoundMessage]:
        """What matches in any version of each mailbox, the newest searched first; if ``deleted``, only what
        is not there any more at the last moment. Raises NotFoundError.

        Where ``goes_on`` says no after a version, that is told which was found so far; a search with
        ``before`` tells what was there before that moment only, and not at it. What is told by both is what
        one search would have told, but that ``first`` is the first moment that was searched.
        """
        for timeline in past.timelines:
            newest = timeline.spans[-1]
            search = self._search(newest.version)
            names: set[str] = set()
            for span in self._bounded(_wanted(timeline, before), goes_on):
                names |= self._look_at(search, span.version, span.first, span.last)
            hits = search.deleted(newest.last) if deleted else search.hits()
            told = (one for one in hits if before is None or one.last < before)
            yield from self._found(newest.version, search, told, names)
        if before is None and self.ended_at is None:
            self._check_selected()

    def _bounded(self, spans: Sequence[tuple[Span, bool]], goes_on: Callable[[], bool]) -> Iterator[Span]:
        """The spans, until they are all or ``goes_on`` says no behind some that is new."""
        for place, (span, is_new) in enumerate(spans, 1):
            yield span
            if place < len(spans) and is_new and not goes_on():
                self.ended_at = span.first
                return

    def _search(self, version: MailboxVersion | Version) -> MailboxSearch:
        return MailboxSearch(self._matcher, str(self._whose(version)))

    def _look_at(
        self, search: MailboxSearch, version: MailboxVersion | Version, first: RunId, last: RunId
    ) -> set[str]:
        """Search a version; returns the names of its folders."""
        if version.archive is None:
            search.departed()
            return set()
        try:
            mailbox = MailboxFrames(self._archives, version.archive, version.user)
        except ErasedError:
            return set()
        except DamagedError as error:
            search.damaged.append(Skipped(str(self._whose(version)), "metadata", error.message))
            return set()
        path = self._path.resolve(mailbox.folders)
        if path.uid is not None or path.name is not None:
            raise UsageError(f"{path} is one message: find searches a folder, a mailbox or a group")
        self._selected = self._selected or any(map(path.selects_folder, mailbox.folders))
        search.look_at(mailbox, first, last, path.selects_folder)
        return set(mailbox.folders)

    def _found(
        self,
        version: MailboxVersion | Version,
        search: MailboxSearch,
        hits: Iterable[Hit],
        names: Collection[str],
    ) -> Iterator[FoundMessage]:
        self.damaged += search.damaged
        taken = branches(names)
        for hit in hits:
            yield _message(self._whose(version), hit, taken)

    def _whose(self, version: MailboxVersion | Version) -> LogicalPath:
        return LogicalPath(version.partition, self._path.group or version.group, version.user)

    def _check_selected(self) -> None:
        if not self._selected:
            raise NotFoundError(f"{self._path}: the mailbox has no such folder", path=str(self._path))


def _wanted(timeline: Timeline, before: RunId | None) -> list[tuple[Span, bool]]:
    """The spans to search, the newest first, and whether what they have is to be told. Of those that were
    searched already, the newest says what is there now, and the oldest what was told already."""
    if before is None:
        return [(one, True) for one in reversed(timeline.spans)]
    searched = [one for one in timeline.spans if one.first >= before]
    again = [timeline.spans[-1], *searched[:1]] if searched[:1] != [timeline.spans[-1]] else searched[:1]
    return [
        *((one, False) for one in again),
        *((one, True) for one in reversed(timeline.spans) if one.first < before),
    ]


def _message(whose: LogicalPath, hit: Hit, taken: Collection[str]) -> FoundMessage:
    message, terms = hit.message, hit.terms
    return FoundMessage(
        path=message_path(
            whose.partition or "",
            whose.group or "",
            whose.user or "",
            hit.folder,
            message.uid or message.base,
            ambiguous=f"{hit.folder}/{message.uid}" in taken,
        ),
        first=hit.first,
        last=hit.last,
        date=header_date(terms.date),
        arrived=time_ns(message.date_ns),
        size_bytes=message.size,
        sender=header_text(terms.sender),
        recipients=", ".join(header_text(one) for one in terms.recipients.split(b"\0")),
        subject=header_text(terms.subject),
        message_id=header_text(terms.message_id),
        attachments=tuple(file_name(one) for one in terms.attachments.split(b"\0") if one),
    )
