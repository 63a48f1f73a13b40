"""What ``verify`` prints: as text for people, and as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...proto.records import ArchiveId, Skipped
from ..checked import Checked, Order
from ..examination import Examination
from ..remedies import Affected
from ..repairing import Fixed
from ..verification import Verification
from . import output
from .output import counted, duration, number, say, size


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A verification that has ended. ``checked`` is what is recorded of archives, by their ids."""

    order: Order
    verification: Verification
    examination: Examination
    damaged: tuple[Skipped, ...]
    fixed: tuple[Fixed, ...]
    checked: Mapping[str, Checked]
    seconds: float


def print_document(outcome: Outcome) -> None:
    """The JSON document."""
    order, verification = outcome.order, outcome.verification
    output.print_json(
        {
            "path": order.path,
            "data": order.data,
            "at": order.at,
            "since": order.since,
            "sample": order.share,
            "archives": [
                {"archive": archive, **_facts(report), "last_checked": _last(outcome, archive)}
                for archive, report in verification.reports.items()
            ],
            "messages": verification.messages,
            "contents": verification.contents,
            "size_bytes": verification.size_bytes,
            "damaged": outcome.damaged,
            "affected": verification.affected,
            "unknown_files": outcome.examination.strangers,
            "set_aside": [one.file for places in outcome.examination.set_aside.values() for one in places],
            "fixed": outcome.fixed,
        }
    )


def _facts(report: object) -> dict[str, object]:
    """A report as JSON holds it, but for the id: that is the archive's which should be there."""
    plain = output.plain(report)
    return {key: value for key, value in plain.items() if key != "archive"} if isinstance(plain, dict) else {}


def _last(outcome: Outcome, archive: ArchiveId) -> Checked:
    return outcome.checked.get(archive.hex(), Checked())


def print_text(outcome: Outcome) -> None:
    """What people read: first what is damaged, then what it costs, what was done about it, and a summary."""
    for one in outcome.damaged:
        say(output.shown(f"damaged: {one.path} ({one.reason}): {one.detail}"))
    for loss in outcome.verification.affected:
        say(output.shown(_loss(loss)))
    for fixed in outcome.fixed:
        say(output.shown(_fixed(fixed)))
    for file in outcome.examination.strangers:
        output.note(f"not in the catalog: {file}")
    say(_summary(outcome))
    if (outcome.damaged or outcome.verification.affected) and not outcome.fixed:
        output.note(
            "verify --fix writes damaged archives anew, and lets the next backup read again what is lost"
        )


def _loss(loss: Affected) -> str:
    runs = loss.first if loss.first == loss.last else f"{loss.first} to {loss.last}"
    remedies = {
        "archive": f"the same is in {loss.source}",
        "next-backup": "the next backup reads it again",
        "moment": f"nearest to it is the mailbox as of {loss.source}",
        "nowhere": "it is nowhere else",
    }
    return f"lost: {loss.path}, {runs}: {loss.detail} ({loss.reason}); {remedies[loss.remedy]}"


def _fixed(fixed: Fixed) -> str:
    aside = f"; the damaged file is {fixed.aside}" if fixed.aside else ""
    told = {
        "rewritten": f"written anew as {fixed.new_file}, {size(fixed.filled_bytes)} of its data filled from "
        f"elsewhere, {size(fixed.lost_bytes)} lost",
        "missing": "missing: the next backup reads again what it held",
        "unreadable": f"nothing of it can be read: {fixed.detail}",
        "set-aside": "a newer file of the same archive is there",
        "failed": f"it could not be written anew: {fixed.detail}",
    }
    return f"fixed: {fixed.file}: {told[fixed.outcome]}{aside}"


def _summary(outcome: Outcome) -> str:
    verification = outcome.verification
    reports = verification.reports.values()
    frames = sum(one.frames for one in reports)
    checked = [counted(len(reports), "archive"), counted(frames, "frame")]
    if outcome.order.share is not None:
        checked[-1] += f" (a sample of {number(sum(one.sampled_of or one.frames for one in reports))})"
    checked.append(counted(verification.messages, "message"))
    if outcome.order.data:
        checked.append(
            f"{counted(verification.contents, 'different content')} of {size(verification.size_bytes)}"
        )
    wrong = [
        f"{number(len(outcome.damaged))} damaged" if outcome.damaged else "",
        f"{number(len(verification.affected))} lost" if verification.affected else "",
    ]
    told = ", ".join(one for one in wrong if one) or "all whole"
    return f"{', '.join(checked)} checked in {duration(outcome.seconds)}: {told}"
