"""What Prometheus is told of how places fill up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import generate_latest

from mailhaul.coordinator.monitoring.exposition import make_registry
from mailhaul.coordinator.monitoring.space_metrics import ForecastCollector
from mailhaul.coordinator.notices.space import Sample
from mailhaul.coordinator.service.space import SpaceRecord

NOW = datetime(2026, 3, 15, 8, tzinfo=UTC)


def told(staging: Path, *places: str) -> list[str]:
    text = generate_latest(make_registry(ForecastCollector(staging, places, NOW.timestamp))).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_places_that_fill_up_and_are_configured(tmp_path: Path) -> None:
    assert told(tmp_path, "vault") == []
    assert not (tmp_path / ".mailhaul").exists()
    SpaceRecord(tmp_path).note(
        Sample(
            place=name,
            day=(NOW - timedelta(days=back)).date(),
            used_bytes=900 - back * a_day,
            free_bytes=free,
        )
        for name, a_day, free in (
            ("vault", 10, 100),
            ("removed", 10, 100),
            ("staging", 0, 100),
            ("s3", 10, None),
        )
        for back in range(5)
    )
    assert told(tmp_path, "staging", "vault", "s3") == ['mailhaul_place_days_left{place="vault"} 10.0']
