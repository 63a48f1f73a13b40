"""Who does what next, and where: the state of a dispatch, apart from every engine that carries it out.

``Core.step`` takes one event and returns instructions; it starts nothing, waits for nothing and knows no
time, so that each incident can be told again as a list of events. Tasks are known by their place in the
order given, workers by numbers that are never used twice, hosts by their names.

A worker is starting, then busy with one task at a time, until it is lost or was told to stop; it is idle
only in the middle of a step. A task waits, or is with one worker, or rests before it is tried again; it is
finished once. A task that is tried again goes before all that come after it in the order given.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from ..proto.errors import BackupError
from ..proto.structs import Mutable, Record, field

# What happened


class WorkerReady(Record):
    """A worker that was to start can take a task."""

    worker: int


class WorkerLost(Record):
    """A worker is gone, without having been told to stop."""

    worker: int
    error: BackupError


class TaskDone(Record):
    """A worker returned the report of its task and can take another."""

    worker: int
    report: object


class TaskFailed(Record):
    """A worker's task raised; the worker can take another."""

    worker: int
    error: BackupError


class TaskRested(Record):
    """A task that was to rest may be tried again."""

    task: int


class HostLost(Record):
    """A host is gone or can't be reached, and with it every worker that it has."""

    host: str
    error: BackupError


class HostBack(Record):
    """A host that was lost or given up can have workers again."""

    host: str


class HostGivenUp(Record):
    """Nobody waits for this host any more."""

    host: str
    error: BackupError


class DoorShut(Record):
    """The door is shut: nothing is begun until it opens; what runs goes on."""


class DoorOpened(Record):
    """The door is open."""


class WorkersWanted(Record):
    """A host shall have so many workers from now on, at least one. Those that are too many end with the task
    that they have."""

    host: str
    workers: int


Event = (
    WorkerReady
    | WorkerLost
    | TaskDone
    | TaskFailed
    | TaskRested
    | HostLost
    | HostBack
    | HostGivenUp
    | DoorShut
    | DoorOpened
    | WorkersWanted
)


# What is to be done


class Start(Record):
    """Start a worker under this number."""

    worker: int
    host: str


class Assign(Record):
    """Give a task to an idle worker, as this attempt at it (counted from 1)."""

    worker: int
    host: str
    task: int
    attempt: int


class Stop(Record):
    """Let an idle worker go: there is nothing for it to do."""

    worker: int


class Rest(Record):
    """An attempt at a task has failed: say ``TaskRested`` when it may be tried again."""

    task: int
    attempt: int
    error: BackupError


class Finish(Record):
    """A task has ended, after so many attempts: with a report, or else with the error of the last."""

    task: int
    attempts: int
    report: object = None
    error: BackupError | None = None


Instruction = Start | Assign | Stop | Rest | Finish


class Occupancy(Record, kw_only=True):
    """So many workers of a host have a task, of the ``most`` that it may have; ``waits``: there is another
    task for it."""

    host: str
    most: int
    busy: int
    waits: bool


class _Queue(Mutable, eq=False):
    """The tasks that can be done on the same hosts. ``waiting`` is a heap; ``starting`` counts the workers
    that are being started on its behalf."""

    hosts: list[_Host]
    waiting: list[int] = field(default_factory=list)
    resting: set[int] = field(default_factory=set)
    starting: int = 0

    @property
    def short(self) -> bool:
        """Whether a task waits that no worker is being started for."""
        return self.starting < len(self.waiting)

    @property
    def hopeless(self) -> bool:
        """Whether every host is given up."""
        return all(host.given_up for host in self.hosts)


class _Host(Mutable, eq=False):
    """``most`` is how many workers it may have. ``starting`` says for which queue each worker is started;
    ``failed_starts`` counts those in a row that were lost before they were ready."""

    name: str
    most: int
    queues: list[_Queue] = field(default_factory=list)
    starting: dict[int, _Queue] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    busy: dict[int, int] = field(default_factory=dict)
    failed_starts: int = 0
    lost: bool = False
    given_up: bool = False

    @property
    def workers(self) -> int:
        return len(self.starting) + len(self.idle) + len(self.busy)

    def pop_starting(self, worker: int) -> _Queue:
        """A worker is not starting any more; the queue that it was started for."""
        queue = self.starting.pop(worker)
        queue.starting -= 1
        return queue

    def next_queue(self) -> _Queue | None:
        """The one whose first task comes before those of the others."""
        waiting = [queue for queue in self.queues if queue.waiting]
        return min(waiting, key=lambda queue: queue.waiting[0], default=None)

    def next_short(self) -> _Queue | None:
        """The same among those that want one more worker."""
        short = [queue for queue in self.queues if queue.short]
        return min(short, key=lambda queue: queue.waiting[0], default=None)


