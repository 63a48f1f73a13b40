"""The fields of a header, as they stand there; bounded in number and length, read in one pass."""

from __future__ import annotations

import re

from ...proto.structs import Record

HEADER_BYTES = 256 << 10
"""Fields that stand further down are not looked at."""

MOST_FIELDS = 1000
LONGEST_VALUE = 64 << 10

_PARAMETERS_BYTES = 16 << 10
_MOST_PARAMETERS = 200
_HEADER_END = re.compile(rb"\n\r?\n")
_BLANK = re.compile(rb"\r?\n")
_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]{0,16}:([^\n]*+(?:\n[ \t][^\n]*+)*+)")

# `; name="a;b.pdf"`, `; name=a.pdf`, and with the marks of RFC 2231 `; name*0*=UTF-8''a`.
_PARAMETER = re.compile(
    rb";\s*+([A-Za-z][A-Za-z0-9_-]{0,40})(\*[0-9*]{0,4})?\s*+=\s*+"
    rb"(?:\"((?:[^\"\\]++|\\.)*+)\"?|([^\s;\"]*+))",
    re.DOTALL,
)


class Field(Record):
    """A field: its name in small letters, and its value with the lines that continue it."""

    name: bytes
    value: bytes


def fields(data: bytes, start: int, end: int) -> tuple[tuple[Field, ...], int]:
    """The fields of an entity at ``start:end``, and where its body begins. What is no field is passed over,
    and without a blank line there is no body."""
    if (blank := _BLANK.match(data, start, end)) is not None:
        return (), blank.end()
    found = _HEADER_END.search(data, start, end)
    body = found.end() if found is not None else end
    kept: list[Field] = []
    at, stop = start, min(body, start + HEADER_BYTES)
    while at < stop and len(kept) < MOST_FIELDS:
        field = _FIELD.match(data, at, stop)
        if field is not None:
            kept.append(Field(field[1].lower(), field[2][:LONGEST_VALUE]))
        line_end = data.find(b"\n", field.end() if field is not None else at, stop)
        at = line_end + 1 if line_end >= 0 else stop
    return tuple(kept), body


def first(found: tuple[Field, ...], name: bytes) -> bytes:
    """The value of the first field of this name, on one line; empty if there is none."""
    return next((unfolded(field.value) for field in found if field.name == name), b"")


def unfolded(value: bytes) -> bytes:
    """A value on one line."""
    return value.replace(b"\r", b"").replace(b"\n", b"").strip()


def parameters(value: bytes) -> tuple[str, dict[str, bytes]]:
    """What stands first in a field such as Content-Type, in small letters, and its parameters. One that is
    continued (RFC 2231) is put together; one that is encoded stays so, and stands for the plain one."""
    value = value[:_PARAMETERS_BYTES]
    plain: dict[str, bytes] = {}
    marked: dict[str, bytes] = {}
    for number, said in enumerate(_PARAMETER.finditer(value)):
        if number >= _MOST_PARAMETERS:
            break
        name = said[1].decode("ascii").lower()
        text = re.sub(rb"\\(.)", rb"\1", said[3]) if said[3] is not None else said[4]
        if said[2]:
            marked[name] = marked.get(name, b"") + text
        else:
            plain.setdefault(name, text)
    first_word = value.partition(b";")[0].strip().lower()[:200]
    return first_word.decode("latin-1"), {**plain, **marked}
