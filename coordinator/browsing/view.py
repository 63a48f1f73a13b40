"""One mailbox through all kept moments, open to be looked at: its history, folders, messages, one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.archive.assembly import Contents
from ...proto.errors import DamagedError, NotFoundError, UsageError
from ...proto.records import Message, RunId, Skipped
from ...proto.structs import Record
from ...worker.archives.opened import OpenArchives, Unlock, opened_archives
from ...worker.destinations.settings import Destination
from ..catalog import Catalog
from ..clock import RUN_ID
from ..readers import reading
from .chronicle import Entry, mailbox_history
from .finding import Finder, FoundMessage
from .gone import GoneFolders, gone_folders
from .listing import MessagePage, message_page
from .metadata import MailboxFrames
from .past import Past, read_past
from .search import Query
from .timeline import Timeline

_CACHE_BYTES = 8 << 20


class ShownFolder(Record, kw_only=True):
    """A folder at a moment."""

    path: str
    name: str
    messages: int


class Findings(Record, kw_only=True):
    """Messages that were found; ``more`` says that there are others. ``damaged`` could not be searched.
    ``before`` is what to go on with where the time was over: what was there before that moment was not
    searched (None: all was)."""

    messages: tuple[FoundMessage, ...]
    more: bool
    damaged: tuple[Skipped, ...]
    before: RunId | None = None


class MailboxView:
    """A mailbox. ``whose`` is its path, whatever group it was in; ``group`` that which it is in, or was in
    last. Methods raise DamagedError, and EncryptedError where a key is missing."""

    def __init__(self, past: Past, archives: OpenArchives) -> None:
        """Use ``opened_view``."""
        (self._timeline,) = past.timelines
        self._past = past
        self._archives = archives
        self.group = self._timeline.spans[-1].version.group
        self.whose = LogicalPath(self._timeline.partition, EVERYBODY, self._timeline.user)

    @property
    def timeline(self) -> Timeline:
        """All that is known of it."""
        return self._timeline

    @property
    def newest(self) -> RunId:
        """The last moment at which it is there, or of which it is known that it is gone."""
        return self._timeline.spans[-1].last

    def began(self, run: RunId) -> datetime | None:
        """When a moment began; None for a run that is no moment any more."""
        return self._past.moments.get(run)

    def history(self) -> list[Entry]:
        """Every version that differs from the one before, oldest first. Reads no archive."""
        return mailbox_history(self._past, self._timeline)

    def moment(self, text: str) -> RunId:
        """The moment that is meant by a run id; ``latest`` or nothing is the newest at which the mailbox is
        there. Raises UsageError for what is no run id, NotFoundError."""
        if text in ("", "latest"):
            there = [span.last for span in self._timeline.spans if not span.version.departed]
            if not there:
                raise NotFoundError(f"{self.whose}: nothing is kept of it")
            return there[-1]
        if not RUN_ID.fullmatch(text):
            raise UsageError(f"{text!r} is no run id", at=text)
        run = RunId(text)
        if self._timeline.at(run) is None:
            raise NotFoundError(
                f"{self.whose}: it was not there at {text}, or that is no moment that is kept"
            )
        return run

    def folders(self, at: RunId) -> list[ShownFolder]:
        """Its folders at a moment, by name; INBOX first."""
        found = [
            ShownFolder(path=str(self._path(name)), name=name, messages=entry.messages)
            for name, entry in self._frames(at).folders.items()
        ]
        return sorted(found, key=lambda one: (one.name != "INBOX", one.name))

    def gone(self, goes_on: Callable[[int], bool]) -> GoneFolders:
        """The folders that it had once. See ``gone_folders``."""
        return gone_folders(self._archives, self._timeline, self.whose, goes_on)

    def messages(self, path: LogicalPath, at: RunId, skipped: int, most: int) -> MessagePage:
        """Messages of the folder that a path names, the last ones first. Raises NotFoundError."""
        frames = self._frames(at)
        folder = path.resolve(frames.folders).folder or ""
        if folder not in frames.folders:
            raise NotFoundError(f"{path}: there was no such folder at {at}", path=str(path))
        return message_page(frames, self.whose, folder, skipped, most)

    def find(
        self,
        path: LogicalPath,
        query: Query,
        most: int,
        *,
        deleted: bool,
        before: RunId | None,
        goes_on: Callable[[], bool],
    ) -> Findings:
        """Messages at any kept moment that match; if ``deleted``, only those that are not there any more. See
        ``Finder.at_any_time``."""
        finder = Finder(self._archives, path, query)
        through = finder.at_any_time(self._past, deleted=deleted, before=before, goes_on=goes_on)
        found = list(islice(through, most + 1))
        return Findings(
            messages=tuple(found[:most]),
            more=len(found) > most,
            damaged=tuple(finder.damaged),
            before=finder.ended_at,
        )

    def message(self, path: LogicalPath, at: RunId) -> Message:
        """The message that a path names. Raises NotFoundError; UsageError if it names something else."""
        frames = self._frames(at)
        path = path.resolve(frames.folders)
        if path.uid is None and path.name is None:
            raise UsageError(f"{path} is no message", path=str(path))
        entry = frames.folders.get(path.folder or "")
        found: list[Message] = []
        if entry is not None:
            matching = (
                one
                for one in frames.messages(entry, path.uid)
                if path.selects_message(one.uid, one.base, one.suffix, one.place)
            )
            try:
                found += islice(matching, 2)
            except DamagedError:
                if not found:
                    raise
        if not found:
            raise NotFoundError(f"{path}: there was no such message at {at}", path=str(path))
        if len(found) > 1:
            raise UsageError(f"{path}: several messages have this name", path=str(path))
        return found[0]

    def content(self, message: Message) -> Iterator[bytes]:
        """Its bytes; DamagedError is raised after the last of them if they are not what was stored."""
        return Contents(self._archives.data, _CACHE_BYTES).message(message)

    def _frames(self, at: RunId) -> MailboxFrames:
        version = self._timeline.at(at)
        if version is None or version.archive is None:
            raise NotFoundError(f"{self.whose}: it was not there at {at}")
        return MailboxFrames(self._archives, version.archive, version.user)

    def _path(self, folder: str) -> LogicalPath:
        return LogicalPath(self.whose.partition, self.whose.group, self.whose.user, folder)


@contextmanager
def opened_view(
    staging: Path,
    destinations: Sequence[Destination],
    partition: str,
    user: str,
    *,
    unlock: Unlock | None = None,
) -> Iterator[MailboxView]:
    """A mailbox, open while the context lasts; until then no purge deletes any archive. ``unlock`` opens what
    is encrypted. Raises NotFoundError."""
    with reading(staging):
        with Catalog.open(staging) as catalog:
            past = read_past(catalog, staging, LogicalPath(partition, EVERYBODY, user), destinations)
        with opened_archives(past.archives, unlock=unlock) as archives:
            yield MailboxView(past, archives)


def groups_of_mailbox(catalog: Catalog, partition: str, user: str) -> frozenset[str]:
    """The groups that a mailbox is in, which may be several, or the one that it was in last; none if nothing
    is known of it."""
    newest = {version.group: version for version in catalog.history(partition, user)}
    there = frozenset(one.group for one in newest.values() if not one.departed)
    last = max(newest.values(), key=lambda one: one.run, default=None)
    return there if there or last is None else frozenset((last.group,))
