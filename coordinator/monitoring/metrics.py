"""What Prometheus is told: collectors over records that are asked for at each scrape.

Nothing is counted here and nothing kept: a run is a RunStatus, the receiver its status, backups are what the
catalog says (``catalog_metrics``). Labels are partitions, groups, states, reasons and
error codes, so their number is bounded; no label holds a user or a run. How metrics leave the process is
``exposition``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError
from ...proto.ports import Clock
from ...proto.records import STAGING
from ...proto.structs import asdict
from ...worker.staging.receiver_status import ReceiverStatus
from ...worker.staging.space import Space
from ..clock import utc
from ..governing.state import GovernorState, fresh_states
from ..settings import Config
from .catalog_metrics import CatalogCollector
from .drill_metrics import DrillCollector
from .erasure_metrics import ErasureCollector
from .families import GROUP, LEFT_OUT, counter, gauge, left_out
from .notice_metrics import NoticeCollector
from .operation_metrics import OperationCollector
from .overview import RECEIVER_SECONDS, configured_groups, going_run, receiver_of
from .space_metrics import ForecastCollector
from .status import RunStatus

_DONE = {
    "messages": "Messages that the run has gone through.",
    "size_bytes": "Bytes of mail that the run has gone through.",
    "new_bytes": "Bytes of mail that the run had to store, before compression.",
    "archive_bytes": "Bytes of archives that the run has written.",
}


class RunCollector(Collector):
    """A run that goes on and how far it is; nothing where ``take`` returns None. When it has ended, the
    catalog tells of it."""

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
        for field, text in _DONE.items():
            yield gauge(
                f"mailhaul_run_{field}",
                text,
                GROUP,
                ((group.partition, group.group, getattr(group.done, field)) for group in run.groups),
            )
        yield gauge(
            "mailhaul_units",
            "Units of the run by their state.",
            (*GROUP, "state"),
            (
                (status.partition, status.group, state, count)
                for status in run.groups
                for state, count in asdict(status.units).items()
            ),
        )
        yield gauge(
            "mailhaul_run_left_out",
            "Entries that the run has left out so far, by reason.",
            LEFT_OUT,
            left_out(run.skipped),
        )
        yield gauge(
            "mailhaul_run_failures",
            "Units and partitions that the run has given up, by the code of the error.",
            ("code",),
            run.failed.items(),
        )
        lost = sum(bool(host.lost) for host in run.hosts)
        for name, text, value in (
            ("started_timestamp_seconds", "When the run began.", run.since.timestamp()),
            (
                "duration_seconds",
                "How long the run has taken so far.",
                (run.written - run.since).total_seconds(),
            ),
            ("expected_bytes", "Bytes of mail that the run is expected to go through.", run.expected_bytes),
            ("waiting", "Whether no unit is begun now, by a window for one.", bool(run.waiting)),
            ("hosts_lost", "Hosts of the run that are gone.", lost),
        ):
            yield gauge(f"mailhaul_run_{name}", text, (), [(value,)])


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
        yield gauge("mailhaul_receiver_up", "Whether the receiver tells of itself.", (), [(up,)])
        waiting = sum(bool(stream.waiting) for stream in status.streams)
        for name, text, value in (
            ("streams", "Archives that are on their way.", len(status.streams)),
            ("waiting_streams", "Archives that are on their way and wait, for room most likely.", waiting),
            ("connections", "Workers and coordinators that are connected.", status.connections),
            ("start_time_seconds", "When the receiver was started.", status.started),
        ):
            yield gauge(f"mailhaul_receiver_{name}", text, (), [(value,)])
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
            yield counter(f"mailhaul_receiver_{name}", text, (), [(value,)])


class GovernorCollector(Collector):
    """The hosts whose users are minded at this moment; nothing where ``take`` returns none."""

    def __init__(self, take: Callable[[], Sequence[GovernorState]]) -> None:
        self._take = take

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        hosts = self._take()
        if not hosts:
            return
        yield gauge(
            "mailhaul_probe_seconds",
            "What 95 of 100 looks at a mail server took at most, by step and in all.",
            ("host", "step"),
            ((host.host, step, seconds) for host in hosts for step, seconds in _waits(host).items()),
        )
        for name, text, value in _GOVERNED:
            yield gauge(
                f"mailhaul_governor_{name}", text, ("host",), ((state.host, value(state)) for state in hosts)
            )


def _waits(state: GovernorState) -> dict[str, float]:
    return {} if state.p95_seconds is None else {"all": state.p95_seconds, **state.steps}


_GOVERNED: tuple[tuple[str, str, Callable[[GovernorState], float]], ...] = (
    (
        "target_seconds",
        "What these looks are to take at most.",
        lambda governor_state: governor_state.target_seconds,
    ),
    ("share", "The share of the work on a mail host that is done; 1 is all.", lambda one: one.level),
    ("workers", "Workers that are at it.", lambda one: one.workers),
    (
        "slowed_seconds",
        "For so long it was not all, in this run.",
        lambda one: one.slowed_seconds,
    ),
    ("blind", "Whether nobody can look.", lambda one: bool(one.blind)),
)


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
            yield gauge(f"mailhaul_staging_{name}_bytes", text, (), [(value,)])


def staging_collectors(
    config: Config, clock: Clock, run: Callable[[], RunStatus | None] | None = None
) -> tuple[Collector, ...]:
    """All that a staging area tells of, in whichever program on its host: the run that goes on (``run``,
    where it is this program's own), the receiver, the backups, the proofs, the
    erasures, the notices, the room."""
    staging = config.staging
    return (
        RunCollector(run or (lambda: going_run(staging.path))),
        ReceiverCollector(lambda: receiver_of(staging.path), clock.now),
        CatalogCollector(staging.path, configured_groups(config)),
        DrillCollector(staging.path, clock.now),
        ErasureCollector(staging.path, clock.now),
        NoticeCollector(staging.path),
        OperationCollector(staging.path),
        SpaceCollector(Space(staging.path, staging.reserve_bytes)),
        ForecastCollector(staging.path, (STAGING, *(one.name for one in config.destinations)), clock.now),
        GovernorCollector(lambda: fresh_states(staging.path, utc(clock.now()))),
    )
