"""One call of a hook: a process of its own, with all that it starts, for a bounded time."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

_OUTPUT_BYTES = 4000  # so much of what a hook says last is kept
_LOOK_SECONDS = 0.2
_TERM_SECONDS = 5.0


def run_hook(
    command: Sequence[str],
    facts: Mapping[str, Any],
    environment: Mapping[str, str],
    seconds: float,
    stop: Event,
) -> tuple[str, str]:
    """Call a program with these facts, and wait for it so long, or until ``stop``. Returns why it failed, or
    nothing, and what it said last.

    In a thread, which no Ctrl-C interrupts just when it has started what has to be ended.
    """
    answers: list[tuple[str, str]] = []
    ended = Event()

    def call() -> None:
        try:
            answers.append(_call(command, facts, environment, seconds, stop))
        finally:
            ended.set()

    try:
        Thread(target=call).start()
        # Not join: of Python 3.9 to 3.12 it takes a thread for ended when it is interrupted itself.
        ended.wait()
    except BaseException:
        stop.set()
        ended.wait(3 * _TERM_SECONDS)  # where it has not begun: when it does, it ends
        raise
    return answers[0]


def _call(
    command: Sequence[str],
    facts: Mapping[str, Any],
    environment: Mapping[str, str],
    seconds: float,
    stop: Event,
) -> tuple[str, str]:
    variables = {
        f"MAILHAUL_{key.upper()}": str(value)
        for key, value in facts.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    until = time.monotonic() + seconds
    reading, writing = os.pipe()
    try:
        # Facts in a file: a program that does not read them does not keep anybody waiting.
        with tempfile.TemporaryFile() as given, os.fdopen(writing, "wb") as said:
            given.write(json.dumps(facts).encode())
            given.seek(0)
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**environment, **variables},
                start_new_session=True,
            )
        try:
            output = _output(process, reading, until, stop)
        finally:
            ended = _end(process)
    except (OSError, ValueError) as error:
        return f"can't be called: {getattr(error, 'strerror', None) or error}", ""
    finally:
        os.close(reading)
    if ended is None:
        return ("was ended" if stop.is_set() else f"was ended after {seconds:.0f} s"), output
    if ended:
        return (f"ended with {ended}" if ended > 0 else f"was killed by signal {-ended}"), output
    return "", output


def _output(process: subprocess.Popen[bytes], reading: int, until: float, stop: Event) -> str:
    """What a hook says until it has ended, or its time is over: the last of it."""
    said = b""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        over = process.poll() is not None
        ready = poll.poll(0 if over else min(left, _LOOK_SECONDS) * 1000)
        data = os.read(reading, 1 << 16) if ready else b""
        said = (said + data)[-_OUTPUT_BYTES:]
        if over and not data:
            break  # whoever was left in the background may hold the pipe
        if ready and not data:
            stop.wait(_LOOK_SECONDS)  # it has closed its output, and goes on
    return said.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """How a hook has ended; None if it had not, and so was made to, with all that it had started."""
    status = process.poll()
    if status is not None:
        return status
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_TERM_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None
