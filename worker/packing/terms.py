"""What a message can be found by: some fields of its header, and the names of its attachments.

Runs for every message that is read, so one pass over the header has to do; it is rough, and what it can't
make out is left out: that costs nobody anything but a hit. Nothing is decoded here; whoever searches does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from ...proto.archive.search import MOST_BYTES
from ...proto.records import Terms
from .segments import leaves

_HEADER_BYTES = 256 << 10
"""What stands further down in a header is not looked at."""

_MOST_PARTS = 1000
_PARAMETERS_BYTES = 4096
_RECIPIENTS = (b"to", b"cc")
_CONTENT = (b"content-type", b"content-disposition")
_CONTROLS = bytes({*range(32), 127} - {0x09})
_TAB_TO_BLANK = bytes.maketrans(b"\t", b" ")

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


def terms_of(window: bytes) -> Terms:
    """The terms of the message that begins with these bytes. Never fails, whatever they are.

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
            break
        body = field.end()
        name = name.lower()
        if name in _RECIPIENTS:
            recipients.append(value)
        elif name in _CONTENT:
            content.append(value)
        elif name not in single:
            single[name] = value
    find = single.get
    told = b"".join(content)
    named = b"ame" in told or b"AME" in told or b"ultipart/" in told  # rarely, and costly to look into
    return Terms(
        _line(find(b"from", b""), MOST_BYTES["sender"]),
        _together(recipients, MOST_BYTES["recipients"]),
        _line(find(b"subject", b""), MOST_BYTES["subject"]),
        _line(find(b"message-id", b""), MOST_BYTES["message_id"]),
        _line(find(b"date", b""), MOST_BYTES["date"]),
        _together(_attachments(window, content, body), MOST_BYTES["attachments"]) if named else b"",
    )


def _fields(window: bytes) -> Iterable[re.Match[bytes]]:
    """The fields of the header that matter, and the blank line behind it."""
    following = _NEXT_FIELD.finditer(window, 0, _HEADER_BYTES)
    first = _FIRST_FIELD.match(window, 0, _HEADER_BYTES)
    return following if first is None else chain((first,), following)


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


def _attachments(window: bytes, content: list[bytes], body: int) -> Iterator[bytes]:
    """The names of the attachments: of the parts, and of what is all there is to the message. ``content``
    are the fields of its own header that tell of its content, ``body`` is a place behind them."""
    for value in content:
        yield from _names(value)
    if any(b"ultipart/" in value for value in content):
        for start, stop in leaves(window)[:_MOST_PARTS]:
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
