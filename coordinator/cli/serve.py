"""``mailhaul serve``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from ...proto.directories import make_directories
from ...proto.errors import EXIT_OK, BackupError
from ...proto.ports import Clock
from ..monitoring.log import Log
from ..serving.loop import Duty, Loop, Troubles
from ..serving.serve_lock import serving
from ..settings import Config
from . import adapters
from .configuration import configured
from .options import log_option, metrics_option
from .output import note
from .program import Invocation
from .watching import open_log

Front = Callable[[threading.Event], object]
"""What serves in the main thread, until the event is set or it was asked itself to end."""


@click.command("serve")
@metrics_option
@log_option
@click.pass_obj
def command(invocation: Invocation, metrics_listen: str | None, log_file: Path | None) -> int:
    """Serve a staging area until SIGTERM: carry out the operations in its queue, and what else is configured.

    Runs permanently on the host of the staging area, beside `mailhaul receive` if there is one. It may be
    restarted at any time.

    \b
    Example: with this configuration
      mailhaul --config /etc/mailhaul/mailhaul.toml serve
    """
    config = configured(invocation)
    make_directories(config.staging.path)
    clock = adapters.clock()
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_asked_for())
        stack.enter_context(serving(config.staging.path))
        log = open_log(config, clock, log_file, stack)
        stack.enter_context(Loop(_duties(config), clock, Troubles(_reported(log))))
        note(f"serving {config.staging.path}")
        _serve_metrics(config, clock, metrics_listen or config.metrics.listen, stack)
        _front(config)(stop)
        note("stopping")
    note("the service has ended")
    return EXIT_OK


def _duties(config: Config) -> Sequence[Duty]:  # noqa: ARG001 (each area adds its own)
    """What is to be done now and then."""
    return ()


def _front(config: Config) -> Front:  # noqa: ARG001 (the page takes this place)
    """What serves in the main thread."""
    return threading.Event.wait


@contextmanager
def _stop_asked_for() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, as long as the context lasts."""
    stop = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve_metrics(config: Config, clock: Clock, listen: str, stack: ExitStack) -> None:
    """Answer Prometheus; ``stack`` ends it. Raises BackupError if that can't be."""
    if not listen:
        return
    from ..monitoring.exposition import make_registry, serve_metrics
    from ..monitoring.metrics import staging_collectors

    registry = make_registry(*staging_collectors(config, clock))
    server = stack.enter_context(serve_metrics(registry, listen))
    note(f"metrics at {listen.rpartition(':')[0]}:{server.port}")


def _reported(log: Log | None) -> Callable[[str, Exception], object]:
    """What a duty raised goes to stderr and the log."""

    def report(duty: str, error: Exception) -> None:
        text = error.message if isinstance(error, BackupError) else f"{type(error).__name__}: {error}"
        note(f"{duty}: {text}")
        if log is not None:
            log.error("duty.failed", error, duty=duty)

    return report
