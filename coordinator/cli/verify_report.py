"""What ``verify`` prints: as text for people, and as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from ...proto.records import ArchiveId, Skipped
from ..verifying.checked import Checked, Order
from ..verifying.examination import Examination
from ..verifying.remedies import Affected
from ..verifying.repairing import Repaired
from ..verifying.verification import Verification
from . import output
from .output import counted, duration, number, say, size


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOutcome:
    """A verification that has ended. ``checked`` is what is recorded of archives, by their ids."""

    order: Order
    verification: Verification
    examination: Examination
    damaged: tuple[Skipped, ...]
    repaired: tuple[Repaired, ...]
    checked: Mapping[str, Checked]
    seconds: float


def print_document(outcome: VerifyOutcome) -> None:
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
            "fixed": outcome.repaired,
        }
    )


def _facts(report: object) -> dict[str, object]:
    """A report as JSON holds it, but for the id: that is the archive's which should be there."""
    plain = output.plain(report)
    return {key: value for key, value in plain.items() if key != "archive"} if isinstance(plain, dict) else {}


def _last(outcome: VerifyOutcome, archive: ArchiveId) -> Checked:
    return outcome.checked.get(archive.hex(), Checked())


def print_text(outcome: VerifyOutcome) -> None:
    """What people read: first what is damaged, then what it costs, what was done about it, and a summary."""
    for one in outcome.damaged:
        say(output.shown(f"damaged: {one.path} ({one.reason}): {one.detail}"))
    to_fix = _to_fix(outcome)
    for loss in outcome.verification.affected:
        say(output.shown(_loss(loss, to_fix)))
    for repaired in outcome.repaired:
        say(output.shown(_repaired(repaired)))
    for file in outcome.examination.strangers:
        output.note(f"not in the catalog: {file}")
    say(_summary(outcome))
    if (outcome.damaged or outcome.verification.affected) and not outcome.repaired:
        output.note(
            "verify --fix writes damaged archives anew, and lets the next backup read again what is lost"
        )


def _to_fix(outcome: VerifyOutcome) -> Set[ArchiveId]:
    """The archives that backups take for whole, until they are fixed. (That a file is missing, they see.)"""
    if outcome.repaired:
        return frozenset()
    return {
        archive
        for archive, report in outcome.verification.reports.items()
        if any(one.reason != "missing" for one in report.damaged)
    }


def _loss(loss: Affected, to_fix: Set[ArchiveId]) -> str:
    fixed = "once `verify --fix` has run, " if loss.archive in to_fix else ""
    runs = loss.first if loss.first == loss.last else f"{loss.first} to {loss.last}"
    remedies = {
        "archive": f"the same is in {loss.source}",
        "next-backup": f"{fixed}the next backup reads it again",
        "moment": f"nearest to it is the mailbox as of {loss.source}",
        "nowhere": "it is nowhere else",
    }
    return f"lost: {loss.path}, {runs}: {loss.detail} ({loss.reason}); {remedies[loss.remedy]}"


def _repaired(repaired: Repaired) -> str:
    aside = f"; the damaged file is {repaired.aside}" if repaired.aside else ""
    told = {
        "rewritten": f"written anew as {repaired.new_file}, {size(repaired.filled_bytes)} of its data filled "
        f"from elsewhere, {size(repaired.lost_bytes)} lost",
        "missing": "missing: the next backup reads again what it held",
        "unreadable": f"nothing of it can be read: {repaired.detail}",
        "set-aside": "a newer file of the same archive is there",
        "failed": f"it could not be written anew: {repaired.detail}",
    }
    return f"fixed: {repaired.file}: {told[repaired.outcome]}{aside}"


def _summary(outcome: VerifyOutcome) -> str:
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
