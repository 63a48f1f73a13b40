"""Which message of a mailbox in use is which of those that were stored: by name where that is the same,
else by what identifies a file or its content.

A message that was stored stands for one that is there, and no message stands for two.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from ...proto.archive.columns import clamped
from ...proto.archive.mailboxes import FolderEntry
from ...proto.errors import MessageUnavailable
from ...proto.ports import FolderReader
from ...proto.records import Folder, Listed, Message
from ...proto.structs import Mutable, Record
from .content import digest_now

_SECOND_NS = 1_000_000_000
_VARIANT = re.compile(rb"(.*_r)\d+((?:,.*)?)", re.DOTALL)


class Adrift(Record, kw_only=True):
    """A message that was stored in a folder, and is not there under its name."""

    entry: FolderEntry
    message: Message


class Stray(Record, kw_only=True):
    """A message that is in a folder (by its path) and was not stored there under its name."""

    folder: bytes
    listed: Listed


class _Seen(Mutable):
    """A stray as its file tells of it."""

    stray: Stray
    mtime_ns: int
    inode: int
    digest: bytes = b""


class Matching:
    """Finds the strays that adrift messages have become. ``places`` are the paths of the folders that are
    there, by those under which they were stored. Call ``look`` with each folder, then ``found``."""

    def __init__(
        self,
        adrift: Iterable[Adrift],
        strays: Iterable[Stray],
        folders: dict[bytes, Folder],
        places: dict[bytes, bytes],
    ) -> None:
        self._adrift = list(adrift)
        self._folders = folders
        self._places = places
        self._wanted: dict[int, list[Adrift]] = defaultdict(list)
        for one in self._adrift:
            self._wanted[one.message.size].append(one)
        self._strays: dict[bytes, list[Stray]] = defaultdict(list)
        for stray in strays:
            self._strays[stray.folder].append(stray)
        self._seen: dict[int, list[_Seen]] = defaultdict(list)

    @property
    def folders(self) -> frozenset[bytes]:
        """The paths of the folders that have to be looked at."""
        return frozenset(self._strays) if self._adrift else frozenset()

    def look(self, reader: FolderReader) -> None:
        """See what the strays of a folder are. Content is read only where the size is that of a message
        that is looked for, and nothing else tells."""
        for stray in self._strays.pop(reader.folder.path, ()):
            try:
                stat = reader.stat(stray.listed)
                wanted = self._wanted.get(stat.size)
                if not wanted:
                    continue
                seen = _Seen(stray, stat.mtime_ns, stat.inode)
                if not any(self._is_told(adrift, seen) for adrift in wanted):
                    seen.digest = digest_now(reader, stray.listed)
                self._seen[stat.size].append(seen)
            except MessageUnavailable:
                continue  # it is gone by now, or nobody can tell what it is

    def found(self) -> Iterator[tuple[Adrift, Stray | None]]:
        """Each adrift message, and the stray that it is, if there is one: in its own folder before others."""
        for adrift in self._adrift:
            candidates = self._seen.get(adrift.message.size, [])
            at_home = self._places.get(adrift.entry.folder.path)
            candidates.sort(key=lambda seen: seen.stray.folder != at_home)
            same = next((seen for seen in candidates if self._is(adrift, seen)), None)
            if same is not None:
                candidates.remove(same)
            yield adrift, same.stray if same else None

    def _is(self, adrift: Adrift, seen: _Seen) -> bool:
        return self._is_told(adrift, seen) or seen.digest == adrift.message.digest

    def _is_told(self, adrift: Adrift, seen: _Seen) -> bool:
        """Whether a file of the right size is a message without its content being read: by its name, its
        UID, or because it is the same file, which nobody has written to."""
        message, listed = adrift.message, seen.stray.listed
        if message.base == listed.base:
            return True
        if stem(listed.base) == stem(message.base) != b"":
            return True
        # A number is given again when a file is gone, and what was saved with a date has whole seconds.
        same = (message.inode, message.date_ns) == (seen.inode, clamped(seen.mtime_ns))
        if same and message.inode and message.date_ns % _SECOND_NS:
            return True
        live, stored = self._folders[seen.stray.folder], adrift.entry.folder
        return bool(
            message.uid
            and message.uid == listed.uid
            and self._places.get(stored.path) == seen.stray.folder
            and stored.uidvalidity == live.uidvalidity != 0
        )


def stem(base: bytes) -> bytes:
    """A lasting name without the number that a restore has put into it (see ``stores.message_places``)."""
    begin, comma, sizes = base.partition(b",")
    found = _VARIANT.fullmatch(base)
    return found[1] + found[2] if found else begin[:150] + b"_r" + comma + sizes[:60]
