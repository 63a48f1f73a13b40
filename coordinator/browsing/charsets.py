"""Bytes of mail as text, by the charset that they claim."""

from __future__ import annotations

import codecs
import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,39}")

# Python knows these as encodings, and mail does not: of punycode 100 KB take seconds, the others turn texts
# into something else.
_NOT_OF_MAIL = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)


def decoded(data: bytes, charset: str) -> str | None:
    """The text, with U+FFFD for what is no character; None for a charset that there is not, or that no mail
    has."""
    # After a star stands the language (RFC 2231).
    name = charset.partition("*")[0].strip()
    if not _NAME.fullmatch(name):
        return None
    try:
        found = codecs.lookup(name).name.replace("_", "-")
        return None if found in _NOT_OF_MAIL else data.decode(name, "replace")
    except (LookupError, ValueError):
        return None


def guessed(data: bytes) -> str:
    """The text of bytes that claim nothing: UTF-8 if they can be that, else what mail of old had."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
