"""Where the program begins and ends: every outcome becomes an exit status and, on stderr, a line.

The command line itself is imported only when ``main`` is called: who merely imports this module pays
nothing for it.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, NoReturn

from ...proto.errors import EXIT_FAILED, BackupError, ConfigError

if TYPE_CHECKING:
    from .program import Invocation

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143

_TERMINATED = "terminated"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status; raises nothing but what ends the interpreter."""
    from .program import COMPLETE_VARIABLE, Invocation, run
    from .scratch import scratch_directory

    invocation = Invocation()
    words = sys.argv[1:] if arguments is None else arguments
    problem = ""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal can't show must not end a command.
            stream.reconfigure(errors="backslashreplace")
    try:
        with _termination_raises(), scratch_directory():
            if instruction := os.environ.get(COMPLETE_VARIABLE):  # noqa: TID251 (read at the edge)
                from .completion import answer

                return answer(instruction)
            status = run(words, invocation)
            sys.stdout.flush()
    except BaseException as error:
        status = outcome(error, invocation)
        problem = getattr(error, "message", "") or str(error)
        _settle_stdout()
    if invocation.loaded is not None and status not in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        from .noticing import tell_of

        with suppress(KeyboardInterrupt):  # what nobody has got yet waits for the next that sends
            tell_of(invocation, words, status, problem)
    return status


def outcome(error: BaseException, invocation: Invocation) -> int:
    """Say what went wrong, and return the exit status for it. Raises what ends the interpreter."""
    if invocation.debug:
        traceback.print_exception(error)
        if isinstance(error, BackupError) and "traceback" in error.facts:
            print(error.facts["traceback"], file=sys.stderr)
    match error:
        case KeyboardInterrupt():
            terminated = error.args == (_TERMINATED,)
            _say("ended by SIGTERM" if terminated else "interrupted")
            return EXIT_TERMINATED if terminated else EXIT_INTERRUPTED
        case BrokenPipeError():
            return EXIT_BROKEN_PIPE
        case BackupError():
            # Several wrong keys of a configuration are told in several lines.
            for line in error.message.split("\n") if isinstance(error, ConfigError) else [error.message]:
                _say(line)
            return _with_document(error.code, error.message, error.facts, error.exit_code, invocation)
        case OSError():
            where = f"{error.filename!r}: " if error.filename else "reading or writing: "
            _say(f"{where}{error.strerror or error}")
            return _with_document("failed", str(error), {}, EXIT_FAILED, invocation)
        case Exception():
            kind = type(error).__name__
            _say(f"{kind}: {error}; this is a bug; run again with --debug")
            return _with_document("unexpected", f"{kind}: {error}", {}, EXIT_FAILED, invocation)
    raise error


def _with_document(
    code: str, message: str, facts: dict[str, object], status: int, invocation: Invocation
) -> int:
    """With --json, the error is the one document on stdout."""
    if invocation.json:
        from .output import print_json

        told = {name: value for name, value in facts.items() if name != "traceback"}
        with suppress(OSError):  # where nobody reads it, the exit status tells
            print_json({"error": {"code": code, "message": message, "facts": told}})
    return status


def _say(text: str) -> None:
    from .output import shown

    with suppress(OSError):
        print(f"mailhaul: {shown(text)}", file=sys.stderr, flush=True)


def _settle_stdout() -> None:
    """Flush what was printed before the error; where that fails, drop it: the interpreter would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM leaves the command in order, like Ctrl-C: workers are ended, partial files removed."""

    def leave(number: int, *_: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the cleaning up short
        raise KeyboardInterrupt(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
