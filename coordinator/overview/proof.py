"""What drills have proven: by group the share of mailboxes that were restored whole within 30 days, and what
failed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from ...proto.structs import Record
from ..catalog.reading import CatalogReader
from ..drills.shares import PROVEN_WITHIN, Share, shares_of
from ..history import GoodBackup
from ..service.proofs import Counts, Drill, Mailbox, Proof, Proofs

DAYS = PROVEN_WITHIN.days
"""A proof counts for so long."""

DRILLS = 60
FAILED = 50
"""So many drills, and so many mailboxes that failed, are in one answer."""


class ProofStanding(Record, kw_only=True):
    """The groups, the least proven first, their sums, and the newest drills, the newest first."""

    mailboxes: int
    proven: int
    failed: int
    share: float
    groups: tuple[Share, ...]
    drills: tuple[Drill, ...] = ()


class FailedProofs(Record, kw_only=True):
    """Mailboxes of which a restore would lack something. ``after`` is what to ask for the following ones with
    (partition, group, user), None if there are none."""

    proofs: tuple[Proof, ...]
    after: Mailbox | None = None


def proof_standing(catalog: CatalogReader, staging: Path, now: datetime) -> ProofStanding:
    """How it stands at a time (aware). Raises DamagedError, StagingError."""
    proofs = Proofs(staging)
    return standing_of(catalog.last_good(), proofs.counts(now - PROVEN_WITHIN), proofs.drills(DRILLS))


def standing_of(
    good: Iterable[GoodBackup], counts: Iterable[Counts], drills: tuple[Drill, ...] = ()
) -> ProofStanding:
    """The mailboxes of groups, and what drills have shown of them, put together and added up."""
    groups = sorted(shares_of(good, counts), key=lambda one: (one.share, one.partition, one.group))
    mailboxes, proven = sum(group.mailboxes for group in groups), sum(share.proven for share in groups)
    return ProofStanding(
        mailboxes=mailboxes,
        proven=proven,
        failed=sum(one.failed for one in groups),
        share=proven / mailboxes if mailboxes else 0.0,
        groups=tuple(groups),
        drills=drills,
    )


def failed_proofs(staging: Path, after: Mailbox | None = None, most: int = FAILED) -> FailedProofs:
    """A page of what failed. Raises DamagedError, StagingError."""
    found = Proofs(staging).not_whole(most + 1, after)
    shown = found[:most]
    return FailedProofs(proofs=shown, after=shown[-1].mailbox if len(found) > most else None)
