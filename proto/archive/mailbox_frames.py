"""The frames in which mailboxes are told of: FOLDERS frames, and the MAILBOX frame behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import DamagedError, ErasedError
from ..structs import replace
from . import frames, mailboxes
from .claims import shown
from .codec import Stored
from .contents import MailboxEntry
from .frames import FrameType
from .framing import FrameWriter
from .mailboxes import Mailbox
from .places import MailboxPlace, MessagesPlace
from .reader import ArchiveReader


class MailboxFrames:
    """Writes them for one mailbox after the other, and those of each again, a mailbox later: what they say is
    small, and much hangs on it. ``places`` tells where the mailboxes written so far lie."""

    def __init__(self, out: FrameWriter) -> None:
        self._out = out
        self._to_repeat: Sequence[Stored] = ()
        self.places: list[MailboxPlace] = []

    def go_on(self, places: Iterable[MailboxPlace], last: Sequence[Stored]) -> None:
        """Begin behind these mailboxes; the frames of the last one are to be repeated."""
        self.places.extend(places)
        self._to_repeat = last

    def packed(self, mailbox: Mailbox, number: int, position: int, owner: bytes) -> list[Stored]:
        """The frames of a mailbox, ready to be written: at last the MAILBOX frame, with this position.
        ``owner``: see FrameCodec."""
        *parts, head = mailboxes.encode(mailbox)
        stored = [
            self._out.packed(FrameType.FOLDERS, part, frames.mailbox_position(number, row), owner=owner)
            for row, part in enumerate(parts)
        ]
        return [*stored, self._out.packed(FrameType.MAILBOX, head, position, owner=owner)]

    def write(self, number: int, stored: Sequence[Stored], messages: tuple[MessagesPlace, ...]) -> None:
        """The frames of the mailbox with this number, whose messages lie there; there may be none. Those of
        the one before were repeated."""
        self._to_repeat = stored
        places = [(self._out.copy(one),) for one in stored]
        self.places.append(
            MailboxPlace(
                number=number,
                frames=places[-1] if places else (),
                parts=tuple(places[:-1]),
                messages=messages,
            )
        )

    def repeat(self) -> None:
        """The frames of the last mailbox again, unless they were."""
        if self._to_repeat:
            copies = [self._out.copy(one) for one in self._to_repeat]
            last = self.places[-1]
            self.places[-1] = replace(
                last,
                frames=(*last.frames, copies[-1]),
                parts=tuple((*one, copy) for one, copy in zip(last.parts, copies[:-1], strict=True)),
            )
            self._to_repeat = ()


def stored_mailbox(
    source: ArchiveReader, place: MailboxPlace, entry: MailboxEntry | None
) -> Sequence[Stored]:
    """The frames of a mailbox of another generation without its messages, if they are those of which the
    directory tells. Raises DamagedError."""
    stored = source.stored_mailbox(place.number)
    try:
        head = mailboxes.decode_head(source.codec.unpack(*stored[-1], source.file.name))
    except ErasedError:
        return stored  # nobody will ever read it
    if entry is not None and (head.user, head.listed) != (entry.user, entry.listed):
        raise DamagedError(f"directory and mailbox {shown(entry.user)} disagree", reason="metadata")
    return stored
