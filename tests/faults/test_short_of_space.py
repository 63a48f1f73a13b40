"""A staging area that is smaller than what a night writes: the sweep that the backup starts makes room, also
while workers read what leaves it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """\
[staging]
path = "staging"
reserve = "1 MiB"
wait_for_space = "100s"

[[partition]]
format = "maildir"
path = "ROOT/mail/{user}"

[[destination]]
name = "vault"
kind = "directory"
path = "vault"

[sweep]
copies = ["vault"]
look_again = "0s"

[dispatch]
workers_per_host = 1
"""

USERS = ("anna", "bert")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A configuration whose staging area has 40 megabytes."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    (tmp_path / "mailhaul.toml").write_text(CONFIG.replace("ROOT", str(tmp_path)))
    (tmp_path / "vault").mkdir()
    (tmp_path / "staging").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", tmp_path / "staging"], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path / "staging"], check=True)


def deliver(site: Path, night: int, messages: int) -> None:
    """So many messages for each user, a megabyte each, which does not compress."""
    for user in USERS:
        for sub in ("cur", "new", "tmp"):
            (site / "mail" / user / sub).mkdir(parents=True, exist_ok=True)
        for number in range(messages):
            content = b"Subject: x\n\n" + os.urandom(1_000_000)
            (site / "mail" / user / "cur" / f"{night}{number:03}.M1P1.host:2,S").write_bytes(content)


def mailhaul(site: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mailhaul", "--config", str(site / "mailhaul.toml"), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(root: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in root.glob("**/cur/*"))


def staged(site: Path) -> list[str]:
    return sorted(path.name for path in (site / "staging" / "primary").rglob("*.mha"))


def test_room_is_made_by_what_the_backup_itself_has_open(site: Path) -> None:
    deliver(site, 1, 8)
    mailhaul(site, "backup")
    mailhaul(site, "sweep")
    first = staged(site)
    assert len(first) == 1, "it is the newest of its group, and stays while there is room"

    deliver(site, 2, 14)
    told = json.loads(mailhaul(site, "backup", "--json"))
    assert told["read"] == 28, "how mail was stored before is read from what is left of the archive that went"
    assert told["alarms"] == []
    assert not set(first) & set(staged(site))

    mailhaul(site, "restore", "/", "--to", f"maildir:{site / 'back'}")
    assert contents(site / "back") == contents(site / "mail")
