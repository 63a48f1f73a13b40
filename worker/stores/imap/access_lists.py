"""Who else may use a folder: Dovecot's access lists, as RFC 4314 has them.

Of a list ``IDENTIFIER RIGHTS`` IMAP can say users, ``anyone``, and what is taken from them (``-``). Groups,
and whoever is logged in, are called differently by every server, so they are not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from imapclient import IMAPClient

from .appending import quoted

_LINE = re.compile(r'("(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^ ]+))(?: +(?P<rights>.*))?', re.DOTALL)
_NAMED = {
    "lookup": "l",
    "read": "r",
    "write": "w",
    "write-seen": "s",
    "write-deleted": "t",
    "insert": "i",
    "post": "p",
    "expunge": "e",
    "create": "k",
    "delete": "x",
    "admin": "a",
}
_LETTERS = frozenset(_NAMED.values())
_EVERYTHING = "".join(sorted(_LETTERS))


class Grant(NamedTuple):
    """Rights of somebody, as SETACL has them."""

    identifier: str
    rights: str


def grants_of(content: bytes) -> Iterator[Grant | str]:
    """What the lines of a list grant; a line that IMAP can't say comes as it is, in words. That the owner may
    do everything goes without saying; that the owner may not is nothing to take over the own connection."""
    for raw in content.decode("utf-8", "surrogateescape").split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is not None and found["plain"] == "owner" and _rights(found["rights"]) == _EVERYTHING:
            continue
        grant = _grant(found) if found is not None else None
        yield line if grant is None else grant


def _grant(found: re.Match[str]) -> Grant | None:
    identifier = found["plain"] or re.sub(r"\\(.)", r"\1", found["quoted"] or "")
    rights = _rights(found["rights"])
    minus = "-" if identifier.startswith("-") else ""
    kind, equals, name = identifier.removeprefix("-").partition("=")
    known = {("anyone", ""): "anyone", ("user", "="): name}.get((kind, equals), "")
    if rights is None or not (known.isprintable() and known.isascii() and known):
        return None
    return Grant(minus + known, rights)


def _rights(text: str | None) -> str | None:
    """The letters; None where there is one that IMAP does not have."""
    letters, colon, names = (text or "").partition(":")
    said = set(letters.replace(" ", ""))
    for name in names.replace(":", " ").split() if colon else ():
        said.add(_NAMED.get(name, "?"))
    return "".join(sorted(said)) if said <= _LETTERS else None


def set_grant(client: IMAPClient, folder: str, grant: Grant) -> bool:
    """Grant it, unless this somebody has rights there already. Raises as imapclient does."""
    there = {_text(who) for who, _ in client.getacl(folder)}
    if grant.identifier in there:
        return False
    # imapclient would send a blank as it is, and so name somebody else.
    client.setacl(folder, _quoted(grant.identifier), _quoted(grant.rights))
    return True


def _quoted(text: str) -> str:
    return quoted(text.encode("ascii")).decode("ascii")


def _text(told: object) -> str:
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == text[-1:] == '"' else text
