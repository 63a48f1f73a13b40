"""What ``mailhaul status`` prints: every state in words, and nothing wider than a terminal."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import click
import pytest

from mailhaul.coordinator.cli import status_lines
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.governing.state import GovernorState
from mailhaul.coordinator.history import GoodBackup, RunRecord, RunState
from mailhaul.coordinator.inventory import Failure
from mailhaul.coordinator.monitoring.course import Course
from mailhaul.coordinator.monitoring.overview import Overview
from mailhaul.coordinator.monitoring.status import RunStatus
from mailhaul.proto.errors import HostLostError, StoreError
from mailhaul.proto.structs import replace
from mailhaul.worker.staging.receiver_status import StreamStatus
from mailhaul.worker.staging.space import Room

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

NOW = utc(START)
WIDE = 80


def make_overview(
    *, owner: str | None = None, run: RunStatus | None = None, runs: tuple[RunRecord, ...] = ()
) -> Overview:
    return Overview(
        staging=Path("/var/spool/mailhaul"),
        taken=NOW,
        owner=owner,
        run=run,
        receiver=None,
        room=Room(free_bytes=50_000_000_000, total_bytes=2_000_000_000_000, available_bytes=48_000_000_000),
        reserve_bytes=2_000_000_000,
        runs=runs,
        good=(),
    )


def make_past(state: RunState, sealed: int = 9) -> RunRecord:
    return RunRecord(
        run=RUN,
        started=NOW,
        ended=None if state == "interrupted" else NOW + timedelta(hours=7),
        state=state,
        paths="/",
        options="",
        error="",
        planned_units=9,
        sealed_units=sealed,
        failed_units=0,
        mailboxes=9,
        skipped=1_234,
        messages=123_456_789,
        size_bytes=12_345_678_901_234,
        new_bytes=0,
        archive_bytes=0,
    )


def shown(overview: Overview, capsys: pytest.CaptureFixture[str]) -> str:
    """What a terminal of 80 columns shows."""
    with pytest.MonkeyPatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        terminal.setenv("COLUMNS", str(WIDE))
        status_lines.show(overview)
    text = click.unstyle(capsys.readouterr().out)
    assert [line for line in text.splitlines() if len(line) > WIDE] == []
    return text


def busy_course() -> Course:
    clock = FakeClock()
    clock.seconds -= 7200
    course = Course(clock, 4711)
    course.begun(RUN)
    units = [make_unit("archive2024", "sales", shard, size_bytes=1_234_567_890_123) for shard in range(6)]
    course.planned(make_plan(*units, left_out=3))
    for unit in units[:4]:
        course.attempted(unit, "store01", 1 + unit.shard % 2)
        course.progress(make_progress(unit, 123_456_789_012, user="jane.doe@sales.example.org"))
    course.sealed(units[4], make_report(units[4]))
    clock.seconds = START
    course.progress(make_progress(units[1], 223_456_789_012, waiting="the staging area is full"))
    course.host_changed("store02", HostLostError("no word for 30 s"))
    for number in range(12):
        course.failed(Failure(what=f"partition{number}", error=StoreError("/srv: No such file or directory")))
    return course


def test_a_run_with_all_its_troubles(capsys: pytest.CaptureFixture[str]) -> None:
    course = busy_course()
    text = shown(make_overview(owner="pid 4711", run=course.status()), capsys)
    assert text.startswith(f"run {RUN} for 2:00:00 (pid 4711)\n")
    assert "units: 1 of 6 sealed, 4 running, 1 waiting\n" in text
    assert "read: 593.8 GB of about 6.2 TB, 59,382,715,704 messages\n" in text
    assert "skipped: 3 no-group\n" in text
    assert "archive2024/sales/1 (try 2)  store01  2:00:00" in text
    assert "archive2024/sales/1 waits: the staging area is full\n" in text
    assert "host store02 is lost: no word for 30 s\n" in text
    assert "partition9 failed: /srv: No such file or directory\nand 2 more failures\n" in text
    assert "room: 50.0 GB of 2.0 TB free; 2.0 GB of it stay free\n" in text


def test_a_run_that_waits_or_hangs_or_only_begins(capsys: pytest.CaptureFixture[str]) -> None:
    course = Course(FakeClock(), 4711)
    beginning = course.status()
    assert "run (being planned) for 0 s (pid 4711)\n\n" in shown(make_overview(run=beginning), capsys)
    course.waiting("outside the window 22:00-06:00")
    waiting = make_overview(run=course.status())
    assert "\nit waits: outside the window 22:00-06:00\n" in shown(waiting, capsys)
    hanging = replace(waiting, taken=NOW + timedelta(minutes=5))
    assert "it has not told anything for 5:00: what follows is that old\n" in shown(hanging, capsys)
    course.ended("partial")
    assert "(pid 4711): partial\n" in shown(make_overview(run=course.status()), capsys)


def test_hosts_whose_users_are_minded(capsys: pytest.CaptureFixture[str]) -> None:
    slow = GovernorState(
        host="mail01.example.org",
        pid=1,
        since=NOW,
        written=NOW,
        target_seconds=0.15,
        window_seconds=60.0,
        p95_seconds=1.2345,
        level=0.4,
        workers=3,
        why="users would wait too long",
    )
    unseen = replace(slow, host="mail02", blind="wrong\x1b[2J password", level=0.25, workers=1, why="")
    text = shown(replace(make_overview(), governed=(slow, unseen)), capsys)
    assert (
        "mail01.example.org: 95 of 100 times users wait 1,234 ms at most, target 150 ms\n"
        "  the work there goes on at 40%, by 3 workers\n"
        "  because users would wait too long\n"
    ) in text
    assert "mail02: how long users wait is not known: wrong%1B[2J password\n" in text
    assert "  the work there goes on at 25%, by 1 worker\n" in text


def test_when_no_run_is_going_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run is going on; there was none yet\n" in shown(make_overview(), capsys)
    in_use = shown(make_overview(owner="pid 1 on \x1b[2Jhost"), capsys)
    assert in_use.startswith("in use by pid 1 on %1B[2Jhost\nit tells nothing: no run, or one that just")
    done = shown(make_overview(runs=(make_past("done"), make_past("partial"))), capsys)
    assert f"no run is going on; the last one: {RUN}, done\n\n" in done
    assert f"{RUN}  7:00:00  partial  123,456,789  12.3 TB    1,234\n" in done
    all_sealed = shown(make_overview(runs=(make_past("partial"),)), capsys)
    assert "says why" in all_sealed
    assert "--resume" not in all_sealed
    left = shown(make_overview(runs=(make_past("interrupted", sealed=8),)), capsys)
    assert "`mailhaul backup --resume latest` goes on with it\n" in left
    assert f"{RUN}     -  interrupted" in left


def test_last_good_backups_and_their_age(capsys: pytest.CaptureFixture[str]) -> None:
    ages = (0, 300, 5399, 26 * 3600, 86400 * 12, None)
    good = tuple(
        GoodBackup(
            partition="p",
            group=f"g{number}",
            run=None if age is None else RUN,
            sealed=None if age is None else NOW - timedelta(seconds=age),
            mailboxes=40,
            behind=number,
        )
        for number, age in enumerate(ages)
    )
    text = shown(replace(make_overview(), good=good), capsys)
    rows = [line.split() for line in text.splitlines() if line.startswith("p/g")]
    assert [" ".join(row[2:]) for row in rows] == [
        "0 min 40",
        "5 min 40 1",
        "90 min 40 2",
        "26 h 40 3",
        "12 days 40 4",
        "none 40 5",
    ]
    assert "`mailhaul status --behind` lists those behind" in text
    assert rows[0][1] == "2026-11-21T22:00:00Z"


def test_the_receiver(capsys: pytest.CaptureFixture[str]) -> None:
    stream = StreamStatus(
        file=f"archive2024/sales/{RUN}.12.0123456789abcdef.mha",
        host="store01",
        epoch=65537,
        written_bytes=12_345_678_901,
        waiting="the staging area is full",
        since=START - 4000,
    )
    receiver = replace(make_receiver_status(streams=(stream,)), credit_stall_seconds=400.0)
    text = shown(replace(make_overview(), receiver=receiver), capsys)
    assert "receiver: up for 1:00, 1 stream, 3 B received\n" in text
    assert "workers had to wait for it 6 times, 6:40 in all\n" in text
    assert "it turned away 10 strangers, 9 malformed messages, 7 requests\n" in text
    assert f"archive2024/sales/{RUN}.12  store01  1:06:40  12.3 GB  65537\n" in text
    assert f"archive2024/sales/{RUN}.12 waits: the staging area is full\n" in text
    quiet = replace(receiver, streams=(), credit_stalls=0, strangers=0, malformed=0, refused=0)
    text = shown(replace(make_overview(), receiver=quiet), capsys)
    assert text.endswith("receiver: up for 1:00, 0 streams, 3 B received\n")
    gone = replace(make_overview(), receiver=replace(receiver, time=START - 90))
    assert "receiver: not heard from for 1:30 (pid 4711)\n" in shown(gone, capsys)


def test_a_full_staging_area(capsys: pytest.CaptureFixture[str]) -> None:
    room = Room(free_bytes=2_000_000_000, total_bytes=2_000_000_000_000, available_bytes=0)
    text = shown(replace(make_overview(), room=room), capsys)
    assert "room: 2.0 GB of 2.0 TB free; 2.0 GB of it stay free: it is full, workers wait\n" in text
