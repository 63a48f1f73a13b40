"""What a server says at the end of a command, and what that means for who asked."""

from __future__ import annotations

import re

from ....proto.structs import Record

_CODED = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)(?: ([^\]]*))?\] ?")
_BACKOFF = re.compile(r"Suggested Backoff Time: *(\d{1,9}) *(millisecond|second)?", re.IGNORECASE)
_BUSY = re.compile(
    r"server (?:is )?(?:temporarily )?(?:unavailable|busy)|too many (?:simultaneous )?conn", re.IGNORECASE
)

_PASSING = frozenset({"UNAVAILABLE", "INUSE"})
_NO_FOLDER = frozenset({"TRYCREATE", "NONEXISTENT"})
_FULL = frozenset({"OVERQUOTA", "OVERQUOTA-HARD"})


class Answer(Record):
    """``status`` is OK, NO or BAD; ``code`` is the response code, if there was one, ``argument`` what it
    says; ``words`` are the server's own, with the code."""

    status: str
    code: str = ""
    argument: str = ""
    words: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return self.status == "OK"

    @property
    def is_passing(self) -> bool:
        """Whether the same may be done if it is asked again later, as where the server says when."""
        return self.code in _PASSING or bool(_BUSY.search(self.words)) or self.wait_seconds > 0

    @property
    def is_full(self) -> bool:
        """Whether this user has no room left."""
        return self.code in _FULL

    @property
    def lacks_folder(self) -> bool:
        """Whether there is no such folder."""
        return self.code in _NO_FOLDER

    @property
    def wait_seconds(self) -> float:
        """How long the server wants to be left alone; 0 if it does not say."""
        found = _BACKOFF.search(self.words)
        if found is None:
            return 0.0
        return int(found[1]) / (1 if (found[2] or "").lower() == "second" else 1000)

    def appended(self) -> tuple[int, list[int]] | None:
        """The UIDVALIDITY and the UIDs that APPENDUID tells; None if it does not."""
        validity, _, uids = self.argument.partition(" ")
        if self.code != "APPENDUID" or not validity.isdigit():
            return None
        try:
            return int(validity), numbers(uids)
        except ValueError:
            return None


def answer_of(status: str, text: str) -> Answer:
    """Read what stands behind the tag of an answer."""
    found = _CODED.match(text)
    if found is None:
        return Answer(status.upper(), words=text)
    return Answer(status.upper(), found[1].upper(), found[2] or "", text)


def numbers(sequence: str) -> list[int]:
    """``3:5,9`` written out. Raises ValueError."""
    found: list[int] = []
    for part in sequence.split(","):
        first, colon, last = part.partition(":")
        low, high = int(first), int(last if colon else first)
        if abs(high - low) >= _MOST_NUMBERS:
            raise ValueError(f"{part} is more than was asked for")
        found += range(low, high + 1) if low <= high else range(high, low + 1)
    return found


_MOST_NUMBERS = 1 << 20


def sequence(ascending: list[int]) -> str:
    """Numbers as ``3:5,9``; ranges are made of what is side by side."""
    parts: list[str] = []
    at = 0
    while at < len(ascending):
        end = at
        while end + 1 < len(ascending) and ascending[end + 1] == ascending[end] + 1:
            end += 1
        parts.append(str(ascending[at]) if end == at else f"{ascending[at]}:{ascending[end]}")
        at = end + 1
    return ",".join(parts)
