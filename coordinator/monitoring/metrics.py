"""What Prometheus is told: collectors over records that are asked for at each scrape.

Nothing is counted here and nothing kept: a run is a RunStatus, the receiver its status, backups are what the
catalog says. Labels are partitions, groups, states, reasons and error codes, so their number is bounded; no
label holds a user or a run. How metrics leave the process is ``exposition``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError, NotFoundError
from ...proto.ports import Clock
from ...worker.staging.receiver_status import ReceiverStatus
from ...worker.staging.space import Space
from ..catalog import Catalog
from ..history import GoodBackup, RunRecord
from ..settings import Config
from .overview import RECEIVER_SECONDS, configured_groups, going_run, receiver_of
from .status import RUN_STATES, RunStatus, run_state

_GROUP = ("partition", "group")
_DONE = {
    "messages": ("mailhaul_read_messages", "Messages that were read from mail stores."),
    "size_bytes": ("mailhaul_read_bytes", "Bytes of mail that were read from mail stores."),
    "new_bytes": ("mailhaul_stored_bytes", "Bytes of mail that had to be stored, before compression."),
    "archive_bytes": ("mailhaul_archive_bytes", "Bytes of archives that were written."),
    "deduplicated_bytes": (
        "mailhaul_deduplicated_bytes",
        "Bytes of mail that were stored already; told when a unit is sealed.",
    ),
}


class RunCollector(Collector):
    """A run and how far it is; nothing where ``take`` returns None. Its counters begin at zero with it."""

    def __init__(self, take: Callable[[], RunStatus | None]) -> None:
        self._take = take

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        try:
            run = self._take()
        except BackupError:
            return
        if run is None:
            return
        for field, (name, text) in _DONE.items():
            yield _counter(
                name,
                text,
                _GROUP,
                ((one.partition, one.group, getattr(one.done, field)) for one in run.groups),
            )
        yield _gauge(
            "mailhaul_units",
            "Units of the run by their state.",
            (*_GROUP, "state"),
            (
                (one.partition, one.group, state, count)
                for one in run.groups
                for state, count in asdict(one.units).items()
            ),
        )
        yield _counter(
            "mailhaul_skipped", "Entries left out of the backup, by reason.", ("reason",), run.skipped.items()
        )
        yield _counter(
            "mailhaul_failures",
            "Units and partitions given up, by the code of the error.",
            ("code",),
            run.failed.items(),
        )
        lost = sum(bool(one.lost) for one in run.hosts)
        for name, text, value in (
            ("run_started_timestamp_seconds", "When the run began.", run.since.timestamp()),
            (
                "run_duration_seconds",
                "How long the run has taken so far.",
                (run.written - run.since).total_seconds(),
            ),
            ("run_expected_bytes", "Bytes of mail that the run is expected to read.", run.expected_bytes),
            ("run_waiting", "Whether no unit is begun now, by a window for one.", bool(run.waiting)),
            ("run_hosts_lost", "Hosts of the run that are gone.", lost),
        ):
            yield _gauge(f"mailhaul_{name}", text, (), [(value,)])


class CatalogCollector(Collector):
    """What the catalog of a staging area knows of its backups, in whatever process: that of a run, or one
    that stays. Of the groups only those in ``wanted`` (partition, group) are told; None for all."""

    def __init__(self, staging: Path, wanted: Iterable[tuple[str, str]] | None = None) -> None:
        self._staging = staging
        self._wanted = None if wanted is None else frozenset(wanted)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        good: list[GoodBackup] = []
        last: RunRecord | None = None
        state, readable = "", True
        try:
            with Catalog.open(self._staging) as catalog:
                good = catalog.last_good()
                if catalog.newest_run() is not None:
                    last = catalog.run("latest")
                    state = run_state(last, self._staging)
        except NotFoundError:  # no run was begun yet
            pass
        except BackupError:
            readable = False
        yield _gauge("mailhaul_catalog_readable", "Whether the catalog could be read.", (), [(readable,)])
        yield _gauge(
            "mailhaul_last_good_backup_timestamp_seconds",
            "When the newest run that stored all of the group had sealed it; 0 where there is none.",
            _GROUP,
            (
                (one.partition, one.group, one.sealed.timestamp() if one.sealed else 0)
                for one in good
                if self._wanted is None or (one.partition, one.group) in self._wanted
            ),
        )
        if last is not None and state:
            yield from _last_run(last, state)


def _last_run(last: RunRecord, state: str) -> Iterator[Metric]:
    yield _gauge(
        "mailhaul_last_run_state",
        "1 for the state of the newest run, 0 for the others.",
        ("state",),
        ((one, one == state) for one in RUN_STATES),
    )
    done = {"sealed": last.sealed_units, "unchanged": last.unchanged_units, "failed": last.failed_units}
    yield _gauge(
        "mailhaul_last_run_units",
        "Units of the newest run by their state.",
        ("state",),
        (*done.items(), ("left", last.planned_units - sum(done.values()))),
    )
    ended = last.ended.timestamp() if last.ended else 0
    for name, text, value in (
        ("started_timestamp_seconds", "When the newest run began.", last.started.timestamp()),
        ("ended_timestamp_seconds", "When the newest run ended; 0 if it has not.", ended),
        ("skipped", "Entries that the sealed units of the newest run left out.", last.skipped),
    ):
        yield _gauge(f"mailhaul_last_run_{name}", text, (), [(value,)])


class ReceiverCollector(Collector):
    """The receiver of a staging area; nothing where ``take`` returns None. One that has not told anything for
    ten seconds is down."""

    def __init__(self, take: Callable[[], ReceiverStatus | None], now: Callable[[], float]) -> None:
        self._take = take
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        status = self._take()
        if status is None:
            return
        up = self._now() - status.time < RECEIVER_SECONDS
        yield _gauge("mailhaul_receiver_up", "Whether the receiver tells of itself.", (), [(up,)])
        waiting = sum(bool(one.waiting) for one in status.streams)
        for name, text, value in (
            ("streams", "Archives that are on their way.", len(status.streams)),
            ("waiting_streams", "Archives that are on their way and wait, for room most likely.", waiting),
            ("connections", "Workers and coordinators that are connected.", status.connections),
            ("start_time_seconds", "When the receiver was started.", status.started),
        ):
            yield _gauge(f"mailhaul_receiver_{name}", text, (), [(value,)])
        for name, text, value in (
            ("received_bytes", "Bytes of archives that came in.", status.received_bytes),
            ("sent_bytes", "Bytes of archives that went out, for restores.", status.read_bytes),
            ("sealed", "Archives that were sealed.", status.seals),
            ("credit_stalls", "Times that a worker was allowed to send no more.", status.credit_stalls),
            ("credit_stall_seconds", "Seconds that workers were, in all.", status.credit_stall_seconds),
            ("refused", "Requests of known hosts that were refused.", status.refused),
            ("fenced", "Attempts that a later one had overtaken.", status.fenced),
            ("malformed", "Messages of known hosts that are none.", status.malformed),
            ("strangers", "Connections without a key that is allowed.", status.strangers),
        ):
            yield _counter(f"mailhaul_receiver_{name}", text, (), [(value,)])


class SpaceCollector(Collector):
    """The room on the file system of a staging area."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        try:
            room = self._space.room()
        except BackupError:  # a mount that is gone: so are these metrics, and an alert notices
            return
        for name, text, value in (
            ("free", "Free bytes in the staging area.", room.free_bytes),
            ("size", "Size of the file system of the staging area.", room.total_bytes),
            ("reserve", "Bytes in the staging area that are kept free.", self._space.reserve_bytes),
        ):
            yield _gauge(f"mailhaul_staging_{name}_bytes", text, (), [(value,)])


