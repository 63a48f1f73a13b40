"""``mailhaul operations stop``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from ...proto.errors import EXIT_FAILED, EXIT_OK
from ...proto.structs import asdict
from ..clock import utc
from ..people.audit import AuditLog
from ..people.local_user import command_act
from ..service.operations import Operations
from ..service.records import NOT_ENDED, UNDER_WAY, Operation
from ..serving.host_requests import HostAsk
from ..serving.serve_lock import is_served
from ..serving.settings import ServeConfig
from ..serving.stopping import check_can_stop, see_out, stop
from . import adapters, output
from .configuration import configured
from .elsewhere import Coordinator, coordinator_option
from .operation_area import own_queue_area
from .operation_lines import called
from .options import json_option, refuse, staging_option
from .output import counted, duration, note, say
from .program import Invocation


@click.command("stop")
@click.argument("operations", type=click.IntRange(1), nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="All that wait and all that are under way.")
@coordinator_option
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    operations: tuple[int, ...],
    everything: bool,
    coordinator: Coordinator | None,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Stop operations: one that waits does not begin; one that is under way ends in order, so that it can be
    gone on with by hand, and is killed if it has not done so after serve.stop_grace. `mailhaul serve` sees to
    that; where it does not run, this command does, and waits for it.

    \b
    Example:
      mailhaul operations stop 12
    """
    refuse(everything == bool(operations), "say which operations are to stop, by their ids, or --all")
    status = EXIT_OK
    if coordinator is None:
        area = own_queue_area(invocation, staging)
        stopped = _stop(area, operations, everything=everything)
        if not is_served(area):
            serve = ServeConfig() if staging else configured(invocation).serve
            stopped, status = _seen_out(area, stopped, serve.stop_grace_seconds)
    else:
        refuse(staging is not None, "--coordinator is asked about its own staging area: leave out --staging")
        ask = HostAsk(command="stop", operations=operations, everything=everything)
        stopped = coordinator.ask(ask).operations
    if as_json:
        output.print_json({"operations": list(map(asdict, stopped))})
    for operation in () if as_json else stopped:
        say(f"operation {operation.id} ({called(operation)}): {operation.state}")
    if not stopped and not as_json:
        say("nothing waits, and nothing is under way")
    return status


def _seen_out(
    area: Path, stopped: Sequence[Operation], grace_seconds: float
) -> tuple[Sequence[Operation], int]:
    """Nobody serves, so nobody else kills what does not stop: the operations, when they have ended."""
    left = [operation.id for operation in stopped if operation.state in UNDER_WAY]
    if not left:
        return stopped, EXIT_OK
    note(
        f"`mailhaul serve` does not run: waiting for {counted(len(left), 'operation')} to stop, killed after "
        f"{duration(grace_seconds)}"
    )
    have_ended = see_out(area, left, grace_seconds, adapters.clock())
    if not have_ended:
        note("what is left was killed, and does not end: it hangs in the system")
    queue = Operations(area)
    return [queue.get(one.id) for one in stopped], EXIT_OK if have_ended else EXIT_FAILED


def _stopped(area: Path, operation: Operation) -> Operation:
    def now() -> datetime:
        return utc(adapters.clock().now())

    with AuditLog(area).acting(command_act("stop operation", now(), on=f"operation {operation.id}")):
        return stop(area, operation.id, now)


def _stop(area: Path, operations: Sequence[int], *, everything: bool) -> Sequence[Operation]:
    queue = Operations(area)
    if everything:
        chosen: Sequence[Operation] = queue.in_states((*NOT_ENDED, "interrupted"))
    else:
        chosen = [queue.get(one) for one in operations]
        for operation in chosen:
            check_can_stop(operation)
    return [_stopped(area, one) for one in chosen]
