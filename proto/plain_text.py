"""Text of unknown origin (names of users and folders, what servers say) among our own lines."""

from __future__ import annotations


def shown(text: str) -> str:
    """Any text on one line: what is no printable character (line ends, control characters, changes of the
    direction of writing, undecodable bytes) is percent-encoded."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def escaped(char: str) -> str:
    """A character as the percent-encoded bytes of its UTF-8, an undecodable byte as that byte."""
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", errors))
