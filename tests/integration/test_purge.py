"""Purges, holds and releases from the command line, on a real store: every kept night comes back."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.purging import purge as purging
from mailhaul.coordinator.readers import reading
from mailhaul.proto.archive.frames import FrameType

from ..archives import frames_of
from ..trees import Entry, differences, snapshot

JANE = "/primary/user/example.org%2Fjane"


CONFIG = """\
[staging]
path = "staging"

[[partition]]
format = "maildir"
path = {path}

[retention]
last = 2
compact_below = 0.9
"""


def mail_in(store: Path) -> dict[bytes, Entry]:
    """Every file but UID lists: a restore numbers what the store had not numbered yet."""
    return {
        where: entry
        for where, entry in snapshot(store).items()
        if entry[0] == "file" and not where.endswith(b"dovecot-uidlist")
    }


@dataclass
class Nights:
    """A store, its configuration, and what it looked like after each run."""

    place: Path
    run: Callable[..., tuple[str, str]]
    looks: dict[str, dict[bytes, Entry]]
    random: random.Random

    @property
    def staging(self) -> Path:
        return self.place / "staging"

    def command(self, *arguments: str, status: int = 0) -> str:
        """What it says: if all is well on stdout, else on both."""
        out, err = self.run("--config", self.place / "mailhaul.toml", *arguments, status=status)
        return out if status == 0 else out + err

    def document(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(
            self.run("--config", self.place / "mailhaul.toml", *arguments, "--json", status=status)[0]
        )

    def night(self) -> str:
        """The store changes, and is backed up."""
        mail = sorted(path for path in (self.place / "store").rglob("cur/*") if path.is_file())
        for path in self.random.sample(mail, len(mail) // 4):
            path.unlink()
        for number in range(20):
            folder = self.random.choice(mail).parent
            name = f"{1_700_000_000 + number}.{len(self.looks)}R{self.random.getrandbits(40)}.host:2,S"
            (folder / name).write_bytes(b"Subject: new\n\n" + self.random.randbytes(3000))
        time.sleep(0.03)  # what changed just now is looked at again
        done = self.document("backup")
        self.looks[done["run"]] = mail_in(self.place / "store")
        return str(done["run"])

    def check(self, runs: list[str]) -> None:
        """These runs can be restored as they were, and no others."""
        for run, look in self.looks.items():
            target = self.place / "restored"
            restore = ("restore", "/", "--at", run, "--to", f"maildir:{target}")
            if run in runs:
                self.command(*restore)
                assert differences(look, mail_in(target)) == [], run
                shutil.rmtree(target)
            else:
                self.command(*restore, status=1)


@pytest.fixture
def nights(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Nights:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    maker = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, maker, tmp_path / "store", "--messages", "120", "--users", "3"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (tmp_path / "mailhaul.toml").write_text(CONFIG.format(path=json.dumps(str(tmp_path / "store"))))

    def run(*arguments: object, status: int = 0) -> tuple[str, str]:
        ended = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        assert ended == status, (arguments, captured)
        return captured.out, captured.err

    return Nights(tmp_path, run, {}, random.Random(5))


def test_nights_that_are_kept_come_back(nights: Nights) -> None:
    freed = compacted = 0
    for _ in range(4):
        nights.night()
        announced = nights.document("purge", "--dry-run")
        done = nights.document("purge")
        assert {**announced, "dry_run": False} == done
        freed += done["free_bytes"]
        compacted += len(done["compacted"])
        nights.check(list(nights.looks)[-2:])
    assert freed
    assert compacted
    runs = nights.document("runs")["runs"]
    assert [run["purged"] for run in runs] == [False, False, True, True]

    # Options stand instead of the configured rules; what a postmaster reads.
    (group,) = nights.document("purge", "--dry-run", "--daily", "3")["groups"]
    assert [one["reasons"] for one in group["kept"]] == [["daily"], ["daily"]]  # the oldest stays, too
    text = nights.command("purge", "--last", "1")
    lines = text.splitlines()
    assert lines[0] == "/primary/user: 2 runs, 1 stay, 1 go"
    assert [line.split()[1:] for line in lines[2:4]] == [["goes"], ["stays", "last"]]
    assert lines[-1].startswith("1 run and ")
    assert lines[-1].endswith("came free")
    nights.check(list(nights.looks)[-1:])

    # The catalog is lost: what is kept is known again, and what was purged stays so.
    for file in (nights.staging / ".mailhaul").glob("catalog*"):
        file.unlink()
    nights.command("catalog", "rebuild")
    nights.check(list(nights.looks)[-1:])
    assert nights.document("purge")["free_bytes"] == 0


def test_what_is_held_stays(nights: Nights) -> None:
    first = nights.night()
    assert "is held" in nights.command("hold", JANE, "--reason", "case 42")
    assert "was held already" in nights.command("hold", JANE)
    second = nights.night()
    assert nights.document("hold", second)["hold"]["run"] == second
    assert [(hold["path"], hold["run"]) for hold in nights.document("hold")["holds"]] == [
        (JANE, None),
        (None, second),
    ]
    assert "case 42" in nights.command("hold")
    last = nights.night()
    done = nights.document("purge", "--last", "1")
    assert [(one["run"], one["reasons"]) for one in done["groups"][0]["kept"]] == [
        (second, ["hold"]),
        (last, ["last"]),
    ]
    nights.check([second, last])
    target = nights.place / "jane"
    nights.command("restore", JANE, "--at", first, "--to", f"maildir:{target}")
    jane = {where: entry for where, entry in nights.looks[first].items() if b"jane" in where}
    assert differences(jane, mail_in(target)) == []

    # What is held is told of, too, and what was deleted since comes back.
    history = nights.document("ls", "--history", JANE)
    assert [version["run"] for version in history["versions"]] == [first, second, last]
    had = {where for run in (first, second) for where in nights.looks[run] if b"jane" in where}
    lost = [where for where in had - nights.looks[last].keys() if b"/cur/" in where]
    assert nights.document("undelete", JANE, "--list")["messages"] == len(lost)

    assert JANE in nights.command("release", JANE)
    assert second in nights.command("release", second)
    assert "no hold" in nights.command("release", JANE, status=1)
    assert nights.command("hold") == "nothing is held\n"
    nights.command("purge", "--last", "1")
    nights.check([last])
    nights.command("restore", JANE, "--at", first, "--to", f"maildir:{target}", status=1)


def test_exit_statuses(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    nights.command("purge", status=1)  # there is nothing yet
    nights.command("purge", "--last", "0", status=2)
    for _ in range(3):
        nights.night()
    nights.command("purge", "/primary/user/jane", status=2)
    nights.command("purge", "/primary/sales", status=1)
    nights.command("hold", JANE + "/INBOX", status=2)
    nights.command("hold", "--reason", "why", status=2)
    for mistyped in ("/primary/user/jan", "/primary/sales", "/secondary"):
        assert "holds nothing of it" in nights.command("hold", mistyped, status=1)
    assert nights.command("hold") == "nothing is held\n"
    nights.command("release", "yesterday", status=2)
    with RunLock(nights.staging):
        nights.command("purge", status=5)
        nights.command("purge", "--dry-run")
    nights.check(list(nights.looks))
    monkeypatch.setattr(purging, "PATIENCE_SECONDS", 0.1)
    with reading(nights.staging):
        done = nights.document("purge", "--last", "1", status=5)
    assert done["left"]
    assert all((nights.staging / file).exists() for file in done["left"])
    nights.command("purge", "--last", "1")
    assert not any((nights.staging / file).exists() for file in done["left"])
    nights.check(list(nights.looks)[-1:])


def test_a_damaged_archive_is_left_as_it_is(nights: Nights) -> None:
    nights.night()
    (file,) = nights.staging.rglob("*.mha")
    for _ in range(6):
        nights.night()
    data = bytearray(file.read_bytes())
    for frame in frames_of(bytes(data), FrameType.BLOCK):
        data[frame.end - 1] ^= 1
    file.write_bytes(data)
    done = nights.document("purge", "--last", "1", status=4)
    assert [one["path"] for one in done["failed"]] == [os.path.relpath(file, nights.staging)]
    assert file.read_bytes() == data
    assert "left as it is" in nights.command("purge", "--last", "1", status=4)
