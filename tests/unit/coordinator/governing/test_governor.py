"""The governor without anybody who really looks: what it makes of reports, and whom it tells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.governing import governor as governing
from mailhaul.coordinator.governing.effort import Rules
from mailhaul.coordinator.governing.governor import HERE, Governor
from mailhaul.coordinator.governing.probes import Probes
from mailhaul.coordinator.governing.probing import Began, Blind, Late, Looked, Report
from mailhaul.coordinator.governing.settings import HostRules, ProbeAccount
from mailhaul.coordinator.governing.state import fresh_states, read_state
from mailhaul.worker.load import shared
from mailhaul.worker.load.share import VALID_SECONDS, Share, write_share
from mailhaul.worker.stores.imap.probe import Look

TARGET = 0.1


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Told:
    """Stands for those who look at all hosts: says what the test puts in."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.next: list[Report] = []
        self.channel = None
        self.closed = 0

    def __call__(self, hosts: Sequence[HostRules]) -> Probes:
        self.hosts += [host.host for host in hosts]
        return self  # type: ignore[return-value]

    def reports(self, _now: float) -> list[Report]:
        said, self.next = self.next, []
        return said

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the shared files of this test's hosts lie."""
    monkeypatch.setattr(shared, "_PLACES", (tmp_path,))
    return tmp_path / f"mailhaul-{os.geteuid()}"


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging" / ".mailhaul").mkdir(parents=True)
    return tmp_path / "staging"


def rules(host: str, **more: float) -> HostRules:
    return HostRules(
        host=host,
        probe=ProbeAccount(server="imap://localhost", user="probe", password_file="none"),
        rules=Rules(target_seconds=TARGET, **{"blind": 1.0, **more}),
    )


Make = Callable[..., Governor]


@pytest.fixture
def make(staging: Path, clock: Time, told: Told, lines: list[str]) -> Iterator[Make]:
    """A governor of these hosts; its thread is the test."""
    made: list[Governor] = []

    def governor(**hosts: HostRules) -> Governor:
        named = {HERE if name == "here" else name: host_rules for name, host_rules in hosts.items()}
        made.append(Governor(staging, "ours", named, clock, lines.append, told))
        for name in named:
            made[-1].occupied(name, 4, 4)
        return made[-1]

    yield governor
    for one in made:
        one.close()


def looked(host: str, seconds: float) -> list[Report]:
    look = Look(connect_seconds=0.0, login_seconds=seconds, select_seconds=0.0, fetch_seconds=None)
    return [Began(host), Looked(host, look)]


def go_on(governor: Governor, clock: Time, told: Told, *reports: Report) -> None:
    clock.seconds += 1.0
    told.next = list(reports)
    governor.turn()


def test_users_who_wait_slow_the_work_on_their_host_alone(
    make: Make, clock: Time, told: Told, staging: Path, lines: list[str]
) -> None:
    governor = make(mail01=rules("mail01"), mail02=rules("mail02"))
    for _ in range(6):
        go_on(governor, clock, told, *looked("mail01", 3 * TARGET), *looked("mail02", TARGET / 2))
    assert governor.level("mail01") == 0.05
    assert governor.level("mail02") == governor.level("unknown") == 1.0
    assert sorted(told.hosts) == ["mail01", "mail02"]
    said = {(back.host, back.governor): back.share for back in governor.held_back()}
    assert said == {("mail01", "ours"): pytest.approx(0.05), ("mail02", "ours"): 1.0}
    assert governor.held_back() == []
    slow, fast = fresh_states(staging, utc(clock.now()))
    assert (slow.host, slow.level, slow.late, slow.looks) == ("mail01", 0.05, 6, 6)
    assert slow.p95_seconds == pytest.approx(3 * TARGET)
    assert slow.steps["login"] == pytest.approx(3 * TARGET)
    assert "fetch" not in slow.steps
    assert slow.why == "users wait too long, also with the least of work"
    assert slow.slowed_seconds == pytest.approx(5.0)
    assert (fast.why, fast.slowed_seconds) == ("", 0.0)
    clock.seconds += 60
    assert fresh_states(staging, utc(clock.now())) == ()
    assert lines == []


def test_where_giving_way_is_of_no_use_it_is_said_once_and_the_work_goes_on(
    make: Make, clock: Time, told: Told, staging: Path, lines: list[str]
) -> None:
    governor = make(mail01=rules("mail01", blind=0.25))
    whys = set()
    for _ in range(1000):
        go_on(governor, clock, told, *looked("mail01", 1.5 * TARGET))
        state = read_state(staging, "mail01")
        assert state is not None
        whys.add((state.why, state.level))
    assert lines == [
        "the users of mail01 wait too long, however little work is done there: it goes on at 25%"
    ]
    assert ("users wait too long: it is found out whether the work is why", 0.05) in whys
    assert ("users wait too long, however little work is done", 0.25) in whys


def test_what_fewer_workers_do_not_take_away_each_of_them_does_less(
    make: Make, clock: Time, told: Told
) -> None:
    governor = make(here=rules("mail01", floor=0.5))
    for _ in range(4):
        go_on(governor, clock, told, *looked("mail01", 3 * TARGET))
    governor.occupied(HERE, 4, 4)
    go_on(governor, clock, told)
    assert read_share() == pytest.approx(0.5)
    governor.occupied(HERE, 4, 2)  # two have ended
    go_on(governor, clock, told)
    assert read_share() == pytest.approx(1.0)


def read_share() -> float:
    return Share(HERE, "ours").at(time.monotonic_ns())


