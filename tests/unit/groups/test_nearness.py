"""Hints for names that somebody may have meant."""

from __future__ import annotations

import time

import pytest

from mailhaul.groups.nearness import hint

KNOWN = ("jane@example.org", "jane@example.net", "joan", "mary", "sales")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jane", "; is it jane@example.net or jane@example.org or joan?"),
        ("joann", "; is it joan or jane@example.net or jane@example.org?"),
        ("slaes", "; is it sales?"),
        ("mray", "; is it mary?"),
        ("jnae", "; is it jane@example.net or jane@example.org?"),
        ("jane@exampel.org", "; is it jane@example.net or jane@example.org?"),
        ("somebody", ""),
        ("mary", ""),
        ("", ""),
    ],
)
def test_the_nearest_names(name: str, expected: str) -> None:
    found = hint(name, KNOWN)
    assert set(found.strip("; ?").split(" ")) == set(expected.strip("; ?").split(" "))
    assert bool(found) == bool(expected)


def test_of_very_many_names_enough_are_compared_to_be_of_use_and_few_enough_to_end() -> None:
    names = [f"user{number:07}" for number in range(300_000)]
    began = time.process_time()
    hint("user00000x1", names)
    assert time.process_time() - began < 20
