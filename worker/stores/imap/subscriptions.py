"""The list of folders that a user has subscribed to, as Dovecot keeps it in a Maildir."""

from __future__ import annotations

from collections.abc import Iterator

from ..folder_names import INBOX, level_name

NAME = b"subscriptions"

_VERSION_2 = b"V\t2"
_ESCAPED = {b"\x010": b"\0", b"\x011": b"\x01", b"\x01t": b"\t", b"\x01r": b"\r", b"\x01n": b"\n"}


def subscribed(content: bytes, *, dotted: bool) -> Iterator[str]:
    """The names, with ``/`` between levels. ``dotted`` is whether it is Maildir++ that an old list (one
    without a version) belongs to: levels are apart by dots then."""
    lines = content.split(b"\n")
    separator = b"." if dotted else b"/"
    if lines[0] == _VERSION_2:
        separator = b"\t"
        del lines[0]
    for line in filter(None, lines):
        yield INBOX if line.upper() == b"INBOX" else "/".join(_level(one) for one in line.split(separator))


def _level(level: bytes) -> str:
    for escaped, meant in _ESCAPED.items():
        level = level.replace(escaped, meant)
    return level_name(level)
