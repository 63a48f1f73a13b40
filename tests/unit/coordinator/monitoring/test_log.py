"""The log of events: their form, what a run leaves in it, files that are moved away or full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.coordinator.inventory import Failure
from mailhaul.coordinator.monitoring.log import Log, LogFile, RunLog
from mailhaul.proto.errors import HostLostError, StagingError, StoreError

from ....watched import RUN, FakeClock, make_plan, make_progress, make_report, make_unit

TIME = "2026-11-21T22:00:00.000Z"


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def log(lines: list[str]) -> Log:
    return Log(FakeClock(), lines.append)


def test_an_event_is_one_line_of_json(log: Log, lines: list[str]) -> None:
    log.bind(run="r").bind(host="store01").info(
        "unit.sealed", file="p/g/x\n.mha", user="j\udcffne", messages=3
    )
    (line,) = lines
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "time": TIME,
        "level": "info",
        "event": "unit.sealed",
        "run": "r",
        "host": "store01",
        "file": "p/g/x\n.mha",
        "user": "j\udcffne",
        "messages": 3,
    }


def test_errors_carry_their_code_and_not_their_facts(log: Log, lines: list[str]) -> None:
    log.error("unit.failed", StoreError("/srv: gone", traceback="secret"), shard=1)
    log.error("run.ended", KeyboardInterrupt())
    first, second = map(json.loads, lines)
    assert {name: first[name] for name in ("level", "shard", "code", "error")} == {
        "level": "error",
        "shard": 1,
        "code": "store",
        "error": "/srv: gone",
    }
    assert "secret" not in lines[0]
    assert (second["code"], second["error"]) == ("unexpected", "KeyboardInterrupt")


def test_what_components_tell_has_a_level_by_its_name(log: Log, lines: list[str]) -> None:
    for name in ("stream.opened", "stream.refused", "status.failed"):
        log.note(name, {"stream": 1})
    assert [json.loads(line)["level"] for line in lines] == ["info", "warning", "warning"]


def test_a_run_from_beginning_to_end(log: Log, lines: list[str]) -> None:
    run, unit, other = RunLog(log), make_unit(), make_unit(group="sales")
    run.begun(RUN)
    run.planned(make_plan(unit, other, left_out=1))
    run.attempted(unit, "store01", 2)
    run.progress(make_progress(unit, 10))
    for waiting in ("", "full", "full", ""):
        run.progress(make_progress(unit, 10, waiting=waiting))
        run.waiting(waiting)
    run.host_changed("store01", HostLostError("no word"))
    run.host_changed("store01", None)
    run.sealed(unit, make_report(unit, skipped=("changed", "changed")))
    run.failed(Failure(what=other.label, error=StoreError("gone")))
    run.failed(Failure(what="archive", error=StoreError("gone")))
    run.ended("partial")
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == [
        "run.started",
        "run.planned",
        "unit.started",
        "unit.waiting",
        "run.waiting",
        "unit.continued",
        "run.continued",
        "host.lost",
        "host.back",
        "unit.sealed",
        "unit.failed",
        "partition.failed",
        "run.ended",
    ]
    assert {one["run"] for one in events} == {RUN}
    by_name = {one["event"]: one for one in events}
    bound = {"partition": "primary", "group": "user", "shard": 0, "host": "store01", "attempt": 2}
    assert bound.items() <= by_name["unit.started"].items()
    assert bound.items() <= by_name["unit.sealed"].items()
    assert by_name["unit.sealed"]["skipped"] == {"changed": 2}
    assert (by_name["run.planned"]["units"], by_name["run.planned"]["left_out"]) == (2, 1)
    assert (by_name["unit.failed"]["group"], by_name["partition.failed"]["what"]) == ("sales", "archive")
    assert by_name["run.ended"]["state"] == "partial"
    # No user of any mailbox, of which the progress tells.
    assert "jane" not in "".join(lines)


def test_a_run_that_was_broken_off(log: Log, lines: list[str]) -> None:
    run = RunLog(log)
    run.begun(RUN)
    run.ended("failed", StagingError("No space left on device"))
    assert json.loads(lines[-1])["error"] == "No space left on device"


def test_a_file_is_appended_to_and_followed_where_it_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "mailhaul.log"
    path.write_text("before\n")
    first, second = LogFile(path), LogFile(path)
    first.write("one")
    path.rename(tmp_path / "mailhaul.log.1")
    first.write("two")
    second.write("three \udcff")
    first.close()
    second.close()
    assert (tmp_path / "mailhaul.log.1").read_text() == "before\none\n"
    assert path.read_text() == "two\nthree \\udcff\n"
    assert path.stat().st_mode & 0o027 == 0


def test_lines_that_found_no_room_are_counted(tmp_path: Path) -> None:
    call = f"""
import resource, signal
from pathlib import Path
from mailhaul.coordinator.monitoring.log import LogFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = LogFile(Path({str(tmp_path / "log")!r}))
log.write('"fits"')
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
log.write('"fits in part"')
log.write('"does not fit"')
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.write('"fits again"')
log.close()
"""
    subprocess.run([sys.executable, "-c", call], check=True, timeout=60)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0] == '"fits"'
    assert '"does not fit"' not in lines
    assert [json.loads(line) for line in lines[-2:]] == [{"event": "log.lost", "lines": 2}, "fits again"]


def test_a_log_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="the log can't be written: No such file or directory"):
        LogFile(tmp_path / "none" / "log")
