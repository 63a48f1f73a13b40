"""What Prometheus is told of drills and proofs. Nothing where no drill was ever made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ..clock import utc
from ..drills.shares import Share, shares
from ..service.database import place
from ..service.proofs import Drill, Proofs
from .families import GROUP, counter, gauge


class DrillCollector(Collector):
    """What is on record of drills in a staging area, in whatever process."""

    def __init__(self, staging: Path, now: Callable[[], float]) -> None:
        self._staging = staging
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client. What can't be read is missing: ``mailhaul_catalog_readable`` tells."""
        with suppress(BackupError):
            if place(self._staging).exists() and (ended := self._ended()):
                groups = shares(self._staging, utc(self._now()))
                failures = Proofs(self._staging).failures()
                yield from _of_groups(groups)
                yield from _of_drills(ended[0], failures)

    def _ended(self) -> list[Drill]:
        return [drill for drill in Proofs(self._staging).drills(2) if drill.state != "running"]


def _of_groups(groups: Sequence[Share]) -> Iterator[Metric]:
    for name, text, values in (
        (
            "proven_mailboxes",
            "Mailboxes of the group that a drill has restored whole within 30 days.",
            [group.proven for group in groups],
        ),
        (
            "never_proven_mailboxes",
            "Mailboxes of the group that no drill has ever restored whole.",
            [share.never for share in groups],
        ),
        (
            "mailboxes_not_whole",
            "Mailboxes of the group of which a restore would lack something, as the newest drill has shown.",
            [one.failed for one in groups],
        ),
        (
            "oldest_proof_timestamp_seconds",
            "When that mailbox of the group was proven whose proof is the oldest; 0: there is none.",
            [one.oldest.timestamp() if one.oldest else 0 for one in groups],
        ),
    ):
        samples = ((one.partition, one.group, value) for one, value in zip(groups, values, strict=True))
        yield gauge(f"mailhaul_{name}", text, GROUP, samples)


def _of_drills(last: Drill, failures: int) -> Iterator[Metric]:
    yield counter(
        "mailhaul_drill_failures",
        "How often a drill has found a mailbox of which a restore would lack something.",
        (),
        [(failures,)],
    )
    yield gauge(
        "mailhaul_last_drill_mailboxes",
        "Mailboxes of the newest drill, by what it has shown.",
        ("outcome",),
        [("proven", last.proven), ("failed", last.failed), ("untried", last.untried)],
    )
    seconds = (last.ended - last.started).total_seconds() if last.ended else 0
    for name, text, value in (
        ("started_timestamp_seconds", "When the newest drill began.", last.started.timestamp()),
        ("duration_seconds", "How long the newest drill took; 0: it was interrupted.", seconds),
    ):
        yield gauge(f"mailhaul_last_drill_{name}", text, (), [(value,)])