def test_a_look_that_does_not_come_back_is_late_already(make: Make, clock: Time, told: Told) -> None:
    governor = make(mail01=rules("mail01"))
    go_on(governor, clock, told, Began("mail01"))
    assert governor.level("mail01") == 1.0
    go_on(governor, clock, told)
    after_one = governor.level("mail01")
    assert after_one < 0.9
    go_on(governor, clock, told)
    after_two = governor.level("mail01")
    assert after_two < after_one
    # What it says in the end was counted while it was waited for.
    go_on(governor, clock, told, Late("mail01", 2.0))
    assert governor.level("mail01") == after_two


def test_who_can_not_look_works_with_care_and_says_so_once(
    make: Make, clock: Time, told: Told, staging: Path, lines: list[str]
) -> None:
    governor = make(mail01=rules("mail01", blind=0.25))
    for _ in range(3):
        go_on(governor, clock, told, Began("mail01"), Blind("mail01", "wrong password"))
    assert governor.level("mail01") == 0.25
    assert lines == ["the users of mail01 can't be minded: wrong password; its work goes on at 25%"]
    state = read_state(staging, "mail01")
    assert state is not None
    assert (state.blind, state.why) == ("wrong password", "nobody can look how long users wait")
    for _ in range(20):
        go_on(governor, clock, told, *looked("mail01", TARGET / 2))
    assert lines[1:] == ["the users of mail01 are minded again"]
    assert governor.level("mail01") > 0.25


def test_one_looks_for_all_and_when_it_ends_another_does(
    make: Make, clock: Time, told: Told, staging: Path
) -> None:
    first, second = make(mail01=rules("mail01")), make(mail01=rules("mail01"))
    for _ in range(6):
        go_on(first, clock, told, *looked("mail01", 3 * TARGET))
        second.turn()
    assert told.hosts == ["mail01"]
    assert second.level("mail01") == 0.05
    first.close()
    clock.seconds += 1
    second.turn()
    assert told.hosts == ["mail01", "mail01"]
    assert read_state(staging, "mail01") is not None


def test_before_anybody_has_looked_it_is_as_blind_and_soon_goes_on_with_all(
    make: Make, clock: Time, told: Told
) -> None:
    governor = make(mail01=rules("mail01", blind=0.25))
    go_on(governor, clock, told)
    assert governor.level("mail01") == 0.25
    for _ in range(12):
        go_on(governor, clock, told, *looked("mail01", TARGET / 2))
    assert governor.level("mail01") == 1.0


def test_a_run_after_another_begins_where_that_was(make: Make, clock: Time, told: Told) -> None:
    first = make(mail01=rules("mail01"))
    for _ in range(6):
        go_on(first, clock, told, *looked("mail01", 3 * TARGET))
    first.close()
    clock.seconds += 60
    second = make(mail01=rules("mail01"))
    second.turn()
    assert second.level("mail01") == 0.05
    # What that has found goes on, too: far below what was too much it rises quickly.
    for _ in range(3):
        go_on(second, clock, told, *looked("mail01", TARGET / 2))
    assert second.level("mail01") > 0.055
    second.close()
    clock.seconds += 301
    third = make(mail01=rules("mail01"))
    third.turn()
    assert third.level("mail01") == 1.0


def test_without_anything_fresh_from_the_one_who_looks_it_is_as_blind(
    make: Make, clock: Time, told: Told
) -> None:
    first, second = make(mail01=rules("mail01", blind=0.3)), make(mail01=rules("mail01", blind=0.3))
    for _ in range(12):
        go_on(first, clock, told, *looked("mail01", TARGET / 2))
    second.turn()
    assert second.level("mail01") == 1.0
    clock.seconds += 60
    second.turn()
    assert second.level("mail01") == 0.3


def test_before_there_is_a_staging_area_nobody_looks(
    make: Make, clock: Time, told: Told, staging: Path
) -> None:
    (staging / ".mailhaul").rmdir()
    governor = make(mail01=rules("mail01"))
    go_on(governor, clock, told)
    assert (told.hosts, list(staging.iterdir())) == ([], [])
    (staging / ".mailhaul").mkdir()
    go_on(governor, clock, told)
    assert told.hosts == ["mail01"]


def test_what_nobody_expected_ends_the_looks_and_not_the_work(
    make: Make, clock: Time, told: Told, staging: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_now: float) -> list[Report]:
        raise RuntimeError("no idea")

    monkeypatch.setattr(governing, "SAY_SECONDS", 0.02)
    governor = make(here=rules("mail01", blind=0.25))
    with monkeypatch.context() as patch, governor:
        patch.setattr(told, "reports", fail)
        eventually(lambda: bool(told.closed))
        assert governor.level(HERE) == 0.25
        assert read_share() == pytest.approx(0.25)
        # It is renewed as long as the run lives, and no longer: one that was killed holds nobody back.
        write_share(HERE, "ours", 0.9)
        eventually(lambda: read_share() == pytest.approx(0.25))
        assert Share(HERE, "ours").at(time.monotonic_ns() + round((VALID_SECONDS + 1) * 1e9)) == 1.0
        state = read_state(staging, "mail01")
        assert state is not None
        assert state.blind == "RuntimeError: no idea"
        # So are those on other hosts, by the engine that asks; and others may look.
        governor.held_back()
        eventually(lambda: bool(governor.held_back()))
        patch.undo()
        make(mail01=rules("mail01")).turn()
        assert told.hosts == ["mail01", "mail01"]
    assert lines == ["users are not minded any more: RuntimeError: no idea; the work goes on at 25%"]
    assert read_share() == 1.0


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)
