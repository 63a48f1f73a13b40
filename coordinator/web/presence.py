"""What goes on at a moment: operations with how far they are, and how busy this host is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ...proto.structs import Record
from ..governing.state import GovernorState, fresh_states
from ..scheduling.coming import Coming, coming
from ..service.handled import HandledMoments
from ..service.records import Operation
from ..serving.progress import OperationProgress, read_progress
from ..serving.rules import NAMES
from ..serving.serve_lock import is_served
from .site import Site

_ENDED_SHOWN = 10
_NEXT_SHOWN = 5


class Bar(Record, kw_only=True):
    """What is done of what is expected (zero: that is not known), in bytes where those are known, and else in
    messages; and how it is called."""

    name: str
    done: int
    expected: int
    in_bytes: bool

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None where it is not known."""
        return min(1.0, self.done / self.expected) if self.expected > 0 else None


class Standing(Record, kw_only=True):
    """An operation, its command line, and how far it is (None: that is not known)."""

    operation: Operation
    command: str
    progress: OperationProgress | None = None


class Load(Record, kw_only=True):
    """How many processes of this host want to run, on average of a minute, of five and of fifteen; and how
    many can at the same time."""

    one: float
    five: float
    fifteen: float
    processors: int


class Now(Record, kw_only=True):
    """What runs, what waits, what has ended last, and what the schedule puts in next; whether there is
    somebody who carries it out (``is_served``), how busy this host is, and how hosts stand whose users are
    minded (``governed``)."""

    under_way: tuple[Standing, ...]
    waiting: tuple[Standing, ...]
    ended: tuple[Standing, ...]
    next: tuple[Coming, ...]
    is_served: bool
    governed: tuple[GovernorState, ...]
    load: Load


def present(site: Site) -> Now:
    """As it is now. Raises StagingError, DamagedError."""
    staging, operations, now = site.staging, site.operations, site.now()
    under_way = operations.in_states(("running", "stopping"))
    waiting = operations.in_states(("waiting", "interrupted"))
    ended = [
        operation
        for operation in operations.newest(50)
        if operation.ended is not None and operation.state != "interrupted"
    ]
    return Now(
        under_way=tuple(standing(staging, one) for one in under_way),
        waiting=tuple(standing(staging, one) for one in waiting),
        ended=tuple(Standing(operation=one, command=command(one)) for one in ended[:_ENDED_SHOWN]),
        next=coming(site.config, HandledMoments(staging).all(), site.zone, now, count=_NEXT_SHOWN),
        is_served=is_served(staging),
        governed=fresh_states(staging, now),
        load=_load(),
    )


def standing(staging: Path, operation: Operation) -> Standing:
    """One operation, with how far it is."""
    progress = read_progress(staging, operation.id) if operation.started is not None else None
    return Standing(operation=operation, command=command(operation), progress=progress)


def command(operation: Operation) -> str:
    """``backup /primary/staff --full``."""
    request = operation.request
    return " ".join((NAMES.get(request.kind, request.kind), *map(shlex.quote, request.arguments)))


def seconds_taken(operation: Operation, now: datetime) -> float | None:
    """How long an operation took, or has been going on."""
    if operation.started is None:
        return None
    return max(0.0, ((operation.ended or now) - operation.started).total_seconds())


def whole_bar(progress: OperationProgress) -> Bar:
    """How far an operation is as a whole."""
    return _bar(
        "All of it",
        progress.messages,
        progress.size_bytes,
        progress.expected_messages,
        progress.expected_bytes,
    )


def work_bars(progress: OperationProgress) -> tuple[Bar, ...]:
    """How far each work is that goes on."""
    return tuple(
        _bar(
            f"{work.label} on {work.host}" if work.host else work.label,
            work.messages,
            work.size_bytes,
            work.expected_messages,
            work.expected_bytes,
        )
        for work in progress.works
    )


def host_bars(progress: OperationProgress) -> tuple[Bar, ...]:
    """How far the works that go on are, for each host; none where there is but one."""
    hosts = sorted({work.host for work in progress.works})
    if len(hosts) < 2:
        return ()
    bars = []
    for host in hosts:
        works = [work_progress for work_progress in progress.works if work_progress.host == host]
        bars.append(
            _bar(
                host or "this host",
                sum(one.messages for one in works),
                sum(one.size_bytes for one in works),
                _sum_of_known(one.expected_messages for one in works),
                _sum_of_known(one.expected_bytes for one in works),
            )
        )
    return tuple(bars)


SHOWING: Mapping[str, Any] = {
    "whole_bar": whole_bar,
    "host_bars": host_bars,
    "work_bars": work_bars,
    "seconds_taken": seconds_taken,
}
"""What templates need that show operations."""


def _bar(name: str, messages: int, size_bytes: int, expected_messages: int, expected_bytes: int) -> Bar:
    in_bytes = expected_bytes > 0 or (expected_messages <= 0 and size_bytes > 0)
    return Bar(
        name=name,
        done=size_bytes if in_bytes else messages,
        expected=expected_bytes if in_bytes else expected_messages,
        in_bytes=in_bytes,
    )


def _sum_of_known(counts: Iterable[int]) -> int:
    """Zero where any of them is not known."""
    listed = list(counts)
    return sum(listed) if all(one > 0 for one in listed) else 0


def _load() -> Load:
    one, five, fifteen = os.getloadavg()
    return Load(
        one=round(one, 2),
        five=round(five, 2),
        fifteen=round(fifteen, 2),
        processors=len(os.sched_getaffinity(0)),
    )
