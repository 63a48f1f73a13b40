"""Those who look at the mail server die: the governor says so, works with care, and has others look."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.clock import SystemClock
from mailhaul.coordinator.governing import probes
from mailhaul.coordinator.governing.effort import Rules
from mailhaul.coordinator.governing.governor import Governor
from mailhaul.coordinator.governing.settings import HostRules, ProbeAccount
from mailhaul.coordinator.governing.state import read_state
from mailhaul.tests.integration.slow_imap import SlowImap

PATIENCE_SECONDS = 60.0


def eventually(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_those_who_look_die_and_others_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "AGAIN_SECONDS", 1.0)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    (tmp_path / ".mailhaul").mkdir()
    lines: list[str] = []
    with SlowImap() as server:
        account = ProbeAccount(
            server=f"imap://127.0.0.1:{server.port}", user="probe", password_file=str(password)
        )
        rules = HostRules(host="mail01", probe=account, rules=Rules(target_seconds=5.0, blind=0.25))
        with Governor(tmp_path, "test", {"mail01": rules}, SystemClock(), lines.append) as governor:
            governor.occupied("mail01", 2, 2)
            eventually(lambda: governor.level("mail01") > 0.25)
            (child,) = multiprocessing.active_children()
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            eventually(lambda: governor.level("mail01") == 0.25)
            seen = server.sessions
            eventually(lambda: server.sessions > seen)
            eventually(lambda: len(lines) == 2)
            eventually(lambda: (governor.level("mail01")) > 0.25)
        state = read_state(tmp_path, "mail01")
    blind, again = lines
    assert "can't be minded: the process that looks was killed by SIGKILL; its work goes on at 25%" in blind
    assert again == "the users of mail01 are minded again"
    assert state is not None
    assert state.looks >= 2
    assert multiprocessing.active_children() == []
