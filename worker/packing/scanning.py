"""One pass over the first window of a message: what it can be found by, and where it is to be cut.

Pure Python; ``_scan.h`` is the same in C. Which of them runs: ``hot_path``. It runs for every message that is
read, so it is rough and bounded, and what it can't make out is left out: that costs a hit, or some bytes that
are stored twice. Nothing is decoded here; whoever searches does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from ...proto.archive.search import MOST_BYTES
from ...proto.records import Terms

SMALLEST_PART = 256
"""Parts below this many bytes stay with their neighbours."""

DEEPEST = 8
"""Multiparts nested deeper than this are not cut further."""

MOST_PARTS = 10_000
"""Delimiters looked at in one message; what comes after stays in one piece."""

Parts = list[tuple[int, int]]
"""Where parts that are worth keeping apart begin and end, in order."""

_HEADER_BYTES = 256 << 10
"""Fields that stand further down in a header are not looked at."""

_MOST_NAMED = 1000
_PARAMETERS_BYTES = 4096
_LONGEST_TAIL = 1024
_RECIPIENTS = (b"to", b"cc")
_CONTENT = (b"content-type", b"content-disposition")
_CONTROLS = bytes({*range(32), 127} - {0x09})
_TAB_TO_BLANK = bytes.maketrans(b"\t", b" ")

_HEADER_END = re.compile(rb"\n\r?\n")
_BOUNDARY = re.compile(rb"oundary[ \t]*=[ \t]*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))")
_MESSAGE = re.compile(rb"^content-type[ \t]*:[ \t]*message/(?:rfc822|global)", re.IGNORECASE | re.MULTILINE)

# Every repetition is bounded or ends where the next begins, so that no header takes long. The field: its
# value with the lines that continue it. Most lines of a header begin with another letter: looking at that
# first halves the time.
_VALUE = rb"[ \t]{0,16}:([^\n]*(?:\n[ \t][^\n]*){0,200})"
_FIELD = rb"(?=[ftcsmd])(from|to|cc|subject|message-id|date|content-(?:type|disposition))" + _VALUE
_FIRST_FIELD = re.compile(_FIELD, re.IGNORECASE)
_NEXT_FIELD = re.compile(rb"\n(?:" + _FIELD + rb"|\r?\n)", re.IGNORECASE)
_PART_FIELD = re.compile(rb"\ncontent-(?:type|disposition)" + _VALUE, re.IGNORECASE)

# One parameter: `name="a;b.pdf"`, `filename=a.pdf`, and with the marks of RFC 2231 `filename*0*=UTF-8''a`.
_NAME = re.compile(
    rb"(?<![^;\s])(?:file)?name(\*[0-9*]{0,4})?[ \t]{0,16}=\s{0,16}"
    rb"(?:\"([^\"\\]{0,1000}(?:\\.[^\"\\]{0,1000}){0,100})\"?|([^\s;\"]{1,1000}))",
    re.IGNORECASE | re.DOTALL,
)


def scan(window: bytes) -> tuple[Terms, Parts]:
    """The terms of the message that begins with these bytes, and its parts. Never fails, whatever they are.

    Each value is on one line, without control bytes, and cut off at its limit. Of a field that stands there
    several times the first counts; of To and Cc, all.
    """
    single: dict[bytes, bytes] = {}
    recipients: list[bytes] = []
    content: list[bytes] = []
    body = 0
    for field in _fields(window):
        name, value = field.groups()
        if name is None:  # the blank line
            body = field.end()
            break
        name = name.lower()
        if name in _RECIPIENTS:
            recipients.append(value)
        elif name in _CONTENT:
            content.append(value)
        elif name not in single:
            single[name] = value
    body = body or _body(window)
    found = leaves(window, body) if body else []
    find = single.get
    told = b"".join(content)
    named = b"ame" in told or b"AME" in told or b"ultipart/" in told  # rarely, and costly to look into
    terms = Terms(
        _line(find(b"from", b""), MOST_BYTES["sender"]),
        _together(recipients, MOST_BYTES["recipients"]),
        _line(find(b"subject", b""), MOST_BYTES["subject"]),
        _line(find(b"message-id", b""), MOST_BYTES["message_id"]),
        _line(find(b"date", b""), MOST_BYTES["date"]),
        _together(_attachments(window, content, body, found), MOST_BYTES["attachments"]) if named else b"",
    )
    return terms, _worth_keeping(window, found)


def _fields(window: bytes) -> Iterable[re.Match[bytes]]:
    """The fields of the header that matter, and the blank line behind it."""
    following = _NEXT_FIELD.finditer(window, 0, _HEADER_BYTES)
    first = _FIRST_FIELD.match(window, 0, _HEADER_BYTES)
    return following if first is None else chain((first,), following)


def _worth_keeping(data: bytes, found: Parts) -> Parts:
    """Of these leaves the parts. Line ends at the end of a part are left out of it: they hinder decoding and
    sharing."""
    parts: Parts = []
    for start, end in found:
        tail = data[max(start, end - _LONGEST_TAIL) : end]
        end -= len(tail) - len(tail.rstrip(b"\r\n"))
        if end - start >= SMALLEST_PART:
            parts.append((start, end))
    return parts


def continued_parts(data: bytes) -> Parts:
    """The parts of bytes from the middle of a body: they begin where a line looks like a delimiter."""
    found: Parts = []
    start, at = 0, data.find(b"\n--")
    while at >= 0 and len(found) < MOST_PARTS:
        found.append((start, at))
        blank = _HEADER_END.search(data, at)
        start = blank.end() if blank is not None else len(data)
        at = data.find(b"\n--", start)
    found.append((start, len(data)))
    return _worth_keeping(data, found)


def _body(message: bytes) -> int:
    """Where the header of a message has ended and its body begins; 0 if there is no blank line."""
    found = _HEADER_END.search(message)
    return found.end() if found is not None else 0


def leaves(message: bytes, body: int) -> Parts:
    """(start, end) of what holds content, in order: the body, which begins there, or the leaves of its MIME
    tree."""
    found: Parts = []
    _Leaves(message, found).entity(0, body, len(message), 0)
    return found


class _Leaves:
    """One walk over a message's MIME tree; bounded in depth and in the number of delimiters."""

    __slots__ = ("budget", "data", "found")

    def __init__(self, data: bytes, found: Parts) -> None:
        self.data = data
        self.found = found
        self.budget = MOST_PARTS

    def entity(self, start: int, body: int, end: int, depth: int) -> None:
        """An entity whose header is at start:body and whose body at body:end."""
        data = self.data
        if depth < DEEPEST:
            # Plain searches first: a regular expression that looks for whole header fields is ten times
            # slower, and it does not matter if this takes another field's boundary for the multipart's.
            at = data.find(b"oundary", start, body)
            if at >= 0 and data.rfind(b"ultipart/", start, at) >= 0:
                boundary = _BOUNDARY.match(data, at, body)
                if boundary is not None:
                    self.parts(body, end, b"--" + (boundary[1] or boundary[2]), depth + 1)
                    return
            forwarded = depth and data.find(b"essage/", start, body) >= 0
            if forwarded and _MESSAGE.search(data, start, body) is not None:
                inner = _HEADER_END.search(data, body, end)
                if inner is not None:
                    self.entity(body, inner.end(), end, depth + 1)
                    return
        self.found.append((body, end))

    def parts(self, start: int, end: int, delimiter: bytes, depth: int) -> None:
        """The parts between delimiters; preamble and epilogue are nobody's leaf."""
        data = self.data
        at = data.find(delimiter, start, end)
        while at >= 0 and self.budget > 0:
            self.budget -= 1
            header_end = _HEADER_END.search(data, at, end)
            if header_end is None:
                return
            body = header_end.end()
            # No hyphen occurs in base64, so that looking for one skips most of a large part at once.
            following = data.find(b"-", body, end)
            if following >= 0 and not data.startswith(delimiter, following, end):
                following = data.find(delimiter, following, end)
            self.entity(at, body, following if following >= 0 else end, depth)
            at = following


