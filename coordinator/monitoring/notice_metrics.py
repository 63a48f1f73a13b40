"""What Prometheus is told of notices: how often what was said, and whether it gets to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ..notices.records import Standing
from ..service.database import place
from ..service.nights import Nights
from ..service.notices import NoticeRecord
from .families import counter, gauge

_RECEIVER = ("receiver",)


class NoticeCollector(Collector):
    """Notices of a staging area; nothing where none was ever on record."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        if not place(self._staging).exists():
            return
        record = NoticeRecord(self._staging)
        try:
            said, lasting, channels = record.said(), record.lasting(), record.channels()
            night, good = Nights(self._staging).newest(), Nights(self._staging).last_good()
        except BackupError:  # an alert notices that these are gone
            return
        labels = ("event", "kind")
        yield counter("mailhaul_notices", "Notices, by event, and whether they were new.", labels, said)
        yield gauge(
            "mailhaul_notices_lasting",
            "Causes that last: not over, by event, and whether somebody has acknowledged them.",
            ("event", "acknowledged"),
            ((*labels, many) for labels, many in Counter(map(_labels, lasting)).items()),
        )
        for name, text, values in (
            ("delivered", "Notices that a receiver has got.", [channel.delivered for channel in channels]),
            (
                "failures",
                "Attempts to deliver a notice that have failed.",
                [standing.failures for standing in channels],
            ),
            (
                "given_up",
                "Notices that a receiver will not get.",
                [channel_standing.given_up for channel_standing in channels],
            ),
        ):
            samples = ((one.name, value) for one, value in zip(channels, values, strict=True))
            yield counter(f"mailhaul_notice_{name}", text, _RECEIVER, samples)
        yield gauge(
            "mailhaul_notice_waiting",
            "Notices that a receiver is still to get.",
            _RECEIVER,
            ((one.name, one.waiting) for one in channels),
        )
        yield gauge(
            "mailhaul_notice_failing_since_timestamp_seconds",
            "Since when a receiver can't be reached; 0: it can.",
            _RECEIVER,
            ((one.name, one.failing_since.timestamp() if one.failing_since else 0) for one in channels),
        )
        if night is not None:
            yield gauge(
                "mailhaul_last_night_good",
                "Whether the last night that was looked at was a good one.",
                (),
                [(night.good,)],
            )
        if good is not None and good.worked is not None:
            yield gauge(
                "mailhaul_switch_worked_timestamp_seconds",
                "When the dead man's switch was worked last.",
                (),
                [(good.worked.timestamp(),)],
            )


def _labels(standing: Standing) -> tuple[str, str]:
    return standing.notice.event, "no" if standing.acknowledged is None else "yes"
