"""What Prometheus is told of the backups that the catalog knows, also while no run goes on.

Counters are sums over all runs, so what a run did that is shorter than the time between two scrapes is not
lost, and they never get smaller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ...proto.errors import BackupError, NotFoundError
from ...proto.structs import Record, field
from ..catalog import Catalog
from ..history import CopyStanding, GoodBackup, RunRecord, Totals
from ..key_checks import known_recipients
from ..sweeping.record import LastSweep, last_sweeps
from ..wanted_volumes import WantedVolume, wanted_volumes
from .families import GROUP, LEFT_OUT, counter, gauge, left_out
from .status import RUN_STATES, run_state

_TOTALS: dict[str, tuple[str, Callable[[Totals], int]]] = {
    "processed_messages": ("Messages of mailboxes that runs went through.", lambda one: one.messages),
    "processed_bytes": ("Bytes of mail that runs went through.", lambda one: one.size_bytes),
    "read_messages": ("Messages that runs read from mail stores.", lambda one: one.read),
    "stored_bytes": ("Bytes of mail that had to be stored, before compression.", lambda one: one.new_bytes),
    "archive_bytes": ("Bytes of archives that were written.", lambda one: one.archive_bytes),
    "deduplicated_bytes": (
        "Bytes of mail that were stored already.",
        lambda one: max(0, one.size_bytes - one.new_bytes),
    ),
}


class _Known(Record, kw_only=True):
    """What the catalog tells at a scrape; ``last``: the newest run, its state, what it left out by reason."""

    good: Sequence[GoodBackup] = ()
    totals: Sequence[Totals] = ()
    copies: CopyStanding = field(default_factory=CopyStanding)
    sweeps: Sequence[LastSweep] = ()
    last: tuple[RunRecord, str, Mapping[str, int]] | None = None


_RECIPIENT = ("recipient", "fingerprint")


class CatalogCollector(Collector):
    """What the catalog of a staging area knows of its backups, in whatever process: that of a run, or one
    that stays. Of the groups only those in ``wanted`` (partition, group) are told; None for all."""

    def __init__(self, staging: Path, wanted: Iterable[tuple[str, str]] | None = None) -> None:
        self._staging = staging
        self._wanted = None if wanted is None else frozenset(wanted)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        known, readable = _Known(), True
        try:
            known = self._ask()
        except NotFoundError:  # no run was begun yet
            pass
        except BackupError:
            readable = False
        yield gauge("mailhaul_catalog_readable", "Whether the catalog could be read.", (), [(readable,)])
        yield from _standing(known.good)
        for name, (text, value) in _TOTALS.items():
            yield counter(
                f"mailhaul_{name}",
                text,
                GROUP,
                ((total.partition, total.group, value(total)) for total in known.totals),
            )
        if known.sweeps:  # where there are no destinations, nothing is missing there
            yield from _copies(known.copies)
            yield from _sweeps(known.sweeps)
        yield from _wanted(wanted_volumes(self._staging))
        yield from _recipients(self._staging)
        if known.last is not None:
            yield from _last_run(*known.last)

    def _ask(self) -> _Known:
        with Catalog.open(self._staging) as catalog:
            good = [
                backup
                for backup in catalog.last_good()
                if self._wanted is None or (backup.partition, backup.group) in self._wanted
            ]
            last = None
            if catalog.newest_run() is not None:
                record = catalog.run("latest")
                last = record, run_state(record, self._staging), catalog.reasons(record.run)
            return _Known(
                good=good,
                totals=catalog.totals(),
                copies=catalog.copy_standing(),
                sweeps=last_sweeps(self._staging),
                last=last,
            )


def _standing(good: Iterable[GoodBackup]) -> Iterator[Metric]:
    groups = list(good)
    for name, text, value in _STANDING:
        yield gauge(
            f"mailhaul_{name}",
            text,
            GROUP,
            ((group.partition, group.group, value(group)) for group in groups),
        )


def _seconds(when: datetime | None) -> float:
    return when.timestamp() if when else 0


_STANDING: tuple[tuple[str, str, Callable[[GoodBackup], float]], ...] = (
    (
        "last_good_backup_timestamp_seconds",
        "By when every mailbox of the group that is there was stored whole; 0: one of them never was.",
        lambda good_backup: _seconds(good_backup.sealed),
    ),
    (
        "newest_good_backup_timestamp_seconds",
        "When a mailbox of the group was last stored whole; 0: none ever was.",
        lambda one: _seconds(one.newest),
    ),
    ("mailboxes", "Mailboxes of the group that are there.", lambda one: one.mailboxes),
    (
        "mailboxes_behind",
        "Mailboxes that the newest run over them did not store whole.",
        lambda one: one.behind,
    ),
    ("mailboxes_never_stored", "Mailboxes that no run has ever stored whole.", lambda one: one.never),
)


def _copies(standing: CopyStanding) -> Iterator[Metric]:
    labels = ("place", "state")
    archives = ((place.place, place.state, place.archives) for place in standing.places)
    yield gauge(
        "mailhaul_place_archives", "Archives of which a copy is in a place, by its state.", labels, archives
    )
    sizes = (
        (place_standing.place, place_standing.state, place_standing.size_bytes)
        for place_standing in standing.places
    )
    yield gauge(
        "mailhaul_place_archive_bytes", "Bytes of the copies in a place, by their state.", labels, sizes
    )
    leftovers = ((leftover.place, leftover.size_bytes) for leftover in standing.leftovers)
    yield gauge(
        "mailhaul_place_unneeded_bytes",
        "Bytes of the copies in a place that nobody needs and that it has yet to remove.",
        ("place",),
        leftovers,
    )
    for name, text, number in (
        ("one_place_archives", "Archives whose copies count in one place only.", standing.alone),
        (
            "one_place_since_timestamp_seconds",
            "When the oldest of these was sealed; 0: there is none.",
            _seconds(standing.alone_since),
        ),
        ("unswept_archives", "Archives of which no copy counts but in the staging area.", standing.unswept),
        (
            "unswept_since_timestamp_seconds",
            "When the oldest of these was sealed; 0: there is none.",
            _seconds(standing.unswept_since),
        ),
    ):
        yield gauge(f"mailhaul_{name}", text, (), [(number,)])


def _sweeps(sweeps: Sequence[LastSweep]) -> Iterator[Metric]:
    for name, text, value in (
        (
            "last_timestamp_seconds",
            "When a destination was swept last, however that ended.",
            lambda one: _seconds(one.ended),
        ),
        (
            "failing_since_timestamp_seconds",
            "Since when sweeps to a destination leave something undone; 0: the last did not.",
            lambda one: _seconds(one.failing_since),
        ),
        ("waiting_archives", "Archives that the last sweep left for the next.", lambda one: one.waiting),
    ):
        samples = ((sweep.destination, value(sweep)) for sweep in sweeps)
        yield gauge(f"mailhaul_sweep_{name}", text, ("destination",), samples)


def _wanted(volumes: Sequence[WantedVolume]) -> Iterator[Metric]:
    first: dict[str, WantedVolume] = {}
    for volume in volumes:  # those that are wanted longest come first
        first.setdefault(volume.destination, volume)
    counts = Counter(wanted_volume.destination for wanted_volume in volumes)
    yield gauge(
        "mailhaul_tape_volumes_wanted",
        "Tape volumes that somebody has to bring.",
        ("destination",),
        counts.items(),
    )
    yield gauge(
        "mailhaul_tape_volumes_wanted_since_timestamp_seconds",
        "Since when the first of these is wanted.",
        ("destination",),
        ((name, one.since.timestamp()) for name, one in first.items()),
    )


def _recipients(staging: Path) -> Iterator[Metric]:
    """Without samples where nothing is encrypted, or this user may not read the directory of keys."""
    checked: list[tuple[str, str, float]] = []
    with suppress(BackupError, OSError):
        recipients, checks = known_recipients(staging)
        for recipient in recipients:
            at = checks[recipient.id].at if recipient.id in checks else None
            checked.append((recipient.name, recipient.id.hex(), _seconds(at)))
    yield gauge(
        "mailhaul_recipient_checked_timestamp_seconds",
        "When the private key of a recipient was last seen to open archives; 0: it never was.",
        _RECIPIENT,
        checked,
    )


def _last_run(last: RunRecord, state: str, reasons: Mapping[str, int]) -> Iterator[Metric]:
    yield gauge(
        "mailhaul_last_run_state",
        "1 for the state of the newest run, 0 for the others.",
        ("state",),
        ((one, one == state) for one in RUN_STATES),
    )
    done = {"sealed": last.sealed_units, "unchanged": last.unchanged_units, "failed": last.failed_units}
    yield gauge(
        "mailhaul_last_run_units",
        "Units of the newest run by their state.",
        ("state",),
        (*done.items(), ("left", last.planned_units - sum(done.values()))),
    )
    yield gauge(
        "mailhaul_last_run_left_out",
        "Entries that the newest run has left out, by reason.",
        LEFT_OUT,
        left_out(reasons),
    )
    for name, text, value in (
        ("started_timestamp_seconds", "When the newest run began.", last.started.timestamp()),
        ("ended_timestamp_seconds", "When the newest run ended; 0 if it has not.", _seconds(last.ended)),
        ("skipped", "Entries that should be in the backup and were skipped by the newest run.", last.skipped),
        ("excluded", "Entries that the newest run left out on purpose.", last.excluded),
        ("alarms", "Alarms of the newest run.", last.alarms),
    ):
        yield gauge(f"mailhaul_last_run_{name}", text, (), [(value,)])
