"""kill -9 of a restore of state: before any of its steps, and while it goes on; the next does the rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mailhaul.tests.faults.killed import Steps, killed_at
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.unit.worker.live.test_state import Place
from mailhaul.worker.stores import maildir_state, subscriptions

STEPS: Steps = ((maildir_state, "rename_new"), (os, "rename"), (os, "fsync"))


def test_before_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "_STALE_SECONDS", 0.1)
    for step in count(1):
        place = Place(tmp_path / str(step))
        listed = place.box.root / "subscriptions"
        listed.write_bytes(b"V\t2\n\nINBOX\nWork\n")
        place.first = place.backup()
        place.box.keywords("blue")
        listed.write_bytes(b"V\t2\n\nINBOX\n")
        for number in (1, 2):
            place.rename(f"cur/{number}.host:2,Sa", f"cur/{number}.host:2,F")
        place.rename("cur/3.host:2,Sa", ".Work/cur/x3.host:2,")
        place.rename(".Work/cur/8.host:2,", "cur/x8.host:2,F")
        was_killed = killed_at(step, STEPS, place.restore_newest)
        assert sum(map(len, place.names().values())) == 6
        report = place.restore_newest()
        assert report.skipped == ()
        assert place.names() == {
            "": ["1.host:2,Sb", "2.host:2,Sb", "4.host:2,Sb", "x3.host:2,Sb"],
            ".Work": ["9.host:2,", "x8.host:2,"],
        }
        assert (place.box.root / "dovecot-keywords").read_text() == "0 blue\n1 red\n"
        assert listed.read_bytes() == b"V\t2\n\nINBOX\nWork\n"
        if not was_killed:
            break
    assert step > 8


def call(*arguments: str | Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mailhaul", *arguments, "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_gone_on_with(tmp_path: Path) -> None:
    """A mailbox that is done is not looked at again; that one comes next in which it was killed. All of it
    can be taken back."""
    store, staging = tmp_path / "store", tmp_path / "staging"
    boxes = [Maildir(store / user) for user in ("jane", "joe")]
    for box in boxes:
        for number in range(5):
            box.message(f"{number}.host:2,S", b"Subject: %d\n\nhi\n" % number)
        box.uidlist(*(f"{number + 1} :{number}.host" for number in range(5)))
    call("backup", "--store", f"maildir:{store}", "--staging", staging)
    for box in boxes:
        for path in list((box.root / "cur").iterdir()):
            path.rename(path.with_name(path.name.removesuffix("S")))
    lock = boxes[1].root / "dovecot-uidlist.lock"
    lock.write_text(f"{os.getpid()}:{socket.gethostname()}")
    restore = ("restore", "/", "--state-only", "--to", f"maildir:{store}", "--staging", staging)
    words = (sys.executable, "-m", "mailhaul", *restore)
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journals = staging / ".mailhaul" / "restores"
    deadline = time.monotonic() + 60
    while not any(one.read_bytes() for one in journals.glob("*/journal.jsonl")):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait(60)
    assert boxes[0].names() == [f"{number}.host:2,S" for number in range(5)]
    lock.unlink()
    untouched = boxes[0].message("9.host:2,", b"Subject: new\n\n")
    report = call("restore", "--resume", "latest", "--staging", staging)
    assert (report["restored"], report["flagged"], report["mailboxes"]) == (10, 10, 2)
    assert boxes[1].names() == [f"{number}.host:2,S" for number in range(5)]
    assert untouched.exists()

    undone = call("restore", "--undo", report["restore"], "--staging", staging)
    assert undone["mailboxes"] == 2
    for box in boxes:
        assert set(box.names()) - {"9.host:2,"} == {f"{number}.host:2," for number in range(5)}
