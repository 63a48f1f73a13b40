"""What a run tells of itself while it goes on: the records of ``status.json`` in the staging area.

They say what is worth a look and no more: users by name, but nothing of what is in their mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from ...proto.structs import Record, field
from ..history import RunRecord, RunState
from ..lock import lock_owner

RUN_STATES = ("running", "interrupted", "done", "partial", "failed")
"""What ``run_state`` can say."""


class UnitCounts(Record, kw_only=True):
    """How many units are in each state; one that is to be tried again is still ``running``."""

    planned: int = 0
    running: int = 0
    sealed: int = 0
    failed: int = 0


class Done(Record, kw_only=True):
    """What was done: ``size_bytes`` were read, ``new_bytes`` of them had to be stored, which took
    ``archive_bytes``; ``deduplicated_bytes`` did not have to be, of the units that are sealed.

    None of it ever falls: what a unit has to do again counts once.
    """

    messages: int = 0
    size_bytes: int = 0
    new_bytes: int = 0
    archive_bytes: int = 0
    deduplicated_bytes: int = 0


class GroupStatus(Record, kw_only=True):
    """One group in one partition."""

    partition: str
    group: str
    units: UnitCounts
    done: Done


class UnitStatus(Record, kw_only=True):
    """A unit that has begun and not ended. The counts are those of the attempt that goes on.

    ``host`` is empty where that is the coordinator's; ``user`` is whose mailbox is being read;
    ``expected_bytes`` is an estimate; ``waiting`` says what it waits for, empty where it goes on.
    """

    unit: str
    host: str
    attempt: int
    since: datetime
    user: str
    messages: int
    size_bytes: int
    expected_bytes: int
    waiting: str


class HostStatus(Record, kw_only=True):
    """A host that has work in this run: its running units, and why it is lost (empty where it is not)."""

    host: str
    running: int
    lost: str


class FailureStatus(Record, kw_only=True):
    """A unit or partition that failed: the code of its error, and the text."""

    what: str
    code: str
    message: str


class RunStatus(Record, kw_only=True):
    """A run at the time ``written``; ``since`` is when this process began with it, both aware UTC.

    ``run`` is empty until it has begun. ``waiting`` says why nothing is begun, empty where it goes
    on. ``left_seconds`` is None where it can't be told. ``units`` are those that run; of ``failures`` the
    first hundred, ``failed`` counts all of them by code, ``skipped`` entries by reason.
    """

    run: str
    pid: int
    since: datetime
    written: datetime
    state: RunState
    error: str = ""
    waiting: str = ""
    counts: UnitCounts = UnitCounts()
    done: Done = Done()
    expected_messages: int = 0
    expected_bytes: int = 0
    messages_per_second: float = 0.0
    bytes_per_second: float = 0.0
    left_seconds: float | None = None
    groups: tuple[GroupStatus, ...] = ()
    units: tuple[UnitStatus, ...] = ()
    hosts: tuple[HostStatus, ...] = ()
    failures: tuple[FailureStatus, ...] = ()
    failed: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


def status_file(staging: Path) -> Path:
    """Where the run that goes on writes its status."""
    return staging / ".mailhaul" / "status.json"


def run_state(record: RunRecord, staging: Path) -> RunState:
    """The state of a run; ``interrupted`` if only the catalog says that it is running, and nobody holds the
    lock. Raises StagingError."""
    if record.state == "running" and lock_owner(staging) is None:
        return "interrupted"
    return record.state
