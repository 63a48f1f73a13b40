"""Texts of strangers, without what would disturb a page or deceive who reads it.

A page escapes what is markup by itself. What is left are characters without a shape: controls, and those that
turn the direction of the text around them, so that ``exe.pdf`` may be shown for ``fdp.exe``.
"""

from __future__ import annotations

import re
import unicodedata

CUT = "…"
"""Stands where a text was cut off."""

# Controls, but for the tab and the line end; embeddings, overrides and isolates; tags, and what is no
# character (surrogates, U+FFFE). The marks of right-to-left writing stay: what they turn is around them only.
_SHAPELESS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_BLANKS = re.compile(r"[\t\n\u2028\u2029 ]+")

# Of file names also what only hides: soft hyphens, joiners, marks of direction.
_HIDING = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u3164\uffa0]")
_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_LONGEST_NAME = 120
_LONGEST_ENDING = 16
_PLAIN = re.compile(r"[^A-Za-z0-9._ -]")


def visible(text: str, limit: int) -> str:
    """A text of several lines, at most so many characters of it."""
    kept = text[:limit].replace("\r\n", "\n").replace("\r", "\n")
    return _SHAPELESS.sub(_seen, kept) + (CUT if len(text) > limit else "")


def on_one_line(text: str, limit: int) -> str:
    """A text on one line, as subjects and names are."""
    return visible(_BLANKS.sub(" ", text[: 4 * limit].replace("\r", "\n")).strip(), limit)


def _seen(char: re.Match[str]) -> str:
    """A picture of a control of ASCII, else the sign for what can't be shown."""
    code = ord(char[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"


def safe_file_name(told: str, instead: str) -> str:
    """A name under which any system keeps a file where it was told to: no path, no device, nothing that is
    hidden or not what it seems; ``instead`` if nothing is left of it."""
    name = unicodedata.normalize("NFC", told[:2000])
    name = _NOT_IN_NAMES.sub("_", _HIDING.sub("", _SHAPELESS.sub("", _BLANKS.sub(" ", name))))
    # A point at the beginning hides a file, one at the end is dropped by some systems.
    name = name.strip(" ._")
    if not name:
        return instead
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    if len(name) <= _LONGEST_NAME:
        return name
    stem, point, ending = name.rpartition(".")
    if not point or len(ending) > _LONGEST_ENDING:
        return name[:_LONGEST_NAME]
    return f"{stem[: _LONGEST_NAME - len(ending) - 1]}.{ending}"


def plain_file_name(name: str) -> str:
    """A safe file name in letters of ASCII only, for where no others can stand."""
    folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _PLAIN.sub("_", folded).strip(" ._") or "file"
