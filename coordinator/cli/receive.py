"""``mailhaul receive``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import click

from ...proto.directories import make_directories
from ...proto.errors import EXIT_OK, AccessError, ConfigError
from ...proto.wire.grants import load_secret
from ...proto.wire.keys import read_allowed, read_pair
from ...proto.wire.server import Server
from ...worker.staging.intake import Limits
from ...worker.staging.receiver import MOST_PAYLOAD_BYTES, Receiver, ReceiverSettings
from ..clock import utc
from ..config import load
from ..monitoring.exposition import make_registry, serve_metrics
from ..monitoring.metrics import staging_collectors
from ..serving.host_requests import HostRequests, Told
from ..serving.stopping import SeenOutBehind
from ..serving.trust import TrustedHosts
from ..settings import Config
from . import adapters
from .configuration import configured, found_configuration
from .hosts import GRANTS_KEY, LEASE_SECONDS
from .keys import RECEIVER
from .operation_words import checked, is_harmless
from .options import log_option, metrics_option
from .output import note
from .program import Invocation
from .watching import open_log


@click.command("receive")
@metrics_option
@log_option
@click.pass_obj
def command(invocation: Invocation, metrics_listen: str | None, log_file: Path | None) -> int:
    """Receive archives from workers on other hosts into the staging area, until SIGTERM.

    Runs permanently on the host of the staging area: backups and restores of other hosts need it. It may be
    restarted while they run.

    \b
    Example: with the addresses and keys of this configuration
      mailhaul --config /etc/mailhaul/mailhaul.toml receive
    """
    config = configured(invocation)
    file = found_configuration(invocation)
    if file is None or not config.staging.listen:
        raise ConfigError("staging.listen is missing: expected an address such as 'tcp://0.0.0.0:7400'")
    try:
        _receive(config, file, metrics_listen, log_file)
    except KeyboardInterrupt:  # SIGTERM, or Ctrl-C: the way in which it ends
        note("the receiver has ended")
    return EXIT_OK


def _receive(config: Config, file: Path, metrics_listen: str | None, log_file: Path | None) -> None:
    staging = config.staging
    make_directories(staging.path)
    keys = read_pair(staging.keys, RECEIVER)
    secret = load_secret(staging.path / GRANTS_KEY)
    settings = ReceiverSettings(
        lease_seconds=LEASE_SECONDS,
        reserve_bytes=staging.reserve_bytes,
        limits=Limits(patience_seconds=staging.patience_seconds),
        watchers=frozenset({staging.host}),
    )
    with ExitStack() as stack:
        log = open_log(config, adapters.clock(), log_file, stack)
        allowed = _Allowed(staging.keys)
        server = stack.enter_context(
            Server(staging.listen, keys, allowed, most_payload_bytes=MOST_PAYLOAD_BYTES)
        )
        on_event = log.note if log else _ignore
        receiver = Receiver(
            staging.path, server, secret, settings, on_event=on_event, asked=_asked(config, file, on_event)
        )
        stack.callback(receiver.close)
        if metrics_listen:
            registry = make_registry(*staging_collectors(config, adapters.clock()))
            stack.enter_context(serve_metrics(registry, metrics_listen))
        note(f"receiving at {server.endpoint} into {staging.path}")
        receiver.run(lambda: False)


def _asked(config: Config, file: Path, on_event: Told) -> HostRequests:
    """What answers other hosts about operations; whom it trusts is read from the configuration ``file``."""
    clock = adapters.clock()
    return HostRequests(
        config.staging.path,
        TrustedHosts(file, lambda path: load(path).serve.trusted_hosts, note),
        lambda kind, arguments: checked(kind, arguments, elsewhere=True),
        is_harmless,
        lambda: utc(clock.now()),
        on_event,
        SeenOutBehind(config.staging.path, config.serve.stop_grace_seconds, clock),
    )


def _ignore(_name: str, _fields: Mapping[str, object]) -> None:
    """There is no log."""


class _Allowed:
    """Whose keys lie in the directory; a broken file is told once, and lets nobody in."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._told: set[str] = set()

    def __call__(self) -> dict[str, str]:
        return read_allowed(self._directory, self._tell)

    def _tell(self, error: AccessError) -> None:
        if error.message not in self._told:
            self._told.add(error.message)
            note(error.message)
