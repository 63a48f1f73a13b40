"""The display of work on a terminal: a bar for each that goes on, and one for all."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

import rich.progress
from rich.console import Console
from rich.markup import escape

from ...proto.ports import Clock
from ...proto.records import Progress
from . import output
from .progress import Amount, Tally, Work, left, rates

_LABEL_WIDTH = 20


def on_stderr(clock: Clock) -> Bars:
    """Bars at the bottom of the terminal that stderr is."""
    return Bars(clock, Console(stderr=True))


class Bars:
    """A bar for each work that goes on, and one for all, at the bottom of a terminal."""

    def __init__(self, clock: Clock, console: Console) -> None:
        self._clock = clock
        self._tally = Tally({}, clock.monotonic())
        self._bars = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=None),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("{task.fields[rates]}", justify="right", markup=False),
            rich.progress.TextColumn("{task.fields[left]}", justify="right", markup=False),
            console=console,
            transient=True,
            expand=True,
        )
        self._all: rich.progress.TaskID | None = None
        self._ids: dict[str, rich.progress.TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, expected: Mapping[str, Amount]) -> None:
        """See Display."""
        self._tally = Tally(expected, self._clock.monotonic())
        self._all = self._add("all")
        self._show(self._all, self._tally.overall())

    def progress(self, told: Progress) -> None:
        """See Display."""
        work = self._tally.tell(told.unit, Amount(told.messages, told.size_bytes), self._clock.monotonic())
        if told.unit not in self._ids:
            self._ids[told.unit] = self._add(told.unit)
        self._show(self._ids[told.unit], work)
        self._show_all()

    def end(self, label: str, done: Amount) -> None:
        """See Display."""
        self._tally.end(label, done, self._clock.monotonic())
        if label in self._ids:
            self._bars.remove_task(self._ids.pop(label))
        self._show_all()

    def begun(self, label: str, host: str) -> None:
        """See Display. Not shown."""

    def say(self, line: str) -> None:
        """See Display."""
        self._bars.console.print(f"mailhaul: {escape(output.shown(line))}", highlight=False, soft_wrap=True)

    def _add(self, label: str) -> rich.progress.TaskID:
        short = label if len(label) <= _LABEL_WIDTH else "…" + label[1 - _LABEL_WIDTH :]
        return self._bars.add_task(output.shown(short), total=None, rates="", left="")

    def _show_all(self) -> None:
        if self._all is not None:
            self._show(self._all, self._tally.overall())

    def _show(self, task: rich.progress.TaskID, work: Work) -> None:
        self._bars.update(
            task,
            completed=work.done.size_bytes,
            total=work.expected.size_bytes or None,
            rates=rates(work),
            left=left(work),
        )
