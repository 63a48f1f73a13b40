"""The only module that imports Ray: carries out, on a cluster, what the coordinator's process tells.

Runs in a process of its own (``ray_process``) and decides nothing about tasks. It says what became of each
worker, and which hosts come and go; Ray restarts and retries nothing by itself.
"""

from __future__ import annotations

import itertools
import logging
import queue
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from ...proto.errors import HostLostError, WorkerLostError
from ...proto.structs import Mutable, Record
from ..core import HostBack, HostLost, Start, Stop, WorkerLost, WorkerReady
from .actor import Actor
from .ray_process import (
    LABEL,
    Alive,
    Answered,
    Broken,
    Command,
    Connected,
    Offered,
    Orders,
    Report,
    Send,
)
from .tuning import HoldBack

LOOK_SECONDS = 1.0
"""How often the cluster is asked for its nodes."""

KNOCK_SECONDS = 10.0
"""How long the head may take to accept a first connection."""

START_SECONDS = 60.0
"""A worker that is not ready in this time is given up."""

_REASON_CHARACTERS = 300

_BESIDE = "beside"
"""The threads of an actor that do what is not its task."""


def drive(channel: Connection, orders: Orders) -> None:
    """Connect, and serve the channel until it is closed."""
    try:
        _knock(orders.address)
        ray.init(orders.address, log_to_driver=False, logging_level=logging.ERROR)
        hosts = live_hosts()
    except Exception as error:  # Ray raises whatever comes up from below
        channel.send(Broken(str(error)))
        return
    try:
        _Driver(channel, orders, hosts).serve()
    except OSError:
        pass  # nobody listens any more
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def live_hosts() -> dict[str, frozenset[str]]:
    """The nodes that are alive, by the host that they stand for. Waits while the cluster does not answer."""
    hosts: dict[str, frozenset[str]] = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        host = node["Labels"].get(LABEL)
        if host is not None and node["Alive"]:
            hosts[host] = hosts.get(host, frozenset()) | {node["NodeID"]}
    return hosts


class _Worker(Mutable):
    host: str
    actor: Any
    ready_by: float | None
    pid: int = 0

    def __str__(self) -> str:
        return f"worker {self.pid} on {self.host}" if self.pid else f"a worker on {self.host}"


class _Ended(Record):
    """A call of a worker's actor has ended."""

    worker: int
    call: Future[Any]


class _Hangup:
    """The coordinator has closed the channel."""


