"""What a sweep dispatches, as ``tasks`` does for the rest: a task is at one place, on the staging host.

A place is opened in the worker, for the task: nothing of it is handed over a fork.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from ...proto.ports import ProgressSink
from ...proto.records import Location, Progress
from ...proto.structs import Record, field
from ..archives.holdings import PlaceSettings
from ..archives.paced import PacedPlace
from ..archives.places import Places
from ..archives.ports import Copy, Place
from ..archives.retried import Patience, RetriedPlace
from ..destinations.registry import open_destination
from ..destinations.settings import Destination
from ..load.budget import Budget
from ..load.ledger import Ledger
from ..load.limits import LoadLimits
from ..sweeping.locking import lock
from ..sweeping.looking import everything, look, names
from ..sweeping.parcels import Delivery, Locking, Look, Parcel, Removal
from ..sweeping.putting import deliver
from ..sweeping.removing import remove


class Manners(Record, kw_only=True):
    """How a place is treated: tried again for so long when it can't be reached, and used no faster than the
    ``limits`` allow (messages are requests), which all have in common whose ``ledger`` is this file."""

    patience_seconds: float = 0.0
    limits: LoadLimits = field(default_factory=LoadLimits)
    ledger: str = ""


class _PlaceTask(Record, kw_only=True):
    """A task at a destination, to be done in any of its ``lanes``; ``label`` is how it is called in its
    progress. Every attempt at it is the same."""

    destination: Destination
    lanes: tuple[str, ...] = ()
    label: str = ""
    manners: Manners = field(default_factory=Manners)

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task: of an engine with lanes, the lanes."""
        return self.lanes

    def attempted(self, _host: str, _attempt: int) -> _PlaceTask:
        """See Task."""
        return self


class DeliveryTask(_PlaceTask, kw_only=True):
    """Put parcels at a destination; their sources are in ``places``."""

    parcels: tuple[Parcel, ...]
    places: tuple[PlaceSettings, ...]


class LookTask(_PlaceTask, kw_only=True):
    """Look for copies at their destination, ``singly`` for who needs to know whether they are locked."""

    copies: tuple[Location, ...]
    singly: bool = False


class LockTask(_PlaceTask, kw_only=True):
    """Lock copies at their destination."""

    copies: tuple[tuple[Location, datetime], ...]


class ListTask(_PlaceTask, kw_only=True):
    """List what a destination has."""


class NamesTask(_PlaceTask, kw_only=True):
    """Find out what a destination has below these prefixes."""

    prefixes: tuple[str, ...]


class RemovalTask(_PlaceTask, kw_only=True):
    """Remove copies from their destination."""

    copies: tuple[Location, ...]


def run_delivery(task: DeliveryTask, progress: ProgressSink) -> Delivery:
    """See ``putting.deliver``."""
    told = 0

    def on_bytes(size_bytes: int) -> None:
        nonlocal told
        told += size_bytes
        progress(Progress(task.label, 0, told))

    with _opened(task) as place, closing(Places(task.places)) as places:
        return deliver(place, task.parcels, places.open, on_bytes)


def run_look(task: LookTask, _progress: ProgressSink) -> Look:
    """See ``looking.look``."""
    with _opened(task) as place:
        return look(place, task.copies, singly=task.singly)


def run_lock(task: LockTask, _progress: ProgressSink) -> Locking:
    """See ``locking.lock``."""
    with _opened(task) as place:
        return lock(place, task.copies)


def run_list(task: ListTask, _progress: ProgressSink) -> tuple[Copy, ...]:
    """See ``looking.everything``."""
    with _opened(task) as place:
        return everything(place)


def run_names(task: NamesTask, _progress: ProgressSink) -> frozenset[str]:
    """See ``looking.names``."""
    with _opened(task) as place:
        return names(place, task.prefixes)


def run_removal(task: RemovalTask, _progress: ProgressSink) -> Removal:
    """See ``removing.remove``."""
    with _opened(task) as place:
        return remove(place, task.copies)


@contextmanager
def _opened(task: _PlaceTask) -> Iterator[Place]:
    manners = task.manners
    place = RetriedPlace(open_destination(task.destination), Patience(total_seconds=manners.patience_seconds))
    with closing(place):
        if manners.ledger:
            yield PacedPlace(place, Budget(manners.limits, Ledger(Path(manners.ledger))))
        else:
            yield place
