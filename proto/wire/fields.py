"""What a field of an envelope may hold. Each kind of field checks values and can say in words what it takes.

Owns types, ranges and lengths; knows nothing of envelopes. Checks are exact: a bool is no number here.
"""

from __future__ import annotations

import math
import re
from typing import Protocol

from ..structs import Record


class Field(Protocol):
    """One kind of field. ``str()`` of it is what WIRE.md says of such a field."""

    def check(self, value: object) -> None:
        """Raises ValueError, which says what is wrong."""


class Whole(Record):
    """An integer, limits included."""

    least: int
    most: int

    def check(self, value: object) -> None:
        if type(value) is not int:
            raise ValueError("is no integer")
        if not self.least <= value <= self.most:
            raise ValueError(f"is not from {self.least} to {self.most}")

    def __str__(self) -> str:
        return f"number, {_number(self.least)} to {_number(self.most)}"


class Seconds(Record):
    """A float above 0, finite, up to ``most``."""

    most: float

    def check(self, value: object) -> None:
        if type(value) is not float or not math.isfinite(value):
            raise ValueError("is no finite float")
        if not 0 < value <= self.most:
            raise ValueError(f"is not above 0 and up to {self.most:g}")

    def __str__(self) -> str:
        return f"float, above 0, to {self.most:,g}"


class Text(Record):
    """UTF-8 text of up to ``most_bytes``, all of it of the form ``pattern`` unless that is empty."""

    most_bytes: int
    pattern: str = ""

    def check(self, value: object) -> None:
        if type(value) is not str:
            raise ValueError("is no text")
        # Characters first: they are never more than the bytes, and cost nothing to count.
        if len(value) > self.most_bytes or len(value.encode()) > self.most_bytes:
            raise ValueError(f"is longer than {self.most_bytes} bytes")
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            raise ValueError(f"is not of the form {self.pattern}")

    def __str__(self) -> str:
        return f"text, to {_number(self.most_bytes)} bytes" + (f", `{self.pattern}`" if self.pattern else "")


class OneOf(Record):
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, value: object) -> None:
        if type(value) is not str or value not in self.words:
            raise ValueError(f"is none of {', '.join(self.words)}")

    def __str__(self) -> str:
        return "text, one of " + ", ".join(f"`{word}`" for word in self.words)


class Blob(Record):
    """Bytes."""

    most_bytes: int

    def check(self, value: object) -> None:
        if type(value) is not bytes:
            raise ValueError("is no byte string")
        if len(value) > self.most_bytes:
            raise ValueError(f"is longer than {self.most_bytes} bytes")

    def __str__(self) -> str:
        return f"bytes, to {_number(self.most_bytes)}"


class Flag(Record):
    """True or false."""

    def check(self, value: object) -> None:
        if type(value) is not bool:
            raise ValueError("is neither true nor false")

    def __str__(self) -> str:
        return "true or false"


def _number(value: int) -> str:
    """A number as a person writes it."""
    power = (value + 1).bit_length() - 1
    if power >= 16 and value + 1 == 1 << power:
        return f"2^{power} - 1"
    return f"{value:,}"