class _Driver:
    def __init__(self, channel: Connection, orders: Orders, hosts: dict[str, frozenset[str]]) -> None:
        self._channel = channel
        self._orders = orders
        self._hosts = hosts
        self._workers: dict[int, _Worker] = {}
        # Commands come from a thread, the ends of calls from Ray's callbacks.
        self._happened: queue.SimpleQueue[Command | _Ended | _Hangup] = queue.SimpleQueue()
        self._turns = itertools.count()
        # What holds workers back reaches them while they are at their tasks, in a thread of its own.
        remote: Any = ray.remote  # whose types know of no concurrency groups
        self._actor = remote(num_cpus=0, max_restarts=0, max_task_retries=0, concurrency_groups={_BESIDE: 1})(
            Actor
        )

    def serve(self) -> None:
        threading.Thread(target=self._listen, name="commands", daemon=True).start()
        self._say(Connected(frozenset(self._hosts)))
        next_look = 0.0
        while True:
            with suppress(queue.Empty):
                happened = self._happened.get(timeout=max(0.0, next_look - time.monotonic()))
                if isinstance(happened, _Hangup):
                    break
                self._take(happened)
            if time.monotonic() >= next_look:
                self._look()
                self._say(Alive())
                next_look = time.monotonic() + LOOK_SECONDS
        for worker in self._workers.values():
            _kill(worker)

    def _listen(self) -> None:
        try:
            while True:
                self._happened.put(self._channel.recv())
        except (EOFError, OSError):
            self._happened.put(_Hangup())

    def _take(self, happened: Command | _Ended) -> None:
        match happened:
            case Start(number, host):
                self._start(number, host)
            case Send(number, task) if number in self._workers:
                self._watch(number, self._workers[number].actor.run.remote(task))
            case Stop(number) if number in self._workers:
                _kill(self._workers.pop(number))
            case HoldBack():
                self._hold_back(happened)
            case _Ended(number, call) if number in self._workers:
                self._end(number, call)
            case _:
                pass  # of a worker that was given up meanwhile

    def _start(self, number: int, host: str) -> None:
        options = self._actor.options(label_selector={LABEL: host})
        actor: Any = options.remote(self._orders.function, self._orders.connection, host, self._orders.keys)
        self._workers[number] = _Worker(host, actor, time.monotonic() + START_SECONDS)
        self._watch(number, actor.ready.remote())

    def _hold_back(self, told: HoldBack) -> None:
        """Say it to one worker there, whose file all see; each time to the next, as any may hang."""
        there = [
            worker
            for worker in self._workers.values()
            if worker.host == told.host and worker.ready_by is None
        ]
        if there:
            actor = there[next(self._turns) % len(there)].actor
            actor.hold_back.options(concurrency_group=_BESIDE).remote(told.governor, told.share)

    def _watch(self, number: int, call: Any) -> None:
        def ended(future: Future[Any]) -> None:
            self._happened.put(_Ended(number, future))

        call.future().add_done_callback(ended)

    def _end(self, number: int, call: Future[Any]) -> None:
        worker = self._workers[number]
        error = call.exception()
        if error is not None:
            self._lose(number, error)
        elif worker.ready_by is not None:
            (worker.pid, key), worker.ready_by = call.result(), None
            self._say(Offered(number, key))
            self._say(WorkerReady(number))
        else:
            self._say(Answered(number, call.result()))

    def _lose(self, number: int, error: BaseException) -> None:
        """A worker ended; or its whole host did, which the cluster knows by the time it says so."""
        self._look()
        worker = self._workers.get(number)
        if worker is None:
            return
        if isinstance(error, ActorUnavailableError):
            self._give_up(number, HostLostError(f"{worker} can't be reached", **_facts(worker, error)))
        else:
            told = f"{worker} ended: {_reason(error)}"
            self._give_up(number, WorkerLostError(told, **_facts(worker, error)))

    def _give_up(self, number: int, error: WorkerLostError) -> None:
        _kill(self._workers.pop(number))
        self._say(WorkerLost(number, error))

    def _look(self) -> None:
        """Tell which hosts have come and gone, and which workers have taken too long to start."""
        before, self._hosts = self._hosts, live_hosts()
        for host in before:
            # A node that was started again is another one: the workers of the first are gone.
            if not before[host] & self._hosts.get(host, frozenset()):
                self._lose_host(host)
        for host in self._hosts:
            if not self._hosts[host] & before.get(host, frozenset()):
                self._say(HostBack(host))
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            if worker.ready_by is not None and worker.ready_by < now:
                told = f"{worker} was not ready within {START_SECONDS:.0f} s"
                self._give_up(number, WorkerLostError(told, host=worker.host))

    def _lose_host(self, host: str) -> None:
        for number in [number for number, worker in self._workers.items() if worker.host == host]:
            _kill(self._workers.pop(number))
        self._say(HostLost(host, HostLostError(f"the node of host {host} is gone", host=host)))

    def _say(self, report: Report) -> None:
        self._channel.send(report)


def _kill(worker: _Worker) -> None:
    """Let it end, if it can be reached; Ray keeps trying in its own threads."""
    with suppress(RayError):
        ray.kill(worker.actor, no_restart=True)


def _facts(worker: _Worker, error: BaseException) -> dict[str, object]:
    return {"host": worker.host, "pid": worker.pid, "ray": str(error)}


def _reason(error: BaseException) -> str:
    """The end of what Ray tells, without its advice."""
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    detail = last[0].rpartition("Worker exit detail: ")[2].partition(" Some common causes")[0]
    return detail[:_REASON_CHARACTERS]
