"""A mailbox as an archive tells of it, read wherever it was written: its metadata may lie in earlier
archives, as its data may.

Names what it can't read by where that lies, so that whoever keeps account of damage can tell one loss from
another. FORMAT.md, "Pointers".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from ..errors import DamagedError
from ..records import ArchiveId, Message, Terms
from .claims import shown
from .contents import MailboxEntry
from .mailboxes import FolderEntry, Mailbox, MailboxFrames
from .messages import MessageRows, Names
from .pointers import FramePointer
from .reader import ArchiveReader
from .search import TermsRows

_MOST_REMEMBERED = 4
_Read = TypeVar("_Read")
_Key = tuple[ArchiveId, int]

OpenArchive = Callable[[ArchiveId], ArchiveReader]
"""Gives an archive; raises DamagedError if it is not at hand, or nothing of it can be read."""


class StoredMailbox:
    """The mailbox of a user as ``archive`` tells of it; ``entry`` is what its directory says, ``mailbox`` the
    metadata without the messages."""

    def __init__(self, open_archive: OpenArchive, archive: ArchiveId, user: str) -> None:
        """Raises DamagedError if its metadata can't be read."""
        reader = open_archive(archive)
        entry = reader.entry(user)
        if entry is None:
            raise DamagedError(
                f"{reader.file.name}: the metadata of {shown(user)} is gone", reason="metadata"
            )
        self.entry: MailboxEntry = entry
        self.mailbox: Mailbox = read_mailbox(open_archive, entry)
        self._frames = Frames(open_archive)

    def frames(self, folder: FolderEntry) -> list[StoredRows]:
        """Where the messages of a folder are told of, in their order."""
        return [StoredRows(self._frames, frame) for frame in folder.frames]

    def messages(self, folder: FolderEntry, uid: int | None = None) -> Iterator[Message]:
        """The messages of a folder, a frame of them in memory at a time; or only those among which there may
        be the one with this UID. What is damaged is left out; DamagedError is raised after the last message
        then."""
        lost, damage = 0, None
        for frame in folder.frames:
            if uid is not None and not frame.may_have(uid):
                continue
            try:
                found = self._frames.rows(frame).messages()
            except DamagedError as error:
                lost, damage = lost + frame.messages, damage or error
                continue
            yield from found
        if damage is not None:
            raise DamagedError(
                f"{lost} of {folder.messages} messages of folder {shown(folder.folder.name)} are lost: "
                f"{damage.message}",
                reason="metadata",
            ) from damage


def read_mailbox(open_archive: OpenArchive, entry: MailboxEntry) -> Mailbox:
    """The metadata of a mailbox without its messages, which has to be what the directory tells of. Raises
    DamagedError."""
    return mailbox_frames(open_archive, entry).mailbox()


def mailbox_frames(open_archive: OpenArchive, entry: MailboxEntry) -> MailboxFrames:
    """The same, of which no more is decoded than is asked for. Raises DamagedError."""
    reader = open_archive(entry.home.archive)
    frames = reader.mailbox_frames(entry.home.number)
    head = frames.head
    if (head.user, head.listed, head.stored) != (entry.user, entry.listed, entry.stored):
        raise DamagedError(
            f"{reader.file.name}: directory and mailbox {shown(entry.user)} disagree", reason="metadata"
        )
    return frames


class Frames:
    """Reads frames of messages, and what these can be found by. The last ones of each are remembered: several
    small folders may share a frame, and a folder may have stretches of several in turns. Methods raise
    DamagedError."""

    def __init__(self, open_archive: OpenArchive) -> None:
        self._open_archive = open_archive
        self._payload: tuple[tuple[ArchiveId, int] | None, bytes] = (None, b"")
        self._rows: OrderedDict[_Key, MessageRows] = OrderedDict()
        self._terms: OrderedDict[_Key, TermsRows] = OrderedDict()

    def remembers(self, pointer: FramePointer) -> bool:
        """Whether the frame of these messages need not be read again."""
        return (pointer.archive, pointer.position) in self._rows

    def rows(self, pointer: FramePointer) -> MessageRows:
        """The messages, by columns."""
        key = pointer.archive, pointer.position
        rows = self._rows.get(key) or MessageRows(self.payload(pointer))
        _remember(self._rows, key, rows)
        return rows.part(pointer.first, pointer.messages)

    def payload(self, pointer: FramePointer) -> bytes:
        """The payload of the MESSAGES frame."""
        key = pointer.archive, pointer.position
        if self._payload[0] != key:
            self._payload = key, self._open_archive(pointer.archive).message_frame(pointer.position)
        return self._payload[1]

    def search_payload(self, pointer: FramePointer) -> bytes:
        """The payload of the SEARCH frame behind that of the messages."""
        return self._open_archive(pointer.archive).search_frame(pointer.position)

    def terms(self, pointer: FramePointer) -> list[Terms]:
        """What each of the messages can be found by."""
        key = pointer.archive, pointer.position
        terms = self._terms.get(key) or TermsRows(self.search_payload(pointer))
        _remember(self._terms, key, terms)
        found = terms.some(pointer.first, pointer.first + pointer.messages)
        if len(found) != pointer.messages:
            whose = f"{pointer.messages} messages in archive {pointer.archive.hex()}"
            raise DamagedError(f"the terms of {whose} were lost", reason="terms")
        return found

    def terms_or_none(self, pointer: FramePointer) -> Sequence[Terms]:
        """The same; empty ones where they can't be read."""
        try:
            return self.terms(pointer)
        except DamagedError:
            return [Terms()] * pointer.messages


def _remember(last: OrderedDict[_Key, _Read], key: _Key, read: _Read) -> None:
    last[key] = read
    last.move_to_end(key)
    if len(last) > _MOST_REMEMBERED:
        last.popitem(last=False)


class StoredRows:
    """Some messages of a folder, as one frame tells of them. Those of equal pointers are equal. Methods raise
    DamagedError."""

    __slots__ = ("_frames", "pointer")

    def __init__(self, frames: Frames, pointer: FramePointer) -> None:
        self._frames = frames
        self.pointer = pointer

    def payload(self) -> bytes:
        """The MESSAGES frame, which may tell of other messages, too."""
        return self._frames.payload(self.pointer)

    def by_columns(self) -> MessageRows:
        """The messages by columns."""
        return self._frames.rows(self.pointer)

    def names(self) -> Names:
        """What the messages are called and how they are marked, by columns."""
        return self.by_columns().names

    def messages(self) -> list[Message]:
        """The messages."""
        return self.by_columns().messages()

    def search_payload(self) -> bytes:
        """The SEARCH frame, which may tell of other messages, too."""
        return self._frames.search_payload(self.pointer)

    def terms(self) -> list[Terms]:
        """What the messages can be found by, one for each of ``messages``."""
        return self._frames.terms(self.pointer)

    def rows(self) -> Iterable[tuple[Message, Terms]]:
        """Each message with its terms; with empty ones where those are lost."""
        return zip(self.messages(), self._frames.terms_or_none(self.pointer), strict=True)
