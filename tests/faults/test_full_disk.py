"""A staging area that is full, or can't be written: told, nothing half-written is left with a final name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..quotas import limited_directory


def mailhaul(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailhaul", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four megabytes of mail that does not compress, for two users."""
    root = tmp_path / "mail"
    for user in ("anna", "bert"):
        for sub in ("cur", "new", "tmp"):
            (root / user / sub).mkdir(parents=True)
        for number in range(20):
            content = b"Subject: x\n\n" + os.urandom(100_000) + b"\n"
            (root / user / "cur" / f"{number}.M1P1.host:2,S").write_bytes(content)
    return root


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    place = tmp_path / "staging"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_full_staging_area(store: Path, small_disk: Path) -> None:
    def enlarge() -> None:
        subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)

    check_full_staging_area(store, small_disk, errno.ENOSPC, enlarge)


def test_used_up_quota_of_the_staging_area(
    store: Path, tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    """Of its archives: with one of btrfs on the catalog the kernel ends the program (docs/operations.md)."""
    with limited_directory(tmp_path, "3M", require_tool, "primary") as limited:
        area = limited.path.parent
        check_full_staging_area(store, area, errno.EDQUOT, lambda: limited.limit("none"))


def check_full_staging_area(store: Path, area: Path, number: int, enlarge: Callable[[], None]) -> None:
    """A run for which there is not enough room fails with this error; with more room the next has all."""
    done = mailhaul("backup", "--store", f"maildir:{store}", "--staging", area, "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert os.strerror(number) in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(area.rglob("*.mha"))
    runs = mailhaul("runs", "--json", "--staging", area)
    assert [run["state"] for run in json.loads(runs.stdout)["runs"]] == ["failed"]
    enlarge()
    done = mailhaul("backup", "--store", f"maildir:{store}", "--staging", area, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert not list(area.rglob("*.partial"))
    assert mailhaul("verify", "--data", "--staging", area).returncode == 0


def test_full_target(store: Path, tmp_path: Path, small_disk: Path) -> None:
    staging = tmp_path / "elsewhere"
    done = mailhaul("backup", "--store", f"maildir:{store}", "--staging", staging, "--workers", "1")
    assert done.returncode == 0, done.stderr
    done = mailhaul("restore", "/", "--staging", staging, "--to", f"maildir:{small_disk}", "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr
    # A mailbox is there as a whole or not at all.
    whole = [user for user in ("anna", "bert") if (small_disk / user).exists()]
    assert all(len(list((small_disk / user / "cur").iterdir())) == 20 for user in whole)
    assert len(whole) < 2


@pytest.mark.parametrize("there", [False, True], ids=["new folders", "folders that exist"])
def test_what_a_full_target_is_told_to_have_is_there(
    store: Path, tmp_path: Path, small_disk: Path, there: bool
) -> None:
    """Counts are of what is durable, not of what was tried."""
    staging = tmp_path / "elsewhere"
    assert mailhaul("backup", "--store", f"maildir:{store}", "--staging", staging).returncode == 0
    if there:
        for user in ("anna", "bert"):
            for sub in ("cur", "new", "tmp"):
                (small_disk / user / sub).mkdir(parents=True)
    where = ("--staging", staging, "--to", f"maildir:{small_disk}/{{user}}")
    done = mailhaul("restore", "/", *where, "--workers", "1", "--json")
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr + done.stdout
    contents = {path.read_bytes() for path in store.glob("*/cur/*")}
    found = [path.read_bytes() for path in small_disk.glob("*/[cn]*/*")]
    assert contents.issuperset(found)
    assert (
        len(set(found)) == len(found) == json.loads(done.stdout)["error"]["facts"]["restored"] < len(contents)
    )


@pytest.mark.parametrize("target", ["mbox:{}/mail", "eml:{}/mail", "tar:{}/mail.tar"])
def test_what_is_written_to_files_that_do_not_fit(
    store: Path, tmp_path: Path, small_disk: Path, target: str
) -> None:
    """Nothing half-written gets a name or stays, and with room it is restored."""
    staging = tmp_path / "elsewhere"
    assert mailhaul("backup", "--store", f"maildir:{store}", "--staging", staging).returncode == 0
    where = ("--staging", staging, "--to", target.format(small_disk), "--workers", "1")
    done = mailhaul("restore", "/primary/user/anna", *where)
    assert done.returncode == 0, done.stderr
    if target.startswith("tar"):
        (small_disk / "mail.tar").rename(small_disk / "first.tar")
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    done = mailhaul("restore", "/primary/user/bert", *where)
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()} == before
    assert not list(small_disk.rglob(".mailhaul-restore-*"))
    subprocess.run(["mount", "-o", "remount,size=30m", small_disk], check=True)
    done = mailhaul("restore", "/primary/user/bert", *where)
    assert done.returncode == 0, done.stderr


def test_unwritable_staging_area(store: Path, tmp_path: Path) -> None:
    (tmp_path / "staging").write_bytes(b"a file, not a directory")
    done = mailhaul("backup", "--store", f"maildir:{store}", "--staging", tmp_path / "staging")
    assert done.returncode == 1, done.stderr
    assert str(tmp_path / "staging") in done.stderr
    assert "Traceback" not in done.stderr
