"""Values of a mail header as people read them: encoded words (RFC 2047), parameters (RFC 2231), raw bytes.

Tolerant: what can't be decoded stays as it is, and a value that was cut off is read as far as it goes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

import pybase64

from .charsets import decoded, guessed

# An encoded word; the last one of a value may have lost its end.
_WORD = re.compile(rb"=\?([^?\s]{1,60})\?([bBqQ])\?([^?\s]*)(?:\?=|\?\Z|\Z)")
_QUOTED = re.compile(rb"=([0-9A-Fa-f]{2})")
_CUT_OFF = re.compile(rb"=[0-9A-Fa-f]?\Z")
_EXTENDED = re.compile(rb"([A-Za-z0-9_.:-]{1,60})'[A-Za-z0-9-]{0,20}'(.*)", re.DOTALL)

# A date as nearly all mail has it; the standard library reads the others, and takes four times as long.
_DATE = re.compile(
    rb"(?:[A-Za-z]{3}, )? ?([0-9]{1,2}) ([A-Za-z]{3}) ([0-9]{4})"
    rb" ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-][0-9]{4})"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}


def header_text(value: bytes) -> str:
    """The text of a header value."""
    if b"=?" not in value:
        return guessed(value)
    parts: list[str] = []
    # Words side by side may share a character between them: those of one charset are decoded together.
    run, charset, done = b"", b"", 0
    for word in _WORD.finditer(value):
        between = value[done : word.start()]
        if run and (between.strip() or word[1] != charset):
            parts.append(_decoded(run, charset))
            run = b""
        if between.strip() or not done:
            parts.append(guessed(between))
        run, charset, done = run + _word_bytes(word), word[1], word.end()
    return "".join([*parts, _decoded(run, charset), guessed(value[done:])])


def file_name(value: bytes) -> str:
    """The text of the file name of an attachment."""
    extended = _EXTENDED.fullmatch(value)
    if extended is not None:
        return _decoded(unquote_to_bytes(extended[2]), extended[1])
    return header_text(value)


def header_date(value: bytes) -> datetime | None:
    """The time that a Date field tells, aware; None if it tells none."""
    usual = _DATE.match(value)
    try:
        if usual is not None and usual[2] in _MONTHS:
            day, year, hour, minute, second, offset = map(int, usual.group(1, 3, 4, 5, 6, 7))
            zone = timedelta(minutes=abs(offset) // 100 * 60 + abs(offset) % 100)
            told = datetime(year, _MONTHS[usual[2]], day, hour, minute, second, tzinfo=UTC)
            return told + zone if offset < 0 else told - zone
        when = parsedate_to_datetime(value.decode("ascii", "replace"))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _word_bytes(word: re.Match[bytes]) -> bytes:
    text = word[3]
    if word[2] in b"qQ":
        text = _CUT_OFF.sub(b"", text)
        return _QUOTED.sub(lambda found: bytes([int(found[1], 16)]), text.replace(b"_", b" "))
    text = text.rstrip(b"=")
    try:
        # One character more than whole groups of four is no byte: it was cut off there.
        text = text[: len(text) - (len(text) % 4 == 1)]
        return pybase64.b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        return word[0]


def _decoded(data: bytes, charset: bytes) -> str:
    known = decoded(data, charset.decode("latin-1")) if data else ""
    return guessed(data) if known is None else known
