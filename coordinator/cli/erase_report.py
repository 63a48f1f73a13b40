"""What ``mailhaul erase`` says: the plan, the list of erasures, and certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_OK, EXIT_SKIPPED, NotFoundError
from ...proto.records import CONFIRMED, RunId
from ..erasing.certificate import certificate
from ..erasing.progress import Progress, Remaining, read_progress
from ..erasing.record import Erasure, read_erasures
from ..erasing.report import ErasurePlan
from . import output
from .output import Column, counted, note, number, say, shown, size

_LISTED = 20
"""So many files are listed for people; JSON has all."""

_LIST = [
    Column("erasure", "<"),
    Column("asked", "<"),
    Column("mailboxes"),
    Column("state", "<"),
    Column("copies due"),
    Column("the last until", "<"),
    Column("reason", "<"),
]


def tell_plan(plan: ErasurePlan, *, as_json: bool) -> None:
    """What would be done."""
    if as_json:
        output.print_json({"dry_run": True, **_plan(plan)})
        return
    whom = plan.whom
    names = ", ".join(str(LogicalPath(one.partition, "user", one.user)) for one in whom.mailboxes)
    say(f"to be erased: {names}")
    say(
        f"  stored by runs from {whom.first} to {whom.last}: {counted(whom.versions, 'version')}, the newest "
        f"with {counted(whom.messages, 'message')}, {size(whom.size_bytes)}"
    )
    _list("deleted", [record.name for record in plan.deleted])
    _list(
        "rewritten",
        [
            f"{compaction.record.name}{'' if compaction.record.is_staged else ', read elsewhere'}"
            for compaction in plan.rewritten
        ],
    )
    say(f"data in them that nobody needs then: {size(plan.dead_bytes)}")
    if plan.shared_bytes:
        say(f"{size(plan.shared_bytes)} of that mail stay, as other mailboxes have them too")
    for copy in plan.copies:
        locked = ""
        if copy.locked:
            locked = f", {number(copy.locked)} of them locked, the last until {output.moment(copy.until)}"
        place = "other programs keep" if copy.place == CONFIRMED else f"at {shown(copy.place)}"
        say(f"{place}: {counted(copy.copies, 'copy', 'copies')} to go ({size(copy.size_bytes)}{locked})")
    if plan.restores:
        say(f"restores that can't be taken back any more: {', '.join(plan.restores)}")
    if plan.set_aside:
        say(f"{counted(plan.set_aside, 'damaged file')} that were set aside are deleted")
    output.list_skipped(plan.undone, "can't be rewritten now")
    for mailbox in whom.present:
        note(
            f"the mail store had {shown(mailbox.user)} at the last run: if it is not removed there, the next "
            "backup stores it again"
        )


def _list(what: str, files: Sequence[str]) -> None:
    for file in files[:_LISTED]:
        say(shown(f"{what}: {file}"))
    if len(files) > _LISTED:
        say(f"{what}: and {number(len(files) - _LISTED)} more (--json lists all)")


def _plan(plan: ErasurePlan) -> Mapping[str, Any]:
    return {
        "mailboxes": [
            {"partition": mailbox.partition, "user": mailbox.user} for mailbox in plan.whom.mailboxes
        ],
        "versions": plan.whom.versions,
        "first": plan.whom.first,
        "last": plan.whom.last,
        "present": [{"partition": one.partition, "user": one.user} for one in plan.whom.present],
        "deleted": [record.name for record in plan.deleted],
        "rewritten": [
            {
                "file": compaction.record.name,
                "bytes": compaction.record.size_bytes,
                "staged": compaction.record.is_staged,
            }
            for compaction in plan.rewritten
        ],
        "dead_bytes": plan.dead_bytes,
        "shared_bytes": plan.shared_bytes,
        "copies": plan.copies,
        "restores": plan.restores,
        "set_aside": plan.set_aside,
        "undone": plan.undone,
    }


def tell_list(area: Path, *, as_json: bool) -> int:
    """All erasures. Returns the exit status: whether something is due."""
    found = [(erasure, read_progress(area, erasure.erasure)) for erasure in read_erasures(area)]
    if as_json:
        output.print_json({"erasures": [as_document(*one) for one in found]})
    elif found:
        output.print_table(_LIST, [_row(*one) for one in found])
    else:
        say("nothing was erased")
    return EXIT_OK if all(progress.state == "done" for _, progress in found) else EXIT_SKIPPED


def _row(erasure: Erasure, progress: Progress) -> Sequence[str]:
    until = max(
        (remaining.until for remaining in progress.remaining if remaining.until is not None), default=None
    )
    return (
        erasure.erasure,
        output.moment(erasure.asked),
        number(len(erasure.mailboxes)),
        progress.state,
        number(len(progress.remaining)),
        output.moment(until),
        shown(erasure.reason),
    )


def as_document(erasure: Erasure, progress: Progress) -> Mapping[str, Any]:
    """The certificate as JSON has it."""
    return certificate(erasure, progress)


def tell_certificate(area: Path, erasure: RunId, *, as_json: bool) -> int:
    """What was done in an erasure. Returns the exit status: whether something of it is due. Raises
    NotFoundError."""
    found = next(
        (read_erasure for read_erasure in read_erasures(area) if read_erasure.erasure == erasure), None
    )
    if found is None:
        raise NotFoundError(f"there is no erasure {erasure} (`mailhaul erase --list` lists them)")
    progress = read_progress(area, erasure)
    if as_json:
        output.print_json(as_document(found, progress))
    else:
        _tell(found, progress)
    return EXIT_OK if progress.state == "done" else EXIT_SKIPPED


def _tell(erasure: Erasure, progress: Progress) -> None:
    say(f"erasure {erasure.erasure}, asked for {output.moment(erasure.asked)}: {shown(erasure.reason)}")
    for mailbox in erasure.mailboxes:
        say(
            f"  mailbox: BLAKE3 {mailbox.digest.hex()}, salt {mailbox.salt.hex()} (who guesses it can "
            "confirm it)"
        )
    for step in progress.steps:
        say(f"  {output.moment(step.at)}  {shown(step.what)}")
    output.list_skipped(progress.undone, "not done yet")
    for remaining in progress.remaining[:_LISTED]:
        say(f"  due: {_due(remaining)}")
    if len(progress.remaining) > _LISTED:
        say(f"  due: and {number(len(progress.remaining) - _LISTED)} more (--json lists all)")
    if progress.state == "done":
        say(f"  done {output.moment(progress.ended)}")
    elif progress.state == "begun":
        note(f"erasure {erasure.erasure} is not done in the staging area: mailhaul erase --resume")
    else:
        note(
            f"erasure {erasure.erasure}: {counted(len(progress.remaining), 'copy', 'copies')} due: "
            "mailhaul erase --resume, then"
        )


def _due(remaining: Remaining) -> str:
    until = f", until {output.moment(remaining.until)}" if remaining.until is not None else ""
    what = remaining.name or "all that may be there"
    return shown(f"{remaining.place}: {what}: {remaining.why}{until}")
