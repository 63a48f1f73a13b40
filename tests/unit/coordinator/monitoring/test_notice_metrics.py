"""What Prometheus is told of notices."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.monitoring.exposition import make_registry
from mailhaul.coordinator.monitoring.notice_metrics import NoticeCollector
from mailhaul.coordinator.notices.raising import acknowledge, raise_notice
from mailhaul.coordinator.notices.records import Event, Notice
from mailhaul.coordinator.service.nights import Nights
from mailhaul.coordinator.service.notices import NoticeRecord

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)


def value(staging: Path, name: str, **labels: str) -> float | None:
    return make_registry(NoticeCollector(staging)).get_sample_value(f"mailhaul_{name}", labels)


def test_there_is_nothing_where_nothing_was_ever_on_record(tmp_path: Path) -> None:
    assert list(NoticeCollector(tmp_path).collect()) == []


def test_what_was_said_and_what_became_of_it(tmp_path: Path) -> None:
    for cause in ("a", "b"):
        raise_notice(tmp_path, Notice(event="failed", cause=cause, subject=cause), NOW)
    acknowledge(tmp_path, "b", "cli:anna", NOW)
    record = NoticeRecord(tmp_path)
    everything: frozenset[Event] = frozenset(("failed",))
    record.address({"anna": everything}, NOW)
    first, second = record.due(NOW)
    record.delivered(first, NOW)
    record.failed(second, "away", NOW, unreachable=True)
    assert value(tmp_path, "notices_total", event="failed", kind="new") == 2
    assert value(tmp_path, "notices_lasting", event="failed", acknowledged="yes") == 1
    assert value(tmp_path, "notices_lasting", event="failed", acknowledged="no") == 1
    assert value(tmp_path, "notice_delivered_total", receiver="anna") == 1
    assert value(tmp_path, "notice_failures_total", receiver="anna") == 1
    assert value(tmp_path, "notice_waiting", receiver="anna") == 1
    assert value(tmp_path, "notice_failing_since_timestamp_seconds", receiver="anna") == NOW.timestamp()
    assert value(tmp_path, "last_night_good") is None


def test_nights_and_the_switch(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.note(date(2026, 3, 1), good=True)
    night = nights.newest()
    assert night is not None
    nights.worked(night, NOW)
    nights.note(date(2026, 3, 2), good=False)
    assert value(tmp_path, "last_night_good") == 0
    assert value(tmp_path, "switch_worked_timestamp_seconds") == NOW.timestamp()
    nights.note(date(2026, 3, 2), good=True)
    nights.failed(nights.newest() or night, "away", NOW + timedelta(days=1))
    assert value(tmp_path, "last_night_good") == 1
