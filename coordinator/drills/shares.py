"""How much of what is backed up is proven, by group: the numbers of the page, the digest and metrics."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from ...proto.structs import Record
from ..catalog import Catalog
from ..service.proofs import Counts, Proofs

PROVEN_WITHIN = timedelta(days=30)
"""A proof that is older does not count in a share."""


class Share(Record, kw_only=True):
    """A group in a partition: its ``mailboxes`` that are there, and those of them that were ``proven`` within
    the last 30 days; those whose newest drill ``failed``, and those that were ``never`` proven; the
    ``oldest`` proof of all others (None: there is none)."""

    partition: str
    group: str
    mailboxes: int
    proven: int
    failed: int
    never: int
    oldest: datetime | None

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.proven / self.mailboxes if self.mailboxes else 1.0


def shares(staging: Path, now: datetime, within: timedelta = PROVEN_WITHIN) -> tuple[Share, ...]:
    """Those of all groups that have mailboxes, by partition and group. Raises NotFoundError where nothing was
    backed up, StagingError, DamagedError."""
    with Catalog.open(staging) as catalog:
        groups = catalog.last_good()
    known = {(one.partition, one.group): one for one in Proofs(staging).counts(now - within)}
    return tuple(
        _share(one.partition, one.group, one.mailboxes, known.get((one.partition, one.group)))
        for one in groups
    )


def _share(partition: str, group: str, mailboxes: int, counts: Counts | None) -> Share:
    # Mailboxes that are gone since the last drill count as proven until the next one.
    return Share(
        partition=partition,
        group=group,
        mailboxes=mailboxes,
        proven=min(counts.proven, mailboxes) if counts else 0,
        failed=counts.failed if counts else 0,
        never=max(0, mailboxes - (counts.ever if counts else 0)),
        oldest=counts.oldest if counts else None,
    )
