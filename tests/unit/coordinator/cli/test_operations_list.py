"""What people see of the queue: on a narrow terminal, too, what matters is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import ENDED, Kind, Request, State
from mailhaul.coordinator.serving.files import file_of
from mailhaul.coordinator.serving.progress import OperationProgress
from mailhaul.coordinator.snapshots import as_json

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


class Clock:
    """It is a day later."""

    def now(self) -> float:
        return (NOW + timedelta(days=1)).timestamp()

    def monotonic(self) -> float:
        return self.now()


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operations:
    monkeypatch.setattr(adapters, "clock", Clock)
    monkeypatch.setenv("COLUMNS", "80")
    return Operations(tmp_path)


def put(queue: Operations, hours: int, state: State, kind: Kind, *arguments: str, error: str = "") -> int:
    """An operation that was asked for then, and is in this state."""
    when = NOW + timedelta(hours=hours)
    number = queue.add(Request(kind=kind, arguments=arguments, asked_by="cli:root"), when).id
    if state != "waiting":
        queue.begin(number, 4711, when + timedelta(minutes=1))
    if state == "stopping":
        queue.stopping(number)
    if state in ENDED:
        status = {"done": 0, "partial": 3, "interrupted": 143}.get(state, 1)
        queue.end(number, state, when + timedelta(minutes=9), exit_status=status, error=error)
    return number


def listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What a terminal shows."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdout.isatty", lambda: True, raising=False)
        assert main(["operations", "list", "--staging", str(tmp_path)]) == 0
    return click.unstyle(capsys.readouterr().out).splitlines()


def test_all_states_on_a_terminal_of_80_columns(
    queue: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        put(queue, number - 1000, "done", "restore", f"/primary/staff/user{number}@example.org/Archive/2026/")
    waiting = put(queue, 0, "waiting", "backup", "/primary/staff")
    queue.wait_for(waiting, "waits for the purge 23")
    put(queue, 1, "interrupted", "sweep")
    running = put(queue, 2, "running", "verify", "--older-than", "30d")
    told = OperationProgress(
        operation=running, written=NOW, messages=5, size_bytes=10**9, expected_messages=10,
        expected_bytes=2 * 10**9, bytes_per_second=5e6, seconds_left=200.0,
    )  # fmt: skip
    file_of(tmp_path, running, "json").parent.mkdir(parents=True)
    file_of(tmp_path, running, "json").write_text(as_json(told))
    tape = put(queue, 3, "running", "restore", "/primary/staff/jane@example.org")
    queue.held_up(tape, "waits for 2 archives: drive wants volume A00012L6 of pool staff, which is not there")
    put(queue, 4, "partial", "purge")
    put(queue, 5, "failed", "drill", error="vault can't be reached")
    put(queue, 6, "stopping", "inventory", "robot")
    lines = listed(tmp_path, capsys)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["id", "state", "since", "(UTC)", "operation"]
    assert lines[1].startswith(" 3  done ")
    (cut_off,) = {line[-1] for line in lines[1:19]}
    assert cut_off == "…"
    assert lines[19:] == [
        "25  partial      03-01 06:09  purge",
        "    something was skipped",
        "26  failed       03-01 07:09  drill",
        "    vault can't be reached",
        "23  running      03-01 04:01  verify --older-than 30d",
        "    1.0 GB of 2.0 GB, 5 of 10 messages, 5.0 MB/s, 3:20 left",
        "24  running      03-01 05:01  restore /primary/staff/jane@example.org",
        "    waits for 2 archives: drive wants volume A00012L6 of pool staff, which is",
        "    not there",
        "27  stopping     03-01 08:01  tape inventory robot",
        "21  waiting      03-01 02:00  backup /primary/staff",
        "    waits for the purge 23",
        "22  interrupted  03-01 03:09  sweep",
        "    goes on when `mailhaul serve` runs again",
    ]


def test_what_is_long_ago_has_its_year(
    queue: Operations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(queue, -24 * 400, "done", "purge")
    assert listed(tmp_path, capsys)[1].split()[:4] == ["1", "done", "2025-01-25", "purge"]
