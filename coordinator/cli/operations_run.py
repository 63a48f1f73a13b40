"""``mailhaul operations run``: what `mailhaul serve` starts for each operation."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from ...proto.errors import EXIT_LOCKED, EXIT_OK, EXIT_SKIPPED, BackupError, LockedError
from ...proto.keys.identities import Identity, handed_identity
from ...proto.ports import Clock
from ..clock import utc
from ..service.operations import Operations
from ..service.records import State
from ..serving.aftermath import resumable
from ..serving.files import Output, Said, carrying_out, file_of, open_output, open_stderr
from ..serving.given_files import forget_given, given
from ..settings import Config
from ..snapshots import Publisher
from . import adapters
from .configuration import configured, found_configuration
from .identities import configured_identity
from .main import EXIT_INTERRUPTED, EXIT_TERMINATED, outcome
from .operation_display import OperationDisplay
from .operation_words import TAKES_KEYS, named_keys, words_of
from .output import note, shown
from .program import Invocation, run
from .progress import Display

_ENDS: dict[int, State] = {EXIT_OK: "done", EXIT_SKIPPED: "partial", EXIT_LOCKED: "partial"}
"""A purge that could not delete what is being read has done all else."""

_HANDED = "the key that was handed in"


@click.command("run", hidden=True)
@click.argument("operation", type=click.IntRange(1), metavar="ID")
@click.option(
    "--key",
    "descriptor",
    type=click.IntRange(3),
    metavar="NUMBER",
    help="The file descriptor at which the private key is that was handed in for it.",
)
@click.pass_obj
def command(invocation: Invocation, operation: int, descriptor: int | None) -> int:
    """Carry out an operation that waits, in this process.

    \b
    Example:
      mailhaul operations run 12
    """
    handed = b"" if descriptor is None else _read(descriptor)
    config = configured(invocation)
    with carrying_out(config.staging.path, operation):
        return _Carrying(config, operation, found_configuration(invocation), handed).carry_out()


def _read(descriptor: int) -> bytes:
    """What was handed in, which no process that is started from here is to find."""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


class _Carrying:
    """An operation whose lock this process holds. It is a ``Carried``."""

    def __init__(self, config: Config, number: int, file: Path | None, handed: bytes) -> None:
        self._area = area = config.staging.path
        self._number = number
        self._serve = config.serve
        self._config = file
        self._handed = handed
        self._clock: Clock = adapters.clock()
        self._held_up = ""
        self._queue = Operations(area)
        self._said = Said(file_of(area, number, "err"), open_stderr(area, number))
        self._display = OperationDisplay(number, self._clock, self._said)

    @property
    def display(self) -> Display:
        """See Carried."""
        return self._display

    def begins(self, what: str) -> None:
        """See Carried."""
        self._queue.carries(self._number, what)

    def given(self, parameter: str) -> Path | None:
        """See Carried."""
        return given(self._area, self._number, parameter)

    def waits(self, why: str) -> None:
        """See Carried."""
        if why != self._held_up:
            # Where that can't be put on record, it only counts among those that do something.
            with suppress(BackupError):
                self._queue.held_up(self._number, shown(why))
                self._held_up = why

    def carry_out(self) -> int:
        """From the beginning to the end on record. Returns the exit status of the command."""
        inner = Invocation(operation=self)
        error = ""
        with self._streams():
            try:
                if not self._queue.begin(self._number, os.getpid(), utc(self._clock.now())):
                    note(f"operation {self._number} does not wait any more")
                    return EXIT_OK
                inner.identity = self._identity()
                with Publisher(file_of(self._area, self._number, "json"), self._display.taken):
                    status = run(self._words(), inner)
            except LockedError as locked:
                status = outcome(locked, inner)
                resumes = resumable(self._area, self._queue.get(self._number))
                if self._queue.put_back(self._number, f"waits: {locked.message}", resumes):
                    return status
                # It was asked to stop meanwhile: it has not begun, and does not.
                status, error = EXIT_TERMINATED, ""
            except BaseException as raised:
                status = outcome(raised, inner)
                error = getattr(raised, "message", "") or str(raised)
            signal.signal(
                signal.SIGTERM, signal.SIG_IGN
            )  # how it ended is known, whoever wants it to end now
        self._end(status, error)
        return status

    def _identity(self) -> Identity | None:
        """What it may open archives with; None if it names private keys itself, as those are what it takes.
        What was handed in for it, else what is configured. Raises AccessError."""
        request = self._queue.get(self._number).request
        if request.kind not in TAKES_KEYS or named_keys(request.kind, request.arguments)[0]:
            return None
        if self._handed:
            return handed_identity(_HANDED, self._handed, "")[0]
        if not self._serve.identities:
            return None
        return configured_identity(self._serve.identities, self._serve.passphrase_files)

    def _words(self) -> list[str]:
        named = [] if self._config is None else ["--config", str(self._config)]
        return [*named, *words_of(self._queue.get(self._number))]

    def _end(self, status: int, error: str) -> None:
        state = _ENDS.get(status, "failed")
        if status in (EXIT_TERMINATED, EXIT_INTERRUPTED):
            asked = self._queue.get(self._number).state == "stopping"
            state, error = ("stopped", "") if asked else ("interrupted", "")
        if state == "failed" and not error:
            said = next(reversed(self._said.lines), "")
            error = said or f"exit code {status}: its result says why (mailhaul operations show --json)"
        now = utc(self._clock.now())
        self._queue.end(self._number, state, now, exit_status=status, error=error)
        if state != "interrupted":
            forget_given(self._area, self._number)

    @contextmanager
    def _streams(self) -> Iterator[None]:
        """What is printed goes to the operation's files."""
        before = sys.stdout, sys.stderr
        printed = Output(open_output(self._area, self._number))
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(printed), errors="backslashreplace")
        sys.stderr = io.TextIOWrapper(self._said, errors="backslashreplace", write_through=True)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stdout, sys.stderr = before
