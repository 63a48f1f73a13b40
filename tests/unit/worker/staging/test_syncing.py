"""Syncing in the background: soon, not too often, never a file that was let go of."""

from __future__ import annotations

import threading

from mailhaul.worker.staging.syncing import Syncer

_PATIENCE_SECONDS = 20
_FOREVER_SECONDS = 10**6


class File:
    """A Syncable that counts; each sync lasts until ``go_on`` is set."""

    def __init__(self) -> None:
        self.syncs = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self._changed = threading.Condition()
        self._running = False

    def sync(self) -> None:
        with self._changed:
            self.syncs += 1
            self._running = True
            self._changed.notify_all()
        self.go_on.wait(_PATIENCE_SECONDS)
        self._running = False

    @property
    def is_syncing(self) -> bool:
        return self._running

    def await_syncs(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.syncs >= number, _PATIENCE_SECONDS)


def test_the_first_one_is_at_once() -> None:
    syncer, file = Syncer(pause_seconds=_FOREVER_SECONDS), File()
    syncer.ask(file)
    file.await_syncs(1)
    syncer.forget(file)


def test_another_one_comes_when_it_is_asked_for_again() -> None:
    syncer, file = Syncer(pause_seconds=0), File()
    for number in range(1, 4):
        syncer.ask(file)
        file.await_syncs(number)
    syncer.forget(file)
    assert file.syncs == 3


def test_what_is_asked_for_while_it_syncs_comes_to_one() -> None:
    syncer, file = Syncer(pause_seconds=0), File()
    file.go_on.clear()
    syncer.ask(file)
    file.await_syncs(1)
    for _ in range(100):
        syncer.ask(file)
    file.go_on.set()
    file.await_syncs(2)
    syncer.forget(file)
    assert file.syncs == 2


def test_a_pause_is_kept_for_each_file() -> None:
    syncer, file, other = Syncer(pause_seconds=_FOREVER_SECONDS), File(), File()
    syncer.ask(file)
    file.await_syncs(1)
    syncer.ask(file)
    syncer.ask(other)
    other.await_syncs(1)
    syncer.forget(file)
    syncer.forget(other)
    assert (file.syncs, other.syncs) == (1, 1)


def test_a_file_that_is_forgotten_is_left_alone() -> None:
    """Its descriptor may be closed then, and its number belong to another one."""
    syncer, file = Syncer(pause_seconds=0), File()
    file.go_on.clear()
    syncer.ask(file)
    file.await_syncs(1)
    syncer.ask(file)
    threading.Timer(0.05, file.go_on.set).start()
    syncer.forget(file)
    assert not file.is_syncing
    assert file.syncs == 1
    syncer.forget(file)


def test_it_works_again_after_a_rest() -> None:
    """Its thread ends when there is nothing to do."""
    syncer, file = Syncer(pause_seconds=0), File()
    for number in range(1, 4):
        syncer.ask(file)
        file.await_syncs(number)
        syncer.forget(file)
        for thread in threading.enumerate():
            if thread.name == "sync":
                thread.join(_PATIENCE_SECONDS)
    assert file.syncs == 3
