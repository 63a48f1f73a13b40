"""Each flag by itself: what was, what is, and what a backup between the two tells."""

from __future__ import annotations

import itertools

import pytest

from mailhaul.proto.state import Flags
from mailhaul.worker.live.merging import are_same, merged, restored


def flags(text: str) -> Flags:
    """``SF work`` as flags and keywords."""
    letters, *keywords = text.split(" ")
    return Flags(letters, tuple(keywords))


@pytest.mark.parametrize(
    ("then", "later", "now", "wanted"),
    [
        ("S", "", "", "S"),  # taken away before the newest backup
        ("", "S", "S", ""),  # given before it
        ("S", "S", "", ""),  # taken away after it
        ("", "", "S", "S"),  # given after it
        ("S", "", "R", "RS"),  # what was lost comes back, what was answered since stays
        ("S", None, "R", "RS"),
        ("", None, "S", "S"),
        ("S work", " other", "R other", "RS work"),
        (" Work", " ", " WORK", " WORK"),
        (" a", None, " b", " a b"),
        ("", None, "T", ""),  # nobody knows who marked it: it stays
        ("T", None, "", ""),
        ("T", None, "T", "T"),
        ("T", "", "", ""),  # a mark for deletion is not given back
        ("", "T", "T", ""),
        ("", "", "T", "T"),
    ],
)
def test_flag_by_flag(then: str, later: str | None, now: str, wanted: str) -> None:
    between = None if later is None else flags(later)
    found = merged(flags(now), then=flags(then), later=between)
    assert are_same(found, flags(wanted))
    again = merged(found, then=flags(then), later=between)
    assert are_same(again, found), "done once more it changes nothing"


def test_no_flag_depends_on_another() -> None:
    sides = ["".join(combination) for size in range(3) for combination in itertools.combinations("FS", size)]
    for then, later, now in itertools.product(sides, [None, *sides], sides):
        found = merged(flags(now), then=flags(then), later=None if later is None else flags(later))
        for letter in "FS":
            alone = merged(
                flags(letter if letter in now else ""),
                then=flags(letter if letter in then else ""),
                later=None if later is None else flags(letter if letter in later else ""),
            )
            assert (letter in found.letters) == (letter in alone.letters)


def test_exactly() -> None:
    assert restored(flags("S x"), then=flags("T y")) == flags("T y")
