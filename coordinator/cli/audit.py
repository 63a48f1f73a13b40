"""``mailhaul audit``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ..people.audit import AuditLog, Flaw, is_about
from ..service.audit_end import AuditEnd
from . import output
from .configuration import staging_area
from .options import json_option, refuse, staging_option
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


def _ends(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> Sequence[AuditEnd]:
    try:
        return tuple(map(AuditEnd.parse, texts))
    except ValueError:
        raise click.BadParameter("expected BYTES:HASH, as --check prints it") from None


@click.command("audit")
@click.option("--who", metavar="NAME", default="", help="Only what they did, or were refused.")
@click.option(
    "--on", "on", metavar="PATH", default="", help="Only what was about PATH, or anything below it."
)
@click.option(
    "--last", type=click.IntRange(1), default=100, metavar="N", help="The newest N of them. Default: 100."
)
@click.option(
    "--check",
    is_flag=True,
    help="Look whether a line was altered, taken out or cut off; exit code 4 if so. Prints how the log ends.",
)
@click.option(
    "--ended",
    metavar="BYTES:HASH",
    multiple=True,
    callback=_ends,
    help="With --check: look whether the log still has what it had when it ended so. Can be given several "
    "times.",
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
    ended: Sequence[AuditEnd],
    staging: Path | None,
    as_json: bool,
) -> int:
    """Show who did what, and why: each act on the page that changed something, each look into somebody's
    mail, what was refused, and the commands that change accounts or the queue. The newest come last.

    \b
    Example: who looked into a mailbox
      mailhaul audit --on /primary/staff/jane@example.org

    \b
    Example: nothing is lacking of what there was as the digest of a morning was sent
      mailhaul audit --check --ended 81920:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    """
    refuse(bool(ended) and not check, "--ended is for --check")
    log = AuditLog(staging_area(invocation, staging))
    end = log.end() if check else None
    flaws = [*log.flaws(), *_lacking(log, ended)] if check else []
    acts = deque((act for act in log.acts() if is_about(act, who, on)), maxlen=last)
    if as_json:
        output.print_json({"acts": acts, **({"flaws": flaws, "end": end and str(end)} if check else {})})
    elif check:
        say("the log is whole" if not flaws else f"the log has {counted(len(flaws), 'flaw')}")
        if end is not None:
            say(f"it ends so: {end}")
    elif acts:
        output.print_table(_COLUMNS, map(_row, acts))
    else:
        say("nothing is on record")
    for flaw in flaws:
        note(f"{log.path}: {flaw}")
    return EXIT_DAMAGED if flaws else EXIT_OK


def _lacking(log: AuditLog, ended: Sequence[AuditEnd]) -> Iterator[Flaw]:
    for end in ended:
        if not log.stood(end):
            yield Flaw(0, f"is not the one that ended so: {end}")


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
