"""What is kept so that a restore can be undone, for how long, and what is told where it can't be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters, restore_undo
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.holds import Hold, add_hold, drop_holds_of
from mailhaul.coordinator.restores import before as of_before
from mailhaul.coordinator.restores import keeping as holding
from mailhaul.coordinator.restores import record
from mailhaul.coordinator.restores.before import KEPT_DAYS
from mailhaul.coordinator.restores.failures import failure_of
from mailhaul.groups.paths import message_path
from mailhaul.proto.errors import LockedError, StagingError, StoreError
from mailhaul.proto.records import Skipped, Unit
from mailhaul.proto.structs import asdict, replace
from mailhaul.tests.integration.dying_restores import engine
from mailhaul.worker import before as keeping
from mailhaul.worker.backup import back_up
from mailhaul.worker.load import LoadLimits
from mailhaul.worker.tasks import restore as restoring
from mailhaul.worker.tasks import undo as undoing_task

from ..maildirs import Maildir
from ..trees import snapshot
from ..verifying import carried_out_by, command_status

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

    def __init__(self, place: Path, config: str = CONFIG, store: str = "store", path: str = "/") -> None:
        self.place = place
        self.staging = place / "staging"
        (place / "mailhaul.toml").write_text(config.format(place=place))
        self.boxes = {user: Maildir(place / store / user) for user in ("jane", "john")}
        for user, box in self.boxes.items():
            for number in (1, 2):
                box.message(f"{number}.M1P1.host:2,S", b"Subject: %d of %s\n\n" % (number, user.encode()))
        self.moment = self.run("backup", path)["run"]

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


def test_a_restore_that_begins_while_others_are_let_go_keeps_its_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.boxes["jane"].root / "cur" / "1.M1P1.host:2,S").unlink()
    now = datetime.now(UTC)
    add_hold(site.staging, Hold(path="/other", since=now, restore="20200101T000000Z-0000"))
    begun: list[str] = []

    def meanwhile(staging: Path, is_over: Callable[[str], bool]) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(of_before, "drop_holds_of", lambda *_: None)
            begun.append(site.run("restore", JANE)["restore"])
        drop_holds_of(staging, is_over)

    monkeypatch.setattr(of_before, "drop_holds_of", meanwhile)
    of_before.forget_before(site.staging, now)
    assert [hold["restore"] for hold in site.run("hold")["holds"]] == begun != []


def test_a_new_place_is_not_held(site: Site) -> None:
    target = site.place / "drill"
    done = site.run("restore", "/", "--to", f"maildir:{target}")
    assert done["undoable"]
    assert site.run("hold")["holds"] == []
    assert site.run("restore --undo latest")["removed"] == done["restored"] == 4
    assert [path for path in target.rglob("*") if path.is_file() or path.name == "cur"] == []


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
    assert (done["restored"], [skip["reason"] for skip in done["skipped"]]) == (1, ["before"])
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


def interrupt(site: Site, restore: str) -> Path:
    """What is left of a restore whose program was killed before it had told anything of a mailbox."""
    directory = site.staging / ".mailhaul" / "restores" / restore
    (directory / "state.json").unlink()
    (directory / "journal.jsonl").unlink()
    return directory


def test_what_an_earlier_attempt_kept_takes_the_place_of_no_other(site: Site) -> None:
    """Of two workers the second was done with it when they were killed, the first had not begun."""
    of_jane, of_john = (site.boxes[user].root / "cur" / "1.M1P1.host:2,S" for user in ("jane", "john"))
    of_jane.unlink()
    of_john.unlink()
    lacking = site.look()
    done = site.run("restore", "/", "--workers", "2")
    first, _ = sorted(interrupt(site, done["restore"]).glob("before.*"))
    first.unlink()
    of_jane.unlink()
    site.run("restore", "--resume", done["restore"])
    assert site.run("restore", "--undo", done["restore"])["removed"] == 2
    assert site.look() == lacking


def test_an_exact_restore_that_is_tried_again_leaves_what_came_since(site: Site) -> None:
    jane = site.boxes["jane"]
    (jane.root / "cur" / "1.M1P1.host:2,S").unlink()
    done = site.run("restore", JANE, "--exact")
    report = site.staging / ".mailhaul" / "restores" / done["restore"] / "report.json"
    told = json.loads(report.read_text())
    of_one = message_path("primary", "user", "jane", "INBOX", b"1.M1P1.host")
    told["failures"] = [asdict(failure_of(Skipped(of_one, "busy", "")))]
    report.write_text(json.dumps(told))
    (jane.root / "cur" / "1.M1P1.host:2,S").unlink()
    jane.message("3.M1P1.host:2,", b"Subject: of today\n\n")
    done = site.run("restore", "--retry", done["restore"])
    assert (done["restored"], done["aside"]) == (1, 0)
    assert len(jane.names()) == 3


def test_a_mailbox_that_was_gone_is_taken_back_after_later_backups(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = site.boxes["jane"]
    shutil.rmtree(jane.root)
    for _ in range(2):
        site.boxes["john"].message(f"{len(site.boxes['john'].names()) + 1}.M1P1.host:2,")
        site.run("backup")
    done = site.run("restore", JANE, "/primary/user/john")
    assert (done["restored"], done["undoable"]) == (2, True)
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(1))
    site.run("backup")
    site.run("purge", "--last", "1")
    assert site.run("restore", "--undo", "latest")["removed"] == 2
    assert not jane.root.exists()


def test_state_is_taken_back_after_the_next_backup(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """That tells what the restore has made of it, and not what was done before."""
    jane = site.boxes["jane"]
    (jane.root / "cur" / "1.M1P1.host:2,S").rename(jane.root / "cur" / "1.M1P1.host:2,F")
    site.run("backup")
    done = site.run("restore", JANE, "--state-only", "--at", site.moment)
    assert (done["flagged"], jane.names()) == (1, ["1.M1P1.host:2,S", "2.M1P1.host:2,S"])
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(1))
    site.run("backup")
    assert site.run("restore", "--undo", "latest")["flagged"] == 1
    assert jane.names() == ["1.M1P1.host:2,F", "2.M1P1.host:2,S"]


def test_what_a_later_restore_has_brought_does_not_go_with_it(site: Site) -> None:
    """The first was killed, the second, which can't be taken back, has done the rest."""
    box = site.boxes["jane"]
    (box.root / "cur" / "1.M1P1.host:2,S").unlink()
    first = site.run("restore", JANE)["restore"]
    interrupt(site, first)
    (box.root / "cur" / "1.M1P1.host:2,S").unlink()
    second = site.run("restore", "/", "--order", "newest")["restore"]
    assert f"restore {second} has brought" in site.refused("restore", "--undo", first, status=2)
    assert box.names() == ["1.M1P1.host:2,S", "2.M1P1.host:2,S"]


