"""The command: backup, sweep to directories, what it says, its exit statuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.sweeping.companions import companions

from ..maildirs import Maildir

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

[[destination]]
name = "disk"
kind = "directory"
path = "disk"

[sweep]
copies = ["vault", "disk"]
look_again = "0s"
streams = 2
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    (tmp_path / "mailhaul.toml").write_text(CONFIG.format(store=tmp_path / "store"))
    for name in ("vault", "disk"):
        (tmp_path / name).mkdir()
    for user in ("anna", "ben"):
        mailbox = Maildir(tmp_path / "store" / user)
        for number in range(3):
            mailbox.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number + user.encode() * 900)

    def run(*arguments: str, status: int = 0) -> str:
        ended = main(["--config", str(tmp_path / "mailhaul.toml"), *arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        assert ended == status, (arguments, captured)
        return captured.out

    return run


def _archives(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.glob("[!.]*/**/*.mh[ar]")}


def test_archives_and_what_tells_of_runs_lie_at_every_destination(tmp_path: Path, run: Run) -> None:
    run("backup")
    (tmp_path / "store" / "anna" / "cur" / "9.M1P1.host:2,S").write_bytes(b"Subject: new\n\nnew\n")
    run("backup")
    planned = json.loads(run("sweep", "--dry-run", "--json"))
    assert [(destination["name"], destination["copied"]) for destination in planned["destinations"]] == [
        ("vault", 2),
        ("disk", 2),
    ]
    assert _archives(tmp_path / "vault") == {}

    beside = len(list(companions(tmp_path / "staging", encrypted=False)))
    assert beside == 8, "what tells of each run, a snapshot and its table after each, README and reader"
    done = json.loads(run("sweep", "--json"))
    staged = _archives(tmp_path / "staging")
    assert len(staged) == 4, "two archives, two that tell of runs"
    assert _archives(tmp_path / "vault") == _archives(tmp_path / "disk") == staged
    assert [(one["copied"], one["companions"], one["looked"]) for one in done["destinations"]] == [
        (2, beside, 2),
        (2, beside, 2),
    ]
    assert "0 archives left the staging area" in run("sweep")


def test_a_destination_that_refuses_is_told_and_the_other_is_served(tmp_path: Path, run: Run) -> None:
    run("backup")
    (tmp_path / "vault" / "mailhaul-destination.json").write_text("somebody else's")
    said = json.loads(run("sweep", "--json", status=3))
    told = {destination["name"]: destination for destination in said["destinations"]}
    assert "is not the mark of a destination" in told["vault"]["stopped"]["detail"]
    assert told["disk"]["copied"] == 1
    assert _archives(tmp_path / "disk") == _archives(tmp_path / "staging")
    assert "is not the mark" in run("sweep", "--to", "vault", "--json", status=1)


def test_runs_tell_where_their_archives_lie(tmp_path: Path, run: Run) -> None:
    run("backup")
    (listed,) = json.loads(run("runs", "--json"))["runs"]
    assert (listed["staged"], listed["staged_only"], listed["freed"]) == (1, 1, 0)
    run("sweep", "--to", "vault")
    config = tmp_path / "mailhaul.toml"
    config.write_text(config.read_text() + 'keep_staged = "0s"\nkeep_newest = false\n')
    (listed,) = json.loads(run("runs", "--json"))["runs"]
    assert (listed["staged"], listed["staged_only"], listed["freed"]) == (1, 0, 0)
    assert "staging 1, vault 1\n" in run("runs")
    run("sweep")
    (listed,) = json.loads(run("runs", "--json"))["runs"]
    assert (listed["staged"], listed["freed"]) == (0, 1)
    assert [(place["place"], place["state"], place["archives"]) for place in listed["places"]] == [
        ("disk", "kept", 1),
        ("vault", "kept", 1),
    ]
    assert "disk 1, vault 1\n" in run("runs")
    (unit,) = json.loads(run("runs", "latest", "--json"))["units"]
    assert unit["file"] is None
    assert [copy["place"] for copy in unit["copies"]] == ["disk", "vault"]
    assert f"disk:{unit['copies'][0]['name']}" in run("runs", "latest")


def test_what_is_no_destination_is_refused(run: Run) -> None:
    run("backup")
    assert run("sweep", "--to", "tape", status=2) == ""
    assert run("sweep", "/primary/user/anna", status=2) == ""


def test_without_a_configuration_directories_are_named(tmp_path: Path, run: Run) -> None:
    run("backup")
    named = ("--staging", str(tmp_path / "staging"), "--destination", f"directory:{tmp_path / 'vault'}")
    ended = main(["sweep", *named])
    assert ended == 0
    assert _archives(tmp_path / "vault") == _archives(tmp_path / "staging")
