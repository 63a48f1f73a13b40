"""The messages of one Maildir folder by name: what lies in ``new/`` and ``cur/``, and which UIDs they have.

Built for folders of a million messages: one sorted list of byte strings and a few arrays, no object for
each message. An entry of the list is ``base NUL place suffix NUL inode`` (``n`` or ``c`` for the place, the
inode number in eight bytes), so that entries sort by the lasting part of the name, whatever flags are
appended to it.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from ...proto.archive.message_rows import Names
from ...proto.records import Listed
from ...proto.structs import Record
from ..packing import hot_path
from ..packing.entries import FILE
from .keywords import FlagNames
from .marks import tick_ns

PLACES = ("new", "cur")
"""In this order they are read: mail moves from new/ to cur/, so it is seen at least once."""

_PASSES = 4
_INODE_BYTES = 8
_UNKNOWN_INODE = 0xFFFF_FFFF
"""What file systems in user space give in a listing for a number that they do not know, as they give 0."""

_CUR = ord("c")
_NO_END = b"\0\0\0"
"""In no entry does the name go on like this."""

NAMES_LOOKED_AT = 200
"""Where it is asked what kind of names a folder has: if the server has named any, it has named many."""


def is_server_name(name: bytes) -> bool:
    """Whether Dovecot, which keeps UIDs, has made the name of a message (or of its entry in a listing): no
    other server writes the size that the message has with CR LF (``,W=``)."""
    return b",W=" in name


NO_KEYWORDS = FlagNames()
"""Where only names of files are looked at."""


class Listing:
    """The names in the directories of a folder. ``fds`` gives the open directory of each place, ``now`` is
    the clock, in nanoseconds since 1970.

    ``others`` are the names that are no messages (hidden files, links, pipes, directories), ``problems``
    the places that could not be read to their end, ``settled`` tells whether nothing changed any more while
    they were.
    """

    def __init__(self, fds: Mapping[str, int], now: Callable[[], int] = time.time_ns) -> None:
        self._fds = fds
        self._now = now
        self.entries: list[bytes] = []
        self.others: set[tuple[str, bytes]] = set()
        self.problems: dict[str, OSError] = {}
        self._before: dict[str, int] = {}
        self._settled = False
        for names in self._passes():
            fresh = [entry for entry in names if not self._holds(entry)] if self.entries else list(names)
            self.entries += fresh
            self.entries.sort()
        self.settled = self._settled
        self._drop_earlier_names()
        # What was listed, and is gone when it is to be read.
        self._lost: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.entries)

    def find(self, base: bytes) -> int:
        """The position of the first entry with this lasting name, or -1."""
        key = base + b"\0"
        position = bisect_left(self.entries, key)
        found = position < len(self.entries) and self.entries[position].startswith(key)
        return position if found else -1

    def beginning_with(self, prefix: bytes) -> Iterator[bytes]:
        """The entries that begin so."""
        for position in range(bisect_left(self.entries, prefix), len(self.entries)):
            if not self.entries[position].startswith(prefix):
                return
            yield self.entries[position]

    def remembered(self) -> Earlier:
        """What to remember of this listing, to find out later what came after it: eight bytes a message. One
        that was lost may come back."""
        bases = map(_base, self.entries)
        hashes = array("q", (hash(base) for base in bases if base not in self._lost))
        return Earlier(self._before, lambda: hashes, self.settled)

    def lose(self, base: bytes) -> None:
        """A message that was listed is gone."""
        self._lost.add(base)

    def drop(self, earlier: Earlier) -> None:
        """Forget the messages that the folder held before."""
        known = set(earlier.hashes())
        self.entries = [entry for entry in self.entries if hash(_base(entry)) not in known]

    def rescan(self) -> Rescan:
        """Read the directories again, to find messages that were renamed meanwhile."""
        fresh: dict[bytes, bytes] = {}
        seen = bytearray(len(self.entries))
        self.problems.clear()
        for names in self._passes():
            for entry in names:
                position = self._position(entry)
                if position < 0:
                    fresh[_base(entry)] = entry
                else:
                    seen[position] = 1
        return Rescan(fresh, seen, next(iter(self.problems.values()), None))

    def _passes(self) -> Iterator[Iterator[bytes]]:
        """All entries; again if a directory changed meanwhile, for a name that changes while a directory
        is read may be missed altogether."""
        self._settled = False
        for _ in range(_PASSES):
            before = self._before = self._times()
            yield self._scan()
            now = self._now()
            # A time that is as young as a tick of the file system's clock may hide another change.
            if self.problems:
                continue
            if self._times() == before and all(abs(now - one) > tick_ns(one) for one in before.values()):
                self._settled = True
                return

    def _times(self) -> dict[str, int]:
        return {place: os.fstat(fd).st_mtime_ns for place, fd in self._fds.items()}

    def _scan(self) -> Iterator[bytes]:
        self.problems.clear()
        for place in PLACES:
            if place in self._fds:
                try:
                    yield from self._names(place)
                except OSError as error:
                    self.problems[place] = error

    def _names(self, place: str) -> Iterator[bytes]:
        where = b"\0" + place[:1].encode()
        for name, kind, inode in hot_path.entries_in(self._fds[place]):
            if kind != FILE or name.startswith(b"."):
                self.others.add((place, name))
                continue
            base, colon, flags = name.partition(b":")
            yield base + where + colon + flags + b"\0" + inode.to_bytes(_INODE_BYTES, "big")

    def _holds(self, entry: bytes) -> bool:
        return self._position(entry) >= 0

    def _position(self, entry: bytes) -> int:
        """The position of the entry with the name of this one, or -1."""
        name = entry[:-_INODE_BYTES]
        position = bisect_left(self.entries, name)
        found = position < len(self.entries) and self.entries[position].startswith(name)
        return position if found else -1

    def _drop_earlier_names(self) -> None:
        """Of several entries with one lasting name keep those that are there: the others are what the same
        file was called while the directories were read. (Two files may well share a lasting name.)"""
        several: dict[bytes, list[bytes]] = {}
        before, previous = None, b""
        for entry in self.entries:
            base = _base(entry)
            if base == before:
                several.setdefault(base, [previous]).append(entry)
            before, previous = base, entry
        gone: set[bytes] = set()
        for entries in several.values():
            there = [entry for entry in entries if self._is_there(entry)] or entries[-1:]
            gone.update(set(entries) - set(there))
        if gone:
            self.entries = [entry for entry in self.entries if entry not in gone]

    def _is_there(self, entry: bytes) -> bool:
        listed = record(entry, NO_KEYWORDS)
        try:
            os.stat(listed.base + listed.suffix, dir_fd=self._fds[listed.place], follow_symlinks=False)
        except OSError:
            return False
        return True


class Earlier(Record):
    """A folder at an earlier look: the times of its directories, how to get a hash of each lasting name that
    was in them, and whether a change after that look shows in the times."""

    times: Mapping[str, int]
    hashes: Callable[[], Iterable[int]]
    settled: bool = True

    def before(self, later: Earlier) -> Earlier:
        """Both looks in one."""
        return Earlier(later.times, lambda: chain(self.hashes(), later.hashes()), later.settled)


def _base(entry: bytes) -> bytes:
    return entry.partition(b"\0")[0]


class Rescan(Record):
    """What a later look found: ``fresh``, entries that the listing does not hold, by lasting name, and
    which of the listing's entries it saw again. ``problem``: it did not see all that there is."""

    fresh: dict[bytes, bytes]
    seen: bytearray
    problem: OSError | None


