"""The records that tell what is on a volume, as bytes: one line that names and checks it, one JSON document.

Data records are plain: the bytes of archives, and nothing else. TAPE.md is the specification.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum

from ....proto.errors import DamagedError, UnsupportedError
from ....proto.structs import Record

VERSION = 1
_MAGIC = b"mailhaul-tape "
_FIRST = re.compile(rb"mailhaul-tape ([0-9]{1,9}) ([a-z-]{1,32}) ([0-9a-f]{32})\n", re.ASCII)


class Kind(StrEnum):
    """What a record tells."""

    LABEL = "label"
    ARCHIVE = "archive"
    ARCHIVE_END = "archive-end"
    CATALOG = "catalog"
    VOLUME_END = "volume-end"


class Header(Record):
    """A record that tells something, decoded; its fields are as somebody wrote them."""

    kind: Kind
    fields: Mapping[str, object]

    def text(self, name: str, most: int = 1000) -> str:
        """A field that is text. Raises DamagedError (``header``), as the others do."""
        value = self.fields.get(name, "")
        if not isinstance(value, str) or len(value) > most:
            raise _wrong(self.kind, name)
        return value

    def number(self, name: str) -> int:
        """A field that is a number, not negative."""
        value = self.fields.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise _wrong(self.kind, name)
        return value

    def flag(self, name: str) -> bool:
        """A field that is true or false."""
        value = self.fields.get(name, False)
        if not isinstance(value, bool):
            raise _wrong(self.kind, name)
        return value

    def documents(self, name: str) -> list[Header]:
        """A field that is a list of documents."""
        value = self.fields.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise _wrong(self.kind, name)
        return [Header(self.kind, one) for one in value]


def encode(kind: Kind, fields: Mapping[str, object], size_bytes: int) -> bytes:
    """A record of exactly this size. Raises ValueError if the fields don't fit in."""
    text = json.dumps(fields, separators=(",", ":")).encode("ascii")
    record = b"%s%d %s %s\n%s\n" % (_MAGIC, VERSION, kind.encode(), _check(text), text)
    if len(record) > size_bytes:
        raise ValueError(f"{len(record)} bytes do not fit into a record of {size_bytes}")
    return record.ljust(size_bytes, b"\n")


def decode(record: bytes) -> Header | None:
    """The inverse; None if this is no such record, or not whole. Raises UnsupportedError if a newer version
    wrote it."""
    first = _FIRST.match(record)
    if first is None:
        return None
    if int(first[1]) > VERSION:
        raise UnsupportedError(f"a newer version wrote this tape: {int(first[1])} instead of {VERSION}")
    text = record[first.end() :].rstrip(b"\n")
    if _check(text) != first[3] or first[2].decode() not in set(Kind):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return Header(Kind(first[2].decode()), fields) if isinstance(fields, dict) else None


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:32].encode()


def _wrong(kind: Kind, name: str) -> DamagedError:
    return DamagedError(f"a {kind} record of a tape has a wrong {name!r}", reason="header")