class Core:
    """The state of one dispatch, to at most ``workers`` workers on each of ``hosts``, until ``WorkersWanted``
    says otherwise of a host.

    ``tasks`` gives the hosts on which each task can be done; none stands for any. It goes to the first of
    them that has room. The door is shut at first: ``DoorOpened`` begins the work.

    A task is tried up to ``attempts`` times where its errors are retryable; the loss of its worker or host
    is. Workers that are lost before they are ready are replaced, until ``attempts`` of them were in a row; a
    host that has no other worker then is given up, with the last of these losses. The tasks of a host that is
    given up fail if they have no other.

    A step takes O(log n) for each queue of the hosts that it concerns (a host has one queue for each set of
    hosts that it shares tasks with); only the door and tasks without hosts concern all hosts.
    """

    def __init__(
        self, tasks: Sequence[Sequence[str]], *, hosts: Iterable[str], workers: int, attempts: int
    ) -> None:
        if workers < 1 or attempts < 1:
            raise ValueError("a dispatch needs a worker and an attempt")
        self._hosts = {name: _Host(name, workers) for name in hosts}
        self._queues = self._queued(tasks)
        self._unfinished = len(tasks)
        self._tried = [0] * len(tasks)
        self._attempts = attempts
        self._numbers = count(1)
        self._host_of: dict[int, _Host] = {}
        self._shut = True

    def _queued(self, tasks: Sequence[Sequence[str]]) -> list[_Queue]:
        """The queue of each task."""
        known: dict[tuple[str, ...], _Queue] = {}
        queues = []
        for task, names in enumerate(tasks):
            key = tuple(dict.fromkeys(names))
            if key not in known:
                hosts = [self._hosts[name] for name in key or self._hosts]
                if not hosts:
                    raise ValueError("a dispatch needs a host")
                known[key] = _Queue(hosts)
                for host in hosts:
                    host.queues.append(known[key])
            known[key].waiting.append(task)  # a heap: sorted as it is
            queues.append(known[key])
        return queues

    @property
    def finished(self) -> bool:
        """Whether every task was reported as finished."""
        return self._unfinished == 0

    def occupancy(self) -> Iterator[Occupancy]:
        """How the hosts are occupied."""
        for name, host in self._hosts.items():
            waits = host.next_queue() is not None
            yield Occupancy(host=name, most=host.most, busy=len(host.busy), waits=waits)

    def step(self, event: Event) -> list[Instruction]:
        """Take an event in. Finished tasks come last, so that workers need not wait for their recording.

        An event that can't be (a worker that was given up, a report without a task) changes nothing: a
        worker that was cut off may report late.
        """
        match event:
            case WorkerReady(worker) | WorkerLost(worker) | TaskDone(worker) | TaskFailed(worker):
                host = self._host_of.get(worker)
                return [] if host is None else self._step_worker(host, event)
            case HostLost(name) | HostBack(name) | HostGivenUp(name):
                return self._step_host(self._hosts[name], event) if name in self._hosts else []
            case TaskRested(task):
                return self._wake(task)
            case DoorShut() | DoorOpened():
                self._shut = isinstance(event, DoorShut)
                return [told for host in self._hosts.values() for told in self._settle(host)]
            case WorkersWanted(name, workers) if name in self._hosts:
                self._hosts[name].most = max(1, workers)
                return self._settle(self._hosts[name])
            case WorkersWanted():
                return []

    def _step_worker(
        self, host: _Host, event: WorkerReady | WorkerLost | TaskDone | TaskFailed
    ) -> list[Instruction]:
        match event:
            case WorkerReady(worker) if worker in host.starting:
                queue = host.pop_starting(worker)
                host.idle.append(worker)
                host.failed_starts = 0
                return [*self._settle(host), *self._supply([queue])]
            case WorkerLost(worker, error):
                return self._lose(host, worker, error)
            case TaskDone(worker, report) if worker in host.busy:
                ended: Rest | Finish = self._finish(host.busy.pop(worker), report=report)
            case TaskFailed(worker, error) if worker in host.busy:
                ended = self._retry(host.busy.pop(worker), error, error.retryable)
            case _:
                return []
        host.idle.append(event.worker)
        return [*self._settle(host), ended]

    def _lose(self, host: _Host, worker: int, error: BackupError) -> list[Instruction]:
        del self._host_of[worker]
        task = host.busy.pop(worker, None)
        queues = []
        if task is None:
            queues.append(host.pop_starting(worker))
            host.failed_starts += 1
        given_up = []
        if host.failed_starts >= self._attempts and not host.workers:
            given_up = self._give_up(host, error)
        ended = [] if task is None else [self._retry(task, error, True)]
        return [*self._settle(host), *self._supply(queues), *ended, *given_up]

    def _step_host(self, host: _Host, event: HostLost | HostBack | HostGivenUp) -> list[Instruction]:
        match event:
            case HostLost(error=error):
                host.lost = True
                given_up = []
            case HostGivenUp(error=error):
                given_up = self._give_up(host, error)
            case HostBack():
                host.lost = host.given_up = False
                host.failed_starts = 0
                return self._settle(host)
        for worker in (*host.starting, *host.busy):
            del self._host_of[worker]
        queues, tasks = list(host.starting.values()), list(host.busy.values())
        for worker in list(host.starting):
            host.pop_starting(worker)
        host.busy.clear()
        return [*self._supply(queues), *(self._retry(task, error, True) for task in tasks), *given_up]

    def _give_up(self, host: _Host, error: BackupError) -> list[Finish]:
        """What waits for this host alone fails."""
        host.given_up = True
        ended = []
        for queue in host.queues:
            if queue.hopeless:
                ended += [
                    self._finish(task, error=error) for task in sorted((*queue.waiting, *queue.resting))
                ]
                queue.waiting.clear()
                queue.resting.clear()
        return ended

    def _wake(self, task: int) -> list[Instruction]:
        queue = self._queues[task]
        if task not in queue.resting:
            return []
        queue.resting.remove(task)
        heapq.heappush(queue.waiting, task)
        return self._supply([queue])

    def _retry(self, task: int, error: BackupError, retryable: bool) -> Rest | Finish:
        queue = self._queues[task]
        if not retryable or self._tried[task] >= self._attempts or queue.hopeless:
            return self._finish(task, error=error)
        queue.resting.add(task)
        return Rest(task, self._tried[task], error)

    def _finish(self, task: int, *, report: object = None, error: BackupError | None = None) -> Finish:
        self._unfinished -= 1
        return Finish(task, self._tried[task], report, error)

    def _supply(self, queues: Iterable[_Queue]) -> list[Instruction]:
        """Start workers for these, on the first of their hosts that have room."""
        told: list[Instruction] = []
        for queue in queues:
            for host in queue.hosts:
                if not queue.short:
                    break
                told += self._settle(host)
        return told

    def _settle(self, host: _Host) -> list[Instruction]:
        """Give work to the idle, let those go that find none, start as many as the rest needs."""
        open_ = not (self._shut or host.lost or host.given_up)
        told: list[Instruction] = []
        while open_ and host.idle and len(host.busy) < host.most and (queue := host.next_queue()):
            worker, task = host.idle.pop(), heapq.heappop(queue.waiting)
            self._tried[task] += 1
            host.busy[worker] = task
            told.append(Assign(worker, host.name, task, self._tried[task]))
        for worker in host.idle:
            del self._host_of[worker]
            host.failed_starts = 0  # workers do start here: a task that rests will need one again
            told.append(Stop(worker))
        host.idle.clear()
        while open_ and self._has_room(host) and (queue := host.next_short()):
            worker = next(self._numbers)
            self._host_of[worker] = host
            host.starting[worker] = queue
            queue.starting += 1
            told.append(Start(worker, host.name))
        return told

    def _has_room(self, host: _Host) -> bool:
        return host.workers < host.most and host.failed_starts < self._attempts
