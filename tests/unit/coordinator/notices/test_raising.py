"""Notices on record: raised by anybody, once each, with texts that add no lines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.notices.raising import acknowledge, over, raise_notice, remind
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.proto.errors import NotFoundError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FULL = Notice(
    event="space",
    cause="space:staging",
    subject="staging is full in 5 days",
    lines=("3 GB are free",),
    facts={"free_bytes": 3_000_000_000},
)


def test_a_notice_is_found_as_it_was_raised_and_is_to_be_said(tmp_path: Path) -> None:
    raise_notice(tmp_path, FULL, NOW)
    record = NoticeRecord(tmp_path)
    (standing,) = record.lasting()
    assert (standing.notice, standing.first, standing.times, standing.over) == (FULL, NOW, 1, None)
    (saying,) = record.sayings(9)
    assert (saying.notice, saying.kind, saying.made, saying.times) == (FULL, "new", NOW, 1)
    assert record.lasting(("space",)) == (standing,)
    assert record.lasting(("alarm",)) == ()


def test_many_that_raise_the_same_cause_are_heard_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: raise_notice(tmp_path, FULL, NOW), range(24)))
    record = NoticeRecord(tmp_path)
    assert [standing.times for standing in record.lasting()] == [24]
    assert len(record.sayings(9)) == 1


def test_reminders_and_the_end(tmp_path: Path) -> None:
    raise_notice(tmp_path, FULL, NOW)
    remind(tmp_path, NOW + DAY / 2)
    remind(tmp_path, NOW + DAY)
    over(tmp_path, FULL.cause, NOW + 2 * DAY)
    over(tmp_path, FULL.cause, NOW + 2 * DAY)
    over(tmp_path, "what never was", NOW)
    record = NoticeRecord(tmp_path)
    assert [saying.kind for saying in record.sayings(9)] == ["over", "again", "new"]
    assert record.lasting() == ()
    assert [standing.over for standing in record.past(5)] == [NOW + 2 * DAY]


def test_who_acknowledges_is_on_record_and_only_what_lasts_can_be(tmp_path: Path) -> None:
    raise_notice(tmp_path, FULL, NOW)
    assert acknowledge(tmp_path, FULL.cause, "cli:anna", NOW).acknowledged_by == "cli:anna"
    remind(tmp_path, NOW + DAY)
    assert len(NoticeRecord(tmp_path).sayings(9)) == 1
    over(tmp_path, FULL.cause, NOW + DAY)
    with pytest.raises(NotFoundError):
        acknowledge(tmp_path, FULL.cause, "cli:anna", NOW)


HOSTILE = "eve\r\nBcc: all@example.org\n\n\x1b[2J\u202egpj.exe\x00\udcff"


def test_names_add_no_lines(tmp_path: Path) -> None:
    cause = f"drill-failed:{HOSTILE}"
    raise_notice(
        tmp_path,
        Notice(
            event="drill-failed",
            cause=cause,
            subject=f"restoring {HOSTILE} failed",
            lines=(f"user {HOSTILE}", "x" * 5000, *("line",) * 900),
            facts={"user": HOSTILE},
        ),
        NOW,
    )
    (standing,) = NoticeRecord(tmp_path).lasting()
    notice = standing.notice
    for text in (notice.cause, notice.subject, *notice.lines):
        assert text.isprintable()
        assert len(text) <= 1000
    assert notice.lines[0] == "user eve%0D%0ABcc: all@example.org%0A%0A%1B[2J%E2%80%AEgpj.exe%00%FF"
    assert notice.lines[-1] == "… and 502 more lines"
    assert notice.facts == {"user": HOSTILE}
    over(tmp_path, cause, NOW)
    assert NoticeRecord(tmp_path).lasting() == ()
