"""After damage and a repair the next backup reads again what is lost: no run says done before that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.archive.frames import FrameType

from ..archives import frames_of
from ..maildirs import Maildir
from ..trees import differences, snapshot
from ..verifying import command, hit, interrupted_after, mail_of


def words(*arguments: str) -> str:
    """What a command that finds damage says to people."""
    called = [str(Path(sys.executable).with_name("mailhaul")), *arguments]
    done = subprocess.run(called, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done
    return done.stdout + done.stderr


class Nights:
    """A mailbox, and nights of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"
        self.box = Maildir(place / "store" / "jane")
        self.box.folder(".Sent")
        self._number = 0
        for folder in ("", ".Sent"):
            self.deliver(3, folder)

    def deliver(self, count: int = 1, folder: str = "") -> None:
        for _ in range(count):
            self._number += 1
            content = b"Subject: %d\n\nmail %d\n" % (self._number, self._number)
            self.box.message(f"{self._number}.M1P1.host:2,S", content, folder)

    def expunge_last(self) -> None:
        (self.box.root / "cur" / f"{self._number}.M1P1.host:2,S").unlink()

    def back_up(self, *options: str, status: int = 0) -> Any:
        store = f"maildir:{self.place / 'store'}"
        return command("backup", "--store", store, "--staging", self.staging, *options, status=(status,))

    def run(self, name: str, *options: str, status: int = 0) -> Any:
        return command(name, "--staging", self.staging, *options, status=(status,))

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("primary/user/*.mha"))

    def restores_exactly(self) -> None:
        target = self.place / f"restored {len(list(self.place.iterdir()))}"
        self.run("restore", "/", "--to", f"maildir:{target}")
        found, expected = snapshot(target, times=False), snapshot(self.place / "store", times=False)
        assert differences(mail_of(expected), mail_of(found)) == []


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def zero_messages(file: Path) -> None:
    """As a disk does that lost a page: metadata and data behind it."""
    with file.open("r+b") as opened:
        opened.seek(0)
        data = opened.read()
        at = data.index(b"\x9dMH\n\x03")
        opened.seek(at)
        opened.write(bytes(min(4096, len(data) - at)))


def hit_both_mailbox_frames(file: Path) -> None:
    for number in (0, 1):
        hit(file, FrameType.MAILBOX, number)


def cut_in_the_first_block(file: Path) -> None:
    os.truncate(file, file.read_bytes().index(b"\x9dMH\n\x02") + 20)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "messages": lambda file: hit(file, FrameType.MESSAGES),
    "block": lambda file: hit(file, FrameType.BLOCK),
    "mailbox": hit_both_mailbox_frames,
    "zeroed": zero_messages,
    "cut": cut_in_the_first_block,
}


@pytest.mark.parametrize("rebuilt", [False, True])
@pytest.mark.parametrize("night", [0, 1, 2])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_what_a_repair_gave_up_is_read_again(nights: Nights, damage: str, night: int, rebuilt: bool) -> None:
    for _ in range(3):
        nights.back_up()
        nights.deliver()
    nights.expunge_last()  # since the last backup nothing came
    DAMAGES[damage](nights.archives()[night])
    nights.run("verify", "--fix", status=4)
    if rebuilt:
        (nights.staging / ".mailhaul" / "catalog.sqlite").unlink()
        command("catalog rebuild", "--staging", nights.staging, status=(0, 4))
    nights.back_up()
    nights.restores_exactly()
    nights.deliver(folder=".Sent")
    nights.back_up()
    nights.restores_exactly()


def test_messages_that_are_lost_are_read_again_whatever_else_changed(nights: Nights) -> None:
    nights.back_up()
    hit(nights.archives()[0], FrameType.MESSAGES)
    nights.run("verify", "--fix", status=4)
    nights.deliver(folder=".Sent")
    assert nights.back_up()["read"] == 7, "both folders are told of in one frame"
    nights.restores_exactly()
    done = nights.back_up()
    assert (done["read"], done["unchanged_units"]) == (0, 1)


