"""What the catalog tells: of runs, their units, their archives, and the mailboxes in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..proto.records import ArchiveId, RunId, Skipped

RunState = Literal["running", "done", "partial", "failed"]
UnitState = Literal["planned", "sealed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run, and its units added up. ``error`` says why it ended early; times are aware UTC."""

    run: RunId
    started: datetime
    ended: datetime | None
    state: RunState
    paths: str
    options: str
    error: str
    planned_units: int
    sealed_units: int
    failed_units: int
    mailboxes: int
    skipped: int
    messages: int
    size_bytes: int
    new_bytes: int
    archive_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """A unit of a run; the counts are those of its report, zero while there is none."""

    run: RunId
    partition: str
    group: str
    shard: int
    state: UnitState
    attempts: int
    error: str
    mailboxes: int
    skipped: int
    messages: int
    size_bytes: int
    new_bytes: int
    archive_bytes: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """What a unit that is not sealed consists of."""

    partition: str
    group: str
    shard: int
    users: tuple[str, ...]
    size_bytes: int
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplanned:
    """What a run was asked for and no unit of it holds: partitions that could not be listed, with the code
    and text of the error, and mailboxes that were left out."""

    failed: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedRun:
    """A run that goes on for the ``resumed``-th time: ``sealed`` units are done, ``units`` are left."""

    started: datetime
    resumed: int
    sealed: int
    units: tuple[UnitPlan, ...]
    unplanned: Unplanned


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodBackup:
    """The newest run that stored all of a group in a partition: ``sealed`` is when its last archive was.
    Both are None where no run has."""

    partition: str
    group: str
    run: RunId | None
    sealed: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveRecord:
    """A sealed archive; ``file`` is relative to the staging area."""

    archive: ArchiveId
    run: RunId
    partition: str
    group: str
    shard: int
    file: str
    size_bytes: int
    sealed: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxVersion:
    """The mailbox of a user as one run stored it, and the archive whose metadata describes it."""

    partition: str
    group: str
    user: str
    run: RunId
    shard: int
    archive: ArchiveId
    folders: int
    listed: int
    stored: int
    skipped: int
    size_bytes: int
