"""What users, folders and messages are called as files: safe on any file system, and always the same.

No two users, and no two folders of a user, share a name. The name of a message begins with its date, so that
names sort by it, and its UID; the subject at the end is there for people only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count

from blake3 import blake3

from ...proto.records import Message

EML = ".eml"

_UNSAFE = frozenset('%/\\:*?"<>|')
_OURS = re.compile(r"(?i)\.(eml|mbox|jsonl)\Z")
_CUT_OFF = re.compile(r"~[0-9a-f]{16}\Z")
_MOST_BYTES = 180
_SUBJECT_LETTERS = 60
_SUBJECT_BYTES = 120


def safe_name(text: str) -> bytes:
    """One level of a name as the name of a file. What can't stand there is percent-encoded; a name that is
    too long is cut off, and its hash stands behind a ``~`` instead."""
    name = "".join(one if one.isprintable() and one not in _UNSAFE else _escaped(one) for one in text)
    # Hidden and reserved names begin with a dot; some systems drop one at the end, or a blank.
    name = _OURS.sub(r"%2E\1", name) or "%"
    name = _escaped(name[0]) + name[1:] if name[0] == "." else name
    name = name[:-1] + _escaped(name[-1]) if name[-1] in ". " else name
    encoded = name.encode()
    if len(encoded) <= _MOST_BYTES and not _CUT_OFF.search(name):
        return encoded
    kept = encoded[: _MOST_BYTES - 17].decode(errors="ignore")
    return f"{kept}~{blake3(encoded).hexdigest(length=8)}".encode()


def folder_path(name: str) -> tuple[bytes, ...]:
    """The names of a folder's levels, which a ``/`` separates."""
    return tuple(map(safe_name, name.split("/")))


def message_names(message: Message, subject: str) -> Iterator[bytes]:
    """The name of a message, then others for it where that is another message's."""
    seconds = message.date_ns // 1_000_000_000
    date = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    which = (
        str(message.uid) if message.uid else "n" + blake3(message.base + message.suffix).hexdigest(length=6)
    )
    words = _words(subject)
    begin = f"{date}.{which}" + (f".{words}" if words else "")
    yield (begin + EML).encode()
    for number in count(2):
        yield f"{begin}~{number}{EML}".encode()


def _words(subject: str) -> str:
    """A subject as a part of a name."""
    letters = (one if one.isprintable() and one not in _UNSAFE else " " for one in subject[:4096])
    words = "_".join("".join(letters).split())[:_SUBJECT_LETTERS]
    return words.encode()[:_SUBJECT_BYTES].decode(errors="ignore").strip("._~")


def _escaped(letter: str) -> str:
    # A surrogate that stands for no byte has no bytes of its own.
    errors = "surrogateescape" if "\udc80" <= letter <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", errors))
