"""What is told of a run while it goes on: its course, the file it is told in, the look from outside."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.alarms import Alarm
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.inventory import Failure
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.monitoring.course import LOST, Course
from mailhaul.coordinator.monitoring.overview import Overview, take_overview
from mailhaul.coordinator.monitoring.status import Done, RunStatus, UnitCounts, status_file
from mailhaul.coordinator.observers import Observers, RunObserver
from mailhaul.coordinator.snapshots import Publisher, read_snapshot, write_snapshot
from mailhaul.proto.errors import DamagedError, HostLostError, StoreError
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.proto.structs import asdict, replace
from mailhaul.worker.staging.receiver_status import StreamStatus, write_status

from ....watched import (
    RUN,
    START,
    FakeClock,
    make_plan,
    make_progress,
    make_receiver_status,
    make_report,
    make_unit,
)

PID = 4711
NOW = utc(START)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def course(clock: FakeClock) -> Course:
    course = Course(clock, PID)
    course.begun(RUN)
    return course


# The course of a run


def test_units_go_from_planned_over_running_to_their_end(course: Course, clock: FakeClock) -> None:
    a, b, c = (make_unit(shard=shard) for shard in range(3))
    course.planned(make_plan(a, b, c, left_out=2))
    assert course.status().counts == UnitCounts(planned=3)
    course.attempted(a, "store01", 1)
    course.progress(make_progress(b, 100))
    clock.seconds += 5
    course.attempted(b, "store01", 1)
    assert course.status().counts == UnitCounts(planned=1, running=2)
    course.sealed(a, make_report(a, skipped=("permission", "permission", "changed")))
    course.failed(Failure(what=b.label, error=StoreError("/srv/mail: No such file or directory")))
    status = course.status()
    assert status.counts == UnitCounts(planned=1, sealed=1, failed=1)
    assert (status.run, status.pid, status.state, status.units) == (RUN, PID, "running", ())
    assert status.skipped == {"no-group": 2, "permission": 2, "changed": 1}
    assert status.failed == {"store": 1}
    assert [(failure.what, failure.code) for failure in status.failures] == [(b.label, "store")]
    course.ended("partial")
    assert course.status().state == "partial"


def test_what_runs_is_told_unit_by_unit(course: Course, clock: FakeClock) -> None:
    unit = make_unit()
    course.planned(make_plan(unit))
    clock.seconds += 60
    course.attempted(unit, "store01", 2)
    course.progress(make_progress(unit, 400, user="ola", waiting="the staging area is full"))
    (told,) = course.status().units
    assert (told.unit, told.host, told.attempt, told.since) == (unit.label, "store01", 2, utc(START + 60))
    assert (told.user, told.messages, told.size_bytes, told.expected_bytes) == ("ola", 40, 400, 1000)
    assert told.waiting == "the staging area is full"
    course.progress(make_progress(unit, 1500))
    (told,) = course.status().units
    assert (told.expected_bytes, told.waiting) == (1500, "")


def test_repeated_work_counts_once_and_no_count_falls(course: Course) -> None:
    unit = make_unit()
    course.planned(make_plan(unit))
    course.attempted(unit, "store01", 1)
    course.progress(make_progress(unit, 600))
    course.attempted(unit, "store02", 2)
    course.progress(make_progress(unit, 100))
    assert course.status().done.size_bytes == 600
    assert course.status().units[0].size_bytes == 100
    # The attempt that was cut off still tells of itself, in turn with its successor.
    for one in (620, 150, 640, 200):
        course.progress(make_progress(unit, one))
    assert course.status().done.size_bytes == 640
    course.sealed(unit, make_report(unit))
    course.progress(make_progress(unit, 900))
    course.progress(make_progress(make_unit("nowhere"), 900))
    status = course.status()
    assert status.done == Done(
        messages=100, size_bytes=1000, new_bytes=600, archive_bytes=300, deduplicated_bytes=400
    )
    assert (status.groups[0].done, status.counts) == (status.done, UnitCounts(sealed=1))


def test_groups_are_added_up_apart(course: Course) -> None:
    units = [make_unit("p", "a"), make_unit("p", "b"), make_unit("q", "a", hosts=("store02",))]
    course.planned(make_plan(*units))
    course.progress(make_progress(units[1], 500))
    status = course.status()
    assert [
        (group.partition, group.group, group.units.running, group.done.size_bytes) for group in status.groups
    ] == [
        ("p", "a", 0, 0),
        ("p", "b", 1, 500),
        ("q", "a", 0, 0),
    ]
    assert [(host.host, host.running, host.lost) for host in status.hosts] == [
        ("store01", 0, ""),
        ("store02", 0, ""),
    ]


def test_time_left_is_what_is_left_at_the_rate_of_late(course: Course, clock: FakeClock) -> None:
    a, b = make_unit(shard=0, size_bytes=10_000), make_unit(shard=1, size_bytes=-1)
    course.planned(make_plan(a, b))
    assert (course.status().left_seconds, course.status().bytes_per_second) == (None, 0.0)
    clock.seconds += 10
    course.progress(make_progress(a, 1000))
    status = course.status()
    assert (status.bytes_per_second, status.messages_per_second, status.left_seconds) == (100.0, 10.0, 90.0)
    assert (status.expected_bytes, status.expected_messages) == (10_000, 1000)
    clock.seconds += 10
    course.progress(make_progress(b, 2000))  # more than was known of
    assert course.status().expected_bytes == 12_000
    clock.seconds += 10
    course.sealed(a, make_report(a, size_bytes=4000))  # less than was expected
    assert (course.status().expected_bytes, course.status().left_seconds) == (6000, None)
    clock.seconds += 1000
    course.status()
    clock.seconds += 1
    assert course.status().bytes_per_second < 10


def test_lost_hosts_and_what_waits_for_them(course: Course) -> None:
    a, b = make_unit(shard=0), make_unit(shard=1, hosts=("store02",))
    course.planned(make_plan(a, b))
    course.attempted(a, "store01", 1)
    course.attempted(b, "store02", 1)
    course.host_changed("store02", HostLostError("no word for 30 s"))
    status = course.status()
    assert [unit.waiting for unit in status.units] == ["", LOST]
    assert [(host.host, host.running, host.lost) for host in status.hosts] == [
        ("store01", 1, ""),
        ("store02", 1, "no word for 30 s"),
    ]
    course.host_changed("store02", None)
    course.attempted(b, "store02", 2)
    status = course.status()
    assert [(unit_status.waiting, unit_status.attempt) for unit_status in status.units] == [("", 1), ("", 2)]
    assert {host_status.lost for host_status in status.hosts} == {""}
    course.waiting("outside the window 22:00-06:00")
    assert course.status().waiting == "outside the window 22:00-06:00"
    course.ended("failed", KeyboardInterrupt())
    status = course.status()
    assert (status.state, status.error, status.waiting) == ("failed", "KeyboardInterrupt", "")


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("apsf"), st.integers(0, 3000))))
def test_sums_hold_whatever_is_told_in_whatever_order(told: list[tuple[int, str, int]]) -> None:
    units = [make_unit("p", f"g{number % 2}", number, size_bytes=1000) for number in range(4)]
    course = Course(FakeClock(), PID)
    course.planned(make_plan(*units))
    before = Done()
    for number, what, amount in told:
        unit = units[number]
        if what == "a":
            course.attempted(unit, "store01", amount)
        elif what == "p":
            course.progress(make_progress(unit, amount))
        elif what == "s":
            course.sealed(unit, make_report(unit, size_bytes=amount))
        else:
            course.failed(Failure(what=unit.label, error=StoreError("gone")))
        status = course.status()
        assert sum(asdict(status.counts).values()) == len(units)
        assert len(status.units) == status.counts.running
        for name, count in asdict(status.done).items():
            assert count == sum(getattr(group.done, name) for group in status.groups) >= getattr(before, name)
        assert status.expected_bytes >= status.done.size_bytes
        before = status.done
    if course.status().counts.planned + course.status().counts.running == 0:
        assert course.status().expected_bytes == course.status().done.size_bytes


def test_a_thousand_failures_are_counted_and_a_hundred_listed(course: Course) -> None:
    for number in range(1000):
        course.failed(Failure(what=f"p{number}", error=StoreError("gone")))
    status = course.status()
    assert (len(status.failures), status.failed) == (100, {"store": 1000})


def test_several_observers_are_all_told(clock: FakeClock) -> None:
    class Names(RunObserver):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def __getattribute__(self, name: str) -> object:
            if not name.startswith("_") and name != "heard":
                self.heard.append(name)
            return super().__getattribute__(name)

    first, second, unit = Names(), Names(), make_unit()
    both = Observers(first, second)
    both.begun(RUN)
    both.planned(make_plan(unit))
    both.attempted(unit, "", 1)
    both.progress(make_progress(unit, 1))
    both.sealed(unit, make_report(unit))
    both.alarmed(Alarm(path="/p/user/jane", reason="mailbox-emptied", detail="it is empty", held=()))
    both.noticed("somebody should look")
    both.minding("nobody can look")
    both.failed(Failure(what="p", error=StoreError("gone")))
    both.host_changed("h", HostLostError("gone"))
    both.waiting("")
    both.ended("done")
    assert first.heard == second.heard == [name for name in vars(RunObserver) if not name.startswith("_")]


# The file


def test_a_status_reads_back_as_it_was_written(course: Course, tmp_path: Path) -> None:
    unit = make_unit()
    course.planned(make_plan(unit, left_out=1))
    course.attempted(unit, "store01", 1)
    course.progress(make_progress(unit, 10, user="j\udcffne"))
    course.failed(Failure(what="q", error=StoreError("«weg»")))
    course.host_changed("store01", HostLostError("gone"))
    status = course.status()
    write_snapshot(tmp_path / "status.json", status)
    assert read_snapshot(tmp_path / "status.json", RunStatus) == status
    assert list(tmp_path.iterdir()) == [tmp_path / "status.json"]
    assert os.stat(tmp_path / "status.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"run": 7},
        {"pid": True},
        {"since": "yesterday"},
        {"since": "2026-11-21T22:00:00"},
        {"state": "fine"},
        {"bytes_per_second": float("nan")},
        {"bytes_per_second": "fast"},
        {"left_seconds": []},
        {"units": {}},
        {"units": [{"unit": "p/g/0"}]},
        {"skipped": ["x"]},
        {"skipped": {"x": "y"}},
        {"counts": 3},
    ],
    ids=str,
)
def test_what_is_no_status_is_none(course: Course, tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "status.json"
    write_snapshot(path, course.status())
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "later": 1}))
    assert read_snapshot(path, RunStatus) is not None
    path.write_text(json.dumps({**document, **change}))
    assert read_snapshot(path, RunStatus) is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"run":'])
def test_what_is_no_document_is_none(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "status.json"
    assert read_snapshot(path, RunStatus) is None
    path.write_bytes(text)
    assert read_snapshot(path, RunStatus) is None


def test_publisher_writes_first_then_at_each_turn_and_last(course: Course, tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    taken = threading.Semaphore(0)

    def take() -> RunStatus:
        taken.release()
        return course.status()

    with Publisher(path, take, seconds=0.001):
        assert read_snapshot(path, RunStatus) is not None
        for _ in range(4):
            assert taken.acquire(timeout=30)
        course.ended("done")
    last = read_snapshot(path, RunStatus)
    assert last is not None
    assert last.state == "done"


def test_publisher_goes_on_where_nothing_can_be_written(course: Course, tmp_path: Path) -> None:
    with Publisher(tmp_path / "none" / "status.json", course.status, seconds=60):
        (tmp_path / "none").mkdir()
    assert read_snapshot(tmp_path / "none" / "status.json", RunStatus) is not None
    with pytest.raises(TypeError, match="can't hold a bytes"):
        write_snapshot(tmp_path / "wrong", replace(make_report(make_unit()), archive=ArchiveId(b"x")))


# What the catalog calls a good backup


def run_id(hours: int) -> RunId:
    return RunId(f"{NOW + timedelta(hours=hours):%Y%m%dT%H%M%SZ}-4f3a")


def recorded(
    catalog: Catalog,
    hours: int,
    *,
    paths: str = "/",
    sealed: int = 2,
    groups: str = "ab",
    narrowed: bool = False,
) -> None:
    """A run that began so many hours after the first one, and sealed the first units of each group."""
    run, started = run_id(hours), NOW + timedelta(hours=hours)
    catalog.begin_run(run, started, paths=paths, narrowed=narrowed)
    units = [
        replace(make_unit("p", group, shard), run=run, users=(f"jane{shard}" if shard else "jane",))
        for group in groups
        for shard in range(2)
    ]
    catalog.plan_units(units)
    for unit in units:
        if unit.shard < sealed:
            archive = ArchiveId(f"{hours}{unit.group}{unit.shard}".encode().ljust(16))
            catalog.commit_unit(
                replace(make_report(unit), archive=archive),
                sealed=started + timedelta(minutes=1 + unit.shard),
            )
    catalog.end_run(run, started + timedelta(minutes=5))


def good(catalog: Catalog) -> dict[str, tuple[RunId | None, datetime | None]]:
    return {
        f"{backup.partition}/{backup.group}": (backup.run, backup.sealed) for backup in catalog.last_good()
    }


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as catalog:
        yield catalog


def sealed(hours: int) -> tuple[RunId, datetime]:
    return run_id(hours), NOW + timedelta(hours=hours, minutes=2)


def test_good_is_the_newest_run_that_sealed_all_of_a_group(catalog: Catalog) -> None:
    assert good(catalog) == {}
    recorded(catalog, 0, sealed=1)
    assert good(catalog) == {"p/a": (None, None), "p/b": (None, None)}
    recorded(catalog, 1)
    recorded(catalog, 2, groups="a", paths="/p/a")
    recorded(catalog, 3, sealed=1)
    assert good(catalog) == {"p/a": sealed(2), "p/b": sealed(1)}


@pytest.mark.parametrize(
    ("paths", "narrowed", "counts"),
    [
        ("/", False, True),
        ("/p", False, True),
        ("/p/a", False, True),
        ("/p/user", False, True),
        ("/q /p/a/jane /p/a", False, True),
        ("/p/a/jane", False, False),
        ("/p/a/jane doe", False, False),
        ("/q", False, False),
        ("", False, False),  # known from archives only
        ("/", True, False),
    ],
)
def test_a_run_over_less_than_a_group_is_no_good_one(
    catalog: Catalog, paths: str, narrowed: bool, counts: bool
) -> None:
    recorded(catalog, 0)
    recorded(catalog, 1, paths=paths, narrowed=narrowed)
    assert good(catalog)["p/a"] == sealed(1 if counts else 0)


def test_runs_can_be_limited_to_the_newest(catalog: Catalog) -> None:
    for hours in range(4):
        recorded(catalog, hours)
    assert [run.run for run in catalog.runs(2)] == [run_id(3), run_id(2)]
    assert len(catalog.runs()) == 4


# The look from outside


def look(staging: Path) -> Overview:
    return take_overview(staging, NOW)


def test_nothing_there_yet(tmp_path: Path) -> None:
    overview = look(tmp_path)
    assert (overview.owner, overview.run, overview.receiver) == (None, None, None)
    assert (overview.runs, overview.good) == ((), ())
    assert overview.room.total_bytes >= overview.room.free_bytes > 0


def test_a_run_is_seen_while_its_owner_holds_the_lock(catalog: Catalog, tmp_path: Path) -> None:
    catalog.begin_run(RUN, NOW, paths="/")
    course = Course(FakeClock(), os.getpid())
    with RunLock(tmp_path) as lock:
        lock.note_run(RUN)
        write_snapshot(status_file(tmp_path), course.status())
        during = look(tmp_path)
        # What another program has left there is not told.
        write_snapshot(status_file(tmp_path), Course(FakeClock(), os.getpid() + 1).status())
        foreign = look(tmp_path)
    write_snapshot(status_file(tmp_path), course.status())
    after = look(tmp_path)
    assert during.run is not None
    assert (during.run.pid, during.runs[0].state) == (os.getpid(), "running")
    assert (foreign.run, foreign.owner) == (None, during.owner)
    assert (after.run, after.owner, after.runs[0].state) == (None, None, "interrupted")


def test_only_configured_groups_are_wanted(catalog: Catalog, tmp_path: Path) -> None:
    recorded(catalog, 0)
    overview = take_overview(tmp_path, NOW, wanted={("p", "b"), ("q", "b")})
    assert [(backup.partition, backup.group) for backup in overview.good] == [("p", "b")]


def test_a_damaged_catalog_is_told(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    (tmp_path / ".mailhaul" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError):
        look(tmp_path)


def test_the_receiver_is_seen_as_it_wrote_itself(tmp_path: Path) -> None:
    stream = StreamStatus(file="p/g/x.mha", host="store01", epoch=3, written_bytes=7, waiting="", since=START)
    status = make_receiver_status(streams=(stream,))
    write_status(tmp_path, status)
    assert look(tmp_path).receiver == status
