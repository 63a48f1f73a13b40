"""What ``verify`` prints: as text for people, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from ...proto.records import ArchiveId, Skipped
from ...proto.structs import Record
from ...worker.archives.holdings import described
from ..verifying.accepting import AcceptedLoss
from ..verifying.checked import Checked, Order
from ..verifying.examination import Examination
from ..verifying.remedies import Affected
from ..verifying.repairing import Repaired
from ..verifying.verification import Verification
from . import output
from .output import counted, duration, number, say, size

_LISTED = 50
_MORE = "more (--json lists all)"


class VerifyOutcome(Record, kw_only=True):
    """A verification that has ended. ``renewed`` are archives of runs that were rewritten from the catalog.
    ``accepted`` are losses that were accepted, and are in nothing else here, and ``acceptable`` tells whether
    others could be; ``checked`` is what is recorded of archives, by their ids."""

    order: Order
    verification: Verification
    examination: Examination
    damaged: tuple[Skipped, ...]
    repaired: tuple[Repaired, ...]
    renewed: tuple[str, ...]
    accepted: tuple[AcceptedLoss, ...]
    acceptable: bool
    checked: Mapping[str, Checked]
    seconds: float


def print_document(outcome: VerifyOutcome) -> None:
    """The JSON document."""
    order, verification = outcome.order, outcome.verification
    output.print_json(
        {
            "path": order.path,
            "host": order.host,
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
            "unreadable": verification.unreadable,
            "affected": verification.affected,
            "accepted": outcome.accepted,
            "unknown_files": outcome.examination.strangers,
            "set_aside": [
                described(copy, outcome.examination.aside)
                for copies in outcome.examination.set_aside.values()
                for copy in copies
            ],
            "repaired": outcome.repaired,
            "renewed": outcome.renewed,
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
    to_fix = _to_fix(outcome)
    verification = outcome.verification
    _list("damaged", (f"{skip.path} ({skip.reason}): {skip.detail}" for skip in outcome.damaged))
    _list("can't be read", (one.detail for one in verification.unreadable))
    _list("lost", (_loss(loss, to_fix) for loss in verification.affected))
    for what, repaired in _by_outcome(outcome.repaired).items():
        _list(what, map(_repaired, repaired))
    _list("rewritten from the catalog", outcome.renewed)
    for file in outcome.examination.strangers[:_LISTED]:
        output.note(f"not in the catalog: {file}")
    if len(outcome.examination.strangers) > _LISTED:
        output.note(f"not in the catalog: and {number(len(outcome.examination.strangers) - _LISTED)} {_MORE}")
    say(_summary(outcome))
    if (outcome.damaged or outcome.verification.affected) and not (outcome.repaired or outcome.renewed):
        output.note(
            "verify --fix rewrites damaged archives, and lets the next backup read again what is lost"
        )
    elif outcome.acceptable:
        output.note("verify --accept records what is lost for good as known: it is no failure any more then")


def _list(what: str, lines: Iterable[str]) -> None:
    """The first lines, and how many more there are."""
    listed = list(lines)
    for line in listed[:_LISTED]:
        say(output.shown(f"{what}: {line}"))
    if len(listed) > _LISTED:
        say(f"{what}: and {number(len(listed) - _LISTED)} {_MORE}")


def _by_outcome(repaired: Iterable[Repaired]) -> dict[str, list[Repaired]]:
    found: dict[str, list[Repaired]] = {}
    for one in repaired:
        found.setdefault(_OUTCOMES[one.outcome] if one.whole else "rewritten", []).append(one)
    return found


_OUTCOMES = {
    "rewritten": "fixed",
    "missing": "recorded as missing",
    "unreadable": "given up",
    "set-aside": "set aside",
    "failed": "not fixed",
}


def _to_fix(outcome: VerifyOutcome) -> Set[ArchiveId]:
    """The archives that backups take for whole, until they are fixed. (That a file is missing, they see.)"""
    if outcome.repaired:
        return frozenset()
    return {
        archive
        for archive, report in outcome.verification.reports.items()
        if any(skip.reason != "missing" for skip in report.damaged)
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
    return f"{loss.path}, {runs}: {loss.detail} ({loss.reason}); {remedies[loss.remedy]}"


def _repaired(repaired: Repaired) -> str:
    aside = f"; the damaged file is {repaired.aside}" if repaired.aside else ""
    told = {
        "rewritten": f"as {repaired.new_file}, {size(repaired.filled_bytes)} of its data filled from "
        f"elsewhere, {size(repaired.lost_bytes)} lost{', and metadata' if repaired.lost_frames else ''}",
        "missing": "the next backup reads again what it held, where the mailboxes still have it",
        "unreadable": f"nothing of it can be read: {repaired.detail}",
        "set-aside": "a newer file of the same archive is there",
        "failed": f"it could not be rewritten: {repaired.detail}",
    }
    return f"{repaired.file}: {told[repaired.outcome]}{aside}"


def _summary(outcome: VerifyOutcome) -> str:
    verification = outcome.verification
    reports = verification.reports.values()
    frames = sum(report.frames for report in reports)
    checked = [counted(len(reports), "archive"), counted(frames, "frame")]
    if outcome.order.share is not None:
        checked[-1] += (
            " (a sample of "
            f"{number(sum(verify_report.sampled_of or verify_report.frames for verify_report in reports))})"
        )
    checked.append(counted(verification.messages, "message"))
    if outcome.order.data:
        checked.append(
            f"{counted(verification.contents, 'different content')} of {size(verification.size_bytes)}"
        )
    locked = sum(one.locked_frames for one in reports)
    if locked:
        checked.append(
            f"{counted(locked, 'frame')} of mail or terms as they are stored, encrypted (--identity)"
        )
    wrong = [
        f"{number(len(outcome.damaged))} damaged" if outcome.damaged else "",
        f"{number(len(verification.affected))} lost" if verification.affected else "",
        f"{counted(len(verification.unreadable), 'archive')} can't be read"
        if verification.unreadable
        else "",
    ]
    told = ", ".join(one for one in wrong if one) or ("all else whole" if outcome.accepted else "all whole")
    if outcome.accepted:
        told += f"; {counted(len(outcome.accepted), 'loss', 'losses')} accepted before"
    return f"{', '.join(checked)} checked in {duration(outcome.seconds)}: {told}"
