"""What people hear of a command when it has ended: put on record, and sent where no service does that."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

import click

from ...proto.errors import EXIT_OK, BackupError, ConfigError
from ...proto.records import RunId
from ..clock import utc
from ..service.database import place
from ..settings import Config
from . import adapters
from .output import note
from .program import Invocation

if TYPE_CHECKING:
    from ..notices.channels import Channel
    from ..notices.delivery import Deliverer

SECONDS = 30.0
"""So long a command that has ended tries to reach people; what they have not got then is sent by the next."""


def is_heard(config: Config) -> bool:
    """Whether there is anybody who hears of what happens, or looks at it later."""
    notices = config.notices
    return bool(notices.receivers) or notices.switch.is_there or place(config.staging.path).exists()


def tell_of(invocation: Invocation, arguments: Sequence[str], status: int, error: str) -> None:
    """A command has ended: ``arguments`` are all words of its command line, ``error`` is what it raised. Does
    nothing for commands that nobody needs to hear of. Raises nothing."""
    config = invocation.loaded
    if config is None or not is_heard(config):
        return
    from ..notices.command_notices import WATCHED
    from ..notices.restore_notices import is_attempt

    name, rest = _command(arguments)
    restores = is_attempt(name, rest)
    if not restores and (name not in WATCHED or "--dry-run" in rest):
        return
    seen = sys.stderr.isatty()
    try:
        _put_on_record(config, invocation.begun, name, rest, status, error, seen=seen, restores=restores)
        if restores and (seen or status == EXIT_OK):
            return  # who has got mail back is not kept waiting: of a server that is still down, maybe
        from ..notices.looks import look
        from ..notices.rooms import Rooms
        from ..notices.spaces import Spaces

        look(config, Spaces(config, Rooms()), utc(adapters.clock().now()))
        deliver(config)
    except BackupError as failure:
        note(f"notices: {failure.message}")


def _put_on_record(
    config: Config,
    begun: str,
    name: str,
    words: Sequence[str],
    status: int,
    error: str,
    *,
    seen: bool,
    restores: bool,
) -> None:
    """How a command ended. Whoever has ``seen`` that himself, at a terminal, hears of it only that what was
    said before is over; of a run that began, its observer tells. Raises as ``raise_notice``."""
    staging, now = config.staging.path, utc(adapters.clock().now())
    if begun and not restores:
        from ..notices.run_notices import backup_began

        backup_began(staging, words, RunId(begun), now)
    elif seen and status != EXIT_OK:
        return
    elif restores:
        from ..notices.restore_notices import tell_of_restore

        tell_of_restore(staging, name, words, status, error, begun, now)
    else:
        from ..notices.command_notices import tell_of_command

        tell_of_command(staging, name, words, status, error, now)


def tell_of_volumes() -> None:
    """Somebody has to bring a volume, while the command that wants it goes on: that is told at once, and
    nothing waits until people are reached. Raises nothing."""
    context = click.get_current_context(silent=True)
    invocation = context and context.find_object(Invocation)
    config = invocation and invocation.loaded
    if not config or not is_heard(config):
        return
    from ..notices.conditions import reconcile, volumes

    staging = config.staging.path
    try:
        reconcile(staging, "tape-wanted", volumes(staging), utc(adapters.clock().now()))
    except BackupError as failure:
        note(f"notices: {failure.message}")
        return
    threading.Thread(target=_deliver_aside, args=(config,), daemon=True).start()


def _deliver_aside(config: Config) -> None:
    with suppress(BackupError):  # the end of the command tries it again, and says so
        deliver(config)


def deliver(config: Config, seconds: float = SECONDS) -> None:
    """Send what is due, for so long at most; where a service runs, it does. Raises StagingError,
    DamagedError."""
    from ..notices.delivery import deliver_now
    from ..serving.serve_lock import is_served

    if config.notices.receivers and not is_served(config.staging.path):
        deliver_now(deliverer(config), config.staging.path, seconds)


def deliverer(config: Config) -> Deliverer:
    """What sends the notices of a configuration from this host."""
    from ..notices.delivery import Deliverer

    notices = config.notices
    return Deliverer(
        config.staging.path, notices, site(config), zone(config), adapters.clock(), channels(config)
    )


def channels(config: Config) -> dict[str, Channel]:
    """The ways to all receivers, by their names."""
    from ..notices import receivers

    environment = os.environ  # noqa: TID251 (read at the edge)
    return receivers.channels(
        config.notices.receivers, os.uname().nodename, environment, adapters.clock().now
    )


def site(config: Config) -> str:
    """What stands in subjects."""
    return config.notices.site or os.uname().nodename.partition(".")[0]


def zone(config: Config) -> tzinfo:
    """The zone that times are told in: that of the schedule, else this host's; UTC if that can't be told."""
    from ..scheduling.zones import system_zone, zone_named

    try:
        if config.schedule.zone:
            return zone_named(config.schedule.zone)
        return system_zone(os.environ.get("TZ"))  # noqa: TID251 (read at the edge)
    except (ConfigError, ValueError):
        return UTC


def _command(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The name of a command, and the words after it."""
    words = list(arguments)
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] == "--config" else words[1:]
    many = 2 if words[:1] == ["tape"] else 1
    return " ".join(words[:many]), words[many:]