def staging_collectors(
    config: Config, clock: Clock, run: Callable[[], RunStatus | None] | None = None
) -> tuple[Collector, ...]:
    """All that a staging area tells of, in whichever program on its host: the run that goes on (``run``,
    where it is this program's own), the receiver, the backups, the room."""
    staging = config.staging
    return (
        RunCollector(run or (lambda: going_run(staging.path))),
        ReceiverCollector(lambda: receiver_of(staging.path), clock.now),
        CatalogCollector(staging.path, configured_groups(config)),
        SpaceCollector(Space(staging.path, staging.reserve_bytes)),
    )


_Sample = tuple[str | float, ...]
"""The values of the labels, then the value."""


def _counter(name: str, text: str, labels: Iterable[str], samples: Iterable[_Sample]) -> Metric:
    family = CounterMetricFamily(name, text, labels=list(labels))
    for *values, value in samples:
        family.add_metric([_label(one) for one in values], float(value))
    return family


def _gauge(name: str, text: str, labels: Iterable[str], samples: Iterable[_Sample]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for *values, value in samples:
        family.add_metric([_label(one) for one in values], float(value))
    return family


def _label(value: object) -> str:
    """A name as UTF-8 can hold it: group names come from a file, others from the code."""
    return str(value).encode("utf-8", "backslashreplace").decode()
