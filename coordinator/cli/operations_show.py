"""``mailhaul operations show``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...proto.errors import EXIT_OK
from ..service.operations import Operations
from ..service.records import Operation
from ..serving.host_requests import HostAsk, HostReply, shown_operation
from ..serving.progress import OperationProgress
from . import output
from .elsewhere import Coordinator, coordinator_option
from .operation_area import queue_area
from .operation_lines import called, course
from .options import json_option, refuse, staging_option
from .output import counted, say, shown, size
from .program import Invocation
from .times import both


@click.command("show")
@click.argument("operation", type=click.IntRange(1), metavar="ID")
@coordinator_option
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    operation: int,
    coordinator: Coordinator | None,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Show an operation: who asked for it and why, how far it is, what it said, and what came of it.

    \b
    Example:
      mailhaul operations show 12
    """
    if coordinator is None:
        answer = _looked_up(queue_area(invocation, staging), operation)
    else:
        refuse(staging is not None, "--coordinator is asked about its own staging area: leave out --staging")
        answer = coordinator.ask(HostAsk(command="show", operations=(operation,)))
    (found,) = answer.operations
    if as_json:
        document = {
            "operation": found,
            "progress": answer.progress,
            "result": json.loads(answer.result) if answer.result else None,
        }
        output.print_json({**document, "said": answer.said.splitlines()})
    else:
        _tell(found, answer.progress, answer.said)
    return EXIT_OK


def _looked_up(area: Path, operation: int) -> HostReply:
    return shown_operation(area, Operations(area).get(operation), most_result=None)


def _tell(operation: Operation, progress: OperationProgress | None, said: str) -> None:
    request = operation.request
    say(f"operation {operation.id}: {called(operation)}")
    say(shown(f"asked for {both(operation.asked)} by {request.asked_by}") + _why(request.reason))
    if request.entry:
        say(shown(f"entry {request.entry} of the schedule, due {both(request.due)}"))
    state = (
        operation.state
        if operation.exit_status is None
        else f"{operation.state}, exit code {operation.exit_status}"
    )
    reason = operation.waits_for or operation.error
    say(f"{state}{f': {shown(reason)}' if reason else ''}")
    if operation.started:
        deaths = f", its process died {counted(operation.deaths, 'time')}" if operation.deaths else ""
        say(f"begun {both(operation.started)}, {counted(operation.attempts, 'start')}{deaths}")
    if operation.ended:
        say(f"ended {both(operation.ended)}")
    if operation.carries:
        say(f"{request.kind} {operation.carries}")
    if progress is not None and operation.ended is None:
        _tell_progress(progress)
    if said.strip():
        say()
        for line in said.splitlines():
            say(shown(line))


def _why(reason: str) -> str:
    return f": {shown(reason)}" if reason else ""


def _tell_progress(progress: OperationProgress) -> None:
    say(course(progress))
    for work in progress.works:
        at = f" on {work.host}" if work.host else ""
        say(
            shown(
                f"  {work.label}{at}: {size(work.size_bytes)} of {size(work.expected_bytes)} {work.waiting}"
            )
        )
