"""200 MB of real mail, with hard links, copies for several recipients and attachments: there and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..trees import Entry, differences, snapshot

READER = Path("worker", "keepsake", "mailhaul_restore.py")


def run(*arguments: str | Path) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def store(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("real") / "store"
    corpora = [shared / "corpus" / f"{name}.tar.xz" for name in ("enron", "lists", "spamassassin")]
    made = run(
        sys.executable, shared / "make_store.py", "--corpus", *corpora, "--out", place,
        "--partitions", "2", "--mailboxes", "40", "--size", "200M", "--attachments", "--hardlinks", "0.3",
    )  # fmt: skip
    facts = json.loads(made.splitlines()[-1])
    # The store must hold what the test is about.
    assert facts["hard_links"] > 100
    assert facts["copies"] > 500
    assert facts["attachments"] > 500
    return place


def mailboxes(root: Path) -> dict[bytes, Entry]:
    """All that lies in the users' homes. The maker of the store notes beside them what it did."""
    return {where: entry for where, entry in snapshot(root).items() if where.count(b"/") > 0}


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_everything_comes_back(store: Path, tmp_path: Path, root: Path, codec: str) -> None:
    staging, target = tmp_path / "staging", tmp_path / "restored"
    program = (sys.executable, "-m", "mailhaul")
    options = ("--staging", staging, "--workers", "2", "--codec", codec)
    told = json.loads(run(*program, "backup", "--json", "--store", f"maildir:{store}", *options))
    messages = sum(1 for path in store.rglob("Maildir/**/*") if path.parent.name in ("cur", "new"))
    assert (told["messages"], told["skipped"]) == (messages, [])
    assert told["archive_bytes"] < 0.6 * told["size_bytes"]
    restored = json.loads(
        run(*program, "restore", "/", "--json", "--staging", staging, "--to", f"maildir:{target}")
    )
    assert (restored["restored"], restored["skipped"], restored["damaged"]) == (messages, [], [])
    assert differences(mailboxes(store), mailboxes(target)) == []
    if codec == "lz4":
        alone = tmp_path / "alone"
        run(sys.executable, "-I", root / READER, staging, "--to", alone)
        assert differences(mailboxes(target), mailboxes(alone)) == []
    run(*program, "verify", "--data", "--staging", staging)
