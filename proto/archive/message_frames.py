"""The MESSAGES frames of the mailbox that is being written, and the SEARCH frame behind each: those of
messages that were gathered, and those of other archives or generations, copied."""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress

from ..errors import DamagedError
from ..records import ArchiveId
from . import frames, messages, search
from .codec import FrameCodec, Stored
from .frames import FrameType
from .framing import FrameWriter
from .places import GONE, MailboxPlace, MessagesPlace
from .pointers import FramePointer
from .reader import ArchiveReader


class MessageFrames:
    """Writes the frames of one mailbox after the other (``begin``). ``number`` is that of the mailbox in the
    archive, ``places`` tells where its frames written so far lie; ``lost`` are the positions, of all
    mailboxes, of frames that stand for lost ones. ``owner``: see FrameCodec."""

    def __init__(self, out: FrameWriter, codec: FrameCodec) -> None:
        self._out = out
        self._codec = codec
        self.number = 0
        self.places: list[MessagesPlace] = []
        self.lost: list[int] = []
        # Frames of other archives that were copied as a whole: their positions in this one.
        self._copied: dict[tuple[ArchiveId, int], int] = {}

    def begin(self, number: int) -> None:
        """What comes is of the mailbox with this number."""
        self.number = number
        self.places = []
        self._copied.clear()

    @property
    def position(self) -> int:
        """That of the next frame."""
        return frames.mailbox_position(self.number, len(self.places))

    def write(self, payload: bytes, terms: bytes, owner: bytes) -> None:
        """Messages, and what they can be found by."""
        position, bound = self.position, self._codec.binding(payload)
        self._put(
            self._out.packed(FrameType.MESSAGES, payload, position, owner=owner),
            self._out.packed(FrameType.SEARCH, terms, position, bound, owner),
        )

    def copy(
        self,
        pointer: FramePointer,
        stored: tuple[Stored, Stored | None],
        payload: bytes,
        codec: FrameCodec,
        owner: bytes,
    ) -> int:
        """The frames of another archive to which this points, unless they were copied for this mailbox
        before; returns their position here. They are ``stored`` there, with this ``codec``, messages with
        this ``payload`` and what these can be found by, which may be lost."""
        origin = pointer.archive, pointer.position
        known = self._copied.get(origin)
        if known is not None:
            return known
        position = self._copied[origin] = self.position
        if self._codec.seals or codec.seals:
            self._seal(payload, stored[1], codec, owner)
        else:
            self._put(*stored)
        return position

    def rewrite(self, source: ArchiveReader, place: MailboxPlace, wanted: Container[int]) -> None:
        """The frames of a mailbox of another generation of this archive, as they are stored, under the same
        numbers: those at these positions. Where messages are damaged, there is an empty frame instead."""
        self.begin(place.number)
        for there in place.messages:
            position = self.position
            if there == GONE or position not in wanted:
                self.places.append(GONE)
                continue
            try:
                stored, terms = source.stored_messages(position)
                bound = b""
                if terms is None and self._codec.seals:
                    bound = self._codec.binding(source.codec.unpack(*stored, source.file.name))
                self._put(stored, terms, bound)
            except DamagedError:
                self.lost.append(position)
                lost = self._out.packed(FrameType.MESSAGES, messages.LOST, position)
                self._put(lost, None, self._codec.binding(messages.LOST))

    def _seal(self, payload: bytes, terms: Stored | None, codec: FrameCodec, owner: bytes) -> None:
        """Messages of another archive with the keys of this one, and their search terms: where these can't be
        opened here, as they are stored."""
        position, bound = self.position, self._codec.binding(payload)
        stored = self._out.packed(FrameType.MESSAGES, payload, position, owner=owner)
        copied = None
        if terms is not None and codec.can_open(terms[0]):
            with suppress(DamagedError):
                opened = codec.unpack(*terms, "search terms", bound)
                copied = self._out.packed(FrameType.SEARCH, opened, position, bound, owner)
        elif terms is not None and (slot := codec.wrapped(terms[0].slot)) is not None:
            number, is_new = self._codec.adopt(slot, codec.owner_of(terms[0].slot))
            if is_new:
                self._out.write_new_keys()
            copied = terms[0]._replace(position=position, slot=number), terms[1]
        self._put(stored, copied or self._out.packed(FrameType.SEARCH, search.LOST, position, bound, owner))

    def _put(self, stored: Stored, terms: Stored | None, bound: bytes = b"") -> None:
        """``bound``: where the terms are lost, see FrameCodec."""
        position = self.position
        if terms is None:
            terms = self._out.packed(FrameType.SEARCH, search.LOST, position, bound)
        at, size_bytes = self._out.copy(stored, position)
        search_frame = self._out.copy(terms, position)
        self.places.append(MessagesPlace(at, size_bytes, search_frame.size_bytes))