def _line(value: bytes, limit: int) -> bytes:
    """A value on one line. Of a long one the beginning only is looked at."""
    value = value[: 2 * limit]
    if b"\n" in value:
        value = b" ".join(value.split())
    return value.translate(_TAB_TO_BLANK, _CONTROLS).strip()[:limit]


def _together(values: Iterable[bytes], limit: int) -> bytes:
    """The values, each different one once, with a NUL between."""
    if isinstance(values, list) and len(values) == 1:
        return _line(values[0], limit)
    kept: dict[bytes, None] = {}
    left = limit
    for value in values:
        line = _line(value, left)
        if line and line not in kept:
            kept[line] = None
            left -= len(line) + 1
            if left <= 0:
                break
    return b"\0".join(kept)


def _attachments(window: bytes, content: list[bytes], body: int, found: Parts) -> Iterator[bytes]:
    """The names of the attachments: of the parts, and of what is all there is to the message. ``content``
    are the fields of its own header that tell of its content, ``body`` is where that has ended."""
    for value in content:
        yield from _names(value)
    if any(b"ultipart/" in value for value in content):
        for start, stop in found[:_MOST_NAMED]:
            # Before a leaf stand a delimiter and the header of the part, or several within each other.
            for field in _PART_FIELD.finditer(window, body, start):
                yield from _names(field[1])
            body = stop


def _names(value: bytes) -> Iterable[bytes]:
    """The file names among the parameters of one field. One that is continued (RFC 2231) is put together;
    one that is encoded stays so, as in ``UTF-8''na%C3%AFve.pdf``, and stands for the plain one beside it."""
    if b"ame" not in value and b"AME" not in value:
        return ()
    plain: list[bytes] = []
    marked: list[bytes] = []
    for mark, quoted, bare in _NAME.findall(value, 0, _PARAMETERS_BYTES):
        (marked if mark else plain).append(quoted.replace(b"\\", b"") or bare)
    return (b"".join(marked),) if marked else plain
