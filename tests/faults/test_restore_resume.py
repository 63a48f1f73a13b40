"""A restore that is ended early, at any point, goes on with ``--resume``: exact, nothing twice; and little is
done again."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from ..maildirs import Maildir
from ..quotas import limited_directory
from ..trees import Entry, differences, names_of_files, snapshot, without_times

_PROGRAM = (sys.executable, "-m", "mailhaul")
_WORKERS = 2

# Else each restore goes on above the ones before it, and no two of them write the same numbers.
_MARGIN = ("--uid-margin", "1000000")


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


Words = tuple[str | Path, ...]


@dataclass
class Killing:
    """A restore that is killed while it goes on: when so many mailboxes are done, and a moment after that.
    ``victim`` is the ``coordinator``, one ``worker``, or ``everybody``."""

    words: Words
    staging: Path
    victim: str
    rng: random.Random

    def carry_out(self) -> bool:
        """Whether it was killed before it ended; one of which a worker was killed has to end well."""
        before = set((self.staging / ".mailhaul").glob("restores/*"))
        run = subprocess.Popen(
            [*_PROGRAM, *self.words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        after_lines = self.rng.randrange(22)
        deadline = time.monotonic() + 60
        while run.poll() is None:
            assert time.monotonic() < deadline, "the restore does not begin"
            found = set((self.staging / ".mailhaul").glob("restores/*")) - before
            done = [path for path in found if (path / "journal.jsonl").exists()]
            if done and (done[0] / "journal.jsonl").read_bytes().count(b"\n") >= after_lines:
                break
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.05))
        going = run.poll() is None
        if self.victim == "everybody":
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        elif self.victim == "coordinator":
            run.kill()
        else:
            workers = [one for child in children(run.pid) for one in children(child)]
            going = bool(workers)
            for worker in workers[:1]:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            assert run.wait(120) == 0
        run.wait(60)
        return going


def children(process: int) -> list[int]:
    """The processes that one has started and that live."""
    try:
        return [
            int(one)
            for path in Path(f"/proc/{process}/task").glob("*/children")
            for one in path.read_text().split()
        ]
    except OSError:
        return []


def touched(target: Path, mailboxes: list[str]) -> dict[Path, tuple[int, int]]:
    """When the inode of each file and directory of these mailboxes was last changed in any way; of a file
    with several names its time, as it gets more names."""
    places = [target / unquote(path.split("/")[3]) for path in mailboxes]
    found = ((path, path.lstat()) for place in places for path in (place, *place.rglob("*")))
    return {
        path: (status.st_ino, status.st_mtime_ns if status.st_nlink > 1 else status.st_ctime_ns)
        for path, status in found
    }


BEFORE: dict[str, tuple[str, ...]] = {
    "absent": (),
    "provisioned": ("/", "--provision-only"),
    "present": ("/primary/user/example.org%2Fjane/Sent", "/primary/user/example.org%2Fola/INBOX"),
}
"""What was restored before, so that the target is what it is."""

VICTIMS = ("coordinator", "everybody", "worker")


@pytest.mark.timeout(3600)
def test_killed_restore_is_resumed(backup: tuple[Path, Path], tmp_path: Path, rounds: int) -> None:
    store, staging = backup
    rng = random.Random(11)
    broken_off = 0
    whole: dict[str, dict[bytes, Entry]] = {"absent": comparable(store)}
    plain = (("absent", "coordinator"), ("provisioned", "everybody"), ("present", "worker"))
    for number in range(rounds if rounds > 100 else 3):
        before, victim = plain[number] if number < 3 else (rng.choice(list(BEFORE)), rng.choice(VICTIMS))
        target = tmp_path / f"restored{number}"
        where = ("--staging", staging, "--to", f"maildir:{target}", "--workers", str(_WORKERS), *_MARGIN)
        if BEFORE[before]:
            assert command("restore", *BEFORE[before], *where).returncode == 0
        if before not in whole:
            shutil.copytree(target, tmp_path / "unkilled", symlinks=True, copy_function=shutil.copy2)
            unkilled = ("--staging", staging, "--to", f"maildir:{tmp_path / 'unkilled'}", *_MARGIN)
            assert command("restore", "/", *unkilled).returncode == 0
            whole[before] = without_times(comparable(tmp_path / "unkilled"))
            shutil.rmtree(tmp_path / "unkilled")
        going = Killing(("restore", "/", *where), staging, victim, rng).carry_out()
        restore = newest(staging)
        if victim != "worker" and not (restore / "report.json").exists():
            broken_off += going
            done = [one["path"] for one in journal(restore)]
            as_it_was = touched(target, done)
            told = resumed(staging, restore, rng)
            assert touched(target, done) == as_it_was, "what is done is not touched again"
            repeated = [one for one in journal(restore)[len(done) :] if one.get("present")]
            assert before != "absent" or len(repeated) <= _WORKERS, (len(done), repeated)
            counts = [count for one in journal(restore) for count in one["folders"].values()]
            assert told["restored"] + told["present"] == sum(expected for expected, _ in counts)
        found = comparable(target)
        assert differences(whole[before], found if before == "absent" else without_times(found)) == []
        if before != "present":  # what was there is changed for nothing
            assert names_of_files(target) == names_of_files(store)
        lines = journal(restore)
        paths = [line["path"] for line in lines]
        assert len(paths) == len(set(paths)) == 24
        assert all(expected == there for one in lines for expected, there in one["folders"].values())
        shutil.rmtree(target)
    assert broken_off, "no restore was killed while it went on"


def resumed(staging: Path, restore: Path, rng: random.Random) -> dict[str, Any]:
    """Go on with a restore; what that tells."""
    order = json.loads((restore / "order.json").read_text())
    assert (order["mailboxes"], order["arguments"][0]) == (24, "/")
    which = rng.choice(["latest", restore.name])
    done = command("restore", "--resume", which, "--staging", staging, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["restore"], told["mailboxes"]) == (restore.name, 24)
    return told


def test_what_is_done_can_not_be_gone_on_with(backup: tuple[Path, Path], tmp_path: Path) -> None:
    _, staging = backup
    where = ("--staging", staging, "--to", f"maildir:{tmp_path}/restored")
    done = command("restore", "/primary/user/example.org%2Fjane", *where)
    assert done.returncode == 0, done.stderr
    assert ["undoable", "yes"] in [line.split() for line in done.stdout.splitlines()]
    # One that was killed at its very end is gone on with: what its mailboxes had in common goes.
    (newest(staging) / "state.json").unlink()
    shared = tmp_path / "restored" / ".mailhaul-restore-shared"
    shared.mkdir(0o700)
    (shared / "0123456789abcdef").write_bytes(b"a message that somebody has removed since")
    done = command("restore", "--resume", "latest", "--staging", staging)
    assert done.returncode == 0, done.stderr
    assert not shared.exists()
    assert command("restore", "--resume", "latest", "--staging", staging).returncode == 1


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
    text = (newest(staging) / "report.txt").read_text()
    assert f"refused: 1. What helps: {failure['remedy']}\n  {failure['path']}: " in text
    assert str(newest(staging) / "report.txt") in done.stderr
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
    # The same where that is ended early, and gone on with.
    shutil.rmtree(target / first)
    (newest(staging) / "journal.jsonl").write_bytes(b"")
    (newest(staging) / "state.json").unlink()
    done = command("restore", "--resume", "latest", "--staging", staging, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["present"] == 0
    assert differences(original, comparable(target)) == left


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


def test_room_is_asked_for_once_for_each_file(small_disk: Path, tmp_path: Path) -> None:
    """What was one file in many mailboxes fits where it would not fit as many."""
    store, staging = tmp_path / "store", tmp_path / "staging"
    first = Maildir(store / "u0").message("1.M1P1.host:2,", os.urandom(100_000).hex().encode())
    for number in range(1, 100):
        os.link(first, Maildir(store / f"u{number}").root / "cur" / first.name)
    where = ("--staging", staging, "--workers", "2", "--json")
    assert command("backup", "--store", f"maildir:{store}", *where).returncode == 0
    to = ("--to", f"maildir:{small_disk}/{{user}}")
    subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=1100", small_disk], check=True)
    (room,) = json.loads(command("restore", "/", *to, *where, "--dry-run").stdout)["rooms"]
    assert (room["messages"], room["links"], room["linked_bytes"]) == (100, 99, 99 * 200_000)
    assert (room["inodes"], room["too_small"]) == (100 * (6 + 4) + 1, False)
    assert room["most_bytes"] < 1_000_000 < 20_000_000 == room["size_bytes"]
    done = command("restore", "/", *to, *where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["linked"] == 100
    assert names_of_files(small_disk) == names_of_files(store)
    assert os.statvfs(small_disk).f_files - os.statvfs(small_disk).f_ffree <= room["inodes"] + 2
    assert not list(small_disk.glob(".mailhaul*"))


@pytest.mark.parametrize("lacking", ["space", "inodes"])
def test_full_target_stops_and_is_resumed(backup: tuple[Path, Path], small_disk: Path, lacking: str) -> None:
    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", small_disk], check=True)

    if lacking == "inodes":
        remount("size=100m,nr_inodes=700")
    enlarge = partial(remount, "size=100m,nr_inodes=100k")
    check_stopped_and_resumed(backup, small_disk, errno.ENOSPC, "make room", enlarge)


def test_used_up_quota_stops_and_is_resumed(
    backup: tuple[Path, Path], tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    """The file system has room for all of it: what refuses is the kernel's quota. With a single worker: btrfs
    counts more than is used until that is written down, and may refuse one of two before any mailbox is."""
    with limited_directory(tmp_path, "8M", require_tool) as limited:
        enlarge = partial(limited.limit, "none")
        check_stopped_and_resumed(backup, limited.path, errno.EDQUOT, "raise the quota", enlarge, workers=1)


def test_all_comes_back_on_btrfs(
    backup: tuple[Path, Path], tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    """It lists of an open directory what was there when it was opened: folders that a mailbox lacked, and
    what belongs to mail in the homes, were left out, and nobody was told."""
    store, staging = backup

    def restored(target: Path) -> dict[bytes, Entry]:
        where = ("--staging", staging, "--to", f"maildir:{target}", "--workers", "2")
        for paths in (BEFORE["present"], ("/",)):
            done = command("restore", *paths, *where)
            assert done.returncode == 0, done.stderr
        assert {path.relative_to(target) for path in target.glob("**/cur/*")} == {
            path.relative_to(store) for path in store.glob("**/cur/*")
        }
        return without_times(comparable(target))

    with limited_directory(tmp_path, "none", require_tool) as limited:
        assert differences(restored(tmp_path / "mail"), restored(limited.path / "mail")) == []


def check_stopped_and_resumed(
    backup: tuple[Path, Path],
    disk: Path,
    number: int,
    hint: str,
    enlarge: Callable[[], None],
    workers: int = 2,
) -> None:
    """A restore to a place where some of it fits ends with this error, goes on when the place is larger."""
    store, staging = backup
    target = disk / "mail"
    where = ("--staging", staging, "--to", f"maildir:{target}", "--workers", str(workers))
    done = command("restore", "/", *where, "--json")
    assert done.returncode == 1, (done.stdout, done.stderr)
    error = json.loads(done.stdout)["error"]
    restore = newest(staging)
    assert error["code"] == "target-full"
    assert error["facts"]["file_system"] == str(disk)
    assert error["facts"]["errno"] == number
    assert error["facts"]["restore"] == restore.name
    assert os.strerror(number) in error["message"]
    assert f"; {hint}, then go on with: " in error["message"]
    assert f"--resume {restore.name}" in error["message"]
    assert len(done.stderr.splitlines()) <= 3, "messages are listed that were never tried"
    whole = [one["path"] for one in journal(restore)]
    assert 0 < len(whole) < 24
    assert error["facts"]["mailboxes"] == len(whole)
    named = list(target.glob("*/*/Maildir"))
    assert len(whole) <= len(named) < 24
    for path in named:
        original = store / path.relative_to(target)
        assert differences(comparable(original), comparable(path)) == [], "half of a mailbox has its name"
    status = json.loads(command("restore", "--resume", restore.name, "--staging", staging, "--json").stdout)
    assert status["error"]["code"] == "target-full", "there is still no room"
    enlarge()
    done = command("restore", "--resume", restore.name, "--staging", staging)
    assert done.returncode == 0, done.stderr
    assert differences(comparable(store), comparable(target)) == []
