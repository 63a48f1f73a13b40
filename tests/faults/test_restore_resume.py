"""A restore that is ended early, at any point, goes on with ``--resume``: exact, nothing twice; and little is
done again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ..trees import Entry, differences, names_of_files, snapshot

_PROGRAM = (sys.executable, "-m", "mailhaul")
_WORKERS = 2


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def backup(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store of 24 users, and its staging area. Some messages are one file in many mailboxes."""
    above = tmp_path_factory.mktemp("backup")
    maker = root / "deploy" / "demo" / "make_store.py"
    words = [sys.executable, str(maker), str(above / "store"), "--messages", "900", "--users", "24"]
    subprocess.run(words, check=True, timeout=60, capture_output=True)
    shared = sorted((above / "store").glob("*/*/**/cur/*"))[:2]
    for number, folder in enumerate(sorted((above / "store").glob("**/cur"))):
        os.link(shared[number % 2], folder / f"17{number}.M1P1.shared:2,S")
    store = ("--store", f"maildir:{above / 'store'}", "--staging", above / "staging")
    done = command("backup", *store, "--workers", "2")
    assert done.returncode == 0, done.stderr
    return above / "store", above / "staging"


def comparable(root: Path) -> dict[bytes, Entry]:
    """All but the times of directories: a mailbox that was there already is only added to."""
    return {
        where: (*entry[:4], 0, entry[5]) if entry[0] == "directory" else entry
        for where, entry in snapshot(root).items()
    }


def newest(staging: Path) -> Path:
    return max((staging / ".mailhaul" / "restores").iterdir())


def journal(restore: Path) -> list[dict[str, Any]]:
    lines = (restore / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


def killed(
    words: tuple[str | Path, ...], staging: Path, after_lines: int, pause: float, everybody: bool
) -> bool:
    """Whether a restore was killed while it went on: so many mailboxes were done, and a moment after that."""
    before = set((staging / ".mailhaul").glob("restores/*"))
    run = subprocess.Popen(
        [*_PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while run.poll() is None:
        assert time.monotonic() < deadline, "the restore does not begin"
        found = set((staging / ".mailhaul").glob("restores/*")) - before
        done = [one for one in found if (one / "journal.jsonl").exists()]
        if done and (done[0] / "journal.jsonl").read_bytes().count(b"\n") >= after_lines:
            break
        time.sleep(0.002)
    time.sleep(pause)
    going = run.poll() is None
    if everybody:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    else:
        run.kill()
    run.wait(60)
    return going


@pytest.mark.timeout(1800)
def test_killed_restore_is_resumed(backup: tuple[Path, Path], tmp_path: Path, rounds: int) -> None:
    store, staging = backup
    original = comparable(store)
    rng = random.Random(11)
    broken_off = 0
    for number in range(rounds if rounds > 100 else 3):
        target = tmp_path / f"restored{number}"
        where = ("--staging", staging, "--to", f"maildir:{target}", "--workers", str(_WORKERS))
        everybody = bool(number % 2)
        going = killed(("restore", "/", *where), staging, rng.randrange(22), rng.uniform(0, 0.05), everybody)
        restore = newest(staging)
        if not going and (restore / "report.json").exists():
            continue
        broken_off += 1
        status = json.loads((restore / "order.json").read_text())
        assert (status["mailboxes"], status["arguments"][0]) == (24, "/")
        if not everybody:
            time.sleep(1.2)  # its workers notice at once, and have a second
        done_before = len(journal(restore))
        which = rng.choice(["latest", restore.name])
        done = command("restore", "--resume", which, "--staging", staging, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["restore"] == restore.name
        assert differences(original, comparable(target)) == []
        assert names_of_files(target) == names_of_files(store)
        lines = journal(restore)
        paths = [one["path"] for one in lines]
        assert len(paths) == len(set(paths)) == told["mailboxes"] == 24
        repeated = [one for one in lines[done_before:] if one.get("present")]
        assert len(repeated) <= _WORKERS, (done_before, repeated)
        counted = [count for one in lines for count in one["folders"].values()]
        assert all(expected == there for expected, there in counted)
        assert told["restored"] + told["present"] == sum(expected for expected, _ in counted)
        assert command("restore", "--resume", "latest", "--staging", staging).returncode == 1
    assert broken_off, "no restore was killed while it went on"


def test_what_failed_is_tried_again_and_nothing_else(backup: tuple[Path, Path], tmp_path: Path) -> None:
    store, staging = backup
    original = comparable(store)
    target = tmp_path / "restored"
    first, second = sorted(path.relative_to(store) for path in store.glob("*/*"))[:2]
    (target / first.parent).mkdir(parents=True)
    (target / first).write_bytes(b"a file, where a home should be")
    words = ("restore", "/", "--staging", staging, "--to", f"maildir:{target}", "--workers", "2", "--json")
    done = command(*words)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    (failure,) = told["skipped"]
    assert failure["kind"] == "refused"
    assert failure["remedy"]
    report = newest(staging) / "report.json"
    assert f"{failure['path']}: refused" in (newest(staging) / "report.txt").read_text()
    (target / first).unlink()
    gone = next((target / second).rglob("cur/*"))
    gone.unlink()
    (tmp_path / "kept.json").write_bytes(report.read_bytes())
    done = command("restore", "--retry", tmp_path / "kept.json", "--staging", staging, "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert (again["mailboxes"], again["present"]) == (1, 0)
    assert again["restore"] != told["restore"]
    left = differences(original, comparable(target))
    assert len(left) == 1, left
    assert gone.name in str(left[0])
    assert command("restore", "--retry", "latest", "--staging", staging).returncode == 1


# Targets that are full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes: some of the mailboxes fit, whichever come first."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=100k", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("lacking", ["space", "inodes"])
def test_full_target_stops_and_is_resumed(
    backup: tuple[Path, Path], small_disk: Path, tmp_path: Path, lacking: str
) -> None:
    store, staging = backup
    if lacking == "inodes":
        subprocess.run(["mount", "-o", "remount,size=100m,nr_inodes=700", small_disk], check=True)
    target = small_disk / "mail"
    words = ("restore", "/", "--staging", staging, "--to", f"maildir:{target}", "--workers", "2", "--json")
    done = command(*words)
    assert done.returncode == 1, (done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    restore = newest(staging)
    assert error["code"] == "target-full"
    assert error["facts"]["file_system"] == str(small_disk)
    assert error["facts"]["restore"] == restore.name
    assert "No space left" in error["message"]
    assert f"--resume {restore.name}" in error["message"]
    assert len(done.stderr.splitlines()) <= 3, "messages are listed that were never tried"
    whole = [one["path"] for one in journal(restore)]
    assert 0 < len(whole) < 24
    assert error["facts"]["mailboxes"] == len(whole)
    status = json.loads(command("restore", "--resume", restore.name, "--staging", staging, "--json").stdout)
    assert status["error"]["code"] == "target-full", "there is still no room"
    subprocess.run(["mount", "-o", "remount,size=100m,nr_inodes=100k", small_disk], check=True)
    done = command("restore", "--resume", restore.name, "--staging", staging)
    assert done.returncode == 0, done.stderr
    assert differences(comparable(store), comparable(target)) == []
