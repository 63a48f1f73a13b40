"""Losses that can't be mended and that somebody has accepted: ``accepted.jsonl`` of the staging area, one
object a line. They are told apart from those that are new; no rebuild of the catalog takes them away.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from ...proto.errors import DamagedError
from ...proto.records import ArchiveId, RunId
from ...proto.structs import Record, asdict, replace
from ...worker.verifying.losses import Loss
from ..durable import read_lines, replace_durably
from .remedies import Affected
from .verification import Verification


class AcceptedLoss(Record, kw_only=True):
    """What is lost at the moments from ``first`` to ``last`` and was ``accepted`` (ISO time). ``digest`` is
    that of a content, in hex, and empty for metadata. Of an archive that is missing as a whole ``path`` is
    the file, and there are no moments."""

    path: str
    reason: str
    digest: str = ""
    first: str = ""
    last: str = ""
    accepted: str

    def covers(self, other: AcceptedLoss) -> bool:
        """Whether another loss is this one, or a part of it: a purge may have taken some of its moments."""
        same = (self.path, self.reason, self.digest) == (other.path, other.reason, other.digest)
        return same and self.first <= other.first and other.last <= self.last


def read_accepted(staging: Path) -> tuple[AcceptedLoss, ...]:
    """What is recorded. Raises DamagedError, StagingError."""
    path = _place(staging)
    lines = read_lines(path)
    try:
        return tuple(
            AcceptedLoss(**{key: str(one) for key, one in json.loads(line).items()}) for line in lines
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged: {error}; without it, losses that were accepted are told again",
            path=str(path),
        ) from error


def write_accepted(staging: Path, losses: Iterable[AcceptedLoss]) -> None:
    """Record these losses in place of what was recorded before; durably. Raises StagingError."""
    text = "".join(json.dumps(asdict(loss)) + "\n" for loss in losses)
    replace_durably(_place(staging), text.encode("ascii"))


def without_accepted(
    verification: Verification, accepted: Sequence[AcceptedLoss]
) -> tuple[Verification, tuple[AcceptedLoss, ...]]:
    """A verification without the losses that were accepted, and these."""
    if not accepted:
        return verification, ()
    by_path: dict[str, list[AcceptedLoss]] = {}
    for accepted_loss in accepted:
        by_path.setdefault(accepted_loss.path, []).append(accepted_loss)
    met: dict[AcceptedLoss, None] = {}

    def is_accepted(loss: AcceptedLoss) -> bool:
        found = next(
            (accepted_loss for accepted_loss in by_path.get(loss.path, ()) if accepted_loss.covers(loss)),
            None,
        )
        if found is not None:
            met[found] = None
        return found is not None

    kept = [
        (loss, told)
        for loss, told in zip(verification.losses, verification.affected, strict=True)
        if not is_accepted(_lost(told, loss.digest, ""))
    ]
    reports = {
        archive: replace(report, damaged=())
        if [skip.reason for skip in report.damaged] == ["missing"] and is_accepted(_missing(report.file, ""))
        else report
        for archive, report in verification.reports.items()
    }
    left = replace(
        verification,
        reports=reports,
        losses=tuple(loss for loss, _ in kept),
        affected=tuple(told for _, told in kept),
    )
    return left, tuple(met)


def acceptable(
    verification: Verification, missing: Collection[ArchiveId], now: datetime
) -> tuple[AcceptedLoss, ...]:
    """What of a verification nothing brings back: losses, and of the archives whose files are not there those
    that are recorded as ``missing``."""
    when = now.isoformat(timespec="seconds")
    losses = (
        _lost(told, loss.digest, when)
        for loss, told in zip(verification.losses, verification.affected, strict=True)
        if is_for_good(loss, told, missing)
    )
    archives = (
        _missing(report.file, when)
        for archive, report in verification.reports.items()
        if archive in missing and [skip.reason for skip in report.damaged] == ["missing"]
    )
    return (*losses, *archives)


def is_for_good(loss: Loss, told: Affected, missing: Collection[ArchiveId]) -> bool:
    """Whether neither the next backup nor a repair brings back what is lost. An archive that is missing is
    not made anew, also where others hold the same."""
    if told.remedy == "archive":
        return any(archive in missing for archive, _ in loss.lacking)
    return told.remedy != "next-backup"


def accepted_at(accepted: Iterable[AcceptedLoss], run: RunId) -> list[AcceptedLoss]:
    """The accepted losses of a moment."""
    return [loss for loss in accepted if loss.first <= run <= loss.last]


def _lost(told: Affected, digest: bytes, when: str) -> AcceptedLoss:
    return AcceptedLoss(
        path=told.path,
        reason=told.reason,
        digest=digest.hex(),
        first=told.first,
        last=told.last,
        accepted=when,
    )


def _missing(file: str, when: str) -> AcceptedLoss:
    return AcceptedLoss(path=file, reason="missing", accepted=when)


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / "accepted.jsonl"
