"""The parts of a message, where they lie and what they say they are.

Each level of multiparts is gone through once by plain searches, so the work is the size of the message times
the depth, which is bounded, as is the number of parts.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterator

import pybase64

from ...proto.structs import Record
from ..browsing.header_text import file_name
from . import headers
from .headers import Field

MOST_PARTS = 1000
"""So many parts are looked at; those that follow are in the message as a whole."""

_DEEPEST = 12
_LONGEST_BOUNDARY = 200
_LONGEST_NAME = 4096
_DELIMITER_END = re.compile(rb"(--)?[ \t]{0,100}(?:\r?\n|\Z)")
_MOST_LIKENESSES = 20_000
_NOT_BASE64 = bytes({*range(256)} - {*b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"})
_KIND = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")


class Part(Record, kw_only=True):
    """A leaf of the tree: its content is ``start:end`` of the message, encoded as ``encoding`` says.

    ``number`` counts the leaves from 1. ``kind`` is the type in small letters, ``name`` the file name as the
    message tells it (not a safe one), ``attached`` whether it is to be kept apart from the text. Parts of the
    same ``choice`` (not 0) are forms of one text; ``content_id`` is what HTML calls it by.
    """

    number: int
    kind: str
    charset: str
    encoding: str
    name: str
    attached: bool
    content_id: str
    choice: int
    start: int
    end: int


class Parts(Record):
    """The leaves in their order; ``more`` says that there are others that were not looked at."""

    leaves: tuple[Part, ...]
    more: bool


def parts_of(message: bytes) -> Parts:
    """The leaves of a message. Never fails, whatever it is."""
    walk = _Walk(message)
    fields, body = headers.fields(message, 0, len(message))
    walk.entity(fields, body, len(message), 0, 0, "text/plain")
    return Parts(tuple(walk.found), walk.more)


def content_of(message: bytes, part: Part, most_bytes: int) -> bytes:
    """What a part holds, decoded, as far as that is well formed; at most so many bytes."""
    raw = message[part.start : part.end]
    if part.encoding == "base64":
        return _from_base64(raw[: 2 * most_bytes + 1024])[:most_bytes]
    if part.encoding == "quoted-printable":
        return a2b_qp(raw[: 4 * most_bytes])[:most_bytes]
    return raw[:most_bytes]


def _from_base64(text: bytes) -> bytes:
    text = text.translate(None, _NOT_BASE64)
    text = text[: len(text) - (len(text) % 4 == 1)]
    return pybase64.b64decode(text + b"=" * (-len(text) % 4))


def _word(value: bytes) -> str:
    return value[:40].partition(b";")[0].strip().lower().decode("latin-1")


class _Walk:
    """One walk over a message. Recursion is as deep as multiparts are followed."""

    def __init__(self, data: bytes) -> None:
        self.found: list[Part] = []
        self.more = False
        self._data = data
        self._choices = 0
        # What begins like a delimiter and is none: a message of nothing else would take its time.
        self._likenesses = 0

    def entity(
        self, fields: tuple[Field, ...], start: int, end: int, depth: int, choice: int, default: str
    ) -> None:
        """What these fields stand above, at ``start:end``."""
        kind, said = headers.parameters(headers.first(fields, b"content-type"))
        kind = kind if _KIND.fullmatch(kind) else default
        boundary = said.get("boundary", b"")[:_LONGEST_BOUNDARY].rstrip()
        if kind.startswith("multipart/") and boundary and depth < _DEEPEST:
            if kind == "multipart/alternative":
                self._choices += 1
                choice = self._choices
            default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
            # Without any delimiter it is no multipart, whatever it claims.
            if self._multipart(boundary, start, end, depth, choice, default):
                return
            kind = "text/plain"
        self._leaf(fields, kind, said, start, end, choice)

    def _multipart(
        self, boundary: bytes, start: int, end: int, depth: int, choice: int, default: str
    ) -> bool:
        some = False
        for begin, stop in self._between(b"--" + boundary, start, end):
            some = True
            if len(self.found) >= MOST_PARTS:
                self.more = True
                break
            fields, body = headers.fields(self._data, begin, stop)
            self.entity(fields, body, stop, depth + 1, choice, default)
        return some

    def _between(self, delimiter: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where the parts lie between delimiters; what follows the last one goes to the end."""
        data, begin = self._data, -1
        at = start if data.startswith(delimiter, start, end) else self._next(delimiter, start, end)
        while at >= 0:
            behind = _DELIMITER_END.match(data, at + len(delimiter), end)
            if behind is None:
                self._likenesses += 1
                at = self._next(delimiter, at, end)
                continue
            if begin >= 0:
                yield begin, self._before(at, begin)
            if behind[1]:
                return
            begin = behind.end()
            # The line end that belongs to this delimiter begins the next one, where a part is empty.
            at = self._next(delimiter, begin - 1, end)
        if begin >= 0:
            yield begin, end

    def _next(self, delimiter: bytes, at: int, end: int) -> int:
        """The next line that begins like a delimiter; -1 if there is none, or there were too many."""
        if self._likenesses > _MOST_LIKENESSES:
            self.more = True
            return -1
        found = self._data.find(b"\n" + delimiter, at, end)
        return found + 1 if found >= 0 else -1

    def _before(self, at: int, begin: int) -> int:
        """The end of what stands before a delimiter: its line end belongs to the delimiter."""
        at -= 1 if at > begin and self._data[at - 1 : at] == b"\n" else 0
        return at - (1 if at > begin and self._data[at - 1 : at] == b"\r" else 0)

    def _leaf(
        self,
        fields: tuple[Field, ...],
        kind: str,
        said: dict[str, bytes],
        start: int,
        end: int,
        choice: int,
    ) -> None:
        disposition, told = headers.parameters(headers.first(fields, b"content-disposition"))
        name = told.get("filename") or said.get("name") or b""
        self.found.append(
            Part(
                number=len(self.found) + 1,
                kind=kind,
                charset=said.get("charset", b"").decode("ascii", "replace"),
                encoding=_word(headers.first(fields, b"content-transfer-encoding")),
                name=file_name(name[:_LONGEST_NAME]),
                attached=disposition == "attachment",
                content_id=headers.first(fields, b"content-id")[:1000].strip(b"<> \t").decode("latin-1"),
                choice=choice,
                start=start,
                end=end,
            )
        )
