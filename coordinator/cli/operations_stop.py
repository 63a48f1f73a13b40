"""``mailhaul operations stop``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...proto.errors import EXIT_OK, UsageError
from ...proto.structs import asdict
from ..clock import utc
from ..service.operations import Operations
from ..service.records import ENDED, Operation
from ..serving.processes import ask_to_end
from ..serving.serve_lock import is_served
from . import adapters, output
from .configuration import staging_area
from .operation_lines import what
from .options import json_option, refuse, staging_option
from .output import say
from .program import Invocation


@click.command("stop")
@click.argument("operations", type=click.IntRange(1), nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All that wait and all that are under way.")
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    operations: tuple[int, ...],
    everything: bool,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Stop operations: one that waits does not begin; one that is under way ends in order, so that it can be
    gone on with by hand, and is killed if it has not done so after serve.stop_grace.

    \b
    Example:
      mailhaul operations stop 12
    """
    refuse(everything == bool(operations), "say which operations are to stop, by their ids, or --all")
    area = staging_area(invocation, staging)
    queue = Operations(area)
    if everything:
        chosen: Sequence[Operation] = queue.in_states(("waiting", "running", "stopping", "interrupted"))
    else:
        chosen = [queue.get(one) for one in operations]
        for one in chosen:
            if one.state in ENDED and one.state != "interrupted":
                raise UsageError(f"operation {one.id} has ended: {one.state}")
    stopped = [_stopped(area, queue, one.id) for one in chosen]
    if as_json:
        output.print_json({"operations": list(map(asdict, stopped))})
    for one in () if as_json else stopped:
        say(f"operation {one.id} ({what(one)}): {one.state}")
    if not stopped and not as_json:
        say("nothing waits, and nothing is under way")
    return EXIT_OK


def _stopped(area: Path, queue: Operations, number: int) -> Operation:
    """Stop an operation, whatever it does meanwhile. Returns it as it is then."""
    while True:
        one = queue.get(number)
        if one.state in ("waiting", "interrupted"):
            # Not one whose process has just begun with it.
            if queue.withdraw(number, utc(adapters.clock().now())):
                return queue.get(number)
        elif one.state == "running":
            if queue.stopping(number):
                if not is_served(area):
                    ask_to_end(area, one)
                return queue.get(number)
        else:
            return one