def record(entry: bytes, names: FlagNames, uid: int = 0, fields: bytes = b"") -> Listed:
    """The record of an entry of a listing."""
    base, _, rest = entry.partition(b"\0")
    suffix = rest[1 : -_INODE_BYTES - 1]
    flags, keywords = names.of(suffix, uid)
    inode = int.from_bytes(entry[-_INODE_BYTES:], "big")
    if inode == _UNKNOWN_INODE:
        inode = 0
    return Listed(base, suffix, "cur" if rest[0] == _CUR else "new", uid, flags, fields, keywords, inode)


def entries_of(names: Names, meaning: FlagNames) -> list[bytes]:
    """The entries that a listing has of messages that are called like these, and are the same files. Those
    whose flags or keywords were others than ``meaning`` says of their suffixes now are like no entry."""
    ends = [
        b"\0" + one.place[:1].encode() + one.suffix + b"\0"
        if one.place in PLACES and meaning.of(one.suffix) == (one.flags, one.keywords)
        else _NO_END
        for one in names.marks
    ]
    inodes = array("Q", names.inode)
    if sys.byteorder == "little":
        inodes.byteswap()
    inode = inodes.tobytes()
    starts = range(0, len(inode), _INODE_BYTES)
    return [
        base + ends[mark] + inode[start : start + _INODE_BYTES]
        for base, mark, start in zip(names.base, names.mark, starts, strict=True)
    ]
