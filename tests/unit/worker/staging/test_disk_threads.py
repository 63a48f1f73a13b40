"""Threads that wait for disks."""

from __future__ import annotations

import threading
from functools import partial

from mailhaul.worker.staging.disk_threads import DiskThreads, Pool


def test_every_job_has_one_result() -> None:
    told = threading.Semaphore(0)
    threads: DiskThreads[int] = DiskThreads(3, told.release)
    for number in range(100):
        threads.start(list(Pool)[number % 3], partial(int, number))
    for _ in range(100):
        assert told.acquire(timeout=30)
    assert sorted(threads.results()) == list(range(100))
    assert list(threads.results()) == []
    threads.close()


def test_a_sync_does_not_hold_up_what_is_written_and_read() -> None:
    synced, told = threading.Event(), threading.Semaphore(0)
    threads: DiskThreads[str] = DiskThreads(1, told.release)

    def sync() -> str:
        assert synced.wait(30)
        return "sync"

    threads.start(Pool.SYNC, sync)
    threads.start(Pool.WRITE, lambda: "write")
    threads.start(Pool.READ, lambda: "read")
    assert told.acquire(timeout=30)
    assert told.acquire(timeout=30)
    assert sorted(threads.results()) == ["read", "write"]
    synced.set()
    threads.close()
    assert list(threads.results()) == ["sync"]


def test_jobs_that_wait_are_done_before_it_ends() -> None:
    threads: DiskThreads[int] = DiskThreads(2, lambda: None)
    for number in range(50):
        threads.start(Pool.WRITE, partial(int, number))
    threads.close()
    assert sorted(threads.results()) == list(range(50))
