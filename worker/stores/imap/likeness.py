"""What of a message stays the same, whatever servers do to it: by this it is found again.

Seen: NUL becomes 0x80, CR CR LF becomes CR LF, a CR at the end goes (Dovecot); bytes above 127 in a header
become ``X`` (Cyrus). So none of these counts.
"""

from __future__ import annotations

from blake3 import blake3

from ....proto.records import DIGEST_BYTES

_IN_HEADER = bytes([0, 0x0D, *b"X?", *range(0x80, 0x100)])
_IN_BODY = bytes([0, 0x0D, 0x80])
_LONGEST_HEADER = 1 << 20


class Likeness:
    """Takes in a message, piece by piece."""

    def __init__(self) -> None:
        self._hashed = blake3()
        self._header: bytearray | None = bytearray()
        self.is_plain = True
        """Whether there is nothing in it that a server is known to alter."""

    def update(self, data: bytes) -> None:
        """The next bytes."""
        self.is_plain = self.is_plain and b"\0" not in data
        if self._header is None:
            self._hashed.update(data.translate(None, _IN_BODY))
            return
        self._header += data
        end = _end_of_header(self._header)
        if end < 0 and len(self._header) < _LONGEST_HEADER:
            return
        self._settle_header(len(self._header) if end < 0 else end)

    def digest(self) -> bytes:
        """The digest of what has come."""
        if self._header is not None:
            self._settle_header(len(self._header))
        return self._hashed.digest(length=DIGEST_BYTES)

    def _settle_header(self, end: int) -> None:
        header = bytes(self._header or b"")
        self._header = None
        self.is_plain = self.is_plain and header[:end].isascii()
        self._hashed.update(header[:end].translate(None, _IN_HEADER))
        self._hashed.update(header[end:].translate(None, _IN_BODY))


def _end_of_header(data: bytearray) -> int:
    """Where the body begins; -1 if that has not come yet."""
    found = [end + len(mark) for mark in (b"\n\r\n", b"\n\n") if (end := data.find(mark)) >= 0]
    return min(found, default=-1)
