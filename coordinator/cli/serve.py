"""``mailhaul serve``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import click

from ...proto.directories import make_directories
from ...proto.errors import EXIT_OK, BackupError
from ...proto.ports import Clock
from ...proto.structs import replace
from ..clock import utc
from ..hooks import HooksBehind
from ..monitoring.log import Log
from ..notices.duty import NoticesDuty
from ..notices.looks import look
from ..notices.mornings import Mornings
from ..notices.operation_notices import OperationNotices
from ..notices.rooms import Rooms
from ..notices.spaces import Spaces
from ..serving.loop import Duty, Loop, Troubles
from ..serving.observers import QueueObservers
from ..serving.private_keys import PrivateKeys
from ..serving.processes import ProcessStarter
from ..serving.queue import Queue
from ..serving.serve_lock import serving
from ..settings import Config
from ..web.settings import split_address
from . import adapters, noticing
from .configuration import configured, found_configuration
from .identities import configured_identity
from .operation_area import refuse_foreign
from .operation_log import OperationHooks, QueueLog
from .operation_words import checked, needs_of
from .options import log_option, metrics_option
from .output import note
from .program import Invocation
from .schedule_zone import schedule_zone
from .service_manager import ServiceManager
from .watching import open_log

Front = Callable[[threading.Event], object]
"""What serves in the main thread, until the event is set or it was asked itself to end."""


def _checked_address(_context: click.Context, _option: click.Parameter, listen: str | None) -> str | None:
    if listen is not None:
        try:
            split_address(listen)
        except ValueError:
            raise click.BadParameter("expected ADDRESS:PORT such as 0.0.0.0:8443 or [::]:8443") from None
    return listen


@click.command("serve")
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    callback=_checked_address,
    help="Serve the page there, too: with the certificate or behind the proxy of the configuration.",
)
@click.option(
    "--browse",
    is_flag=True,
    help="Serve the page at a port of 127.0.0.1, too, and print an address that lets one browser in, once.",
)
@metrics_option
@log_option
@click.pass_obj
def command(
    invocation: Invocation,
    listen: str | None,
    browse: bool,
    metrics_listen: str | None,
    log_file: Path | None,
) -> int:
    """Serve a staging area until SIGTERM: carry out the operations in its queue, and what else is configured;
    and serve the page, where all of it is to be seen, at the Unix socket .mailhaul/serve.sock.

    Runs permanently on the host of the staging area, beside `mailhaul receive` if there is one. It may be
    restarted at any time.

    \b
    Example: with this configuration
      mailhaul --config /etc/mailhaul/mailhaul.toml serve

    \b
    Example: the page in a browser of another machine, by its port 8080
      ssh -L 8080:/var/spool/mailhaul/.mailhaul/serve.sock staging01
    """
    config = configured(invocation)
    manager = ServiceManager()
    make_directories(config.staging.path)
    refuse_foreign(config.staging.path)
    clock = adapters.clock()
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_asked_for())
        stack.enter_context(serving(config.staging.path))
        log = open_log(config, clock, log_file, stack)
        died = HooksBehind(adapters.hooks(config), "operation_died")
        stack.callback(died.end)
        keys = _private_keys(config, clock)
        queue = _queue(config, found_configuration(invocation), keys, log, died)
        stack.callback(lambda: queue.interrupt(lambda: utc(clock.now())))
        duties: tuple[Duty, ...] = (queue, keys, *_duties(config, log, stack))
        stack.enter_context(Loop(duties, clock, Troubles(_reported(log))))
        note(f"serving {config.staging.path}")
        _serve_metrics(config, clock, metrics_listen or config.metrics.listen, stack)
        front = _front(config, invocation, listen, browse, keys, _reported(log), stack)
        manager.is_ready()  # before a program that unwraps keys is asked, which may take its time
        _try_keys(keys, _reported(log))
        front(stop)
        manager.is_stopping()
        note("stopping")
    note("the service has ended")
    return EXIT_OK


def _private_keys(config: Config, clock: Clock) -> PrivateKeys:
    """Those of the configuration, and what is handed in on the page."""
    files, passphrase_files = config.serve.identities, config.serve.passphrase_files
    return PrivateKeys(clock, lambda: configured_identity(files, passphrase_files), files, passphrase_files)


def _try_keys(keys: PrivateKeys, report: Callable[[str, Exception], object]) -> None:
    """Those of the configuration are opened at once, so that somebody learns of it if they can't be. All else
    goes on without."""
    try:
        if (key := keys.configured()) is not None:
            note(f"encrypted archives are opened with the private key of {key.names}")
    except BackupError as error:
        report("serve.identities", error)


def _queue(config: Config, file: Path | None, keys: PrivateKeys, log: Log | None, died: HooksBehind) -> Queue:
    """The queue, whose operations call this program with this configuration."""
    named = [] if file is None else ["--config", str(file)]
    staging = config.staging.path
    return Queue(
        staging,
        ProcessStarter(staging, [sys.executable, "-P", "-m", __name__.partition(".")[0], *named], keys.lent),
        lambda operation: needs_of(operation, config.destinations),
        OperationNotices(
            staging,
            _now,
            QueueObservers(OperationHooks(died, staging), *([QueueLog(log)] if log else [])),
            lambda text: note(f"notices: {text}"),
        ),
        timedelta(seconds=config.serve.stop_grace_seconds),
    )


def _duties(config: Config, log: Log | None, stack: ExitStack) -> Sequence[Duty]:
    """What is to be done now and then; the ``stack`` ends it. Raises ConfigError."""
    from ..scheduling.duty import ScheduleDuty

    spaces = Spaces(config, Rooms())
    mornings = Mornings(config, spaces, noticing.site(config), noticing.zone(config))
    looks = partial(look, config, spaces)
    notices = NoticesDuty(config.staging.path, noticing.deliverer(config), looks, mornings)
    stack.callback(notices.close)
    return (ScheduleDuty(config, _zone(config), _told(log)), notices)


def _told(log: Log | None) -> Callable[[str, Mapping[str, object]], object]:
    """What the schedule tells of goes to the log, and what is out of order to stderr, too."""

    def tell(name: str, fields: Mapping[str, object]) -> None:
        if name != "schedule.put_in":
            note(f"{name}: {', '.join(f'{key} {value}' for key, value in fields.items())}")
        if log is not None:
            log.note(name, fields)

    return tell


def _now() -> datetime:
    return utc(adapters.clock().now())


def _zone(config: Config) -> tzinfo:
    """That of the schedule, if there is one. Raises ConfigError if that of this host can't be told."""
    from ..scheduling.entries import entries

    return schedule_zone(config) if entries(config.schedule) else UTC


def _front(
    config: Config,
    invocation: Invocation,
    listen: str | None,
    browse: bool,
    keys: PrivateKeys,
    report: Callable[[str, Exception], object],
    stack: ExitStack,
) -> Front:
    """The page, at doors that are open until the ``stack`` ends. Raises ConfigError, StagingError."""
    from ..web.front import front  # what it is made with is loaded by nothing else

    page = config.serve.page if listen is None else replace(config.serve.page, listen=listen)
    return front(
        replace(config, serve=replace(config.serve, page=page)),
        adapters.clock(),
        stack,
        config_file=found_configuration(invocation),
        loopback=browse,
        zone=_zone(config),
        keys=keys,
        admits=lambda kind, arguments: checked(kind, arguments, elsewhere=True),
        say=note,
        report=report,
    )


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
    from ..monitoring.schedule_metrics import ScheduleCollector

    schedule = ScheduleCollector(config, _zone(config), clock)
    registry = make_registry(*staging_collectors(config, clock), schedule)
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
