"""``mailhaul status``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from ...proto.errors import EXIT_OK
from ...proto.structs import Record
from ..catalog import Catalog
from ..clock import utc
from ..monitoring.overview import configured_groups, take_overview
from ..restores.status import reach_of_each
from ..settings import EncryptionConfig
from . import adapters, output, status_lines
from .configuration import configured, restore_command, resume_command, staging_area
from .options import SINCE, json_option, refuse, staging_option
from .output import say, shown
from .program import Invocation

WATCH_SECONDS = 2.0


class Since(Record):
    """From when on a good backup is asked for; None: as of the newest run."""

    time: datetime | None


class _SinceOrNewest(click.ParamType[Since]):
    """A time, or nothing for the newest run."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Since:
        if isinstance(value, Since):
            return value
        return Since(utc(SINCE.convert(value, param, ctx)) if value else None)


SINCE_OR_NEWEST = _SinceOrNewest()


@click.command("status")
@staging_option
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option(
    "--behind",
    type=SINCE_OR_NEWEST,
    metavar="[T]",
    is_flag=False,
    flag_value="",
    help="Instead list the mailboxes without a good backup since T (an ISO date or time); without T those "
    "that the newest run did not store whole.",
)
@click.option(
    "--restored",
    is_flag=True,
    help="Instead list the mailboxes of the latest restore, and back to which date the mail of each is "
    "there.",
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    staging: Path | None,
    watch: bool,
    behind: Since | None,
    restored: bool,
    as_json: bool,
) -> int:
    """Show the current run with its units and hosts, the receiver, the free space, the last runs, and for
    each group the last good backup: the time by which every mailbox that is there was stored whole.

    \b
    Example: whose mail was not stored whole since Friday?
      mailhaul status --behind 2026-11-20
    """
    refuse(watch and as_json, "--watch is for people: leave out --json")
    refuse(watch and behind is not None, "--behind is a list of its own: leave out --watch")
    refuse(restored and (watch or behind is not None), "--restored is a list of its own")
    area = staging_area(invocation, staging)
    if restored:
        _show_restored(area, as_json=as_json)
        return EXIT_OK
    if behind is not None:
        _show_behind(area, behind, as_json=as_json)
        return EXIT_OK
    config = None if staging else configured(invocation)
    wanted = None if config is None else configured_groups(config)
    reserve_bytes = 0 if config is None else config.staging.reserve_bytes
    partitions = () if config is None or config.staging.same_device else config.partitions
    encryption = EncryptionConfig() if config is None else config.encryption
    clock = adapters.clock()

    def show() -> None:
        if not area.is_dir():
            _show_nothing(area, as_json=as_json)
            return
        overview = take_overview(
            area,
            utc(clock.now()),
            reserve_bytes=reserve_bytes,
            wanted=wanted,
            partitions=partitions,
            check_every_seconds=encryption.check_every_seconds,
        )
        if as_json:
            output.print_json(overview)
        else:
            status_lines.show(
                overview,
                resume_command(invocation.config, staging, "latest"),
                lambda restore, option: restore_command(invocation.config, staging, restore, option),
            )

    if watch:
        _watch(show)
    else:
        show()
    return EXIT_OK


def _show_behind(area: Path, since: Since, *, as_json: bool) -> None:
    with Catalog.open(area) as catalog:
        found = list(catalog.behind(since.time))
    if as_json:
        output.print_json({"staging": area, "since": since.time, "behind": found})
    else:
        status_lines.show_behind(found, since.time, utc(adapters.clock().now()))


def _show_restored(area: Path, *, as_json: bool) -> None:
    found = reach_of_each(area)
    if as_json:
        output.print_json(
            {"staging": area, "restored": [{"path": one, "reach": reach} for one, reach in found]}
        )
    for path, reach in () if as_json else found:
        say(shown(f"{path}: {status_lines.reach_in_words(reach)}"))


def _show_nothing(area: Path, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"staging": area, "owner": None, "run": None, "runs": [], "good": []})
    else:
        say(f"there is no staging area yet: {area}; the first `mailhaul backup` makes it")


def _watch(show: Callable[[], None]) -> None:
    """Until Ctrl-C, which is how one leaves here."""
    try:
        while True:
            click.clear()  # nothing where stdout is no terminal
            show()
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt as leaving:
        if leaving.args:  # a SIGTERM is one, too
            raise
