"""How far an operation is: written about once a second by its process, for everybody who looks on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...proto.structs import Record
from ..snapshots import read_snapshot
from .files import file_of

MOST_WORKS = 50
"""So many works that go on are listed."""


class WorkProgress(Record, kw_only=True):
    """A work that goes on, by its ``label`` (a unit of a backup, a task of a restore, an archive): what is
    done of what is expected, on which ``host`` and at which ``mailbox`` (empty: not known), and what it waits
    for (empty: it goes on)."""

    label: str
    host: str = ""
    mailbox: str = ""
    waiting: str = ""
    messages: int = 0
    size_bytes: int = 0
    expected_messages: int = 0
    expected_bytes: int = 0


class OperationProgress(Record, kw_only=True):
    """An operation at the time ``written``: what is done of what is expected (zero: that is not known yet),
    the rates of the last minute, and the seconds that the rest takes at that rate (None: not known). Of the
    ``works`` that go on the first fifty are told. ``lines`` is what it said last."""

    operation: int
    written: datetime
    messages: int = 0
    size_bytes: int = 0
    expected_messages: int = 0
    expected_bytes: int = 0
    messages_per_second: float = 0.0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    works: tuple[WorkProgress, ...] = ()
    going: int = 0
    lines: tuple[str, ...] = ()


def read_progress(staging: Path, number: int) -> OperationProgress | None:
    """How far an operation is, or was when its process ended; None where that is not known."""
    return read_snapshot(file_of(staging, number, "json"), OperationProgress)
