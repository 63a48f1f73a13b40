"""What a folder that is there holds already: each of its files stands for one message that is to be restored,
by its name and size, or by its content."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ...proto.records import Listed, Message
from .listing import NO_KEYWORDS, Listing, record
from .message_places import is_variant, portable_name, variant_parts
from .opened import FileOpener, digest_of


class PresentMessages:
    """The messages in the open directories of a folder, by place."""

    def __init__(self, places: Mapping[str, int]) -> None:
        self._places = places
        self._listing = Listing(places)
        self._opener = FileOpener()
        self._taken: set[bytes] = set()
        self._renamed: dict[bytes, bytes] = {}
        # Sizes in order, and which entries have them: eight bytes for each, and only if a name is not found.
        self._sizes: array[int] | None = None
        self._of_size: array[int] = array("I")

    def has(self, base: bytes) -> bool:
        """Whether a message has this lasting name."""
        return self._listing.find(base) >= 0

    def take(self, message: Message) -> Listed | None:
        """The file that stands for this message: it has its lasting name, or one that a restore gave for it,
        and its size; or its content, whatever its flags are. From now on it stands for no other one."""
        for entry in self._named_as(message.base):
            if entry not in self._taken and self._size(entry) == message.size:
                self._taken.add(entry)
                return record(entry, NO_KEYWORDS)
        for entry in self._of(message.size):
            if entry not in self._taken and self._has_content(entry, message):
                self._taken.add(entry)
                return record(entry, NO_KEYWORDS)
        return None

    def _named_as(self, base: bytes) -> Iterator[bytes]:
        for name in dict.fromkeys((base, portable_name(base))):
            yield from self._listing.beginning_with(name + b"\0")
            begin, end = variant_parts(name)
            for entry in self._listing.beginning_with(begin):
                if is_variant(entry.partition(b"\0")[0], begin, end):
                    yield entry

    def _of(self, size: int) -> Iterator[bytes]:
        """The files of this size."""
        if self._sizes is None:
            sizes = [self._size(entry) for entry in self._listing.entries]
            self._of_size = array("I", sorted(range(len(sizes)), key=sizes.__getitem__))
            self._sizes = array("q", (sizes[position] for position in self._of_size))
        for at in range(bisect_left(self._sizes, size), len(self._sizes)):
            if self._sizes[at] != size:
                return
            yield self._listing.entries[self._of_size[at]]

    def _size(self, entry: bytes) -> int:
        """-1 for one that is gone."""
        for listed in self._names(entry):
            with suppress(OSError):
                name = listed.base + listed.suffix
                return os.stat(name, dir_fd=self._places[listed.place], follow_symlinks=False).st_size
        return -1

    def _names(self, entry: bytes) -> Iterator[Listed]:
        """What a file is called, and may be called by now: somebody has changed its flags."""
        yield record(entry, NO_KEYWORDS)
        base = entry.partition(b"\0")[0]
        if base in self._renamed:
            yield record(self._renamed[base], NO_KEYWORDS)
        self._renamed.update(self._listing.rescan().fresh)
        if base in self._renamed:
            yield record(self._renamed[base], NO_KEYWORDS)

    def _has_content(self, entry: bytes, message: Message) -> bool:
        for listed in self._names(entry):
            with suppress(FileNotFoundError):
                place, name = self._places[listed.place], listed.base + listed.suffix
                return digest_of(self._opener, place, name, len(message.digest)) == message.digest
        return False
