"""Carries out ``mailhaul backup``: the run, its display, what is told of it in the end.

Apart from the command, because it takes long to load: as long as its workers take for their part.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...proto.errors import EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.records import Progress, RunId, Unit, UnitReport
from ...proto.structs import Record, replace
from ..inventory import Failure
from ..observers import RunObserver
from ..places import device_warning, on_same_device
from ..plan import Plan
from ..request import Request
from ..result import RunResult
from ..run import resume_run, run_to_staging
from ..settings import Config
from ..structure_keys import keys_at
from . import adapters, output
from .backup_report import document, summary, tell_on_stderr
from .encryption import prepare_encryption, say_once_what_is_in_clear, say_that_stream_is_in_clear
from .governed import governed
from .means import admission, open_means
from .options import STDIO
from .output import counted, note, say, size
from .progress import Amount, Display, make_display
from .watching import watched_run


class Asked(Record, kw_only=True):
    """What was said on the command line beside the configuration. ``resume`` goes on with that run instead of
    beginning with the request; ``file`` takes everything instead of the staging area. ``again`` gives the
    command that goes on with a run, ``begins`` is called with the run that is about to begin; ``config_file``
    is the configuration that was named."""

    request: Request
    resume: str | None
    again: Callable[[str], str]
    begins: Callable[[str], object]
    config_file: Path | None
    file: str | None
    now: bool
    metrics_listen: str | None
    log_file: Path | None
    as_json: bool


def carry_out(config: Config, asked: Asked) -> int:
    """Do what is asked for, and tell of it. Returns the exit status."""
    clock = adapters.clock()
    began = clock.monotonic()
    with make_display(clock, as_json=asked.as_json) as display:
        observer = _Observer(display, asked.begins, quiet=asked.as_json)
        if asked.file is not None:
            result = _to_stream(config, asked, asked.file, observer)
        else:
            with watched_run(config, clock, observer, asked.metrics_listen, asked.log_file) as watched:
                try:
                    result = _to_staging(config, asked, watched)
                except KeyboardInterrupt:
                    if observer.planned_run:
                        again = asked.again(observer.planned_run)
                        note(f"what is sealed stays; `{again}` goes on with the rest")
                    raise
    seconds = clock.monotonic() - began
    files = _archive_files(result, config, asked.file)
    tell_on_stderr(result)
    if asked.as_json:
        output.print_json(document(result, seconds, files))
    else:
        tell = note if asked.file == STDIO else say
        for line in summary(result, seconds, files):
            tell(line)
    if result.failures:
        return EXIT_FAILED
    return EXIT_SKIPPED if result.left_out or result.alarms or result.troubles else EXIT_OK


def _to_staging(config: Config, asked: Asked, observer: RunObserver) -> RunResult:
    staging = config.staging
    if not staging.same_device and (together := on_same_device(config.partitions, staging.path)):
        note(device_warning(together))
    prepare_encryption(config)
    admit = admission(config, now=asked.now, waiting=observer.waiting)
    with open_means(config, observer, admit) as means:
        if config.destinations or config.sweep.places:
            from .pressure import Sweeper, relieved

            sweep = Sweeper(asked.config_file)
            means = replace(
                means,
                backup=relieved(means.backup, sweep),
                small_night=relieved(means.small_night, sweep),
            )
        if asked.resume is not None:
            result = resume_run(config, asked.resume, means)
        else:
            result = run_to_staging(config, asked.request, means)
    say_once_what_is_in_clear(config)
    return result


def _to_stream(config: Config, asked: Asked, file: str, observer: RunObserver) -> RunResult:
    from ...worker.staging.sinks import StreamSink
    from ..stream_run import StreamMeans, run_to_stream
    from .archive_file import archive_stream

    prepare_encryption(config)
    sealing = keys_at(config.staging.path).sealing
    name = "the standard output" if file == STDIO else os.path.abspath(file)
    admit = admission(config, now=asked.now, waiting=observer.waiting)
    means = StreamMeans(
        clock=adapters.clock(),
        inventory=adapters.make_engine(0),
        backup=adapters.make_engine(0, admit, attempts=1),
        observer=observer,
        hooks=adapters.hooks(config),
    )
    with governed(config, observer.minding), archive_stream(file) as stream:
        result = run_to_stream(config, asked.request, StreamSink(stream, name), means, sealing)
    if sealing is None:
        say_that_stream_is_in_clear()
    return result


def _archive_files(result: RunResult, config: Config, file: str | None) -> list[str]:
    if file is not None:
        return [] if file == STDIO else [os.path.abspath(file)]
    return sorted(
        str(config.staging.path / report.name) for report in result.reports if report.archive is not None
    )


class _Observer(RunObserver):
    """Shows a run on the terminal."""

    def __init__(self, display: Display, begins: Callable[[str], object], *, quiet: bool) -> None:
        self._display = display
        self._begins = begins
        self._quiet = quiet
        self._waiting = ""
        self._run = ""
        self.planned_run = ""
        """The run that can go on; empty until its plan is on record."""

    def begun(self, run: RunId) -> None:
        """See RunObserver."""
        self._run = run
        self._begins(run)

    def planned(self, plan: Plan) -> None:
        """See RunObserver."""
        self.planned_run = self._run
        if not self._quiet:
            mailboxes = {(unit.partition.name, user) for unit in plan.units for user in unit.users}
            found = Amount(sum(one.messages for one in plan.units), sum(one.size_bytes for one in plan.units))
            self._display.say(
                f"found {counted(len(mailboxes), 'mailbox', 'mailboxes')}, "
                f"{counted(found.messages, 'message')}, {size(found.size_bytes)}"
            )
        self._display.begin({one.label: Amount(one.messages, one.size_bytes) for one in plan.units})

    def attempted(self, unit: Unit, host: str, attempt: int) -> None:  # noqa: ARG002
        """See RunObserver."""
        self._display.begun(unit.label, host)

    def progress(self, progress: Progress) -> None:
        """See RunObserver."""
        self._display.progress(progress)

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """See RunObserver."""
        self._display.end(unit.label, Amount(report.messages, report.size_bytes))

    def minding(self, text: str) -> None:
        """See RunObserver."""
        self._display.say(text)

    def failed(self, failure: Failure) -> None:
        """See RunObserver."""
        self._display.say(f"failed: {failure.what}: {failure.error.message}")

    def host_changed(self, host: str, error: BackupError | None) -> None:
        """See RunObserver."""
        self._display.say(f"host {host} is lost: {error.message}" if error else f"host {host} is back")

    def waiting(self, reason: str) -> None:
        """See RunObserver."""
        if reason != self._waiting:
            self._waiting = reason
            self._display.say(reason or "the run goes on")
