"""``dovecot-keywords``: what the letters a-z in the names of a folder's messages stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from .opened import FileOpener

NAME = b"dovecot-keywords"
MOST = 26
_MOST_BYTES = 1 << 16

LETTERS = "abcdefghijklmnopqrstuvwxyz"

_MOST_SUFFIXES = 1024

Flags = tuple[str, tuple[str, ...]]
"""The letters of the flags of a message, and the names of its keywords (see ``proto.records.Message``)."""

_LINE = re.compile(rb"(\d{1,2}) (.+)")
_KEYWORD = re.compile(r"[^\0-\x20\x7f]{1,255}")


def parse_keywords(data: bytes) -> tuple[str, ...]:
    """The keywords by their numbers; "" for a number that stands for none."""
    found: dict[int, str] = {}
    for line in data.split(b"\n"):
        if (entry := _LINE.fullmatch(line)) and int(entry[1]) < MOST:
            found[int(entry[1])] = entry[2].decode("utf-8", "surrogateescape")
    return tuple(found.get(number, "") for number in range(max(found, default=-1) + 1))


def format_keywords(keywords: Sequence[str]) -> bytes:
    """The content of the file, without what can't stand on a line."""
    lines = [
        f"{number} {keyword}\n"
        for number, keyword in enumerate(keywords[:MOST])
        if keyword and "\n" not in keyword and "\0" not in keyword
    ]
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_keywords(directory: int, opener: FileOpener) -> tuple[str, ...]:
    """The keywords of the folder in this directory. Raises MessageUnavailable if they can't be read."""
    try:
        file = opener.open(directory, NAME)
    except FileNotFoundError:
        return ()
    try:
        return parse_keywords(file.read(_MOST_BYTES))
    finally:
        file.close()


def can_be(keyword: str) -> bool:
    """Whether a folder can have a letter for a keyword of this name."""
    return _KEYWORD.fullmatch(keyword) is not None


class Translation:
    """From the letters of one folder to those of another, which may get more keywords on the way.

    ``keywords`` are those of the other folder, with what was added; ``left_out`` the ones that found no
    letter there, or that the first folder has no name for (told as the letter).
    """

    def __init__(
        self, source: Sequence[str], letters: Iterable[str], target: Sequence[str], most: int = MOST
    ) -> None:
        self.keywords = list(target)
        self.left_out: list[str] = []
        self._letters: dict[str, str] = {}
        known = {keyword.lower(): number for number, keyword in enumerate(self.keywords) if keyword}
        for letter in sorted(set(letters)):
            number = LETTERS.index(letter)
            keyword = source[number] if number < len(source) else ""
            if keyword.lower() not in known:
                if not can_be(keyword) or len(self.keywords) >= most:
                    self.left_out.append(keyword or letter)
                    self._letters[letter] = ""
                    continue
                known[keyword.lower()] = len(self.keywords)
                self.keywords.append(keyword)
            self._letters[letter] = LETTERS[known[keyword.lower()]]
        self.grew = len(self.keywords) > len(target)

    def suffix(self, suffix: bytes) -> bytes:
        """The suffix of a name with the letters of the other folder."""
        flags = flags_of(suffix)
        if all(self._letters.get(flag, flag) == flag for flag in flags):
            return suffix
        return with_flags(suffix, "".join(self._letters.get(flag, flag) for flag in flags))


def flags_of(suffix: bytes) -> str:
    """The flags in the suffix of a name (``:2,FLAGS``), in order, each once; others are not told."""
    if not suffix.startswith(b":2,"):
        return ""
    letters = suffix[3:].partition(b",")[0].decode("ascii", "ignore")
    return "".join(sorted(set(letters) & _KNOWN))


def with_flags(suffix: bytes, flags: str) -> bytes:
    """The suffix with other flags in the place of those it has; what else stands in it stays."""
    if not suffix.startswith(b":2,"):
        return suffix
    letters, comma, rest = suffix[3:].partition(b",")
    others = bytes(byte for byte in letters if chr(byte) not in _KNOWN)
    return b":2," + bytes(sorted({*flags.encode("ascii"), *others})) + comma + rest


class FlagNames:
    """What the suffixes of names mean in a folder with these keywords. ``beyond`` are keywords of messages by
    their UIDs that no letter stands for."""

    def __init__(
        self, keywords: Sequence[str] = (), beyond: Mapping[int, tuple[str, ...]] | None = None
    ) -> None:
        self._keywords = keywords
        self._beyond = beyond or {}
        self._known: dict[bytes, Flags] = {}

    def of(self, suffix: bytes, uid: int = 0) -> Flags:
        """The flags, and the names of the keywords: letters without a name stand for nothing."""
        known = self._known.get(suffix) or self._learn(suffix)
        if self._beyond and (more := self._beyond.get(uid)):
            flags, keywords = known
            return flags, tuple(sorted({*keywords, *more}))
        return known

    def are_told_by_suffixes(self, uids: Iterable[int]) -> bool:
        """Whether none of these messages has keywords that no letter stands for."""
        return not self._beyond or self._beyond.keys().isdisjoint(uids)

    def _learn(self, suffix: bytes) -> Flags:
        if len(self._known) >= _MOST_SUFFIXES:
            self._known.clear()
        flags = self._known[suffix] = self._named(flags_of(suffix))
        return flags

    def _named(self, letters: str) -> Flags:
        keywords = self._keywords
        numbers = [LETTERS.index(letter) for letter in letters if letter in LETTERS]
        names = {keywords[number] for number in numbers if number < len(keywords) and keywords[number]}
        return "".join(one for one in letters if one not in LETTERS), tuple(sorted(names))


_KNOWN = frozenset("DFPRST" + LETTERS)
