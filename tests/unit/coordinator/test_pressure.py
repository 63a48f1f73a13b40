"""A worker that waits for room has the staging area swept: one sweep at a time, and with a pause."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli.pressure import Sweeper, relieved
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import Progress
from mailhaul.worker.staging.space import FULL


def test_only_who_waits_for_room_has_a_sweep_started() -> None:
    told = [Progress("u", 1, 1), Progress("u", 1, 1, waiting="a hook"), Progress("u", 1, 1, waiting=FULL)]
    seen: list[Progress] = []
    started: list[int] = []

    def engine(
        _function: Callable[..., Any], _tasks: Sequence[Any], on_progress: ProgressSink
    ) -> Iterator[Any]:
        for progress in told:
            on_progress(progress)
            started.append(len(swept))
        return iter(())

    swept: list[bool] = []
    list(relieved(engine, lambda: swept.append(True))(lambda *_: None, [], seen.append))  # type: ignore[arg-type]
    assert seen == told
    assert started == [0, 0, 1]


def test_one_sweep_at_a_time_and_a_pause_between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Sequence[str]] = []

    class Program:
        ended: int | None = None

        def __init__(self, command: Sequence[str], **_more: object) -> None:
            started.append(command)

        def poll(self) -> int | None:
            return Program.ended

    monkeypatch.setattr("subprocess.Popen", Program)
    now = 1000.0
    sweep = Sweeper(Path("/etc/m.toml"), lambda: now)
    sweep()
    sweep()
    assert len(started) == 1
    assert list(started[0][-3:]) == ["--config", "/etc/m.toml", "sweep"]
    Program.ended = 0
    sweep()
    assert len(started) == 1
    now += 61
    sweep()
    assert len(started) == 2


def test_the_program_can_be_started() -> None:
    sweep = Sweeper(Path("/nowhere/m.toml"))
    sweep()
    assert sweep._going is not None
    assert sweep._going.wait(60) == 2, "a configuration that is not there"
