"""The queue: starts what may start, sees to what is to stop, finds what has died.

    settle    what has died goes on or ends; what was interrupted goes on     aftermath
    stop      in order, and after a grace by force                            processes
    start     each that nothing stands in the way of                          rules, outside
    report    what began, died and ended                                      QueueObserver

It remembers nothing that matters: who finds the records and the locks after this coordinator was killed knows
all. Operations go on without it, and are looked after by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.errors import BackupError
from ...proto.structs import Mutable
from ..service.operations import Operations
from ..service.records import UNDER_WAY, Operation, State
from . import processes
from .aftermath import Aftermath, aftermath
from .files import forget_old, is_carried_out, read_stderr
from .given_files import forget_given
from .outside import outside
from .processes import Started, Starter
from .rules import ARCHIVES, RUN, Going, Needs, obstacle

MOST_DEATHS = 3
"""An operation whose process died so often is not begun again: it is most likely what kills it."""

IDLE = timedelta(minutes=5)
"""So long a process may carry nothing out, before it begins or after it has said its end. One that takes
longer hangs (a file system that does not answer, a lock that nobody lets go of), and is killed."""

MOST_FAILED_STARTS = 3
PAUSE = timedelta(seconds=10)
"""From the end of a process that could not begin, or found a lock taken, to the next start."""

_STANDING: tuple[State, ...] = ("waiting", "running", "stopping", "interrupted")
_LAST_SAID = 500
_PAUSE_SECONDS = 0.1

NeedsOf = Callable[[Operation], Needs]
"""What an operation needs. Raises UsageError for one that is none any more."""


class QueueObserver:
    """Is told what becomes of operations. Each method does nothing: an observer has those that matter to it.
    They must not raise; an end may be told twice."""

    def began(self, operation: Operation) -> None:
        """It is under way."""

    def adopted(self, operation: Operation) -> None:
        """It was under way when this coordinator began."""

    def died(self, operation: Operation, becomes: State) -> None:
        """Nobody carries it out any more, though it had not ended. Its state becomes this: ``waiting``, if it
        begins once more."""

    def hung(self, operation: Operation) -> None:
        """Its process had not begun after the time that it had for that, and was killed. It is started once
        more, or ends as failed."""

    def ended(self, operation: Operation) -> None:
        """It has ended."""


class _Attempt(Mutable):
    """A process that was started for an operation, which had begun so often before. Since ``idle_since`` it
    has carried nothing out; None: it does."""

    process: Started
    attempts: int
    idle_since: datetime | None
    hung: bool = False


class Queue:
    """A duty. ``needs_of`` says what operations need; one that is to stop has ``grace`` to do so."""

    def __init__(
        self,
        staging: Path,
        starter: Starter,
        needs_of: NeedsOf,
        observer: QueueObserver,
        grace: timedelta,
    ) -> None:
        self._staging = staging
        self._operations = Operations(staging)
        self._starter = starter
        self._needs_of = needs_of
        self._observer = observer
        self._grace = grace
        self._attempts: dict[int, _Attempt] = {}
        self._failed_starts: dict[int, int] = {}
        self._not_before: dict[int, datetime] = {}
        self._needs: dict[int, Needs] = {}
        self._kill_at: dict[int, datetime] = {}
        self._seen: set[int] | None = None

    def tick(self, now: datetime) -> None:
        """See Duty."""
        self._reap(now)
        standing = self._standing()
        for operation in standing:
            if operation.state == "interrupted":
                self._go_on(operation, now)
            elif operation.state in UNDER_WAY and not is_carried_out(self._staging, operation.id):
                self._settle(operation, now)
        standing = self._standing()
        self._note(standing)
        self._stop([one for one in standing if one.state == "stopping"], now)
        self._start(standing, now)
        self._tell()

    def interrupt(self, now: Callable[[], datetime]) -> None:
        """The coordinator ends: all that is under way is asked to end, and killed after the grace. It goes on
        with the next coordinator. Nothing else may be called meanwhile, and no tick afterwards."""
        deadline = now() + self._grace
        asked: set[int] = set()
        killed: set[int] = set()
        for attempt in self._attempts.values():
            if attempt.process.poll() is None:
                attempt.process.terminate()  # also where it has not begun yet
        while True:
            going = [one for one in self._under_way() if is_carried_out(self._staging, one.id)]
            if not going and all(one.process.poll() is not None for one in self._attempts.values()):
                break
            for operation in going:
                if operation.id not in asked:
                    processes.ask_to_end(self._staging, operation)
                    asked.add(operation.id)
                if now() >= deadline:
                    processes.kill(self._staging, operation)
                    killed.add(operation.id)
            if now() >= deadline:
                for number, attempt in self._attempts.items():
                    # Those that have not begun, or have told their end, and do not leave.
                    if attempt.process.poll() is None and number not in asked:
                        attempt.process.kill()
            time.sleep(_PAUSE_SECONDS)
        for one in self._under_way():
            if one.id in killed:
                state: State = "stopped" if one.state == "stopping" else "interrupted"
                self._operations.end(one.id, state, now(), error="killed: it did not stop in time")
        self._tell()

    # Processes

    def _reap(self, now: datetime) -> None:
        for number, attempt in list(self._attempts.items()):
            status = attempt.process.poll()
            if status is None:
                self._bound(number, attempt, now)
                continue
            del self._attempts[number]
            operation = self._operations.get(number)
            if operation.state == "waiting" and not is_carried_out(self._staging, number):
                self._not_before[number] = now + PAUSE
                if operation.attempts == attempt.attempts:
                    self._could_not_begin(operation, status, now, hung=attempt.hung)

    def _bound(self, number: int, attempt: _Attempt, now: datetime) -> None:
        """A process that lives has only so long to begin, and to leave when it has said its end."""
        if self._operations.get(number).state in UNDER_WAY:
            attempt.idle_since = None
        elif attempt.idle_since is None:
            attempt.idle_since = now
        elif now - attempt.idle_since >= IDLE:
            attempt.hung = True
            attempt.process.kill()

    def _could_not_begin(self, operation: Operation, status: int, now: datetime, *, hung: bool) -> None:
        failed = self._failed_starts[operation.id] = self._failed_starts.get(operation.id, 0) + 1
        said = read_stderr(self._staging, operation.id)[-_LAST_SAID:].strip()
        minutes = IDLE // timedelta(minutes=1)
        if hung:
            why = f"its process had not begun after {minutes} minutes, and was killed"
            self._operations.wait_for(operation.id, f"waits to be tried again: {why}")
        else:
            why = f"its process ended before it had begun (exit status {status})"
        if failed >= MOST_FAILED_STARTS:
            error = f"{why}: {said}" if said else why
            self._operations.end(operation.id, "failed", now, exit_status=status, error=error)
        if hung:
            self._observer.hung(self._operations.get(operation.id))

    def _settle(self, operation: Operation, now: datetime) -> None:
        """Nobody carries an operation out that was under way."""
        after = self._aftermath(operation)
        becomes: State
        if after.ended is not None:
            becomes = after.ended
            changed = self._operations.end(operation.id, after.ended, now, error=after.error)
        elif operation.state == "stopping":
            becomes = "stopped"
            changed = self._operations.end(
                operation.id, "stopped", now, error="it was killed while it stopped"
            )
        elif operation.deaths + 1 >= MOST_DEATHS:
            becomes = "failed"
            said = read_stderr(self._staging, operation.id)[-_LAST_SAID:].strip()
            error = f"its process died {operation.deaths + 1} times; it said last: {said or 'nothing'}"
            changed = self._operations.end(operation.id, "failed", now, error=error)
        else:
            becomes = "waiting"
            changed = self._operations.again(operation.id, after.resumes)
        if changed:
            self._observer.died(operation, becomes)

    def _go_on(self, operation: Operation, now: datetime) -> None:
        """An operation was ended though nobody had asked it to stop; by then it may have done all."""
        after = self._aftermath(operation)
        if after.ended is None:
            self._operations.go_on(operation.id, after.resumes)
        else:
            self._operations.end(operation.id, after.ended, now, error=after.error)

    def _aftermath(self, operation: Operation) -> Aftermath:
        return aftermath(self._staging, operation)

    # What is to stop

    def _stop(self, stopping: list[Operation], now: datetime) -> None:
        for operation in stopping:
            if operation.id not in self._kill_at:
                self._kill_at[operation.id] = now + self._grace
                processes.ask_to_end(self._staging, operation)
            elif now >= self._kill_at[operation.id]:
                processes.kill(self._staging, operation)

    # What may start

    def _start(self, standing: tuple[Operation, ...], now: datetime) -> None:
        going = [Going(one, self._needs_of_one_begun(one)) for one in standing if one.state in UNDER_WAY]
        waiting: list[Going] = []
        for operation in standing:
            if operation.state != "waiting":
                continue
            try:
                needs = self._needs_for(operation)
            except BackupError as error:
                status = error.exit_code  # so it is told of as any other that could not begin
                self._operations.end(operation.id, "failed", now, exit_status=status, error=error.message)
                continue
            begins = operation.id in self._attempts or is_carried_out(self._staging, operation.id)
            (going if begins else waiting).append(Going(operation, needs))
        if not waiting:
            return
        held = outside(self._staging, going, (lock for one in waiting for lock in one.needs.alone))
        ahead: list[Going] = []
        for next_one in waiting:
            number = next_one.operation.id
            if now < self._not_before.get(number, now):
                ahead.append(next_one)
            elif why := obstacle(next_one.needs, going, ahead, held):
                self._operations.wait_for(number, why)
                ahead.append(next_one)
            else:
                attempts = next_one.operation.attempts
                self._attempts[number] = _Attempt(
                    process=self._starter(number), attempts=attempts, idle_since=now
                )
                going.append(next_one)

    def _needs_for(self, operation: Operation) -> Needs:
        if operation.id not in self._needs:
            self._needs[operation.id] = self._needs_of(operation)
        return self._needs[operation.id]

    def _needs_of_one_begun(self, operation: Operation) -> Needs:
        """Of one that another version, or another configuration, has begun, nobody may be able to tell: it
        is taken to hold what writes and what reads, and the others do not stand still for it."""
        try:
            return self._needs_for(operation)
        except BackupError:
            return Needs(alone=frozenset({RUN, ARCHIVES}))

    # What is told

    def _note(self, standing: tuple[Operation, ...]) -> None:
        going = {operation.id: operation for operation in standing if operation.state in UNDER_WAY}
        tell = self._observer.adopted if self._seen is None else self._observer.began
        for number in sorted(going.keys() - (self._seen or set())):
            tell(going[number])
        self._seen = set(going)
        left = {one.id for one in standing}
        for memory in (self._needs, self._kill_at, self._failed_starts, self._not_before):
            for number in memory.keys() - left:
                del memory[number]

    def _tell(self) -> None:
        for operation in self._operations.untold():
            self._observer.ended(operation)
            if operation.state != "interrupted":
                forget_given(self._staging, operation.id)
            self._operations.told(operation.id)
            forget_old(self._staging, operation.id, {standing.id for standing in self._standing()})

    def _standing(self) -> tuple[Operation, ...]:
        return self._operations.in_states(_STANDING)

    def _under_way(self) -> tuple[Operation, ...]:
        return self._operations.in_states(UNDER_WAY)
