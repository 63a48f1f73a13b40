"""Where the frames of an archive lie in its file, as its directory tells it. FORMAT.md, "DIRECTORY"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..structs import Record


class FramePlace(NamedTuple):
    """A frame at an offset of the file, and how many bytes it takes there."""

    at: int
    size_bytes: int


class MessagesPlace(NamedTuple):
    """A MESSAGES frame, and how many bytes the SEARCH frame behind it takes (0: there is none)."""

    at: int
    size_bytes: int
    search_bytes: int

    @property
    def frame(self) -> FramePlace:
        """Where the MESSAGES frame lies."""
        return FramePlace(self.at, self.size_bytes)

    @property
    def search(self) -> FramePlace:
        """Where the SEARCH frame lies."""
        return FramePlace(self.at + self.size_bytes, self.search_bytes)


GONE = MessagesPlace(0, 0, 0)
"""Stands for a MESSAGES frame that is not there (any more): at offset 0 is the header of the archive."""


class MailboxPlace(Record, kw_only=True):
    """The frames of the mailbox with this ``number``.

    ``frames`` are its MAILBOX frame and the copy of it, ``parts`` the FOLDERS frames before these: of each
    part the places where it lies. ``messages`` are its MESSAGES frames by their numbers, GONE for each that
    is not there. Without ``frames`` it is only there for what others refer to."""

    number: int
    frames: tuple[FramePlace, ...] = ()
    parts: tuple[tuple[FramePlace, ...], ...] = ()
    messages: tuple[MessagesPlace, ...] = ()

    @property
    def metadata(self) -> Iterator[FramePlace]:
        """Where the mailbox without its messages lies."""
        yield from self.frames
        for copies in self.parts:
            yield from copies

    @property
    def count(self) -> int:
        """How many frames there are."""
        # Behind each MESSAGES frame is a SEARCH frame.
        return sum(1 for _ in self.metadata) + 2 * sum(message != GONE for message in self.messages)


class BlockTable(Record, kw_only=True):
    """Where each block lies: its offset in the data, ascending, its offset in the file, and the size of its
    frame there."""

    data: Sequence[int]
    file: Sequence[int]
    size: Sequence[int]

    def __getitem__(self, rows: slice) -> BlockTable:
        """A stretch of the table."""
        return BlockTable(data=self.data[rows], file=self.file[rows], size=self.size[rows])

    def place(self, number: int) -> FramePlace:
        """Where a block lies."""
        return FramePlace(self.file[number], self.size[number])
