"""The list beside the messages of a folder: what their files can't say. One JSON object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from ...groups.paths import printable
from ...proto.records import Message

NAME = b"index.jsonl"

_FLAGS = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}


def line(name: bytes, message: Message) -> bytes:
    """What there is to say of the message in the file of this name: UID (0: it had none), flags and keywords
    as IMAP names them, internal date, size."""
    flags = [_FLAGS[flag] for flag in message.flags if flag in _FLAGS]
    keywords = [printable(keyword.encode("utf-8", "surrogateescape")) for keyword in message.keywords]
    told = {
        "file": name.decode(),
        "uid": message.uid,
        "flags": [*flags, *(one for one in keywords if one not in flags)],
        "date": _date(message),
        "size": message.size,
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


class Known:
    """The messages that an index lists; each can be ``taken`` once. Lines that are none are passed over."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._counts: Counter[tuple[object, ...]] = Counter()
        for each in lines:
            with suppress(ValueError, TypeError, KeyError):
                told = json.loads(each)
                self._counts[told["uid"], told["date"], told["size"]] += 1

    def take(self, message: Message) -> bool:
        """Whether one more message of this UID, date and size is listed."""
        key = message.uid, _date(message), message.size
        left = self._counts.get(key, 0)
        if left:
            self._counts[key] = left - 1
        return left > 0


def _date(message: Message) -> str:
    return f"{datetime.fromtimestamp(message.date_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def names_in(lines: Iterable[bytes]) -> frozenset[bytes]:
    """The files that an index tells of; lines that are none of its own are passed over."""
    found: set[bytes] = set()
    for one in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            found.add(json.loads(one)["file"].encode())
    return frozenset(found)
