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
