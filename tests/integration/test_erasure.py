"""The command ``erase``: plan, act, list, certificate; at destinations too; killed and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine

from ..maildirs import Maildir
from ..plain_bytes import files_with, plain_bytes

CONFIG = """\
[staging]
path = "staging"

[[partition]]
format = "maildir"
path = "{store}"

[[destination]]
name = "vault"
kind = "directory"
path = "vault"

[sweep]
copies = ["vault"]
"""

Run = Callable[..., str]
USERS = ("anna", "ben", "jane@example.org")
JANE = b"jane@example.org"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "mailhaul.toml").write_text(CONFIG.format(store=tmp_path / "store"))
    (tmp_path / "vault").mkdir()
    for user in USERS:
        mailbox = Maildir(tmp_path / "store" / user)
        for number in range(3):
            body = b"for %s alone %d\n" % (user.encode(), number) * 300
            mailbox.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number + body)
        mailbox.message("9.M1P1.host:2,S", b"Subject: all\n\n" + b"for everybody\n" * 2000)
    return tmp_path


@pytest.fixture
def run(site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))

    def run(*arguments: str, status: int = 0) -> str:
        ended = main(["--config", str(site / "mailhaul.toml"), *arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        assert ended == status, (arguments, captured)
        return captured.out + captured.err

    return run


def mail_below(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.parent.name in ("cur", "new")
    }


def two_nights(site: Path, run: Run) -> None:
    run("backup", "/primary/user/jane@example.org")
    run("backup")
    run("sweep", status=0)
    Maildir(site / "store" / "ben").message("20.M1P1.host:2,S", b"Subject: late\n\nlate\n")
    run("backup")
    run("sweep")


def check_others(site: Path, run: Run) -> None:
    run("restore", "/", "--to", f"maildir:{site / 'restored'}")
    expected = {
        name: data for name, data in mail_below(site / "store").items() if not name.startswith("jane@")
    }
    restored = mail_below(site / "restored")
    assert sorted(restored.values()) == sorted(expected.values())


def test_a_person_is_erased_here_and_at_a_destination(site: Path, run: Run) -> None:
    two_nights(site, run)
    for place in ("staging", "vault"):
        assert b"for jane@example.org alone" in plain_bytes(site / place)
    plan = json.loads(run("erase", "jane@example.org", "--reason", "17", "--dry-run", "--json"))
    assert plan["mailboxes"] == [{"partition": "primary", "user": "jane@example.org"}]
    assert plan["shared_bytes"] > 0
    assert [copy["place"] for copy in plan["copies"]] == ["vault"]
    assert b"for jane@example.org alone" in plain_bytes(site / "vault")

    assert "--yes" in run("erase", "jane@example.org", "--reason", "17", status=2)
    told = run("erase", "jane@example.org", "--reason", "request 17", "--yes")
    assert "the next backup stores it again" in told
    for place in ("staging", "vault"):
        left = plain_bytes(site / place)
        assert files_with(JANE, site / place) == []
        assert b"for ben alone" in left
        assert b"for everybody" in left
    check_others(site, run)

    listed = json.loads(run("erase", "--list", "--json"))["erasures"]
    assert [(one["state"], one["reason"], one["due"]) for one in listed] == [("done", "request 17", [])]
    certificate = run("erase", "--certificate", listed[0]["erasure"])
    assert "nothing is left anywhere" in certificate
    assert "jane" not in certificate
    run("erase", "jane@example.org", "--reason", "again", "--dry-run", status=1)
    run("verify")
    run("sweep")
    assert (site / "vault" / "_erasures" / f"{listed[0]['erasure']}.done.json").exists()


def test_a_lost_staging_area_does_not_bring_anybody_back(site: Path, run: Run) -> None:
    """An old copy of the destination is put over what is there, and the catalog is made from that."""
    two_nights(site, run)
    old = {path: path.read_bytes() for path in (site / "vault").rglob("*") if path.is_file()}
    run("erase", "jane@example.org", "--reason", "17", "--yes")
    run("sweep")
    for path, data in old.items():
        path.write_bytes(data)
    (site / "staging").rename(site / "lost")
    run("catalog", "rebuild", "--from", "vault")
    assert JANE.decode() not in run("ls", "/")
    run("restore", "/primary/user/jane@example.org", "--to", f"maildir:{site / 'none'}", status=1)
    check_others(site, run)
    run("purge")  # what was killed, or came back, is ended by a purge, too
    for place in ("staging", "vault"):
        assert files_with(JANE, site / place) == []
    assert "nothing is due" in run("erase", "--resume")


STEPS = (
    "mailhaul.coordinator.erasing.erasure:_clear",
    "mailhaul.coordinator.catalog.catalog:Catalog.empty_units",
    "mailhaul.coordinator.catalog.catalog:Catalog.replace_archive",
    "mailhaul.coordinator.erasing.traces:remove_set_aside",
    "mailhaul.coordinator.erasing.erasure:_keep_only_now",
    "mailhaul.coordinator.erasing.erasure:write_progress",
    "mailhaul.coordinator.sweeping.steps:Steps.remove",
)

KILLED = """
import os, signal, sys
from importlib import import_module
from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine

