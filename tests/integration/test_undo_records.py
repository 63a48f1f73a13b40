"""What is kept so that a restore can be undone, for how long, and what is told where it can't be."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.restores.before import KEPT_DAYS
from mailhaul.worker import before as keeping
from mailhaul.worker.load import LoadLimits
from mailhaul.worker.tasks import restore as restoring

from ..maildirs import Maildir
from ..trees import snapshot
from ..verifying import command_status

CONFIG = """\
[staging]
path = "{place}/staging"
[[partition]]
format = "maildir"
path = "{place}/store/{{user}}"
"""
JANE = "/primary/user/jane"


class LaterClock:
    """So many days from now."""

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> float:
        return datetime.now(UTC).timestamp() + self._days * 86400

    def monotonic(self) -> float:
        return self.now()


class Site:
    """A store of two mailboxes of two messages, that was backed up."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"
        (place / "mailhaul.toml").write_text(CONFIG.format(place=place))
        self.boxes = {user: Maildir(place / "store" / user) for user in ("jane", "john")}
        for user, box in self.boxes.items():
            for number in (1, 2):
                box.message(f"{number}.M1P1.host:2,S", b"Subject: %d of %s\n\n" % (number, user.encode()))
        self.moment = self.run("backup")["run"]

    def run(self, command: str, *options: object, status: int = 0) -> Any:
        ended, told = command_status(f"--config {self.place / 'mailhaul.toml'} {command}", *options)
        assert ended == status, told
        return told

    def refused(self, command: str, *options: object, status: int) -> str:
        return str(self.run(command, *options, status=status))

    def look(self) -> object:
        return snapshot(self.place / "store", times=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_last_one_first(site: Site) -> None:
    jane, john = site.boxes["jane"], site.boxes["john"]
    (jane.root / "cur" / "1.M1P1.host:2,S").unlink()
    lacking = site.look()
    first = site.run("restore", JANE)["restore"]
    (jane.root / "cur" / "2.M1P1.host:2,S").unlink()
    second = site.run("restore", JANE)["restore"]
    (john.root / "cur" / "1.M1P1.host:2,S").unlink()
    of_john = site.run("restore", "/primary/user/john")["restore"]
    assert f"--undo {second}" in site.refused("restore", "--undo", first, status=2)
    assert site.run("restore", "--undo", second)["removed"] == 1
    undone = site.run("restore", "--undo", first)
    assert (undone["undoes"], undone["removed"]) == (first, 1)
    assert jane.names() == []
    jane.message("2.M1P1.host:2,S", b"Subject: 2 of jane\n\n")
    john.message("1.M1P1.host:2,S", b"Subject: 1 of john\n\n")
    assert site.run("restore", "--undo", of_john)["removed"] == 1
    john.message("1.M1P1.host:2,S", b"Subject: 1 of john\n\n")
    assert site.look() == lacking

    # An undo is on record, and is no restore that could be undone, gone on with, or tried again.
    report = (site.staging / ".mailhaul" / "restores" / undone["restore"] / "report.txt").read_text()
    assert f"1 messages removed that restore {first} had added" in report
    assert "restore it anew" in site.refused("restore", "--undo", undone["restore"], status=2)
    for option in ("--resume", "--retry"):
        assert f"--undo {first}" in site.refused("restore", option, undone["restore"], status=2)
    assert "leave out" in site.refused("restore", "--undo", first, "--at", "latest", status=2)
    assert "several things" in site.refused("restore", "--undo", first, "--resume", first, status=2)


def test_it_is_kept_for_a_while(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.boxes["jane"].root / "cur" / "1.M1P1.host:2,S").unlink()
    done = site.run("restore", "/", "--at", site.moment)
    (hold,) = site.run("hold")["holds"]
    assert (hold["run"], hold["restore"], done["undoable"]) == (done["moment"], done["restore"], True)
    site.boxes["john"].message("3.M1P1.host:2,S")
    site.run("backup")
    site.run("purge", "--last", "1")
    assert site.run("restore --undo latest", "--dry-run")["removed"] == 1
    directory = site.staging / ".mailhaul" / "restores" / done["restore"]
    assert list(directory.glob("before.*"))
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(KEPT_DAYS - 1))
    site.run("purge", "--last", "1")
    assert list(directory.glob("before.*"))
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(KEPT_DAYS + 1))
    site.run("purge", "--last", "1")
    assert list(directory.glob("before.*")) == []
    assert site.run("hold")["holds"] == []
    assert "is not known" in site.refused("restore", "--undo", done["restore"], status=1)


def test_a_new_place_is_not_held(site: Site) -> None:
    target = site.place / "drill"
    done = site.run("restore", "/", "--to", f"maildir:{target}")
    assert done["undoable"]
    assert site.run("hold")["holds"] == []
    assert site.run("restore --undo latest")["removed"] == done["restored"] == 4
    assert [one for one in target.rglob("*") if one.is_file() or one.name == "cur"] == []


def test_what_can_not_be_undone_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done = site.run("restore", "/", "--to", f"mbox:{site.place / 'files'}")
    assert not done["undoable"]
    assert "mbox" in site.refused("restore --undo latest", status=2)
    (archive,) = site.staging.glob("primary/user/*.mha")
    target = f"maildir:{site.place / 'from-file'}"
    assert not site.run("restore", "-f", archive, "/", "--to", target)["undoable"]

    # There is no room to keep how it was: it is restored all the same, and that is told.
    box = site.boxes["jane"]
    (box.root / "cur" / "1.M1P1.host:2,S").unlink()
    monkeypatch.setattr(restoring, "kept_or_told", lambda *_: {"jane": "no room"})
    done = site.run("restore", JANE, status=3)
    assert (done["restored"], [one["reason"] for one in done["skipped"]]) == (1, ["before"])
    assert "is not known" in site.refused("restore --undo latest", status=1)
    assert len(box.names()) == 2


def test_a_second_attempt_keeps_nothing_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker dies when the mailboxes are restored, before anybody knows."""
    kept: list[Mapping[str, str]] = []

    def twice(before: keeping.Before, attempt: int, load: LoadLimits) -> Mapping[str, str]:
        first = keeping.keep(before, attempt, load)
        site.boxes["jane"].message("1.M1P1.host:2,S", b"Subject: 1 of jane\n\n")
        kept.extend([first, keeping.keep(before, attempt + 1, load)])
        return {}

    (site.boxes["jane"].root / "cur" / "1.M1P1.host:2,S").unlink()
    shutil.rmtree(site.boxes["john"].root)
    lacking = site.look()
    monkeypatch.setattr(restoring, "kept_or_told", twice)
    done = site.run("restore", "/")
    assert kept == [{}] * len(kept) != []
    assert (done["restored"], done["present"]) == (2, 2)
    assert site.run("restore --undo latest")["removed"] == 3
    assert site.look() == lacking
