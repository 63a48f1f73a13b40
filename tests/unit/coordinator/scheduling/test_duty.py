"""The schedule over simulated time: each operation that is expected is put in exactly once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mailhaul.coordinator.scheduling.duty import ScheduleDuty
from mailhaul.coordinator.scheduling.settings import GroupTimes, ScheduleConfig
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import NOT_ENDED
from mailhaul.coordinator.settings import Config
from mailhaul.proto.structs import replace

from .test_entries import config, times

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULE = ScheduleConfig(
    backup=times("02:30"),
    full=times("sun 02:30"),
    sweep=times("06:00", "18:00"),
    purge=times("0 12 1 * *"),
    groups={"sales": GroupTimes(backup=times("mon-fri 23:00"), full=())},
)


class Served:
    """A staging area that is served, now and then, by processes that are told the time."""

    def __init__(self, staging: Path, schedule: ScheduleConfig = SCHEDULE) -> None:
        made = config(schedule)
        self.config: Config = replace(made, staging=replace(made.staging, path=staging))
        self.operations = Operations(staging)
        self.events: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        """Another process serves from now on."""
        self._duty = ScheduleDuty(self.config, BERLIN, self._told)

    def pass_time(self, now: datetime, until: datetime, *steps: timedelta, done: bool = True) -> datetime:
        """Ticks while time passes, in these steps in turn. What is put in is ``done`` at once."""
        count = 0
        while now <= until:
            before = self.events["schedule.put_in"]
            self._duty.tick(now)
            if done and self.events["schedule.put_in"] > before:
                self.finish(now)
            now += steps[count % len(steps)]
            count += 1
        return now

    def finish(self, now: datetime) -> None:
        for state in self.operations.in_states(NOT_ENDED):
            self.operations.end(state.id, "done", now)

    def put_in(self) -> list[str]:
        """All that was ever put in: when it was due by the clock on the wall, and what."""
        found = sorted(self.operations.newest(10_000), key=lambda one: one.id)
        return [
            f"{operation.request.due.astimezone(BERLIN):%m-%d %H:%M} "
            f"{' '.join((operation.request.kind, *operation.request.arguments))}"
            for operation in found
            if operation.request.due
        ]

    def _told(self, name: str, _fields: Mapping[str, object]) -> None:
        self.events[name] += 1


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def expected(first: datetime, last: datetime, *, own: bool = True) -> list[str]:
    """What is due between two moments, by looking at every minute that the clock shows for the first time;
    with the ``own`` times of a group."""
    nightly = "backup --except-group sales" if own else "backup"
    found, shown = [], set()
    moment = first
    while moment <= last:
        local = moment.astimezone(BERLIN)
        minute = local.strftime("%m-%d %H:%M")
        if minute not in shown:
            shown.add(minute)
            day = local.isoweekday()
            # The clock is put forward on 28 March 2027: 2:30 is not shown.
            if minute[6:] == "02:30" or minute == "03-28 03:00":
                found.append(f"{minute} {nightly}{' --full' if day == 7 else ''}")
            if minute[6:] in ("06:00", "18:00"):
                found.append(f"{minute} sweep")
            if minute[3:] == "01 12:00":
                found.append(f"{minute} purge")
            if own and minute[6:] == "23:00" and day < 6:
                found.append(f"{minute} backup /one/sales /two/sales")
        moment += timedelta(minutes=1)
    return found


def test_thirty_days_over_each_change_of_clocks(tmp_path: Path) -> None:
    for begin in ("2027-03-10T12:00", "2026-10-05T12:00"):
        served = Served(tmp_path / begin[:10])
        first = at(begin)
        last = first + timedelta(days=30)
        served.pass_time(first, last, timedelta(minutes=7), timedelta(minutes=1), timedelta(minutes=22))
        assert served.put_in() == expected(first, last)


def test_thirty_days_with_stops_and_processes_that_begin_anew(tmp_path: Path) -> None:
    """Of what is missed while nobody serves one operation of each entry is made up for."""
    source = random.Random(20261130)
    served = Served(tmp_path, replace(SCHEDULE, groups={}))
    now = begin = at("2027-03-10T12:00")
    wanted: list[str] = []
    while now < begin + timedelta(days=30):
        step = timedelta(minutes=source.choice((1, 7, 30)))
        until = now + step * source.randrange(1, 100)
        last = served.pass_time(now, until, step)
        wanted += [one for one in expected(now, until, own=False) if one not in wanted]
        now = last + timedelta(minutes=source.choice((0, 2, 700, 2000, 5000)))
        missed: dict[str, str] = {}
        for one in expected(until, now, own=False):
            if one not in wanted:
                minute, what = one[:11], one[12:]
                full = " --full" if "--full" in missed.get(what.removesuffix(" --full"), "") else ""
                entry = what.removesuffix(" --full")
                missed[entry] = one if "--full" in what else f"{minute} {what}{full}"
        wanted += missed.values()
        served.start()
        served.pass_time(now, now, timedelta(minutes=1))
    assert Counter(served.put_in()) == Counter(wanted)
    assert max(Counter(served.put_in()).values()) == 1


def test_a_clock_that_is_put_back_and_one_that_jumps_a_year(tmp_path: Path) -> None:
    served = Served(tmp_path, ScheduleConfig(backup=times("02:30"), sweep=times("0 * * * *")))
    now = at("2026-11-26T12:00")
    served.pass_time(now, at("2026-11-27T03:00"), timedelta(minutes=60))
    before = served.put_in()
    served.pass_time(at("2026-11-26T14:00"), at("2026-11-27T02:59"), timedelta(minutes=30))
    assert served.put_in() == before
    served.pass_time(at("2027-11-27T03:00"), at("2027-11-27T03:00:30"), timedelta(seconds=1))
    assert served.put_in() == [*before, "11-27 02:30 backup", "11-27 03:00 sweep"]
    served.pass_time(at("2026-11-27T03:01"), at("2026-11-28T02:40"), timedelta(minutes=9))
    backups = [one for one in served.put_in()[len(before) + 2 :] if "backup" in one]
    assert backups == ["11-28 02:30 backup"]
    assert served.events["schedule.clock"] == 2


def test_what_still_runs_is_passed_over_and_told_and_a_full_backup_is_made_up_for(tmp_path: Path) -> None:
    served = Served(tmp_path, ScheduleConfig(backup=times("02:30"), full=times("sun 02:30")))
    saturday, minute = at("2026-11-27T12:00"), timedelta(minutes=30)
    now = served.pass_time(saturday, at("2026-11-29T12:00"), minute, done=False)
    assert served.put_in() == ["11-28 02:30 backup"]
    assert served.events == {"schedule.put_in": 1, "schedule.passed_over": 1}
    (standing,) = NoticeRecord(tmp_path).lasting()
    assert standing.notice.subject == "backup was passed over: operation 1 still waits"
    served.finish(now)
    served.pass_time(now, at("2026-12-01T12:00"), minute)
    assert served.put_in()[1:] == ["11-30 02:30 backup --full", "12-01 02:30 backup"]
    assert NoticeRecord(tmp_path).lasting() == ()


def test_a_schedule_that_changes_begins_from_now_with_what_is_new(tmp_path: Path) -> None:
    served = Served(tmp_path, ScheduleConfig(backup=times("02:30")))
    served.pass_time(at("2026-11-26T12:00"), at("2026-11-27T12:00"), timedelta(hours=1))
    later = Served(tmp_path, ScheduleConfig(backup=times("02:30"), purge=times("11:00")))
    later.pass_time(at("2026-11-27T12:30"), at("2026-11-28T12:30"), timedelta(minutes=30))
    assert later.put_in() == ["11-27 02:30 backup", "11-28 02:30 backup", "11-28 11:00 purge"]
    last = Served(tmp_path, ScheduleConfig(backup=times("02:30")))
    last.pass_time(at("2026-12-10T12:00"), at("2026-12-10T12:00"), timedelta(hours=1))
    again = Served(tmp_path, ScheduleConfig(backup=times("02:30"), purge=times("11:00")))
    again.pass_time(at("2026-12-10T12:30"), at("2026-12-10T13:00"), timedelta(minutes=30))
    assert again.put_in()[3:] == ["12-10 02:30 backup"]


def test_of_an_entry_that_is_no_more_nothing_is_said_again(tmp_path: Path) -> None:
    served = Served(tmp_path, ScheduleConfig(backup=times("02:30"), purge=times("11:00")))
    served.pass_time(at("2026-11-26T12:00"), at("2026-11-28T12:00"), timedelta(hours=1), done=False)
    assert len(NoticeRecord(tmp_path).lasting()) == 2
    later = Served(tmp_path, ScheduleConfig(backup=times("02:30")))
    later.pass_time(at("2026-11-28T12:30"), at("2026-11-28T13:00"), timedelta(minutes=30))
    assert [standing.notice.cause for standing in NoticeRecord(tmp_path).lasting()] == ["passed-over:backup"]
