"""What the header of a message says of it, as far as names of files and From_ lines need it.

Whatever stands there, no error comes of it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import parseaddr
from itertools import chain

NOBODY = b"MAILER-DAEMON"
"""Who sent a message that does not say it."""

_MOST_BYTES = 1 << 16
_END = re.compile(rb"(?:\A|\n)\r?\n")
_ADDRESS = re.compile(rb"[!-~]{1,320}")


class Head:
    """The header of a message, or as much of it as is at hand."""

    def __init__(self, data: bytes) -> None:
        found = _END.search(data)
        self._data = data[: found.start() + 1] if found else data

    def sender(self) -> bytes:
        """The address of who sent it, as one word of ASCII: of the envelope, else of the From field."""
        for address in (self._field(b"Return-Path").strip(b"<> \t"), self._author()):
            if _ADDRESS.fullmatch(address):
                return address
        return NOBODY

    def subject(self) -> str:
        """Its subject, decoded as far as that can be."""
        field = self._field(b"Subject")
        try:
            parts = decode_header(_text(field))
            return "".join(
                one if isinstance(one, str) else one.decode(charset or "ascii", "replace")
                for one, charset in parts
            )
        except (ValueError, LookupError, HeaderParseError, binascii.Error):
            return _text(field)

    def _author(self) -> bytes:
        return parseaddr(_text(self._field(b"From")))[1].encode("utf-8", "replace")

    def _field(self, name: bytes) -> bytes:
        """The first field of this name, unfolded."""
        found = re.search(rb"(?im)^%s[ \t]*:((?:.*\n?)(?:[ \t].*\n?)*)" % re.escape(name), self._data)
        return b" ".join(found[1].split()) if found else b""


def read_head(content: Iterable[bytes]) -> tuple[Head, Iterator[bytes]]:
    """The header of a message, and all of its bytes. Raises what ``content`` raises."""
    rest = iter(content)
    read = b""
    for piece in rest:
        read += piece
        if len(read) >= _MOST_BYTES or _END.search(read):
            break
    return Head(read[:_MOST_BYTES]), chain((read,), rest)


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        return field.decode("latin-1")
