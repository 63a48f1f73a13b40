"""Files of a mailbox that name users: Dovecot's access lists, and subscriptions to folders that others share.

``rename_in_access_list`` and ``rename_in_subscriptions`` give their text with users as they are called now.
What is no name of a user stays as it is, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from .folder_names import level_name

ACCESS_LIST = b"dovecot-acl"
SUBSCRIPTIONS = b"subscriptions"

Rename = Callable[[str], str | None]
"""What a user is called now; None for who is not renamed, or is no user."""

_RIGHT = re.compile(rb'(-?user=)([^ "]*)(.*)|"(-?user=)((?:[^"\\]|\\.)*)"(.*)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(rb'(["\'\\])')

_VERSION_2 = b"V\t2"
_BOUNDARIES = re.compile(rb"[/\t]")


def rename_in_access_list(content: bytes, rename: Rename) -> bytes:
    """An access list, of lines ``IDENTIFIER RIGHTS``, with new names behind ``user=``."""

    def renamed(line: bytes) -> bytes:
        found = _RIGHT.fullmatch(line)
        if found is None:
            return line
        kind, user, rest = found[1] or found[4], found[2], found[3]
        if user is None:
            user, rest = _ESCAPED.sub(rb"\1", found[5]), found[6]
        now = rename(_text(user))
        return line if now is None else _identifier(kind + _bytes(now)) + rest

    return b"\n".join(map(renamed, content.split(b"\n")))


def _identifier(text: bytes) -> bytes:
    """As Dovecot writes it: in quotes if there is a blank in it."""
    return b'"' + _TO_ESCAPE.sub(rb"\\\1", text) + b'"' if b" " in text or b'"' in text else text


def rename_in_subscriptions(content: bytes, rename: Rename, own: Collection[str], *, dotted: bool) -> bytes:
    """A list of subscriptions with the users who are renamed in ``PREFIX/USER/FOLDER``. ``own`` are the names
    of the folders of the mailbox itself, which name nobody; ``dotted`` is whether it is Maildir++."""
    header, newline, rest = content.partition(b"\n")
    tabs = header == _VERSION_2
    lines = (rest if tabs else content).split(b"\n")
    mine = {above for name in own for above in _with_those_above(name)}

    def renamed(line: bytes) -> bytes:
        levels = re.split(rb"\t", line) if tabs else re.split(rb"\." if dotted else b"/", line)
        if "/".join(map(level_name, levels)) in mine:
            return line
        for begin, end in _spans(line):
            user = line[begin:end]
            # Maildir++ takes the dots in what a folder is called for its own.
            now = rename(_text(user.replace(b"\t", b".") if tabs and dotted else user))
            if now is not None:
                name = _bytes(now)
                return line[:begin] + (name.replace(b".", b"\t") if tabs and dotted else name) + line[end:]
        return line

    return (header + newline if tabs else b"") + b"\n".join(map(renamed, lines))


def _with_those_above(folder: str) -> Iterator[str]:
    levels = folder.split("/")
    return ("/".join(levels[: depth + 1]) for depth in range(len(levels)))


def _spans(line: bytes) -> Iterator[tuple[int, int]]:
    """What lies between boundaries of a line, but not at its beginning: longest first, from the left."""
    bounds = [found.start() for found in _BOUNDARIES.finditer(line)]
    ends = [*bounds, len(line)]
    for number, bound in enumerate(bounds):
        for end in reversed(ends[number + 1 :]):
            yield bound + 1, end


def _text(user: bytes) -> str:
    return user.decode("utf-8", "surrogateescape")


def _bytes(user: str) -> bytes:
    return user.encode("utf-8", "surrogateescape")
