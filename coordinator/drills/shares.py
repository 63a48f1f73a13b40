"""How much of what is backed up is proven, by group: the numbers of the page, the digest and metrics."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.structs import Record
from ..catalog import Catalog
from ..history import GoodBackup
from ..service.proofs import Counts, Proofs

PROVEN_WITHIN = timedelta(days=30)
"""A proof that is older does not count in a share."""


class Share(Record, kw_only=True):
    """A group in a partition: its ``mailboxes`` that are there, and those of them that were ``proven`` within
    the last 30 days (``share`` of 1); those whose newest drill ``failed``; those that were proven ``ever``,
    or ``never``; the ``oldest`` proof (None: there is none)."""

    partition: str
    group: str
    mailboxes: int
    proven: int
    failed: int
    ever: int
    never: int
    share: float
    oldest: datetime | None


def shares(staging: Path, now: datetime, within: timedelta = PROVEN_WITHIN) -> tuple[Share, ...]:
    """Those of all groups that have mailboxes, by partition and group. Raises NotFoundError where nothing was
    backed up, StagingError, DamagedError."""
    with Catalog.open(staging) as catalog:
        return shares_of(catalog.last_good(), Proofs(staging).counts(now - within))


def shares_of(good: Iterable[GoodBackup], counts: Iterable[Counts]) -> tuple[Share, ...]:
    """The mailboxes of groups, and what drills have shown of them, put together. Mailboxes that went since
    they were proven do not make a share larger than all."""
    known = {(count.partition, count.group): count for count in counts}
    return tuple(_share(backup, known.get((backup.partition, backup.group))) for backup in good)


def _share(good: GoodBackup, counts: Counts | None) -> Share:
    proven = min(counts.proven, good.mailboxes) if counts else 0
    ever = min(counts.ever, good.mailboxes) if counts else 0
    return Share(
        partition=good.partition,
        group=good.group,
        mailboxes=good.mailboxes,
        proven=proven,
        failed=counts.failed if counts else 0,
        ever=ever,
        never=good.mailboxes - ever,
        share=proven / good.mailboxes if good.mailboxes else 0.0,
        oldest=counts.oldest if counts else None,
    )
