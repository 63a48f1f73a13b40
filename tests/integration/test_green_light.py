"""A green light means that the mail is safe: what is told of runs, good backups and lists by the command,
also after the catalog was made again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir

MAILHAUL = (sys.executable, "-m", "mailhaul")
# Root without the rights to pass over permissions: what is somebody else's is closed to it.
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
USERS = ("anna", "ben", "cara")
NOBODY = 65534


@dataclass
class Place:
    """A store of three mailboxes and a staging area, without a configuration."""

    path: Path

    @property
    def staging(self) -> Path:
        return self.path / "staging"

    @property
    def store(self) -> Path:
        return self.path / "mail"

    def mailbox(self, user: str) -> Maildir:
        return Maildir(self.store / user / "Maildir")

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [*AS_OTHERS, *MAILHAUL, *arguments, "--staging", str(self.staging)],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def backup(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        time.sleep(0.03)
        found: dict[str, Any] = json.loads(
            self.run("backup", "--store", f"maildir:{self.store}", "--json", *arguments, status=status)
        )
        return found

    def close(self, user: str) -> None:
        """Take the rights to a mailbox away."""
        box = self.store / user / "Maildir"
        os.chown(box, NOBODY, NOBODY)
        box.chmod(0o700)

    def open(self, user: str) -> None:
        os.chown(self.store / user / "Maildir", 0, 0)

    def good(self) -> dict[str, Any]:
        (found,) = json.loads(self.run("status", "--json"))["good"]
        return dict(found)

    def behind(self, *since: str) -> dict[str, str]:
        listed = json.loads(self.run("status", "--json", "--behind", *since))["behind"]
        return {one["user"]: one["reason"] for one in listed}

    def told(self) -> list[str]:
        """All that the commands tell of runs and of how mailboxes stand."""
        runs = json.loads(self.run("runs", "--json"))["runs"]
        return [
            self.run("runs"),
            json.dumps(runs),
            *(self.run("runs", run["run"], "--json") for run in runs),
            json.dumps(self.good()),
            self.run("status", "--json", "--behind"),
            self.run("status", "--json", "--behind", "2026-01-01"),
        ]


@pytest.fixture
def place(tmp_path: Path, require_tool: Callable[[str], Path]) -> Place:
    if os.geteuid() != 0:
        pytest.skip("needs root, to take rights away from itself")
    require_tool("setpriv")
    made = Place(tmp_path)
    for user in USERS:
        for number in range(3):
            made.mailbox(user).message(f"{number}.{user}")
    return made


def test_nights_in_which_mailboxes_cannot_be_read(place: Place) -> None:
    first = place.backup()["run"]
    place.close("ben")
    for _ in range(2):
        assert {skip["path"] for skip in place.backup(status=3)["skipped"]} == {"/primary/user/ben"}
    good = place.good()
    assert (good["run"], good["mailboxes"], good["behind"], good["never"]) == (first, 3, 1, 0)
    assert place.behind() == {"ben": "mailbox"}
    assert "ben" in place.run("status", "--behind")
    # All of them at once: that looks like wrong rights, and nothing counts as stored.
    for user in USERS:
        place.close(user)
    failed = place.backup(status=1)
    assert [failure["code"] for failure in failed["failures"]] == ["store-unreadable"]
    assert (place.good()["run"], set(place.behind())) == (first, set(USERS))
    for user in USERS:
        place.open(user)
    last = place.backup()["run"]
    assert (place.good()["run"], place.behind(), place.behind("2026-01-01")) == (last, {}, {})
    place.run("restore", "/", "--to", f"maildir:{place.path}/back")
    for user in USERS:
        kept = {
            path.name for path in (place.path / "back" / user / "Maildir").glob("*/*.*") if path.is_file()
        }
        assert kept == {one.name for one in (place.store / user / "Maildir").glob("*/*.*") if one.is_file()}


def test_after_a_rebuild_runs_are_what_they_were(place: Place) -> None:
    place.backup()
    place.backup()  # nothing had changed
    place.close("ben")
    place.mailbox("anna").message("4.anna")
    place.backup("--exclude-folder", "Trash", status=3)
    shutil.rmtree(place.store / "cara")
    place.backup(status=3)
    place.backup("/primary/user/anna")
    before = place.told()
    shutil.rmtree(place.staging / ".mailhaul")
    place.run("catalog", "rebuild")
    assert place.told() == before
    # And after a purge, with what it has recorded.
    place.run("purge", "--last", "2")
    before = place.told()
    (place.staging / ".mailhaul" / "catalog.sqlite").unlink()
    place.run("catalog", "rebuild")
    assert place.told() == before
    assert "checked" in place.run("verify", "--data")


def test_an_archive_that_is_gone_is_missed_by_a_rebuild(place: Place) -> None:
    place.backup()
    place.mailbox("anna").message("4.anna")
    place.backup()
    (_, newest) = sorted(place.staging.glob("primary/user/*.mha"))
    newest.unlink()
    shutil.rmtree(place.staging / ".mailhaul")
    told = json.loads(place.run("catalog", "rebuild", "--json", status=4))
    assert [(one["reason"], newest.name in one["detail"]) for one in told["missing"]] == [("missing", True)]
    assert "(missing)" in place.run("verify", status=4)


def test_exclusions_are_counted_apart(place: Place) -> None:
    for number in range(3):
        place.mailbox("anna").folder(f".Junk{number}")
    place.close("ben")
    told = place.backup("--exclude-folder", "Junk*", status=3)
    assert ([skip["reason"] for skip in told["skipped"]], len(told["excluded"])) == (["mailbox"], 3)
    (run,) = json.loads(place.run("runs", "--json"))["runs"]
    assert (run["skipped"], run["excluded"]) == (1, 3)
    text = place.run("runs", "latest")
    assert "skipped: 1 (mailbox 1)\n  /primary/user/ben (mailbox)" in text
    assert "excluded: 3 (excluded 3); `mailhaul runs" in text
    assert place.run("runs", "latest", "--skipped").startswith("/primary/user/ben (mailbox) ")
    assert place.run("runs", "latest", "--excluded").count("\n") == 3
    assert place.run("runs", "latest", "--failed") == "nothing failed\n"


def test_long_lists_are_summed_and_had_on_demand(place: Place) -> None:
    for number in range(30):
        fifo = place.store / "anna" / "Maildir" / "cur" / f"fifo{number}"
        os.mkfifo(fifo)
    place.backup(status=3)
    text = place.run("runs", "latest")
    assert "skipped: 30 (not-regular 30)" in text
    assert "and 10 more (`mailhaul runs " in text
    assert place.run("runs", "latest", "--skipped").count("(not-regular)") == 30


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_says_so_and_how_to_go_on(place: Place, how: signal.Signals) -> None:
    for number in range(40):
        place.mailbox("anna").message(f"{number}.large").write_bytes(b"Subject: x\n\n" + os.urandom(200_000))
    process = subprocess.Popen(
        [*MAILHAUL, "backup", "--store", f"maildir:{place.store}", "--staging", str(place.staging)],
        cwd=place.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while not list(place.staging.glob("primary/user/*.partial")) and time.monotonic() < until:
            time.sleep(0.001)
        process.send_signal(how)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (130 if how == signal.SIGINT else 143), told
    assert "Traceback" not in told
    (run,) = json.loads(place.run("runs", "--json"))["runs"]
    assert run["state"] == "interrupted"
    assert run["error"] == f"ended early: by {'Ctrl-C' if how == signal.SIGINT else 'SIGTERM'}"
    (hint,) = [line for line in told.splitlines() if "--resume" in line]
    words = hint.partition("`mailhaul ")[2].partition("`")[0].split()
    assert words == ["backup", "--resume", run["run"], "--staging", str(place.staging)]
    assert f"`mailhaul {' '.join([*words[:2], 'latest', *words[3:]])}`" in place.run("status")
    place.run(*words[:3])
    (run,) = json.loads(place.run("runs", "--json"))["runs"]
    assert (run["state"], run["error"]) == ("done", "")
    place.run("restore", "/", "--to", f"maildir:{place.path}/back")
    assert len(list((place.path / "back" / "anna" / "Maildir").glob("*/*.large*"))) == 40