def test_what_was_begun_to_be_taken_back_is_not_gone_on_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal says of what was removed again that it is there."""
    (site.boxes["jane"].root / "cur" / "1.M1P1.host:2,S").unlink()
    lacking = site.look()
    restore = site.run("restore", "/")["restore"]
    interrupt(site, restore)

    def killed(*_: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(restore_undo, "note_undone", killed)
    with pytest.raises(SystemExit):
        command_status(f"--config {site.place / 'mailhaul.toml'} restore", "--undo", restore)
    monkeypatch.undo()
    assert site.look() == lacking
    assert f"--undo {restore}" in site.refused("restore", "--resume", restore, status=2)
    assert site.run("restore", "--undo", restore)["removed"] == 0
    assert "was taken back" in site.refused("restore", "--resume", restore, status=2)


def test_what_is_taken_back_in_part_comes_before_earlier_restores(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = site.boxes["jane"]
    (box.root / "cur" / "1.M1P1.host:2,S").unlink()
    lacking = site.look()
    first = site.run("restore", JANE)["restore"]
    (box.root / "cur" / "1.M1P1.host:2,S").unlink()
    second = site.run("restore", JANE)["restore"]

    def unreachable(*_: object, **__: object) -> None:
        raise StagingError("its host is lost", path="")

    with monkeypatch.context() as patch:
        patch.setattr(undoing_task, "undo", unreachable)
        site.run("restore", "--undo", second, status=3)
    assert f"--undo {second}" in site.refused("restore", "--undo", first, status=2)
    assert site.run("restore", "--undo", second)["removed"] == 1
    assert site.run("restore", "--undo", first)["removed"] == 0
    assert site.look() == lacking


def test_a_restore_that_was_killed_is_taken_back_for_good(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers may outlive it for a moment; who went on with it would be told that all is there."""
    (site.boxes["jane"].root / "cur" / "1.M1P1.host:2,S").unlink()
    lacking = site.look()
    restore = site.run("restore", "/")["restore"]
    directory = site.staging / ".mailhaul" / "restores" / restore
    (directory / "state.json").unlink()
    with restoring.witnessed(str(directory / "workers.lock")), monkeypatch.context() as patch:
        patch.setattr(record, "_WORKERS_SECONDS", 0.0)
        assert "still at work" in site.refused("restore", "--undo", restore, status=5)
    assert site.run("restore", "--undo", restore)["removed"] == 1
    assert "was taken back" in site.refused("restore", "--resume", restore, status=2)
    assert site.look() == lacking


TWO = """\
[staging]
path = "{place}/staging"
[[partition]]
name = "old"
format = "maildir"
path = "{place}/old/{{user}}"
[[partition]]
name = "new"
format = "maildir"
path = "{place}/new/{{user}}"
"""


