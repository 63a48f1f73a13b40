"""A fixed number of threads that wait for disks, so that the thread with the socket never does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Pool(Enum):
    """What jobs are about. Each kind has threads of its own, so that none has to wait for the others: a sync
    may take very long."""

    WRITE = auto()
    SYNC = auto()
    READ = auto()
    ASK = auto()


class DiskThreads(Generic[Result]):
    """Runs jobs, and hands their results over to one other thread.

    There are so many ``threads`` for each pool. Jobs must not raise. ``on_result`` is called, in the thread
    of the job, when there is something to collect.
    """

    def __init__(self, threads: int, on_result: Callable[[], object]) -> None:
        self._on_result = on_result
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._jobs: dict[Pool, SimpleQueue[Callable[[], Result] | None]] = {
            pool: SimpleQueue() for pool in Pool
        }
        self._threads = [
            (
                pool,
                threading.Thread(
                    target=self._work, args=(jobs,), name=f"{pool.name.lower()}-{number}", daemon=True
                ),
            )
            for pool, jobs in self._jobs.items()
            for number in range(threads)
        ]
        for _, thread in self._threads:
            thread.start()

    def start(self, pool: Pool, job: Callable[[], Result]) -> None:
        """Run a job as soon as a thread is free."""
        self._jobs[pool].put(job)

    def results(self) -> Iterator[Result]:
        """Those that are there by now, each once."""
        with suppress(Empty):
            while True:
                yield self._results.get_nowait()

    def close(self) -> None:
        """End the threads when all jobs are done. Results can still be collected."""
        for pool, _ in self._threads:
            self._jobs[pool].put(None)
        for _, thread in self._threads:
            thread.join()

    def _work(self, jobs: SimpleQueue[Callable[[], Result] | None]) -> None:
        while (job := jobs.get()) is not None:
            self._results.put(job())
            del job  # with the mail that it holds
            self._on_result()
