"""How long a restore may take, by how long earlier ones took. Where nothing is known, nothing is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

from ...proto.errors import NotFoundError
from ...proto.structs import Record
from .record import directory_of, restores_of
from .report import read_report

_MOST_RESTORES = 10
_LEAST_MESSAGES = 1000
"""A smaller one tells how long a command takes to start."""


class Rate(Record, kw_only=True):
    """How fast so many earlier ``restores`` were, in the middle."""

    restores: int
    messages_per_second: float
    bytes_per_second: float

    def seconds(self, messages: int, size_bytes: int) -> float:
        """How long so much may take: small messages go by their number, large ones by their bytes."""
        return max(messages / self.messages_per_second, size_bytes / self.bytes_per_second)


def measured_rate(staging: Path) -> Rate | None:
    """The rate of the newest restores from a staging area that were large enough to tell; None if there was
    none."""
    speeds = list(_speeds(staging))
    if not speeds:
        return None
    return Rate(
        restores=len(speeds),
        messages_per_second=median(messages for messages, _ in speeds),
        bytes_per_second=median(size_bytes for _, size_bytes in speeds),
    )


def _speeds(staging: Path) -> Iterator[tuple[float, float]]:
    """Messages and bytes a second; a pause of one that was gone on with later counts as if it had worked."""
    for restore in restores_of(staging)[: -_MOST_RESTORES - 1 : -1]:
        with suppress(NotFoundError):
            report = read_report(directory_of(staging, restore))
            seconds = (report.ended - report.order.begun).total_seconds()
            if report.state == "done" and report.restored >= _LEAST_MESSAGES and seconds > 0:
                yield report.restored / seconds, max(1, report.size_bytes) / seconds
