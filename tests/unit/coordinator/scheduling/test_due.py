"""What is due, of what was handled: after a stop, after a clock that jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from mailhaul.coordinator.scheduling.due import begun, due, next_due, upcoming
from mailhaul.coordinator.scheduling.entries import Entry
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.service.records import Handled

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTLY = Entry(kind="backup", times=(parse("02:00"),), full=(parse("sun 02:00"),))
HOURLY = Entry(kind="sweep", times=(parse("0 * * * *"),))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def handled(moment: str, full: str = "2026-11-01") -> dict[str, Handled]:
    one = Handled(moment=at(moment), full=at(full))
    return {NIGHTLY.name: one, HOURLY.name: one}


def is_due(entry: Entry, known: dict[str, Handled], now: str) -> tuple[str, bool] | None:
    found = due([entry], known, BERLIN, at(now))
    assert len(found) <= 1
    return next(((one.moment.astimezone(BERLIN).isoformat()[:16], one.full) for one in found), None)


# 29 November 2026 is a Sunday.
def test_at_its_moment_and_not_before() -> None:
    known = handled("2026-11-26T02:00", "2026-11-22T02:00")
    assert is_due(NIGHTLY, known, "2026-11-27T01:59:59") is None
    assert is_due(NIGHTLY, known, "2026-11-27T02:00:00") == ("2026-11-27T02:00", False)
    assert is_due(NIGHTLY, handled("2026-11-27T02:00"), "2026-11-27T02:00:01") is None


def test_after_a_stop_the_newest_moment_is_made_up_for_once_and_in_full_if_a_full_one_was_missed() -> None:
    known = handled("2026-11-26T02:00", "2026-11-22T02:00")
    assert is_due(NIGHTLY, known, "2026-11-28T13:00") == ("2026-11-28T02:00", False)
    assert is_due(NIGHTLY, known, "2026-12-03T13:00") == ("2026-12-03T02:00", True)
    assert is_due(HOURLY, known, "2026-12-03T13:20") == ("2026-12-03T13:00", False)


def test_a_full_backup_that_was_passed_over_is_made_up_for_by_the_next() -> None:
    known = handled("2026-11-29T02:00", "2026-11-22T02:00")
    assert is_due(NIGHTLY, known, "2026-11-30T02:00") == ("2026-11-30T02:00", True)


def test_a_clock_that_is_put_back_does_nothing_again() -> None:
    known = handled("2026-11-27T02:00", "2026-11-22T02:00")
    assert not begun([NIGHTLY.name], known, at("2026-11-26T03:00"))
    for now in ("2026-11-26T03:00", "2026-11-27T01:00", "2026-11-27T02:00"):
        assert is_due(NIGHTLY, known, now) is None
    assert next_due([NIGHTLY], known, BERLIN, at("2026-11-26T03:00")) == at("2026-11-28T02:00")


def test_a_clock_that_was_a_year_ahead_asks_for_one_operation_and_then_goes_on_from_now() -> None:
    known = handled("2026-11-26T02:00", "2026-11-22T02:00")
    assert is_due(NIGHTLY, known, "2027-11-26T13:00") == ("2027-11-26T02:00", True)
    known = handled("2027-11-26T02:00", "2027-11-26T02:00")
    back = at("2026-11-26T13:01")
    known |= begun([NIGHTLY.name], known, back)
    assert known[NIGHTLY.name] == Handled(moment=back, full=back)
    assert is_due(NIGHTLY, known, "2026-11-27T02:00") == ("2026-11-27T02:00", False)


def test_an_entry_that_is_new_has_missed_nothing() -> None:
    now = at("2026-11-27T13:00")
    known = begun([NIGHTLY.name], {}, now)
    assert due([NIGHTLY], known, BERLIN, now) == ()
    assert begun([NIGHTLY.name], known, now + timedelta(days=100)) == {}


def test_what_comes_next_is_in_order() -> None:
    two = Entry(kind="purge", times=(parse("28 1 29 11 *"), parse("sun 02:00")))
    found = upcoming([NIGHTLY, two], {}, BERLIN, at("2026-11-28T01:00"))
    shown = [
        (one.moment.astimezone(BERLIN).strftime("%a %H:%M"), one.entry.name, one.full)
        for one in takewhile(lambda one: one.moment < at("2026-11-30T02:00"), found)
    ]
    assert shown == [
        ("Sat 02:00", "backup", False),
        ("Sun 01:28", "purge", False),
        ("Sun 02:00", "backup", True),
        ("Sun 02:00", "purge", False),
    ]


def test_what_comes_next_knows_what_was_handled() -> None:
    def nights(known: dict[str, Handled], now: str) -> str:
        found = islice(upcoming([NIGHTLY], known, BERLIN, at(now)), 3)
        return " ".join(f"{one.moment.astimezone(BERLIN):%a}{' full' * one.full}" for one in found)

    passed_over = handled("2026-11-29T02:00", "2026-11-22T02:00")
    assert nights(passed_over, "2026-11-29T12:00") == "Mon full Tue Wed"
    # Two days were missed, the full one of Sunday among them: that is put in first.
    missed = handled("2026-11-28T02:00", "2026-11-22T02:00")
    assert nights(missed, "2026-11-30T12:00") == "Tue Wed Thu"
    put_back = handled("2026-11-29T02:00", "2026-11-29T02:00")
    assert nights(put_back, "2026-11-28T12:00") == "Mon Tue Wed"
