"""Ways to look at a run beside the terminal: its status for other commands, metrics, a log of events."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from ...proto.errors import BackupError
from ...proto.ports import Clock
from ...proto.records import RunId
from ..clock import utc
from ..monitoring.course import Course
from ..monitoring.log import Log, LogFile, RunLog
from ..monitoring.status import status_file
from ..observers import Observers, RunObserver
from ..settings import Config
from ..snapshots import Publisher
from .noticing import is_heard
from .output import note
from .program import Invocation


@contextmanager
def watched_run(
    config: Config, clock: Clock, display: RunObserver, listen: str | None, log_file: Path | None
) -> Iterator[RunObserver]:
    """The observer of a run: the display, and all that the configuration and these options ask for.

    Raises StagingError if the log can't be written.
    """
    course = Course(clock, os.getpid())
    with ExitStack() as stack:
        told = [display, course, _Published(config, clock, course, listen or config.metrics.listen, stack)]
        if log := open_log(config, clock, log_file, stack):
            told.append(RunLog(log))
        if is_heard(config):
            from ..notices.run_notices import RunNotices  # most who back up by hand do without

            now = partial(_utc, clock)
            told.append(RunNotices(config.staging.path, now, note, resumed=_is_of_the_queue()))
        yield Observers(*told)


def _utc(clock: Clock) -> datetime:
    return utc(clock.now())


def _is_of_the_queue() -> bool:
    """Whether the run is an operation of the queue, which goes on when it was interrupted."""
    context = click.get_current_context(silent=True)
    invocation = context and context.find_object(Invocation)
    return bool(invocation and invocation.operation)


def open_log(config: Config, clock: Clock, log_file: Path | None, stack: ExitStack) -> Log | None:
    """The log of this option or the configuration; ``stack`` closes it. Raises StagingError."""
    file = log_file or config.log.file
    if file is None:
        return None
    opened = LogFile(file)
    stack.callback(opened.close)
    return Log(clock, opened.write)


class _Published(RunObserver):
    """Shows a run to others from the moment on at which it holds the lock: what another run shows before
    is left alone. ``stack`` ends it."""

    def __init__(self, config: Config, clock: Clock, course: Course, listen: str, stack: ExitStack) -> None:
        self._config = config
        self._clock = clock
        self._course = course
        self._listen = listen
        self._stack = stack

    def begun(self, run: RunId) -> None:  # noqa: ARG002
        """See RunObserver."""
        if self._listen or self._config.metrics.textfile is not None:
            self._publish_metrics()
        status = status_file(self._config.staging.path)
        self._stack.enter_context(Publisher(status, self._course.status))

    def _publish_metrics(self) -> None:
        # They cost a tenth of the start of a backup, and not everybody has Prometheus.
        from ..monitoring.exposition import make_registry, serve_metrics, write_textfile
        from ..monitoring.metrics import staging_collectors

        registry = make_registry(*staging_collectors(self._config, self._clock, self._course.status))
        if textfile := self._config.metrics.textfile:
            self._stack.callback(_attempt, partial(write_textfile, registry, textfile))
        if self._listen:
            _attempt(lambda: self._stack.enter_context(serve_metrics(registry, self._listen)))


def _attempt(publish: Callable[[], object]) -> None:
    """Metrics that can't be had are told of; a night's backup is worth more than they are."""
    try:
        publish()
    except BackupError as error:
        note(f"{error.message}: the run goes on without")
