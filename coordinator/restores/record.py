"""The directories of restores: ``.mailhaul/restores/ID`` of the staging area.

``order.json`` says what was asked for, ``journal.jsonl`` what is done (``journal``), ``state.json`` whether
it has ended, ``report.json`` and ``report.txt`` what came of it (``report``). ``lock`` is held while it goes
on, ``workers.lock`` by each of its workers on this host.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from ...proto.directories import make_directories, make_private, sync_directory
from ...proto.errors import LockedError, NotFoundError, StagingError
from ...proto.ports import Clock
from ...proto.records import RunId
from ...proto.structs import Record, field
from ...worker.archives.names import RESTORES
from ..clock import RUN_ID, utc
from ..durable import remove_durably, replace_durably
from ..flocks import flocked
from ..run_ids import new_run_id
from ..snapshots import as_json, read_snapshot
from .journal import Journal, JournalFile, read_journal

_STATE = "state.json"
_WITNESS = "workers.lock"
_WORKERS_SECONDS = 60.0
"""So long workers are waited for whose coordinator was killed: they have a second, but a disk may be slow."""

BETWEEN = " | "
"""What stands between the places to which mail of one partition goes."""

KEPT = 50
"""So many directories of restores are kept, the newest."""

RestoreState = Literal["running", "interrupted", "stopped", "done"]
"""``interrupted``: its program was killed, or its host went down; ``stopped``: an error ended it. Both can be
gone on with."""


class Order(Record, kw_only=True):
    """A restore as it was asked for: the words behind ``mailhaul restore`` and the ``directory`` in which
    they were said; the ``moment`` that they mean, and the newest ``run`` by then. ``targets`` says where mail
    of each partition goes, ``margins`` how far its folders were raised (``margins``). With ``only`` nothing
    else was tried: what had failed in the restore ``retries``. ``undoes`` is the restore that it takes back.
    ``lasting`` says why it can't be taken back itself; empty: it can. ``departed``: mailboxes that were gone
    by that moment were restored, too, as they were last. ``newest`` is the moment of the newest backup
    of then, by which it was told what was done since (``--state-only``); empty: none was asked. ``renames``
    is the digest of the file that said who is called differently (``--map``); empty: there was none."""

    restore: str
    begun: datetime
    arguments: tuple[str, ...]
    directory: str
    moment: str
    run: str
    targets: Mapping[str, str] = field(default_factory=dict)
    margins: Mapping[str, int] = field(default_factory=dict)
    mailboxes: int = 0
    messages: int = 0
    size_bytes: int = 0
    only: tuple[str, ...] = ()
    retries: str = ""
    undoes: str = ""
    lasting: str = ""
    departed: bool = False
    newest: str = ""
    renames: str = ""

    @property
    def places(self) -> frozenset[str]:
        """All that it was to."""
        return frozenset(place for places in self.targets.values() for place in places.split(BETWEEN))


class OpenRestore(Record, kw_only=True):
    """A restore that goes on: nobody else can go on with it meanwhile."""

    directory: Path
    order: Order
    journal: Journal

    @property
    def witness(self) -> Path:
        """A file that workers on this host lock while they are at work."""
        return self.directory / _WITNESS


def restores_of(staging: Path) -> list[str]:
    """The ids of the restores that are known, oldest first."""
    try:
        return sorted(one for one in os.listdir(_place(staging)) if RUN_ID.fullmatch(one))
    except OSError:
        return []


def directory_of(staging: Path, restore: str) -> Path:
    """The directory of a restore; of the newest one, if it says ``latest``. Raises NotFoundError."""
    known = restores_of(staging)
    if restore == "latest" and known:
        restore = known[-1]
    if restore not in known:
        raise NotFoundError(
            f"{_place(staging)} knows no restore {restore}"
            + (f"; the newest is {known[-1]}" if known else "")
        )
    return _place(staging) / restore


def area_of(directory: Path) -> Path:
    """The staging area in which the directory of a restore lies."""
    return directory.parents[RESTORES.count("/") + 1]


def read_order(directory: Path) -> Order:
    """What was asked for. Raises NotFoundError."""
    order = read_snapshot(directory / "order.json", Order)
    if order is None:
        raise NotFoundError(f"{directory}: what was asked for is not known, or not to this version")
    return order


def state_of(directory: Path) -> RestoreState:
    """What became of a restore."""
    return "running" if _is_going(directory) else _ended(directory)


class Ended(Record, kw_only=True):
    """How a restore ended; ``error`` is what stopped it."""

    state: Literal["stopped", "done"]
    error: str = ""


def note_end(directory: Path, ended: Ended) -> None:
    """Record that a restore has ended. Raises StagingError."""
    replace_durably(directory / _STATE, as_json(ended).encode("ascii"))


def error_of(directory: Path) -> str:
    """What stopped a restore; empty if nothing did."""
    ended = read_snapshot(directory / _STATE, Ended)
    return "" if ended is None else ended.error


def _ended(directory: Path) -> RestoreState:
    ended = read_snapshot(directory / _STATE, Ended)
    return "interrupted" if ended is None else ended.state


@contextmanager
def begun(
    staging: Path,
    clock: Clock,
    order: Callable[[str, datetime], Order],
    on_failure: Callable[[StagingError], object],
) -> Iterator[OpenRestore]:
    """A new restore; ``order`` makes it of its id and the time. Older ones than the newest fifty are removed.
    ``on_failure``: see ``JournalFile``. Raises StagingError."""
    now = utc(clock.now())
    restore, directory = _made(staging, now)
    with _locked(directory):
        made = order(restore, now)
        _wait_for_workers(directory)
        replace_durably(directory / "order.json", as_json(made).encode("ascii"))
        _forget_old(staging)
        with JournalFile(directory / "journal.jsonl", clock.monotonic, on_failure) as file:
            yield OpenRestore(directory=directory, order=made, journal=Journal(file.append))


@contextmanager
def reopened(
    directory: Path, clock: Clock, on_failure: Callable[[StagingError], object]
) -> Iterator[OpenRestore]:
    """A restore that was ended early, to go on with. Raises NotFoundError for one that is done, LockedError
    for one that goes on, StagingError."""
    order = read_order(directory)
    with _locked(directory):
        if _ended(directory) == "done":
            raise NotFoundError(
                f"restore {order.restore} has ended: there is nothing to go on with; what failed can be "
                f"tried again with --retry {order.restore}"
            )
        _wait_for_workers(directory)
        remove_durably(directory / _STATE)
        path = directory / "journal.jsonl"
        with JournalFile(path, clock.monotonic, on_failure) as file:
            yield OpenRestore(
                directory=directory, order=order, journal=Journal(file.append, read_journal(path))
            )


@contextmanager
def at_rest(directory: Path) -> Iterator[None]:
    """Nobody goes on with a restore while the context lasts, and no worker of it is at work any more. Raises
    LockedError."""
    with _locked(directory):
        _wait_for_workers(directory)
        yield


def _wait_for_workers(directory: Path) -> None:
    """Wait until no worker of a restore is at work any more; makes the file that they lock. Raises
    LockedError."""
    obstacle = f"workers of restore {directory.name} are still at work"
    with flocked(directory / _WITNESS, obstacle, patience_seconds=_WORKERS_SECONDS):
        pass


def _made(staging: Path, now: datetime) -> tuple[str, Path]:
    place = _place(staging)
    try:
        make_private(place.parent)
        make_directories(place)
        while True:
            newest = next(reversed(restores_of(staging)), None)
            restore = new_run_id(now.timestamp(), RunId(newest) if newest else None)
            with suppress(FileExistsError):
                (place / restore).mkdir(mode=0o700)
                sync_directory(place)
                return restore, place / restore
    except OSError as error:
        raise StagingError(f"{place}: can't be written: {error.strerror}", path=str(place)) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with flocked(directory / "lock", f"restore {directory.name} is going on", patience_seconds=0):
        yield


def _is_going(directory: Path) -> bool:
    if not (directory / "lock").exists():
        return False
    try:
        with flocked(directory / "lock", "", shared=True, patience_seconds=0):
            return False
    except LockedError:
        return True


def _forget_old(staging: Path) -> None:
    for restore in restores_of(staging)[:-KEPT]:
        directory = _place(staging) / restore
        if not _is_going(directory):
            shutil.rmtree(directory, ignore_errors=True)


def _place(staging: Path) -> Path:
    return staging / RESTORES
