"""A signal waits for the end of steps that belong together."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mailhaul.worker.stores.undisturbed import undisturbed


class Left(BaseException):
    """By a handler."""


def leave(*_: object) -> None:
    raise Left


@pytest.fixture
def _handled() -> object:
    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handled")
def test_a_signal_waits() -> None:
    steps = []

    def work() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            steps.append("done")

    with pytest.raises(Left):
        work()
    assert steps == ["done"]
    with pytest.raises(Left):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("_handled")
def test_what_is_ignored_stays_so_and_errors_come_out() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="gone"), undisturbed():
            os.open("/nowhere/gone", os.O_RDONLY)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_it_does_nothing() -> None:
    done = []

    def work() -> None:
        with undisturbed():
            done.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGTERM)]