adapters.make_engine = lambda *_, **__: local_engine(0)
module, name = sys.argv[1].split(":")
owner = import_module(module)
*path, last = name.split(".")
for one in path:
    owner = getattr(owner, one)
setattr(owner, last, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
main(["--config", sys.argv[2], "erase", "jane@example.org", "--reason", "17", "--yes"])
"""


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_was_killed_is_ended_by_the_next(site: Path, run: Run, step: str) -> None:
    two_nights(site, run)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, step, str(site / "mailhaul.toml")], capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    run(
        "restore",
        "/primary/user/jane@example.org",
        "--to",
        f"maildir:{site / 'none'}",
        status=0 if step.endswith(":_clear") else 1,
    )
    run("erase", "--resume")
    for place in ("staging", "vault"):
        assert files_with(JANE, site / place) == []
    check_others(site, run)


DRIVE = """
[[destination]]
name = "drive"
kind = "tape"
file = "tapes"
record = "10 KiB"
"""


def due(run: Run, status: int = 3) -> list[dict[str, object]]:
    (told,) = json.loads(run("erase", "--list", "--json", status=status))["erasures"]
    return list(told["due"])


def test_what_is_on_tape_is_due_until_its_volume_is_destroyed(site: Path, run: Run) -> None:
    """All archives lie on tape only: they come back, are written anew, and are put behind the old ones."""
    config = site / "mailhaul.toml"
    config.write_text(config.read_text().replace('copies = ["vault"]', RULES) + DRIVE)
    run("backup")
    run("sweep")
    assert not list((site / "staging").glob("primary/*/*.mha"))
    told = run("erase", "jane@example.org", "--reason", "17", "--yes", status=3)
    assert "is labelled anew" in told
    names = {str(one["name"]) for one in due(run)}
    assert any(name.endswith(".mha") for name in names)
    assert any(name.startswith("volume ") for name in names), "names stand at its front"
    assert files_with(JANE, site / "staging", site / "vault") == []
    check_others(site, run)
    run("erase", "--resume", status=3)
    # The volume is destroyed; what is needed of it is copied again from where it is recalled to.
    run("recall", "/")
    for path in (site / "tapes").glob("*.tap"):
        path.unlink()
    volume = json.loads(run("tape", "list", "drive", "--json"))["volumes"][0]["label"]
    run("tape", "forget", "drive", volume)
    run("sweep")
    run("erase", "--resume")
    assert due(run, status=0) == []
    assert files_with(JANE, site / "tapes") == []
    check_others(site, run)


RULES = """copies = ["drive"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false"""


def test_where_nobody_can_look_is_due(site: Path, run: Run) -> None:
    two_nights(site, run)
    (site / "vault").rename(site / "away")
    run("erase", "jane@example.org", "--reason", "17", "--yes", status=3)
    assert any(one["name"] == "" for one in due(run))
    run("erase", "--resume", status=3)
    (site / "away").rename(site / "vault")
    run("erase", "--resume")
    assert files_with(JANE, site / "vault") == []
    check_others(site, run)


def test_what_only_others_can_remove_is_due_until_they_say_so(site: Path, run: Run) -> None:
    two_nights(site, run)
    run("confirm", "latest", "--location", "tape safe 3")
    run("erase", "jane@example.org", "--reason", "17", "--yes", status=3)
    assert {(one["place"], one["version"]) for one in due(run)} == {("confirmed", "tape safe 3")}
    run("purge")
    run("sweep")
    assert due(run), "that nobody needs it any more does not make it go"
    run("erase", "--gone", "elsewhere", status=1)
    assert "nothing is due" in run("erase", "--gone", "tape safe 3")
    assert due(run, status=0) == []


def test_a_repair_does_not_fill_what_was_erased(site: Path, run: Run) -> None:
    two_nights(site, run)
    run("erase", "jane@example.org", "--reason", "17", "--yes")
    for path in (site / "staging").glob("primary/*/*.mha"):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    run("verify", "--fix", status=4)
    assert (site / "staging" / ".mailhaul" / "damaged").exists()
    assert files_with(JANE, site / "staging", site / "vault") == []
