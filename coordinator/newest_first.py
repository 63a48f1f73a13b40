"""The table of contents of a restore that brings the newest mail first.

    for each pass: the folders, then a slice of time after the other, the newest first
      leave out  mailboxes that are that far, and those without mail of that time
      order      active users before idle ones, neighbours in an archive side by side
      dispatch   a few mailboxes at a time, who is named meanwhile before all others

A pass is over when all mailboxes are through it, so no two workers are ever in one. A mailbox that fails in
a pass is left out of those that follow: what is there of it always reaches from the newest mail back, and who
goes on begins with what failed. ``run_newest_first`` is to such a restore what ``restoration.run_tasks`` is
to others.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path

from ..proto.ports import ProgressSink
from ..proto.records import FOLDERS, ArchiveId, Progress, RestoredMailbox, RestoreReport
from ..proto.structs import Mutable, Record, field, replace
from ..worker.arrivals import Slice
from ..worker.choice import Choice, Extent
from ..worker.tasks.restore import RestoreTask
from .dispatch.engine import Engine
from .restoration import carried_out
from .restore_plan import PlannedMailbox, RestorePlan
from .restores.journal import Journal

AGES = (timedelta(days=14), timedelta(days=90), timedelta(days=365))
"""How far back each slice goes; one more has the rest. Each costs whoever has a folder of it open one login
more, and each mailbox one look into its metadata."""

_ACTIVE = (timedelta(days=3), timedelta(days=14), timedelta(days=90))
"""A user whose newest mail that was seen is as new as that is more active than others."""

_MOST_BYTES = 32 << 20
_MOST_MESSAGES = 1000
_MOST_MAILBOXES = 32
"""So much a worker does at once, if no mailbox alone is larger: who is named waits for that."""

NAME = "newest first"
"""How the whole of it is called in its progress."""


class Pass(Record, kw_only=True):
    """Once through all mailboxes; ``reach`` is what there is of each then (see ``RestoredMailbox``), and the
    ``slice`` what is restored; None: its folders."""

    reach: str
    slice: Slice | None = None


def passes_of(moment: datetime) -> tuple[Pass, ...]:
    """The passes of a restore as of this moment."""
    back_to = [(moment - age).replace(microsecond=0).astimezone(UTC) for age in AGES]
    edges = [None, *(int(one.timestamp()) * 1_000_000_000 for one in back_to), None]
    slices = [Slice(since_ns=since, until_ns=until) for until, since in pairwise(edges)]
    reaches = [*(one.isoformat() for one in back_to), ""]
    return (
        Pass(reach=FOLDERS),
        *(Pass(reach=reach, slice=one) for reach, one in zip(reaches, slices, strict=True)),
    )


class Ahead(Mutable):
    """The users that are to come first, in the order in which they were named; ``look`` gives those that were
    named since."""

    look: Callable[[], Iterable[str]]
    users: dict[str, None] = field(default_factory=dict)

    def fresh(self) -> list[str]:
        """Those that are new."""
        new = [one for one in self.look() if one not in self.users]
        self.users.update(dict.fromkeys(new))
        return new


def run_newest_first(
    plan: RestorePlan,
    passes: Sequence[Pass],
    engine: Engine,
    on_progress: ProgressSink,
    journal: Journal,
    ahead: Ahead,
    *,
    announcement: bytes = b"",
    witness: Path | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> RestoreReport:
    """Restore what a plan has, pass by pass; progress is told of all of it under one ``NAME``.
    ``announcement``: see ``Choice``; ``witness``: see ``RestoreTask``. Raises as ``run_tasks``: what the
    journal has by then is left out when it is called again."""
    begun = monotonic()
    planned = {mailbox.choice.key[:2]: mailbox for mailbox in plan.mailboxes}
    tasks = [replace(planned_task.task, witness=str(witness or "")) for planned_task in plan.tasks]
    told = _Sum(on_progress)
    rest = RestoreReport()
    for number, one in enumerate(passes):
        todo = _Todo(passes, number, planned, journal, announcement)
        lots = sorted((lot for task in tasks for lot in todo.lots(task)), key=lambda lot: lot.idle)
        turns = Turns(lots, ahead, journal, lambda: monotonic() - begun)
        rest += carried_out(turns.each(one), engine, told, journal)
    total = journal.total + rest
    # What is in the way of a folder is so in each pass.
    skipped, damaged = dict.fromkeys(total.skipped), dict.fromkeys(total.damaged)
    return replace(total, skipped=tuple(skipped), damaged=tuple(damaged))


class Lot(Record, kw_only=True):
    """What a worker does at once. ``idle`` is the less the more active its users are; those who are ``named``
    come first in it, then with ``more`` of them."""

    task: RestoreTask
    idle: int
    more: Callable[[Choice], tuple[Choice, ...]]

    def with_first(self, named: Iterable[str]) -> RestoreTask:
        """The task, with the users first who are named."""
        order = {user: number for number, user in enumerate(named)}
        first = sorted(
            (choice for choice in self.task.choices if choice.to_user in order),
            key=lambda one: order[one.to_user],
        )
        others = tuple(one for one in self.task.choices if one.to_user not in order)
        return replace(self.task, choices=(*(each for one in first for each in self.more(one)), *others))


class _Todo:
    """What is to be done in one of the passes."""

    def __init__(
        self,
        passes: Sequence[Pass],
        number: int,
        planned: dict[tuple[ArchiveId, str], PlannedMailbox],
        journal: Journal,
        announcement: bytes,
    ) -> None:
        self._announcement = announcement
        self._passes = passes
        self._number = number
        self._planned = planned
        self._journal = journal
        until = passes[1].slice
        self._newest_ns = 0 if until is None or until.since_ns is None else until.since_ns

    def lots(self, task: RestoreTask) -> Iterator[Lot]:
        """A task cut into pieces, each of users that are about as active."""
        left = [choice for choice in task.choices if self._is_left(choice)]
        users = [list(some) for _, some in groupby(left, key=lambda one: (one.archive, one.user))]
        for idle, some in groupby(sorted(users, key=self._idle), key=self._idle):
            for choices in self._pieces(some):
                now = tuple(self._in_pass(self._number, one) for one in choices)
                yield Lot(task=replace(task, choices=now), idle=idle, more=self._more)

    def _pieces(self, users: Iterable[list[Choice]]) -> Iterator[list[Choice]]:
        piece: list[Choice] = []
        messages = size_bytes = 0
        for some in users:
            amounts = [self._amount(choice) for choice in some]
            messages += sum(one for one, _ in amounts)
            size_bytes += sum(one for _, one in amounts)
            full = messages > _MOST_MESSAGES or size_bytes > _MOST_BYTES or len(piece) >= _MOST_MAILBOXES
            if piece and full:
                yield piece
                piece = []
                messages, size_bytes = (sum(column) for column in zip(*amounts, strict=True))
            piece += some
        if piece:
            yield piece

    def _is_left(self, choice: Choice) -> bool:
        """Whether there is something to do; where there is no mail of that time it is noted as done."""
        now = self._in_pass(self._number, choice)
        archive, path, _ = now.key
        is_reached = all((archive, path, one.reach) in self._journal for one in self._passes[: self._number])
        if now.key in self._journal or not is_reached:
            return False
        is_last = self._number == len(self._passes) - 1
        if self._number and not is_last and self._amount(choice) == (0, 0) and self._ages(choice) is not None:
            done = RestoredMailbox(
                archive=now.archive, path=str(now.path), report=RestoreReport(), reach=now.reach
            )
            self._journal.note(done)
            return False
        return True

    def _amount(self, choice: Choice) -> tuple[int, int]:
        if not self._number:
            return 0, 0
        if (ages := self._ages(choice)) is not None:
            return ages[self._number - 1]
        planned = self._planned[choice.key[:2]]
        return planned.messages, planned.size_bytes

    def _ages(self, choice: Choice) -> tuple[tuple[int, int], ...] | None:
        ages = self._journal.ages(*choice.key[:2])
        return ages.slices if ages and len(ages.slices) == len(self._passes) - 1 else None

    def _idle(self, some: Sequence[Choice]) -> int:
        known = [ages.last_seen_ns for choice in some if (ages := self._journal.ages(*choice.key[:2]))]
        seen_ns = max(known, default=0)
        moment_ns = self._newest_ns + _nanoseconds(AGES[0])
        return sum(seen_ns < moment_ns - _nanoseconds(age) for age in _ACTIVE)

    def _in_pass(self, number: int, choice: Choice) -> Choice:
        one = self._passes[number]
        choice = replace(choice, announcement=self._announcement)
        if one.slice is not None:
            return replace(choice, slice=one.slice, reach=one.reach)
        slices = tuple(other.slice for other in self._passes if other.slice is not None)
        return replace(choice, extent=Extent.FRAME, ages=slices, reach=one.reach)

    def _more(self, choice: Choice) -> tuple[Choice, ...]:
        """What is done of somebody who was named: with the folders the newest mail."""
        if self._number:
            return (choice,)
        whole = replace(choice, extent=Extent.ALL, ages=())
        return choice, self._in_pass(1, whole)


def _nanoseconds(time: timedelta) -> int:
    return time // timedelta(microseconds=1) * 1000


class Turns:
    """The lots of a pass, and which is next: that with the user who was named first, else the first. Those
    that can be done on the same hosts stand in one queue."""

    def __init__(
        self, lots: Sequence[Lot], ahead: Ahead, journal: Journal, elapsed: Callable[[], float]
    ) -> None:
        self._elapsed = elapsed
        self._ahead = ahead
        self._journal = journal
        self._queues: dict[tuple[str, ...], OrderedDict[int, Lot]] = {}
        self._jumps: dict[tuple[str, ...], deque[int]] = {}
        self._of_user: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for number, lot in enumerate(lots):
            hosts = lot.task.hosts
            self._queues.setdefault(hosts, OrderedDict())[number] = lot
            self._jumps.setdefault(hosts, deque())
            for user in {choice.to_user for choice in lot.task.choices}:
                self._of_user.setdefault(user, []).append((hosts, number))
        self._jump(ahead.users)

    def each(self, of: Pass) -> list[Turn]:
        """A work for each lot: which one that is, is told when it is begun."""
        label = f"{NAME}, {of.reach or 'the rest'}"
        return [
            Turn(self, hosts, f"{label} {number + 1}", self._journal, self._elapsed)
            for hosts, queue in self._queues.items()
            for number in range(len(queue))
        ]

    def draw(self, hosts: tuple[str, ...]) -> RestoreTask:
        """What is to be begun next on these hosts."""
        self._jump(self._ahead.fresh())
        queue, jumps = self._queues[hosts], self._jumps[hosts]
        while jumps:
            if (number := jumps.popleft()) in queue:
                return queue.pop(number).with_first(self._ahead.users)
        return queue.popitem(last=False)[1].with_first(self._ahead.users)

    def _jump(self, users: Iterable[str]) -> None:
        for user in users:
            for hosts, number in self._of_user.get(user, ()):
                self._jumps[hosts].append(number)


class Turn(Mutable, eq=False):
    """A Task: a lot that is drawn when it is begun; without what the journal has by the time of an
    attempt. ``elapsed`` says for how many seconds the restore has been under way."""

    turns: Turns
    hosts: tuple[str, ...]
    label: str
    journal: Journal
    elapsed: Callable[[], float]
    drawn: RestoreTask | None = None

    @property
    def left(self) -> tuple[Choice, ...]:
        """What is not done."""
        return tuple(choice for choice in self._task().choices if choice.key not in self.journal)

    def attempted(self, host: str, attempt: int) -> RestoreTask:
        """See Task."""
        task = replace(self._task(), choices=self.left, label=self.label, under_way_seconds=self.elapsed())
        return task.attempted(host, attempt)

    def _task(self) -> RestoreTask:
        if self.drawn is None:
            self.drawn = self.turns.draw(self.hosts)
        return self.drawn


class _Sum:
    """Tells of many works as of one: how many there are, and which, is not known before."""

    def __init__(self, on_progress: ProgressSink) -> None:
        self._on_progress = on_progress
        self._each: dict[str, tuple[int, int]] = {}
        self._messages = self._bytes = 0

    def __call__(self, progress: Progress) -> None:
        messages, size_bytes = self._each.get(progress.unit, (0, 0))
        self._each[progress.unit] = progress.messages, progress.size_bytes
        self._messages += progress.messages - messages
        self._bytes += progress.size_bytes - size_bytes
        self._on_progress(progress._replace(unit=NAME, messages=self._messages, size_bytes=self._bytes))
