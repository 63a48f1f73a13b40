"""What drills have proven: by group the share of mailboxes that were restored whole within 30 days, and what
failed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.structs import Record
from ..catalog.reading import CatalogReader
from ..history import GoodBackup
from ..service.proofs import Counts, Drill, Mailbox, Proof, Proofs

DAYS = 30
"""A proof counts for so long."""

DRILLS = 60
FAILED = 50
"""So many drills, and so many mailboxes that failed, are in one answer."""


class GroupProof(Record, kw_only=True):
    """Of the ``mailboxes`` of a group that are there, so many were ``proven`` within the last 30 days
    (``share`` of 1), ``failed`` in their newest drill, were proven ``ever``; the ``oldest`` proof."""

    partition: str
    group: str
    mailboxes: int
    proven: int
    failed: int
    ever: int
    share: float
    oldest: datetime | None = None


class ProofStanding(Record, kw_only=True):
    """The groups, the least proven first, their sums, and the newest drills, the newest first."""

    mailboxes: int
    proven: int
    failed: int
    share: float
    groups: tuple[GroupProof, ...]
    drills: tuple[Drill, ...] = ()


class FailedProofs(Record, kw_only=True):
    """Mailboxes of which a restore would lack something. ``after`` is what to ask for the following ones with
    (partition, group, user), None if there are none."""

    proofs: tuple[Proof, ...]
    after: Mailbox | None = None


def proof_standing(catalog: CatalogReader, staging: Path, now: datetime) -> ProofStanding:
    """How it stands at a time (aware). Raises DamagedError, StagingError."""
    proofs = Proofs(staging)
    return standing_of(catalog.last_good(), proofs.counts(now - timedelta(days=DAYS)), proofs.drills(DRILLS))


def standing_of(
    good: Iterable[GoodBackup], counts: Iterable[Counts], drills: tuple[Drill, ...] = ()
) -> ProofStanding:
    """The mailboxes of groups, and what drills have shown of them, put together. A mailbox that went since it
    was proven does not make the share larger than all."""
    known = {(one.partition, one.group): one for one in counts}
    groups = sorted(
        (_group(one, known.get((one.partition, one.group))) for one in good),
        key=lambda one: (one.share, one.partition, one.group),
    )
    mailboxes, proven = sum(one.mailboxes for one in groups), sum(one.proven for one in groups)
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


def _group(good: GoodBackup, counts: Counts | None) -> GroupProof:
    proven = min(counts.proven, good.mailboxes) if counts else 0
    return GroupProof(
        partition=good.partition,
        group=good.group,
        mailboxes=good.mailboxes,
        proven=proven,
        failed=counts.failed if counts else 0,
        ever=counts.ever if counts else 0,
        share=proven / good.mailboxes if good.mailboxes else 0.0,
        oldest=counts.oldest if counts else None,
    )