@pytest.fixture
def two(tmp_path: Path) -> Site:
    """Two partitions, of which the second was backed up after the first."""
    Maildir(tmp_path / "new" / "zoe").message("1.M1P1.host:2,S", b"Subject: of zoe\n\n")
    site = Site(tmp_path, TWO, "old", "/old")
    site.moment = site.run("backup", "/new")["run"]
    return site


def test_the_moment_of_each_group_is_held(two: Site) -> None:
    """A purge lets nobody forget what was restored of the partition that was backed up before the other."""
    jane = two.boxes["jane"]
    (jane.root / "cur" / "1.M1P1.host:2,S").unlink()
    jane.message("9.M1P1.host:2,")
    two.run("backup", "/old")
    done = two.run("restore", "/", "--at", two.moment)
    assert done["restored"] == 1
    two.run("backup")
    two.run("purge", "--last", "1")
    assert two.run("restore", "--undo", "latest")["removed"] == 1
    assert jane.names() == ["2.M1P1.host:2,S", "9.M1P1.host:2,"]


def test_a_moment_that_was_let_go_by_hand_is_missed(two: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an earlier one is taken for it, which would leave what that did not have."""
    jane, first = two.boxes["jane"], two.run("runs")["runs"][0]["run"]
    jane.message("9.M1P1.host:2,S")
    second = two.run("backup", "/old")["run"]
    newest = two.run("backup", "/new", "--full")["run"]
    (jane.root / "cur" / "9.M1P1.host:2,S").unlink()
    assert two.run("restore", "/")["restored"] == 1
    for run in (first, newest):
        two.run("hold", run)
    two.run("release", second)
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(1))
    two.run("backup")
    two.run("purge", "--last", "1")
    undone = two.run("restore", "--undo", "latest", status=3)
    told = sorted((skip["path"], skip["reason"]) for skip in undone["skipped"])
    assert told == [("/old/user/jane", "unknown"), ("/old/user/john", "unknown")]


def test_two_users_who_get_one_name_in_different_places(two: Site) -> None:
    """How each of the mailboxes was is known; of others nothing is taken."""
    there = Maildir(two.place / "new" / "ann")
    there.message("1.M1P1.host:2,S", b"Subject: 1 of jane\n\n")
    (two.place / "map").write_text("old:jane = new:ann\nold:john = old:ann\n")
    done = two.run("restore", "/old", "--map", two.place / "map")
    assert (done["restored"], done["present"]) == (3, 1)
    assert two.run("restore", "--undo", "latest")["removed"] == 3
    assert there.names() == ["1.M1P1.host:2,S"]
    assert not (two.place / "old" / "ann").exists()


def test_later_restores_of_the_same_mailbox_count_and_drills_do_not(
    two: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = two.place / "new" / "ann"
    (two.place / "map").write_text("old:jane = new:ann\n")
    first = two.run("restore", "/old/user/jane", "--map", two.place / "map")["restore"]
    two.run("restore", "/", "--to", f"maildir:{two.place / 'drill'}")
    monkeypatch.setattr(adapters, "clock", lambda: LaterClock(1))
    two.run("backup")
    next(ann.rglob("1.M1P1*")).unlink()
    second = two.run("restore", "/new/user/ann")["restore"]
    assert f"--undo {second}" in two.refused("restore", "--undo", first, status=2)
    assert two.run("restore", "--undo", second)["removed"] == 1
    assert two.run("restore", "--undo", first)["removed"] == 1
    assert not ann.exists()


def test_what_was_half_restored_without_being_kept_is_not_taken_for_what_was_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jane's mailbox could not be kept, and the restore was killed in the middle of it."""
    jane, john = site.boxes["jane"], site.boxes["john"]
    for box in (jane, john):
        box.root.joinpath("cur", "1.M1P1.host:2,S").unlink()
    jane.root.joinpath("cur", "2.M1P1.host:2,S").unlink()

    def without_jane(unit: Unit, *arguments: Any, **more: Any) -> Any:
        return back_up(replace(unit, users=("john",)), *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "back_up", without_jane)
        restore = site.run("restore", "/", status=3)["restore"]
    interrupt(site, restore)
    jane.root.joinpath("cur", "2.M1P1.host:2,S").unlink()
    killed = site.run("restore", "--undo", restore, "--dry-run", status=3)
    assert (killed["removed"], [skip["path"] for skip in killed["skipped"]]) == (1, [JANE])

    again = site.run("restore", "--resume", restore, status=3)
    assert (again["restored"], [one["reason"] for one in again["skipped"]]) == (1, ["before"])
    undone = site.run("restore", "--undo", restore, status=3)
    assert (undone["removed"], [(one["path"], one["reason"]) for one in undone["skipped"]]) == (
        1,
        [(JANE, "before")],
    )
    assert (len(jane.names()), len(john.names())) == (2, 1)


@pytest.mark.parametrize("room", [True, False], ids=["recorded", "no room to record which"])
def test_what_could_not_be_kept_is_not_kept_by_a_later_attempt(
    site: Site, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    box = site.boxes["jane"]
    box.root.joinpath("cur", "1.M1P1.host:2,S").unlink()

    def full(*_arguments: Any, **_more: Any) -> Any:
        raise StagingError("the staging area is full")

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "back_up", full)
        restore = site.run("restore", JANE, status=3)["restore"]
    directory = interrupt(site, restore)
    (marker,) = directory.glob("before.*.unkept")
    if not room:
        marker.write_bytes(b"")
    assert site.run("restore", "--resume", restore, status=3)["skipped"][0]["path"] == JANE
    told = site.refused("restore", "--undo", restore, status=1)
    assert ("area is full" if room else "no room to keep it") in told
    assert len(box.names()) == 2


def test_a_purge_that_went_on_at_the_first_attempt(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    jane = site.boxes["jane"]
    jane.root.joinpath("cur", "1.M1P1.host:2,S").unlink()

    def locked(*_: Any) -> Any:
        raise LockedError("a purge is going on")

    with monkeypatch.context() as patched:
        patched.setattr(holding, "add_holds", locked)
        done = site.run("restore", "/")
    assert not done["undoable"]
    interrupt(site, done["restore"])
    again = site.run("restore", "--resume", done["restore"], status=3)
    assert sorted(skip["path"] for skip in again["skipped"]) == [JANE, "/primary/user/john"]
    assert "a purge is going on" in site.refused("restore", "--undo", done["restore"], status=1)
    assert len(jane.names()) == 2


def test_where_that_can_not_be_recorded_either_nothing_is_restored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = site.boxes["jane"]
    jane.root.joinpath("cur", "1.M1P1.host:2,S").unlink()

    def locked(*_: Any) -> Any:
        raise LockedError("a purge is going on")

    def full(*_: Any) -> Any:
        raise StagingError("no inodes are left")

    with monkeypatch.context() as patched:
        patched.setattr(holding, "add_holds", locked)
        patched.setattr(holding, "note_unkept", full)
        assert "no inodes are left; go on with" in str(site.run("restore", "/", status=1))
    assert len(jane.names()) == 1
    assert site.run("restore", "--resume", "latest")["restored"] == 1
    assert site.run("restore", "--undo", "latest")["removed"] == 1


def test_status_says_what_the_latest_restore_did_not_do(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> str:
        assert main(["--config", str(site.place / "mailhaul.toml"), "status"]) == 0
        return capsys.readouterr().out

    shutil.rmtree(site.boxes["jane"].root)
    with monkeypatch.context() as patched:

        def busy(*_: Any, **__: Any) -> Any:
            raise StoreError("it is in use")

        patched.setattr(restoring, "restore", busy)
        failed = site.run("restore", "/", status=1)["restore"]
    told = status()
    assert f"restore {failed}" in told
    assert "is done, but: 2 not there" in told
    assert f"--retry {failed}" in told
    assert str(site.staging / ".mailhaul" / "restores" / failed / "report.txt") in told
    site.run("restore", "--retry", failed)
    assert "but:" not in status()
    assert len(site.boxes["jane"].names()) == 2


def test_what_fails_with_a_mailbox_that_ends_its_worker_is_listed_and_comes_back(site: Site) -> None:
    """With --order newest: neither she comes back, nor who is in one lot with her; the others do."""
    for user in ("jack", "jill", "jim", "joan", "jude", "june"):
        site.boxes[user] = Maildir(site.place / "store" / user)
        for number in (1, 2):
            site.boxes[user].message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number)
    site.run("backup")
    before = site.look()
    for box in site.boxes.values():
        shutil.rmtree(box.root)
    with carried_out_by(engine):
        done = site.run("restore", "/", "--order", "newest", "--workers", "1", status=3)
    lacking = {f"/primary/user/{user}" for user, box in site.boxes.items() if not box.names()}
    assert JANE in lacking
    assert 1 < len(lacking) < len(site.boxes)
    assert sorted(skip["path"] for skip in done["skipped"]) == sorted(lacking)
    assert {one["reason"] for one in done["skipped"]} == {"worker-lost"}
    again = site.run("restore", "--retry", done["restore"])
    assert (again["restored"], again["skipped"]) == (2 * len(lacking), [])
    assert site.look() == before
    once_more = site.run("restore", "/", "--order", "newest")
    assert (once_more["restored"], once_more["present"]) == (0, 2 * len(site.boxes))
