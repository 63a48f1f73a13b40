"""Mornings in simulated time: one digest for each night, a switch that is worked after good ones only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.notices import mornings
from mailhaul.coordinator.notices.mornings import Mornings
from mailhaul.coordinator.notices.rooms import Rooms
from mailhaul.coordinator.notices.settings import NoticesConfig, SwitchConfig
from mailhaul.coordinator.notices.spaces import Spaces
from mailhaul.coordinator.scheduling.settings import ScheduleConfig, Timing
from mailhaul.coordinator.service.handled import HandledMoments
from mailhaul.coordinator.service.nights import Nights
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.proofs import Proofs
from mailhaul.coordinator.service.records import Handled, Request, State
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.proto.errors import DeliveryError
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import PRIMARY, START, begin, commit, run_id, unit

SEVEN = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
"""The morning after the run of day 0, which is that of START at 03:15 on the day before; of day 1, then."""

HOUR = timedelta(hours=1)


class Site:
    """A staging area of which nights are looked at every hour."""

    def __init__(self, staging: Path, *, schedule: ScheduleConfig | None = None) -> None:
        self.staging = staging
        self.file = staging / "good-night"
        self.config = Config(
            staging=StagingConfig(path=staging),
            partitions=(PRIMARY,),
            notices=NoticesConfig(switch=SwitchConfig(file=self.file)),
            schedule=schedule or ScheduleConfig(),
        )
        self.mornings = Mornings(self.config, Spaces(self.config, Rooms()), "backup01", UTC)
        self.now = SEVEN - 20 * HOUR
        self.mornings(self.now)

    def until(self, moment: datetime) -> None:
        while self.now < moment:
            self.now += HOUR / 2
            self.mornings(self.now)

    def run(self, day: int, *, fails: bool = False) -> None:
        with Catalog.open(self.staging, write=True) as catalog:
            if not fails:
                commit(catalog, day, unit(day, users=("jane", "joe")))
                return
            begin(catalog, day, unit(day, users=("jane", "joe")))
            catalog.end_run(run_id(day), START + timedelta(days=day, hours=1), error="the disk is gone")

    @property
    def digests(self) -> list[str]:
        found = [saying.notice for saying in NoticeRecord(self.staging).sayings(99)]
        return [notice.subject for notice in reversed(found) if notice.event == "digest"]

    @property
    def worked(self) -> str:
        return self.file.read_text().strip() if self.file.exists() else ""


def test_a_good_night_works_the_switch_once_and_another_does_not(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert (site.digests, site.worked) == ([], ""), "the night before it was begun with is no bad one"
    site.run(1)
    site.until(SEVEN - HOUR)
    assert site.digests == []
    site.until(SEVEN + 10 * HOUR)
    assert site.digests == ["Backups: all is well"]
    assert site.worked == "2026-11-22T07:00:00+00:00"
    site.until(SEVEN + 30 * HOUR)
    assert site.digests == ["Backups: all is well", "Backups: no backup ran"]
    assert site.worked == "2026-11-22T07:00:00+00:00"
    site.run(3, fails=True)
    site.until(SEVEN + 50 * HOUR)
    assert site.digests[2:] == ["Backups: the backup of / has ended as failed"]
    assert site.worked == "2026-11-22T07:00:00+00:00"
    site.run(4)
    site.until(SEVEN + 74 * HOUR)
    assert site.digests[3:] == ["Backups: all is well"]
    assert site.worked == "2026-11-25T07:00:00+00:00"


def test_a_morning_that_was_missed_is_made_up_for_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(1)
    site.now = SEVEN + 5 * HOUR
    Mornings(site.config, Spaces(site.config, Rooms()), "backup01", UTC)(site.now)
    Mornings(site.config, Spaces(site.config, Rooms()), "backup01", UTC)(site.now + HOUR)
    assert site.digests == ["Backups: all is well"]
    assert site.worked == "2026-11-22T12:00:00+00:00"


def test_a_switch_that_does_not_answer_is_tried_again_and_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.run(1)
    tries: list[datetime] = []

    def work(_: SwitchConfig, now: datetime) -> None:
        tries.append(now)
        if now < SEVEN + 4 * HOUR:
            raise DeliveryError("hc.example.org:443 says 503")

    monkeypatch.setattr(mornings, "work", work)
    site.until(SEVEN + 20 * HOUR)
    assert len(tries) < 12
    assert SEVEN + 4 * HOUR <= tries[-1] <= SEVEN + 5 * HOUR
    said = [(saying.kind, saying.notice.event) for saying in reversed(NoticeRecord(tmp_path).sayings(9))]
    assert said == [("new", "digest"), ("new", "switch-failed"), ("over", "switch-failed")]
    night = Nights(tmp_path).last_good()
    assert night is not None
    assert (night.worked, night.error) == (tries[-1], "")


EVERY_NIGHT = ScheduleConfig(backup=(Timing("02:00", "0 2 * * *"),))
SUNDAYS = ScheduleConfig(backup=(Timing("sun 02:00", "0 2 * * 1"),))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (None, ("the scheduled backup was not begun",)),
        ("waiting", ("the scheduled backup is waiting",)),
        ("running", ("the scheduled backup is running",)),
        ("failed", ("the scheduled backup is failed",)),
        ("done", ()),
        ("partial", ()),
    ],
)
def test_what_the_schedule_wanted_has_to_be_done(
    tmp_path: Path, state: State | None, why: tuple[str, ...]
) -> None:
    site = Site(tmp_path, schedule=EVERY_NIGHT)
    site.run(1)
    before = Handled(moment=SEVEN - 29 * HOUR, full=SEVEN - 29 * HOUR)
    HandledMoments(tmp_path).begin({"backup": before}, [])
    if state is not None:
        queue = Operations(tmp_path)
        due = SEVEN - 5 * HOUR
        number = queue.add(Request(kind="backup", asked_by="schedule:", entry="backup", due=due), due).id
        if state != "waiting":
            queue.begin(number, 7, due)
        if state not in ("waiting", "running"):
            queue.end(number, state, due + HOUR, exit_status=0)
    assert site.mornings.digest(SEVEN - 24 * HOUR, SEVEN).not_good == why


@pytest.mark.parametrize(
    ("begins", "why"),
    [
        (None, ("the scheduled backup was not begun: `mailhaul serve` has not run with it yet",)),
        (SEVEN - HOUR, ()),
        (SEVEN - 24 * HOUR, ("the scheduled backup was not begun",)),
    ],
)
def test_what_was_due_before_it_came_into_the_schedule_is_not_missed(
    tmp_path: Path, begins: datetime | None, why: tuple[str, ...]
) -> None:
    site = Site(tmp_path, schedule=EVERY_NIGHT)
    site.run(1)
    if begins is not None:
        HandledMoments(tmp_path).begin({"backup": Handled(moment=begins, full=begins)}, [])
    assert site.mornings.digest(SEVEN - 24 * HOUR, SEVEN).not_good == why


def test_a_night_for_which_nothing_was_scheduled_is_a_good_one(tmp_path: Path) -> None:
    site = Site(tmp_path, schedule=SUNDAYS)
    assert site.mornings.digest(SEVEN - 24 * HOUR, SEVEN).not_good == ()


def test_a_drill_that_failed_makes_a_night_bad(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(1)
    drill = Proofs(tmp_path).begin(7, SEVEN - 3 * HOUR)
    Proofs(tmp_path).end(drill.id, "failed", SEVEN - 2 * HOUR, "no space")
    assert site.mornings.digest(SEVEN - 24 * HOUR, SEVEN).not_good == (f"drill {drill.id} has failed",)


def test_without_digest_the_switch_is_worked_all_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path)
    config = replace(site.config, notices=replace(site.config.notices, digest_at=None))
    site.mornings = Mornings(config, Spaces(config, Rooms()), "backup01", UTC)
    site.run(1)
    site.until(SEVEN + HOUR)
    assert (site.digests, site.worked) == ([], "2026-11-22T07:00:00+00:00")


def test_what_the_night_brought_is_in_the_digest(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(1)
    found = site.mornings.digest(SEVEN - 24 * HOUR, SEVEN)
    (run,), (group,) = found.runs, found.groups
    assert (run.run, run.state, run.seconds) == (run_id(1), "done", 7200.0)
    assert (group.partition, group.group, group.mailboxes, group.failed) == ("primary", "user", 2, 0)
    assert [space.place for space in found.spaces] == ["staging"]
    assert found.behind == ()


def test_a_run_that_was_ended_early_has_not_done_its_groups(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.run(1)
    site.run(2, fails=True)
    (group,) = site.mornings.digest(SEVEN - 24 * HOUR, SEVEN + 24 * HOUR).groups
    assert (group.mailboxes, group.failed, group.error) == (2, 1, "it was ended early")
