"""Messages as they go over the wire: their bytes with the line ends of mail, flags, keywords, date.

The length is sent before the bytes, and it is known only when all have been read. Until then small messages
are in memory, large ones in a temporary file.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import IO, NamedTuple

from blake3 import blake3

from ....proto.records import DIGEST_BYTES, Message
from ....proto.structs import Record
from ..line_ends import with_crlf
from .likeness import Likeness

_IN_MEMORY_BYTES = 4 << 20
_PIECE_BYTES = 1 << 16

FLAGS = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}
"""The letters of the Maildir convention -> what IMAP has for them."""
_ATOM = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outgoing(Record, kw_only=True):
    """A message that is to be sent. ``flags`` are the system's, ``keywords`` what IMAP can say of the others,
    ``unsaid`` the rest; ``later`` are keywords with which the server would not take it, to be tried when it
    is there. ``date`` is empty if there is none that IMAP can say. ``likeness`` and ``is_plain``: see there;
    ``stray_returns`` are the CRs in it that end no line."""

    message: Message
    content: bytes | IO[bytes]
    size: int
    digest: bytes
    likeness: bytes
    is_plain: bool
    stray_returns: int
    flags: tuple[str, ...]
    keywords: tuple[str, ...]
    unsaid: tuple[str, ...]
    date: str
    later: tuple[str, ...] = ()

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, from the first one on each time."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        self.content.seek(0)
        while data := self.content.read(_PIECE_BYTES):
            yield data

    def close(self) -> None:
        """Repeatable."""
        if not isinstance(self.content, bytes):
            self.content.close()


class Sent(NamedTuple):
    """What is remembered of a message that the server has taken; ``uid`` is its UID there, 0 if that is not
    known. ``flags`` are all that it was sent with, ``seconds`` its date since 1970, if it was sent with
    one."""

    uid: int
    message_uid: int
    base: bytes
    size: int
    digest: bytes
    likeness: bytes
    is_plain: bool
    stray_returns: int
    flags: tuple[str, ...]
    seconds: int | None


def sent(one: Outgoing, uid: int) -> Sent:
    """What is remembered of a message."""
    message = one.message
    return Sent(
        uid=uid,
        message_uid=message.uid,
        base=b"" if message.uid else message.base,
        size=one.size,
        digest=one.digest,
        likeness=one.likeness,
        is_plain=one.is_plain,
        stray_returns=one.stray_returns,
        flags=(*one.flags, *one.keywords),
        seconds=message.date_ns // _NS if one.date else None,
    )


def outgoing(message: Message, content: Iterable[bytes]) -> Outgoing:
    """Read a message whole. What ``content`` raises passes through."""
    hashed, likeness = blake3(), Likeness()
    held = bytearray()
    file: IO[bytes] | None = None
    size = stray = 0
    try:
        for data in with_crlf(content):
            hashed.update(data)
            likeness.update(data)
            size += len(data)
            stray += data.count(b"\r") - data.count(b"\n")
            held += data
            if len(held) > _IN_MEMORY_BYTES:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115 (closed with the message)
                file.write(held)
                held.clear()
        if file is not None:
            file.write(held)
    except BaseException:
        if file is not None:
            file.close()
        raise
    likeness_digest = likeness.digest()
    flags = [FLAGS[letter] for letter in message.flags if letter in FLAGS]
    words = dict.fromkeys([*(flag for flag in flags if flag.startswith("$")), *message.keywords])
    return Outgoing(
        message=message,
        content=file if file is not None else bytes(held),
        size=size,
        digest=hashed.digest(length=DIGEST_BYTES),
        likeness=likeness_digest,
        is_plain=likeness.is_plain and stray == 0,
        stray_returns=stray,
        flags=tuple(one for one in flags if one.startswith("\\")),
        keywords=tuple(word for word in words if _ATOM.fullmatch(word)),
        unsaid=tuple(one for one in words if not _ATOM.fullmatch(one)),
        date=internal_date(message.date_ns),
    )


def internal_date(date_ns: int) -> str:
    """A time as APPEND takes it; empty for one that it can't take."""
    try:
        when = _EPOCH + timedelta(seconds=date_ns // _NS)
    except OverflowError:
        return ""
    return f"{when.day:02}-{_MONTHS[when.month - 1]}-{when.year:04} {when:%H:%M:%S} +0000"
