"""How sweeps ended, as who looks on is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.sweeping.record import last_sweeps, note_sweep
from mailhaul.coordinator.sweeping.report import DestinationReport
from mailhaul.proto.records import Skipped

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def test_a_destination_fails_since_the_first_sweep_that_left_something(tmp_path: Path) -> None:
    full = DestinationReport(name="vault", stopped=Skipped("vault", "place-full", "no room"), waiting=3)
    note_sweep(tmp_path, full, NOW)
    note_sweep(tmp_path, full, NOW + timedelta(hours=1))
    (told,) = last_sweeps(tmp_path)
    assert (told.destination, told.waiting, told.error) == ("vault", 3, "no room")
    assert (told.failing_since, told.ended) == (NOW, NOW + timedelta(hours=1))
    note_sweep(tmp_path, DestinationReport(name="vault", copied=3), NOW + timedelta(hours=2))
    (told,) = last_sweeps(tmp_path)
    assert (told.failing_since, told.copied, told.error) == (None, 3, "")


def test_a_record_that_is_damaged_is_left_out(tmp_path: Path) -> None:
    note_sweep(tmp_path, DestinationReport(name="vault"), NOW)
    (tmp_path / ".mailhaul" / "sweeps" / "disk.json").write_text("{")
    assert [sweep.destination for sweep in last_sweeps(tmp_path)] == ["vault"]