def test_a_run_over_another_folder_reads_the_damaged_one_too(nights: Nights) -> None:
    """Its archive tells of the whole mailbox: it must not copy what is lost."""
    nights.back_up()
    hit(nights.archives()[0], FrameType.MESSAGES)
    nights.run("verify", "--fix", status=4)
    nights.deliver(folder=".Sent")
    store = f"maildir:{nights.place / 'store'}"
    command("backup", "/primary/user/jane/Sent", "--store", store, "--staging", nights.staging)
    nights.restores_exactly()


def test_damage_that_nobody_has_found_yet_is_not_copied(nights: Nights) -> None:
    nights.back_up()
    hit(nights.archives()[0], FrameType.MESSAGES)
    nights.deliver(folder=".Sent")
    nights.back_up()
    nights.restores_exactly()


def test_a_file_that_holds_another_archive_is_noticed_by_all(nights: Nights) -> None:
    """An old copy comes back under the name of a newer archive: nobody takes yesterday's mail for today's."""
    first = nights.back_up()["run"]
    nights.deliver()
    second = nights.back_up()["run"]
    path, other = nights.archives()
    old, new = path.read_bytes(), other.read_bytes()
    other.write_bytes(old)
    assert [one["reason"] for one in nights.run("verify", status=4)["damaged"]] == ["foreign"]
    assert nights.run("ls", "/primary/user/jane/INBOX", status=4)["error"]["code"] == "damaged"
    out = f"maildir:{nights.place / 'out'}"
    assert nights.run("restore", "/", "--to", out, status=4)["restored"] == 0
    nights.run("restore", "/", "--at", first, "--to", out)
    nights.run("purge", "--last", "1", "--dry-run")
    done = nights.back_up(status=3)
    assert [alarm["reason"] for alarm in done["alarms"]] == ["archive-missing"]
    assert done["read"] == 7
    nights.restores_exactly()

    path.write_bytes(new)  # the first one holds the second now
    found = nights.run("restore", "/", "--at", first, "--to", f"maildir:{nights.place / 'third'}", status=4)
    assert found["restored"] == 0
    assert nights.run("restore", "/", "--at", second, "--to", out, status=4)["restored"] == 0


def test_an_archive_that_is_missing_is_told_before_what_it_held_is_read_again(nights: Nights) -> None:
    nights.back_up()
    (file,) = nights.archives()
    nights.deliver()
    away = file.rename(nights.place / "away")
    done = nights.back_up(status=3)
    assert [(alarm["path"], alarm["reason"], alarm["held"]) for alarm in done["alarms"]] == [
        ("/primary/user", "archive-missing", 0)
    ]
    assert file.name in done["alarms"][0]["detail"]
    assert done["read"] == 7
    nights.restores_exactly()
    away.rename(file)
    nights.run("verify")
    assert nights.back_up()["alarms"] == []


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x55
    file.write_bytes(data)


def of_another_run(file: Path) -> None:
    file.write_bytes(next(path for path in file.parent.iterdir() if path != file).read_bytes())


