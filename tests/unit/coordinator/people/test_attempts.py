"""Failures to log in take no more memory than they are many."""

from __future__ import annotations

import tracemalloc

from mailhaul.coordinator.people.attempts import Attempts
from mailhaul.tests.pages import SettableClock


def test_names_of_strangers_are_not_kept_as_they_are() -> None:
    attempts = Attempts(SettableClock())
    tracemalloc.start()
    for number in range(40):
        attempts.failed(f"{number}" + "x" * 1_000_000, f"2001:db8::{number}")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


def test_a_name_has_its_pause_from_wherever_it_is_tried() -> None:
    clock = SettableClock()
    attempts = Attempts(clock)
    for number in range(35):
        attempts.failed("anna", f"192.0.2.{number}")
    assert attempts.pause_seconds("anna", "192.0.2.99") == 32
    assert attempts.pause_seconds("bert", "192.0.2.99") == 0


def test_whoever_logged_in_before_is_not_kept_out_by_strangers_who_try_the_name() -> None:
    clock = SettableClock()
    attempts = Attempts(clock)
    for number in range(60):
        attempts.failed("anna", f"192.0.2.{number}")
    assert attempts.pause_seconds("anna", "192.0.2.99") == 900
    assert attempts.pause_seconds("anna", "192.0.2.1", "her-browser") == 0
    # Whoever has that browser guesses no faster than from an address.
    guesses = 0
    ends = clock.seconds + 86_400
    while clock.seconds < ends:
        clock.seconds += attempts.pause_seconds("anna", "192.0.2.1", "her-browser")
        attempts.failed("anna", "192.0.2.1", "her-browser")
        guesses += 1
    assert guesses < 120
