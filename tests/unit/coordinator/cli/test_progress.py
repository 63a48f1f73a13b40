"""What a display is told and what it shows."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from mailhaul.coordinator.cli import progress
from mailhaul.coordinator.cli.bars import Bars
from mailhaul.coordinator.cli.progress import Amount, Lines, Tally, make_display, watched
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import Progress

MB = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_tally_corrects_what_was_expected() -> None:
    tally = Tally({"a": Amount(10, 100), "b": Amount(10, 100)}, 0)
    tally.tell("a", Amount(5, 50), 1)
    assert (tally.done, tally.expected) == (Amount(5, 50), Amount(20, 200))
    tally.end("a", Amount(12, 130), 2)
    assert (tally.done, tally.expected) == (Amount(12, 130), Amount(22, 230))
    tally.tell("b", Amount(8, 90), 3)
    tally.tell("b", Amount(1, 10), 4)  # tried again
    assert tally.done == Amount(13, 140)
    tally.end("b", Amount(10, 100), 5)
    assert tally.done == tally.expected == Amount(22, 230)


def test_rates_are_those_of_the_last_seconds() -> None:
    tally = Tally({"a": Amount(1000, 378 * MB)}, 0)
    for second in range(1, 121):
        size = min(second, 50) * MB + max(second - 50, 0) * 4 * MB
        tally.tell("a", Amount(second, size), second)
    work = tally.overall()
    messages, size_bytes = work.meter.rates()
    assert (round(messages, 1), round(size_bytes / MB, 1)) == (1.0, 4.0)
    assert progress.rates(work) == "4.0 MB/s 1 msg/s"
    assert progress.left(work) == "0:12"


def test_nothing_is_left_where_it_is_not_known() -> None:
    tally = Tally({}, 0)
    assert progress.left(tally.overall()) == ""
    tally.tell("a", Amount(1, 10), 1)
    assert progress.left(tally.overall()) == ""


def test_lines_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Lines(clock) as display:
        display.begin({"a": Amount(100, 60 * MB)})
        for second in range(1, 26):
            clock.time = 1000.0 + second
            display.progress(Progress("a", second, second * MB))
        display.end("a", Amount(100, 60 * MB))
    assert capsys.readouterr().err.splitlines() == [
        "mailhaul: 10.0 MB of 60.0 MB, 10 of 100 messages, 1.0 MB/s 1 msg/s, 0:50 left",
        "mailhaul: 20.0 MB of 60.0 MB, 20 of 100 messages, 1.0 MB/s 1 msg/s, 0:40 left",
        "mailhaul: 60.0 MB of 60.0 MB, 100 of 100 messages, 2.4 MB/s 4 msg/s, in 25 s",
    ]


def test_lines_say_nothing_where_nothing_is_done_or_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Lines(clock) as display:
        display.begin({})
    with Lines(clock, quiet=True) as display:
        display.begin({"a": Amount(1, 1)})
        clock.time += 60
        display.progress(Progress("a", 1, 1))
        display.end("a", Amount(1, 1))
    assert capsys.readouterr().err == ""
    with Lines(clock, quiet=True) as display:
        display.say("failed: a")
    assert capsys.readouterr().err == "mailhaul: failed: a\n"


@pytest.mark.parametrize("width", [30, 80, 200])
def test_bars_fit_the_terminal(width: int) -> None:
    clock = Clock()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, height=25, color_system=None)
    with Bars(clock, console) as display:
        display.begin({f"primary/sales/{i}": Amount(1000, 100 * MB) for i in range(3)})
        display.progress(Progress("primary/sales/0", 0, 0))
        clock.time += 4
        display.progress(Progress("primary/sales/0", 250, 25 * MB))
        display.progress(Progress("primary/[red]and-a-very-long-name/0\x1b", 1, 1))
        display._bars.refresh()
        shown = screen.getvalue()
        display.say("failed: [bold]x")
        display.end("primary/sales/0", Amount(1000, 100 * MB))
        display.end("unheard of", Amount())
    lines = [line for line in shown.split("\r")[-1].splitlines() if line.strip()]
    assert all(len(line.replace("\x1b[2K", "").replace("\x1b[1A", "")) <= width for line in lines)
    assert "failed: [bold]x" in screen.getvalue()
    if width >= 80:
        assert "6.2 MB/s 62 msg/s" in shown
        assert "25%" in shown
        assert "0:12" in shown


def test_bars_on_a_terminal_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_display(Clock(), as_json=False), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(make_display(Clock(), as_json=True), Bars)


@dataclass(frozen=True)
class Job:
    """A task that is just a number."""

    number: int
    hosts: tuple[str, ...] = ()
    label: str = ""

    def attempted(self, host: str, attempt: int) -> int:
        return self.number


def _double(number: int, on_progress: ProgressSink) -> int:
    on_progress(Progress(str(number), number, number))
    return 2 * number


def test_a_watched_engine_tells_the_display(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Lines(clock) as display:
        display.begin({"1": Amount(2, 2), "2": Amount(4, 4)})
        engine = watched(
            local_engine(0),
            display,
            lambda outcome: (str(outcome.task.number), Amount(outcome.report or 0, outcome.report or 0)),
        )
        outcomes = list(engine(_double, [Job(1), Job(2)], display.progress))
    assert [one.report for one in outcomes] == [2, 4]
    assert "6 B of 6 B, 6 of 6 messages" in capsys.readouterr().err
