"""``mailhaul audit``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ..people.audit import AuditLog, is_about
from . import output
from .configuration import staging_area
from .options import json_option, staging_option
from .output import Column, counted, note, say, shown
from .program import Invocation

_COLUMNS = [
    Column("when", "<"),
    Column("who", "<"),
    Column("what", "<"),
    Column("on", "<"),
    Column("outcome", "<"),
    Column("why", "<", extra=True),
    Column("from", "<", extra=True),
]


@click.command("audit")
@click.option("--who", metavar="NAME", default="", help="Only what they did, or were refused.")
@click.option(
    "--on", "on", metavar="PATH", default="", help="Only what was about PATH, or anything below it."
)
@click.option(
    "--last", type=click.IntRange(1), default=100, metavar="N", help="The newest N of them. Default: 100."
)
@click.option(
    "--check", is_flag=True, help="Look whether a line was altered or taken out; exit code 4 if so."
)
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    who: str,
    on: str,
    last: int,
    check: bool,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Show who did what, and why: each act on the page that changed something, each look into somebody's
    mail, what was refused, and the commands that change accounts or the queue. The newest come last.

    \b
    Example: who looked into a mailbox
      mailhaul audit --on /primary/staff/jane@example.org
    """
    log = AuditLog(staging_area(invocation, staging))
    flaws = list(log.flaws()) if check else []
    acts = deque((act for act in log.acts() if is_about(act, who, on)), maxlen=last)
    if as_json:
        output.print_json({"acts": acts, **({"flaws": flaws} if check else {})})
    elif check:
        say("the log is whole" if not flaws else f"the log has {counted(len(flaws), 'flaw')}")
    elif acts:
        output.print_table(_COLUMNS, map(_row, acts))
    else:
        say("nothing is on record")
    for flaw in flaws:
        note(f"{log.path}: line {flaw.line} {flaw.problem}")
    return EXIT_DAMAGED if flaws else EXIT_OK


def _row(act: Mapping[str, Any]) -> Sequence[str]:
    def text(name: str) -> str:
        return shown(str(act.get(name, ""))) or "-"

    return (
        text("when")[:19].replace("+00:00", "") + "Z",
        text("who"),
        text("what"),
        text("on"),
        text("outcome"),
        text("why"),
        text("where"),
    )
