"""The list beside the messages of a folder: what their files can't say. One JSON object a line."""

from __future__ import annotations

import json
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
    flags = [_FLAGS[one] for one in message.flags if one in _FLAGS]
    keywords = [printable(one.encode("utf-8", "surrogateescape")) for one in message.keywords]
    date = datetime.fromtimestamp(message.date_ns // 1_000_000_000, UTC)
    told = {
        "file": name.decode(),
        "uid": message.uid,
        "flags": [*flags, *(one for one in keywords if one not in flags)],
        "date": f"{date:%Y-%m-%dT%H:%M:%SZ}",
        "size": message.size,
    }
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"
