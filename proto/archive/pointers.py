"""Where metadata lies, for whoever reads it from another archive: a mailbox, and rows of messages.

A position stays what it is in every later generation of an archive, so a pointer stays right however often
the archive is written anew. It names the place where a frame was written, never another pointer.
FORMAT.md, "Pointers".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..records import ArchiveId
from . import claims
from .message_rows import MOST_MESSAGES

LOW = (1 << 32) - 1
"""The part of a position that is the number of a frame in its mailbox; above it is that of the mailbox."""


class MailboxPointer(NamedTuple):
    """A mailbox that was written in ``archive``, by its ``number`` there."""

    archive: ArchiveId
    number: int


class FramePointer(NamedTuple):
    """So many ``messages``, from row ``first`` on, of the MESSAGES frame at ``position`` of ``archive``.

    They have ``size_bytes``; those with a UID have one from ``low_uid`` to ``high_uid`` (both are 0 where
    none has). ``data`` are the archives in which their pieces lie."""

    archive: ArchiveId
    position: int
    first: int
    messages: int
    size_bytes: int
    low_uid: int
    high_uid: int
    data: tuple[ArchiveId, ...]

    @property
    def archives(self) -> tuple[ArchiveId, ...]:
        """All archives that it takes to read these messages."""
        return (self.archive, *self.data)

    def may_have(self, uid: int) -> bool:
        """Whether one of the messages may have this UID."""
        return self.low_uid <= uid <= self.high_uid


def encode(pointer: FramePointer, archives: Mapping[ArchiveId, int]) -> list[object]:
    """A row for metadata that numbers its ``archives``."""
    mailbox, number = pointer.position >> 32, pointer.position & LOW
    data = [archives[archive_id] for archive_id in pointer.data]
    where = (archives[pointer.archive], mailbox, number, pointer.first, pointer.messages)
    return [*where, pointer.size_bytes, pointer.low_uid, pointer.high_uid, data]


def decode(row: list[Any], archives: list[ArchiveId]) -> FramePointer:
    """The inverse of ``encode``. Raises DamagedError, ValueError, TypeError or IndexError."""
    archive, mailbox, number, first, count, size_bytes, low_uid, high_uid, data = map(_checked, row)
    if mailbox > LOW >> 1 or number > LOW or not 0 < count <= MOST_MESSAGES - first or low_uid > high_uid:
        raise ValueError("not a pointer")
    whose = tuple(archives[claims.number(one)] for one in data)
    position = mailbox << 32 | number
    return FramePointer(archives[archive], position, first, count, size_bytes, low_uid, high_uid, whose)


def _checked(value: Any) -> Any:
    return claims.rows(value) if isinstance(value, list) else claims.number(value)
