"""The text of an mbox: how a message stands in it, and which messages one holds.

    From SENDER DATE             the internal date, in UTC, as asctime writes it
    five fields of its state     always the same five, in the same order
    the message                  lines that begin like a From_ line, behind any ``>``, with one ``>`` more
    a blank line

This is mboxrd: whoever takes off what stands around a message, and one ``>`` of those lines, has its bytes
again, but for a line end at the end of a message that had none. Whatever fields of the same names the message
itself has come behind ours, and readers take the first.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from blake3 import blake3

from ...proto.records import DIGEST_BYTES, Message
from .message_head import read_head

_FROM = b"From "
_LINE = b"\nFrom "
_READ_BYTES = 1 << 20
_QUOTABLE = re.compile(rb"(?<=\n)(?=>*From )")
_QUOTED = re.compile(rb">+From ")
_BEGINNINGS = (b"", b"F", b"Fr", b"Fro", b"From")
_NO_KEYWORD = re.compile(r"[\0-\x20\x7f-\x9f]")

STATE = (b"Status:", b"X-Status:", b"X-Keywords:", b"X-Mozilla-Status:", b"X-Mozilla-Keys:")
"""The first three are read by mutt, Dovecot and Python, the others by Thunderbird."""

_X_STATUS = {"R": "A", "F": "F", "T": "D", "D": "T"}
_MOZILLA = {"S": 0x0001, "R": 0x0002, "F": 0x0004, "P": 0x1000}


def entry(message: Message, content: Iterable[bytes]) -> Iterator[bytes]:
    """A message as it stands in an mbox. Raises what ``content`` raises."""
    head, content = read_head(content)
    yield b"From %s %s\n" % (head.sender(), _date(message))
    for name, value in zip(STATE, _state(message), strict=True):
        yield b"%s %s\n" % (name, value) if value else name + b"\n"
    last = b"\n"
    for piece in _quoted(content):
        yield piece
        last = piece[-1:]
    yield b"\n" if last == b"\n" else b"\n\n"


def strange_keywords(message: Message) -> tuple[str, ...]:
    """The keywords that can't stand in a field: they are left out."""
    return tuple(keyword for keyword in message.keywords if _NO_KEYWORD.search(keyword))


def count_messages(file: BinaryIO) -> int:
    """How many messages an mbox holds. Raises ValueError for what is no mbox."""
    before = file.read(len(_FROM))
    if before not in (b"", _FROM):
        raise ValueError("it does not begin with a From_ line")
    count = 1 if before else 0
    while data := file.read(_READ_BYTES):
        # A line that begins in one piece may go on in the next.
        text = before + data
        count += text.count(_LINE)
        before = text[1 - len(_LINE) :]
    return count


class Held:
    """The messages that an mbox holds, by the digest of their content; each can be ``taken`` once. Raises
    ValueError for what is no mbox."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._counts: dict[bytes, int] = {}
        self._unended: dict[bytes, bytes] = {}
        hashed: _Hashed | None = None
        for line in lines:
            if line.startswith(_FROM):
                self._note(hashed)
                hashed = _Hashed()
            elif hashed is None:
                raise ValueError("it does not begin with a From_ line")
            else:
                hashed.add(line)
        self._note(hashed)

    def take(self, digest: bytes) -> bool:
        """Whether there is one more message with this content."""
        whole = digest if digest in self._counts else self._unended.get(digest, digest)
        left = self._counts.get(whole, 0)
        if left:
            self._counts[whole] = left - 1
        return left > 0

    def _note(self, hashed: _Hashed | None) -> None:
        if hashed is not None:
            unended, whole = hashed.digests()
            self._counts[whole] = self._counts.get(whole, 0) + 1
            self._unended[unended] = whole


class _Hashed:
    """The content of one message, from its lines behind the From_ line."""

    def __init__(self) -> None:
        self._hash = blake3()
        self._state: list[bytes] | None = []
        self._last: deque[bytes] = deque()

    def add(self, line: bytes) -> None:
        if self._state is not None:
            if line.startswith(STATE[len(self._state)]):
                self._state.append(line)
                if len(self._state) == len(STATE):
                    self._state = None
                return
            # The mbox of another program: what looks like our fields is the message's.
            state, self._state = self._state, None
            for one in state:
                self._keep(one)
        self._keep(line)

    def digests(self) -> tuple[bytes, bytes]:
        """Of the content without its last line end, and with it."""
        for one in self._state or ():
            self._keep(one)
        if self._last and self._last[-1] == b"\n":
            self._last.pop()
        while len(self._last) > 1:
            self._hash.update(self._last.popleft())
        last = self._last.popleft() if self._last else b""
        self._hash.update(last.removesuffix(b"\n"))
        unended = self._hash.digest(length=DIGEST_BYTES)
        self._hash.update(b"\n" if last.endswith(b"\n") else b"")
        return unended, self._hash.digest(length=DIGEST_BYTES)

    def _keep(self, line: bytes) -> None:
        # The last line of all is the blank one behind the message.
        self._last.append(line[1:] if _QUOTED.match(line) else line)
        if len(self._last) > 2:
            self._hash.update(self._last.popleft())


def _date(message: Message) -> bytes:
    return time.asctime(time.gmtime(message.date_ns // 1_000_000_000)).encode()


def _state(message: Message) -> Iterator[bytes]:
    flags = message.flags
    # A message that no program has shown to its user yet lies in ``new``.
    yield (("R" if "S" in flags else "") + ("" if message.place == "new" else "O")).encode()
    yield "".join(letter for flag, letter in _X_STATUS.items() if flag in flags).encode()
    keywords = " ".join(keyword for keyword in message.keywords if not _NO_KEYWORD.search(keyword))
    yield keywords.encode("utf-8", "surrogateescape")
    yield b"%04x" % sum(bit for flag, bit in _MOZILLA.items() if flag in flags)
    yield keywords.encode("utf-8", "surrogateescape")


def _quoted(content: Iterable[bytes]) -> Iterator[bytes]:
    """The content with a ``>`` before each line that begins like a From_ line."""
    before, rest = b"\n", b""
    for piece in content:
        data = before + rest + piece
        begin = data.rfind(b"\n") + 1
        # How the last line begins may be said by the next piece only.
        rest = data[begin:] if begin and data[begin:].lstrip(b">") in _BEGINNINGS else b""
        data = data[: len(data) - len(rest)]
        if len(data) > 1:
            before = data[-1:]
            yield (_QUOTABLE.sub(b">", data) if _FROM in data else data)[1:]
    if rest:
        yield rest
