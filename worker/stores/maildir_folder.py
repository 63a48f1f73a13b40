"""One folder of a Maildir mailbox, for reading."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable
from ...proto.records import FileStat, Folder, Listed
from .attributes import named
from .directories import unavailable
from .listing import NAMES_LOOKED_AT, Earlier, Listing, Rescan, is_server_name, record
from .numbering import Numbering
from .opened import FileOpener, StoreFile, file_stat

_LOOKUPS = 4

_Answer = TypeVar("_Answer")


class MaildirFolder:
    """A FolderReader (see ``proto.ports``). ``places`` are open directories that outlive it."""

    def __init__(
        self,
        folder: Folder,
        listing: Listing,
        numbering: Numbering,
        places: Mapping[str, int],
        opener: FileOpener,
        *,
        mark: bytes,
        trusted: bool,
        complete: bool,
    ) -> None:
        self.folder = folder
        self.mark = mark
        self.complete = complete
        self.unchanged = False
        self.was_listed = True
        self.trusted = trusted
        self._listing = listing
        self._numbering = numbering
        self._places = places
        self._opener = opener
        self._rescan: Rescan | None = None

    @property
    def strays(self) -> set[tuple[str, bytes]]:
        """What lies among the messages and is none: (place, name)."""
        return self._listing.others

    def remembered(self) -> Earlier:
        """What to remember of the folder, to find out later what came into it."""
        return self._listing.remembered()

    @property
    def holds_mail(self) -> bool:
        """Whether there is any message in it."""
        return len(self._listing) > 0

    @property
    def has_server_names(self) -> bool:
        """Whether a server that keeps UIDs has named messages of it."""
        return any(map(is_server_name, islice(self._listing.entries, NAMES_LOOKED_AT)))

    def __len__(self) -> int:
        return len(self._listing)

    def messages(self) -> Iterator[Listed]:
        return iter(self._numbering)

    def listing(self) -> Numbering:
        return self._numbering

    def open_message(self, message: Listed) -> StoreFile:
        return self._found(message, self._open)

    def stat(self, message: Listed) -> FileStat:
        return self._found(message, self._stat)

    def _open(self, message: Listed) -> StoreFile:
        return self._opener.open(self._place(message), message.base + message.suffix, message)

    def _stat(self, message: Listed) -> FileStat:
        name = message.base + message.suffix
        try:
            status = os.stat(name, dir_fd=self._place(message), follow_symlinks=False)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unavailable(error, name) from error
        if not stat.S_ISREG(status.st_mode):
            reason = "leads-out" if stat.S_ISLNK(status.st_mode) else "not-regular"
            raise MessageUnavailable(f"{printable(name)} is no regular file", reason=reason)
        reader, place = self._opener.attributes, self._place(message)
        return file_stat(status, reader.of(named(place, name), status.st_dev, name) if reader else ())

    def _place(self, message: Listed) -> int:
        if message.place not in self._places:
            raise FileNotFoundError
        return self._places[message.place]

    def _found(self, message: Listed, ask: Callable[[Listed], _Answer]) -> _Answer:
        """What the message answers, under the name it has by now. One look at the directories serves all
        that were renamed or removed before it: a message that it did not see will not come back."""
        try:
            return ask(message)
        except FileNotFoundError:
            position = self._listing.find(message.base)
        for attempt in range(_LOOKUPS):
            if self._rescan is None or attempt:
                self._rescan = self._listing.rescan()
            renamed = self._rescan.fresh.get(message.base)
            if renamed is None and not (position >= 0 and self._rescan.seen[position]):
                if (problem := self._rescan.problem) is not None:
                    raise unavailable(problem, message.base + message.suffix)
                self._listing.lose(message.base)
                name = printable(message.base + message.suffix)
                raise MessageUnavailable(f"{name} was removed while the folder was read", reason="vanished")
            now = (
                record(renamed, self._numbering.names, message.uid, message.fields)
                if renamed is not None
                else message
            )
            try:
                return ask(now)
            except FileNotFoundError:
                continue
        # Listed at each look, and yet never found: renamed all the time, or the file system is not right.
        self._listing.lose(message.base)
        name = printable(message.base + message.suffix)
        raise MessageUnavailable(f"{name} is listed, but was not found {_LOOKUPS} times", reason="io-error")