@pytest.mark.parametrize("harm", [flipped, of_another_run])
def test_the_archive_of_a_run_that_is_damaged_is_written_anew(
    nights: Nights, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, and without an archive of the run, a new catalog would not know that anything is lost."""
    other = Maildir(nights.place / "store" / "ola")
    (nights.place / "groups.conf").write_text("few=j.*\nrest=o.*\n")
    monkeypatch.chdir(nights.place)
    (nights.place / "mailhaul.toml").write_text(
        f"[staging]\npath = '{nights.staging}'\n"
        f"[[partition]]\nname = 'primary'\nformat = 'maildir'\npath = '{nights.place}/store/{{user}}'\n"
        "[groups]\nfile = 'groups.conf'\n"
    )
    for number in range(2):
        nights.deliver()
        other.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\nola\n" % number)
        ran = command("backup")["run"]
    harm(nights.staging / "_runs" / ran[:4] / f"{ran}.0.mhr")
    (found,) = nights.run("verify", status=4)["damaged"]
    assert (found["path"], found["reason"]) == (f"_runs/{ran[:4]}/{ran}.0.mhr", "run")
    next(nights.staging.glob(f"primary/rest/{ran}.*.mha")).unlink()
    assert nights.run("verify", "--fix", status=4)["renewed"] == [found["path"]]
    assert found not in nights.run("verify", status=4)["damaged"]
    (nights.staging / ".mailhaul" / "catalog.sqlite").unlink()
    command("catalog rebuild", "--staging", nights.staging, status=(4,))
    command("catalog rebuild", "--every-archive", "--staging", nights.staging, status=(4,))
    nights.run("restore", "/", "--at", ran, "--to", f"maildir:{nights.place / 'new'}", status=4)


def test_what_is_lost_for_good_is_accepted_and_stays_so(nights: Nights) -> None:
    nights.back_up()
    hit(nights.archives()[0], FrameType.MESSAGES)
    lost = nights.run("verify", "--fix", status=4)["affected"]
    assert {one["remedy"] for one in lost} == {"next-backup"}
    found = nights.run("verify", "--accept", status=4)
    assert (found["accepted"], len(found["affected"])) == ([], len(lost)), "the next backup heals that"
    nights.back_up()
    lost = nights.run("verify", status=4)["affected"]
    assert {one["remedy"] for one in lost} == {"moment"}
    found = nights.run("verify", "--accept")
    assert found["affected"] == []
    assert [one["path"] for one in found["accepted"]] == [one["path"] for one in lost]
    assert nights.run(f"runs {lost[0]['first']}")["accepted"] == found["accepted"]
    assert nights.run("verify")["accepted"] == found["accepted"]
    (nights.staging / ".mailhaul" / "catalog.sqlite").unlink()
    nights.run("catalog rebuild")
    assert nights.run("verify", "--data")["accepted"] == found["accepted"]

    nights.deliver()
    nights.back_up()
    hit(nights.archives()[-1], FrameType.MESSAGES)
    assert nights.run("verify", status=4)["accepted"] == found["accepted"], "another loss is another one"


def test_an_archive_that_is_gone_for_good_is_accepted(nights: Nights) -> None:
    nights.back_up()
    nights.deliver()
    nights.back_up()
    nights.archives()[0].unlink()
    for _ in range(2):
        nights.run("verify", "--fix", status=4)
        nights.back_up()
    nights.run("verify", "--accept")
    assert nights.run("verify")["damaged"] == []
    nights.restores_exactly()


def test_an_archive_that_can_not_be_read_is_not_damaged(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's refusal is played."""
    nights.back_up()
    nights.deliver()
    (closed,) = nights.archives()
    data = closed.read_bytes()
    opened = os.open

    def refused(path: Any, *arguments: Any, **named: Any) -> int:
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return opened(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        for options in ((), ("--fix",), ("--accept",)):
            found = nights.run("verify", *options, status=1)
            assert (found["damaged"], found["affected"], found["repaired"]) == ([], [], [])
            assert [one["reason"] for one in found["unreadable"]] == ["unreadable"]
        done = nights.back_up(status=1)
        assert "Permission denied" in done["failures"][0]["message"]
        out = f"maildir:{nights.place / 'out'}"
        assert nights.run("restore", "/", "--to", out, status=1)["damaged"] == []
    assert nights.archives() == [closed]
    assert closed.read_bytes() == data
    assert nights.back_up()["read"] == 1
    nights.restores_exactly()


def test_an_archive_that_was_sealed_and_never_committed(nights: Nights) -> None:
    """A crash between the two: after a purge and a rebuild it must not come back as damage."""
    nights.back_up()
    catalog = nights.staging / ".mailhaul" / "catalog.sqlite"
    nights.deliver()
    with interrupted_after(1):  # that is the inventory
        nights.back_up(status=1)
    (orphan,) = nights.archives()[1:]
    nights.back_up("--full", "--self-contained")
    nights.run("purge", "--last", "1")
    nights.run("verify")
    catalog.unlink()
    assert [one["path"] for one in nights.run("catalog rebuild", status=3)["refused"]] == [str(orphan)]
    nights.run("verify")
    nights.restores_exactly()
    nights.run("purge", "--last", "1")
    catalog.unlink()
    nights.run("catalog rebuild", status=3)
    nights.run("verify")
    nights.back_up()
    nights.restores_exactly()


def test_a_purged_run_stays_purged_whose_archive_only_a_rebuild_has_known(nights: Nights) -> None:
    """How it ended tells that it had stored nothing: the archive did, and that is deleted."""
    nights.back_up()
    nights.deliver()
    with interrupted_after(1):  # that is the inventory
        nights.back_up(status=1)
    nights.back_up("--self-contained")
    nights.run("catalog rebuild")
    nights.run("purge", "--last", "1")
    assert len(nights.archives()) == 1

    def told() -> list[tuple[str, bool]]:
        return [(run["state"], run["purged"]) for run in nights.run("runs")["runs"]]

    before = told()
    assert before == [("done", False), ("failed", True), ("done", True)]
    nights.run("catalog rebuild")
    assert told() == before
    nights.restores_exactly()


def test_a_catalog_that_is_lost_is_made_again_by_the_next_backup(nights: Nights) -> None:
    """Else it began another one, in which the nights before had never been; and the next purge took their
    archives for orphans, which no rebuild enters any more."""
    nights.deliver()
    first = nights.back_up()["run"]
    before = nights.place / "before"
    shutil.copytree(nights.place / "store", before)
    nights.expunge_last()
    nights.deliver(2)
    nights.back_up()
    for file in (nights.staging / ".mailhaul").glob("catalog.sqlite*"):
        file.unlink()
    done = nights.back_up(status=3)
    assert [(alarm["path"], alarm["reason"]) for alarm in done["alarms"]] == [("/", "catalog-lost")]
    assert (done["state"], done["read"]) == ("done", 0)
    nights.run("purge", "--last", "3")
    nights.run("catalog rebuild")
    target = nights.place / "then"
    nights.run("restore", "/", "--at", first, "--to", f"maildir:{target}")
    found, expected = snapshot(target, times=False), snapshot(before, times=False)
    assert differences(mail_of(expected), mail_of(found)) == []
    nights.back_up()
    nights.restores_exactly()


def test_an_old_copy_of_the_catalog_hides_nothing(nights: Nights) -> None:
    nights.back_up()
    catalog = nights.staging / ".mailhaul" / "catalog.sqlite"
    old = catalog.read_bytes()
    nights.deliver()
    nights.back_up()
    catalog.write_bytes(old)
    for options in (("--dry-run",), ()):
        refused = nights.run("purge", "--last", "1", *options, status=4)
        assert "mailhaul catalog rebuild" in refused["error"]["message"]
    assert nights.back_up(status=3)["alarms"][0]["reason"] == "catalog-lost"
    assert len(nights.run("runs")["runs"]) == 3
    nights.run("purge", "--last", "1")
    nights.restores_exactly()


def test_a_run_that_is_to_go_on_without_its_catalog(nights: Nights) -> None:
    """It can't; but no empty catalog hides what there was."""
    run = nights.back_up()["run"]
    (nights.staging / ".mailhaul" / "catalog.sqlite").unlink()
    command("backup", "--staging", nights.staging, "--resume", run, status=(1, 2))
    nights.deliver()
    nights.back_up(status=3)
    assert len(nights.run("runs")["runs"]) == 2


def test_a_purge_forgets_no_loss_of_a_moment_that_it_keeps(nights: Nights) -> None:
    zoe = Maildir(nights.place / "store" / "zoe")
    zoe.message("1.M1P1.host:2,S")
    nights.back_up()
    zoe.message("2.M1P1.host:2,S")
    shutil.rmtree(nights.box.root)
    lossy = nights.back_up("--self-contained")["run"]
    nights.back_up("--self-contained")
    nights.archives()[1].unlink()
    nights.run("catalog rebuild", status=4)
    # Each into a place of its own: else the moment is held, as a restore into mailboxes can be taken back.
    nights.run("restore", "/", "--at", lossy, "--to", f"maildir:{nights.place / 'then'}", status=4)
    nights.run("purge", "--last", "2")
    nights.run("restore", "/", "--at", lossy, "--to", f"maildir:{nights.place / 'again'}", status=4)
    nights.run("purge", "--last", "1")
    nights.run("verify")
    nights.restores_exactly()


def test_what_seems_unchanged_beside_a_loss_is_told_anew(nights: Nights) -> None:
    """The newest state of a mailbox is lost, and nothing tells whose it was: that it is as it was stored
    before that does not tell how it was when the lost archive was written, but that is how it is now."""
    nights.back_up()
    nights.back_up("--self-contained")
    nights.archives()[1].unlink()
    nights.run("catalog rebuild", status=4)
    told = nights.back_up()
    nights.restores_exactly()
    nights.run("catalog rebuild", status=4)
    nights.restores_exactly()
    assert told["archive_bytes"]
    assert not nights.back_up()["archive_bytes"]


def test_a_plan_promises_only_what_is_at_hand(nights: Nights) -> None:
    nights.back_up()
    nights.deliver()
    nights.back_up()
    first, second = nights.archives()
    goal = ("--to", f"maildir:{nights.place / 'out'}")
    (missing,) = {
        archive["archive"] for archive in nights.run("verify")["archives"] if archive["file"] == str(first)
    }
    plan = command("restore", "/", "--dry-run", "-f", second, *goal, status=(4,))
    done = command("restore", "/", "-f", second, *goal, status=(4,))
    assert (
        (plan["messages"], plan["lacking"], plan["missing"])
        == (done["restored"], 6, [missing])
        == (1, 6, [missing])
    )
    assert {one["archive"]: one["there"] for one in plan["needs"]} == {
        missing: False,
        **dict.fromkeys([mailbox["archive"] for mailbox in plan["mailboxes"]], True),
    }
    # It is told by the name that its file had, also where nothing of the staging area is at hand.
    (gone,) = [one for one in plan["needs"] if not one["there"]]
    assert gone["file"] == str(first.relative_to(nights.staging))
    assert gone["size_bytes"] == first.stat().st_size
    for way in (("--dry-run",), ()):
        told = words("restore", "/", "-f", str(second), "--to", f"maildir:{nights.place / 'more'}", *way)
        assert f"not at hand: {gone['file']} (missing): " in told
        assert ("needs 2 archives, " in told) == bool(way)
    whole = command("restore", "/", "--dry-run", "-f", second, "-f", first, *goal)
    assert (whole["messages"], whole["lacking"], whole["missing"]) == (7, 0, [])
    first.unlink()
    nights.run("verify", "--fix", status=4)
    plan = nights.run("restore", "/", "--dry-run", *goal, status=4)
    assert (plan["messages"], plan["lacking"]) == (1, 6)
    second.unlink()
    nights.run("verify", "--fix", status=4)
    plan = nights.run("restore", "/", "--dry-run", *goal, status=4)
    assert (plan["messages"], plan["lacking"]) == (0, 7)


def test_an_archive_that_was_cut_before_its_first_mailbox_is_damaged_not_empty(nights: Nights) -> None:
    nights.back_up()
    (file,) = nights.archives()
    cut_in_the_first_block(file)
    for name in ("ls", "restore"):
        goal = () if name == "ls" else ("--to", f"maildir:{nights.place / 'out'}")
        told = command(name, "/", "-f", file, *goal, status=(4,))
        assert told["error"]["code"] == "damaged", name


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("first", ["fix", "rebuild"])
def test_mailboxes_of_which_nothing_tells_any_more_are_lost_all_the_same(
    nights: Nights, damage: str, first: str
) -> None:
    """The archive has lost its last mailbox, or is gone, and the catalog is made again: how the run ended
    tells that there was more."""
    Maildir(nights.place / "store" / "zoe").message("1.M1P1.host:2,S")
    lossy = nights.back_up()["run"]
    nights.back_up("--self-contained")
    file = nights.archives()[0]
    if damage == "gone":
        file.unlink()
    else:
        # Where the metadata of the last mailbox begins; its data and messages are there.
        os.truncate(file, frames_of(file.read_bytes(), FrameType.MAILBOX)[-2].at)

    def rebuild() -> None:
        (nights.staging / ".mailhaul" / "catalog.sqlite").unlink()
        command("catalog rebuild", "--every-archive", "--staging", nights.staging, status=(0, 4))

    for step in (rebuild, lambda: nights.run("verify", "--fix", status=4), rebuild)[first == "fix" :]:
        step()
    out = f"maildir:{nights.place / 'out'}"
    told = nights.run("restore", "/", "--at", lossy, "--to", out, status=4)
    assert "damaged" in told or told["error"]["code"] == "damaged"
    nights.restores_exactly()
    assert "mailboxes" in [one["reason"] for one in nights.run("verify", status=4)["affected"]]
    nights.run("verify", "--fix", status=4)
    nights.run("verify", "--accept")
    nights.run("purge", "--last", "1")
    assert nights.run("verify")["accepted"] == []
    nights.restores_exactly()
