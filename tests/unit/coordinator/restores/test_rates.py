"""How long a restore may take: from what was measured, or not told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.restores.rates import measured_rate
from mailhaul.coordinator.restores.record import Order
from mailhaul.coordinator.restores.report import Report
from mailhaul.coordinator.snapshots import write_snapshot

BEGUN = datetime(2026, 8, 1, tzinfo=UTC)


def ended(staging: Path, day: int, seconds: float, restored: int, size_bytes: int, **changes: str) -> None:
    """A restore that has ended."""
    begun = BEGUN + timedelta(days=day)
    restore = begun.strftime("%Y%m%dT%H%M%SZ-0000")
    order = Order(restore=restore, begun=begun, arguments=(), directory="/", moment="latest", run=restore)
    report = Report(
        state="stopped" if changes.get("error") else "done",
        order=order,
        ended=begun + timedelta(seconds=seconds),
        error=changes.get("error", ""),
        restored=restored,
        size_bytes=size_bytes,
    )
    place = staging / ".mailhaul" / "restores" / restore
    place.mkdir(parents=True)
    write_snapshot(place / "report.json", report)


def test_without_a_restore_nothing_is_told(tmp_path: Path) -> None:
    assert measured_rate(tmp_path) is None
    ended(tmp_path, 0, 1, 999, 10_000)
    ended(tmp_path, 1, 10, 10_000, 10_000, error="the disk is full")
    assert measured_rate(tmp_path) is None


def test_the_middle_of_the_last_ten(tmp_path: Path) -> None:
    for day in range(5):
        ended(tmp_path, day, 1, 1_000_000, 10**9)
    for day in range(5, 15):
        ended(tmp_path, day, 10 if day < 10 else 20, 10_000, 200_000_000)
    rate = measured_rate(tmp_path)
    assert rate is not None
    assert (rate.restores, rate.messages_per_second, rate.bytes_per_second) == (10, 750, 15_000_000)
    assert (rate.seconds(75_000, 1000), rate.seconds(10, 150_000_000)) == (100, 10)
