"""``mailhaul status``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..clock import utc
from ..history import RunRecord
from ..monitoring.overview import Overview, configured_groups, take_overview
from . import adapters, output, status_lines
from .configuration import configured, staging_area
from .options import json_option, refuse, staging_option
from .output import say
from .program import Invocation

WATCH_SECONDS = 2.0


@click.command("status")
@staging_option
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
@click.pass_obj
def command(invocation: Invocation, staging: Path | None, watch: bool, as_json: bool) -> int:
    """Tell what is going on: the run with its units and hosts, the receiver, the room, the last runs.

    \b
    Example: look on from another terminal
      mailhaul status --watch
    """
    refuse(watch and as_json, "--watch is for people: leave out --json")
    area = staging_area(invocation, staging)
    config = None if staging else configured(invocation)
    wanted = None if config is None else configured_groups(config)
    reserve_bytes = 0 if config is None else config.staging.reserve_bytes
    clock = adapters.clock()

    def show() -> None:
        if not area.is_dir():
            _show_nothing(area, as_json=as_json)
            return
        overview = take_overview(area, utc(clock.now()), reserve_bytes=reserve_bytes, wanted=wanted)
        if as_json:
            output.print_json(_document(overview))
        else:
            status_lines.show(overview)

    if watch:
        _watch(show)
    else:
        show()
    return EXIT_OK


def _document(overview: Overview) -> dict[str, object]:
    runs = [{**_fields(one.record), "state": one.state} for one in overview.runs]
    return _fields(overview) | {"runs": runs}


def _fields(record: Overview | RunRecord) -> dict[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


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
