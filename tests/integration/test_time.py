"""A mailbox through a week, as its owner and the postmaster see it: what was there at any time, what came and
went, what can be found, and what was deleted brought back.

All runs in this process; a clock that the test sets makes each backup another day's.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine

from ..maildirs import Maildir
from ..watched import FakeClock

JANE = "/primary/user/jane"
MONDAY = datetime(2026, 11, 16, 3, 15, tzinfo=UTC)


def mail(number: int, *, sender: str = "joe@example.org", subject: str = "", more: str = "") -> bytes:
    """A message of its own."""
    head = (
        f"From: {sender}\nTo: jane@example.org\nSubject: {subject or f'number {number}'}\n"
        f"Message-ID: <{number}@example.org>\nDate: Tue, {number % 28 + 1} Sep 2026 10:00:00 +0000\n"
    )
    return f"{head}{more}\nText of number {number}.\n".encode()


class Week:
    """Jane's mailbox and its backup; each backup a day later."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str], clock: FakeClock) -> None:
        self.place = place
        self.jane = Maildir(place / "store" / "jane")
        self.runs: list[str] = []
        self._capsys = capsys
        self._clock = clock
        clock.seconds = MONDAY.timestamp()

    def deliver(self, number: int, folder: str = "", flags: str = "S", content: bytes | None = None) -> Path:
        """Put a message into a folder."""
        name = f"{number}.M1P1.host:2,{flags}"
        return self.jane.message(name, content or mail(number), folder=folder)

    def night(self, status: int = 0) -> str:
        """Back up; the run's id. The status is 3 where so much is gone that it gives alarm."""
        time.sleep(0.03)  # what has just changed can't be trusted to show that it changes again
        told = self.run("backup", "--store", f"maildir:{self.place / 'store'}", status=status)
        self._clock.seconds += 86_400
        self.runs.append(told["run"])
        return self.runs[-1]

    def run(self, command: str, *arguments: object, status: int = 0) -> Any:
        """A command with --json; the document that it printed."""
        return json.loads(self.text(command, "--json", *arguments, status=status))

    def text(self, command: str, *arguments: object, status: int = 0) -> str:
        """A command; what it printed. What it said besides is in ``said``."""
        ended = main([command, "--staging", str(self.place / "staging"), *map(str, arguments)])
        captured = self._capsys.readouterr()
        self.said = captured.err
        assert ended == status, captured
        assert "this is a bug" not in captured.err, captured.err
        return captured.out

    def restored(self, *arguments: object, command: str = "restore", status: int = 0) -> dict[str, bytes]:
        """What a restore (or undelete) puts into an empty place: messages by folder, place and name."""
        target = self.place / f"target{len(list(self.place.glob('target*')))}"
        self.run(command, *arguments, "--to", f"maildir:{target}", status=status)
        return messages(target)


def messages(root: Path) -> dict[str, bytes]:
    """The messages below a directory, by their paths in it."""
    found = (path for place in ("cur", "new") for path in root.rglob(f"{place}/*"))
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture
def week(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Week:
    clock = FakeClock()
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    monkeypatch.setattr(adapters, "clock", lambda: clock)
    return Week(tmp_path, capsys, clock)


@pytest.fixture
def usual(week: Week) -> Week:
    """Four nights: mail comes, is read, moved, deleted, and a folder goes."""
    for number in range(1, 6):
        week.deliver(number)
    week.jane.folder(".Projects")
    for number in range(11, 14):
        week.deliver(number, ".Projects")
    week.jane.folder(".Trash")
    week.night()
    week.deliver(6)  # comes
    rename(week, "", "1.M1P1.host:2,S", "1.M1P1.host:2,FS")  # is marked
    (week.jane.root / "cur" / "2.M1P1.host:2,S").unlink()  # is deleted
    week.night()
    move(week, "3.M1P1.host:2,S", "", ".Trash")
    shutil.rmtree(week.jane.root / ".Projects")
    week.night()
    rename(week, ".Trash", "3.M1P1.host:2,S", "3.M1P1.host:2,ST")
    week.night()
    return week


def rename(week: Week, folder: str, old: str, new: str) -> None:
    directory = week.jane.root / folder / "cur"
    (directory / old).rename(directory / new)


def move(week: Week, name: str, source: str, target: str) -> None:
    (week.jane.root / source / "cur" / name).rename(week.jane.root / target / "cur" / name)


class TestAnyMoment:
    """--at on every command that reads."""

    def test_ls_show_restore(self, usual: Week) -> None:
        first, second, third, _ = usual.runs
        folders = {
            folder["folder"]: folder["messages"] for folder in usual.run("ls", JANE, "--at", first)["folders"]
        }
        assert folders == {"INBOX": 5, "Projects": 3, "Trash": 0}
        folders = {one["folder"]: one["messages"] for one in usual.run("ls", JANE)["folders"]}
        assert folders == {"INBOX": 4, "Trash": 1}
        path = f"{JANE}/Projects/;NAME=12.M1P1.host"
        assert usual.text("show", path, "--at", "2026-11-17").encode() == mail(12)
        usual.text("show", path, status=1)
        assert "no such folder" in usual.said
        assert sorted(usual.restored(JANE, "--at", second)) == sorted(
            [f"jane/cur/{n}.M1P1.host:2,{'FS' if n == 1 else 'S'}" for n in (1, 3, 4, 5, 6)]
            + [f"jane/.Projects/cur/{n}.M1P1.host:2,S" for n in (11, 12, 13)]
        )
        assert len(usual.restored(f"{JANE}/Projects", "--at", "2026-11-16T12:00")) == 3
        usual.text("ls", f"{JANE}/Trsah", status=1)
        assert "no such folder; is it Trash?" in usual.said
        usual.text("ls", f"{JANE}/INBOX/;NAME=99.M1P1.host", status=1)
        assert "the folder has no such message" in usual.said
        assert usual.run("find", JANE, "--subject", "number 2", "--at", third)["messages"] == []
        for wrong, text in (
            ("2026-11-01", f"the oldest that is kept is {first}"),
            ("the day before", "is no time"),
        ):
            usual.text("ls", JANE, "--at", wrong, status=2 if text == "is no time" else 1)
            assert text in usual.said

    def test_a_mailbox_that_is_gone(self, usual: Week) -> None:
        Maildir(usual.place / "store" / "ola").message("1.ola:2,")
        usual.night()
        kept = messages(usual.jane.root)
        shutil.rmtree(usual.jane.root)
        usual.night()
        usual.text("ls", JANE, status=1)
        assert f"--at {usual.runs[4]} has it" in usual.said
        back = usual.restored(JANE, "--at", usual.runs[4])
        assert back == {f"jane/{name}": content for name, content in kept.items()}
        # Named, and of no other time, it comes back as it was last.
        assert usual.restored(JANE) == back
        assert f"run {usual.runs[5]} found it gone from the mail store" in usual.said
        assert f"this is as of {usual.runs[4]}" in usual.said
        (*_, last) = usual.run("ls", "--history", JANE)["versions"]
        assert (last["messages"], last["went"], last["what"]) == (0, 5, "departed: removed")

    def test_a_folder_that_is_excluded(self, usual: Week) -> None:
        run = usual.run("backup", "--store", f"maildir:{usual.place / 'store'}", "--exclude-folder", "Trash")
        assert run["state"] == "done"
        usual.text("restore", f"{JANE}/Trash", "--to", f"maildir:{usual.place / 'x'}", status=1)
        assert "the folder was excluded from the backup" in usual.said
        usual.text("ls", f"{JANE}/Trash", status=1)
        assert "the folder was excluded from the backup" in usual.said
        assert len(usual.run("ls", f"{JANE}/Trash", "--at", usual.runs[3])["messages"]) == 1
        # It was not deleted: nobody is told so.
        lost = usual.run("undelete", JANE, "--list")
        assert not [one for one in lost["vanished"] if one["path"].startswith(f"{JANE}/Trash/")]
        found = usual.run("find", JANE, "--deleted")
        assert not [message for message in found["messages"] if message["path"].startswith(f"{JANE}/Trash/")]
        assert "left out of the backup" in usual.text("diff", usual.runs[-1], "latest", JANE)
        assert (
            usual.run("ls", "--history", f"{JANE}/Trash")["versions"][-1]["what"] == "left out of the backup"
        )


class TestHistory:
    def test_of_a_mailbox(self, usual: Week) -> None:
        told = usual.run("ls", "--history", JANE)["versions"]
        assert [(one["messages"], one["came"], one["went"]) for one in told] == [
            (8, 8, 0),
            (8, 1, 1),
            (5, 1, 4),
            (5, 0, 0),
        ]
        assert [one["run"] for one in told] == usual.runs
        assert told[3]["what"] == "flags, folders or other files"

    def test_of_a_folder(self, usual: Week) -> None:
        told = usual.run("ls", "--history", f"{JANE}/INBOX")["versions"]
        assert [(one["messages"], one["came"], one["went"], one["flags"]) for one in told] == [
            (5, 5, 0, 0),
            (5, 1, 1, 1),
            (4, 0, 1, 0),
        ]
        assert told[2]["last"] == usual.runs[3]
        projects = usual.run("ls", "--history", f"{JANE}/Projects")["versions"]
        assert [(project["messages"], project["what"]) for project in projects] == [(3, "new"), (0, "gone")]
        usual.text("ls", "--history", f"{JANE}/Nothing", status=1)
        assert "INBOX, Projects, Trash" in usual.said

    def test_nights_on_which_nothing_changed_are_no_versions(self, usual: Week) -> None:
        usual.night()
        (*_, last) = usual.run("ls", "--history", f"{JANE}/INBOX")["versions"]
        assert last["last"] == usual.runs[4]
        assert len(usual.run("ls", "--history", JANE)["versions"]) == 4

    def test_a_folder_made_anew(self, week: Week) -> None:
        week.jane.folder(".Lists")
        week.deliver(1, ".Lists")
        week.jane.uidlist("1 :1.M1P1.host", folder=".Lists")
        week.night()
        shutil.rmtree(week.jane.root / ".Lists")
        week.jane.folder(".Lists")
        week.deliver(2, ".Lists")
        week.jane.uidlist("1 :2.M1P1.host", header="3 V1600 N2 G" + "a" * 32, folder=".Lists")
        week.night()
        _, last = week.run("ls", "--history", f"{JANE}/Lists")["versions"]
        assert (last["came"], last["went"]) == (1, 1)
        assert last["what"] == "recreated: UIDVALIDITY 1500, now 1600"

    def test_a_renamed_folder(self, week: Week) -> None:
        week.jane.folder(".Old")
        week.deliver(1, ".Old")
        week.jane.uidlist("1 :1.M1P1.host", folder=".Old")
        week.night()
        (week.jane.root / ".Old").rename(week.jane.root / ".New")
        week.night()
        (new,) = week.run("ls", "--history", f"{JANE}/New")["versions"]
        assert (new["messages"], new["came"], new["what"]) == (1, 0, "renamed from Old")
        (*_, old) = week.run("ls", "--history", f"{JANE}/Old")["versions"]
        assert (old["messages"], old["went"], old["what"]) == (0, 1, "renamed to New")


class TestDiff:
    def test_folders(self, usual: Week) -> None:
        first, second, _, last = usual.runs
        (jane,) = usual.run("diff", first, "latest", JANE)["mailboxes"]
        folders = {folder["name"]: folder for folder in jane["folders"]}
        inbox, trash, projects = (folders[name] for name in ("INBOX", "Trash", "Projects"))
        assert (inbox["came"], inbox["went"], inbox["flags"]) == (1, 2, 1)
        assert (trash["came"], trash["went"], trash["flags"]) == (1, 0, 0)
        assert (projects["state"], projects["went"]) == ("went", 3)
        assert (jane["came"], jane["went"], jane["flags"]) == (2, 5, 1)
        (only,) = usual.run("diff", first, second, f"{JANE}/INBOX")["mailboxes"]
        assert [one["name"] for one in only["folders"]] == ["INBOX"]
        assert usual.run("diff", last, last)["mailboxes"] == []
        assert usual.text("diff", last, "latest", "/") == "nothing changed\n"

    def test_messages(self, usual: Week) -> None:
        told = usual.run("diff", usual.runs[0], usual.runs[1], "--messages")["messages"]
        assert [(one["change"], one["subject"], one["path"]) for one in told] == [
            ("went", "number 2", f"{JANE}/INBOX/;NAME=2.M1P1.host"),
            ("came", "number 6", f"{JANE}/INBOX/;NAME=6.M1P1.host"),
            ("flags", "number 1", f"{JANE}/INBOX/;NAME=1.M1P1.host"),
        ]
        assert "number 6" in usual.text("diff", usual.runs[0], usual.runs[1], "--messages")

    def test_mailboxes(self, usual: Week) -> None:
        Maildir(usual.place / "store" / "ola").message("1.ola:2,")
        shutil.rmtree(usual.jane.root)
        usual.night(status=3)
        told = usual.run("diff", usual.runs[0], "latest")["mailboxes"]
        assert [(one["path"], one["state"], one["came"], one["went"]) for one in told] == [
            (JANE, "went", 0, 8),
            ("/primary/user/ola", "came", 1, 0),
        ]
        assert "mailbox gone" in usual.text("diff", usual.runs[0], "latest")


FOUND_BY: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = (
    (("--from", "jürgen"), (1,)),
    (("--from", "JM@EXAMPLE"), (1,)),
    (("--from", "joe"), (3,)),
    (("--to", "jane@"), (1, 3)),
    (("--subject", "OFFER"), (3,)),
    (("--message-id", "3@example.org"), (3,)),
    (("--attachment", "angebot müller"), (3,)),
    (("--attachment", "nothing"), ()),
    (("--since", "2026-09-03"), (3,)),
    (("--until", "2026-09-02"), (1,)),
    (("--since", "2026-09-02T10:00", "--until", "2026-09-02T10:00"), (1,)),
    (("--from", "joe", "--subject", "number"), ()),
    (("--any-time", "--subject", "grüße aus ulm"), (2,)),
    (("--any-time", "--to", "jane"), (1, 2, 3)),
    (("--deleted", "--to", "jane"), (2,)),
)
"""Options of ``find``, and the numbers of the messages that they find."""


class TestFind:
    @pytest.fixture
    def lively(self, week: Week) -> Week:
        attached = (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
            "Content-Type: application/pdf\nContent-Disposition: attachment;\n"
            " filename*=UTF-8''Angebot%20M%C3%BCller.pdf\n\n" + "QUJD" * 100 + "\n--b--\n"
        )
        week.deliver(1, content=mail(1, sender="=?utf-8?q?J=C3=BCrgen?= <jm@example.org>"))
        week.deliver(2, content=mail(2, subject="=?iso-8859-1?Q?Gr=FC=DFe_aus?= =?iso-8859-1?Q?_Ulm?="))
        week.deliver(3, content=mail(3, subject="Offer", more=attached))
        week.night()
        (week.jane.root / "cur" / "2.M1P1.host:2,S").unlink()
        week.night()
        return week

    def test_by_what_the_header_says(self, lively: Week) -> None:
        for options, found in FOUND_BY:
            for path in (JANE, "/", f"{JANE}/INBOX"):
                told = lively.run("find", path, *options)["messages"]
                numbers = [int(one["message_id"][1]) for one in told]
                assert numbers == list(found), (path, options)

    def test_what_is_found_can_be_had(self, lively: Week) -> None:
        (told,) = lively.run("find", "/", "--deleted", "--subject", "ulm")["messages"]
        assert (told["first"], told["last"]) == (lively.runs[0], lively.runs[0])
        assert b"Text of number 2" in lively.text("show", told["path"], "--at", told["last"]).encode()
        assert "Grüße aus Ulm" in lively.text("find", "/", "--deleted")

    def test_what_moved_is_not_deleted(self, usual: Week) -> None:
        told = usual.run("find", JANE, "--deleted")["messages"]
        assert {one["subject"] for one in told} == {f"number {n}" for n in (2, 11, 12, 13)}

    def test_wrong_use(self, lively: Week) -> None:
        for options in (("--deleted", "--at", "latest"), ("--any-time", "-f", "x"), ("--since", "soon")):
            lively.text("find", "/", *options, status=2)
        lively.text("find", f"{JANE}/None", status=1)
        lively.text("find", f"{JANE}/INBOX/5", status=2)

    def test_in_an_archive_file(self, lively: Week) -> None:
        (first, _) = sorted((lively.place / "staging").rglob("*.mha"))
        assert main(["find", "/", "-f", str(first), "--subject", "ulm"]) == 0


class TestUndelete:
    def test_what_vanished_is_listed(self, usual: Week) -> None:
        told = usual.run("undelete", JANE, "--list")
        assert told["into"] == "Restored 2026-11-19"
        assert {one["subject"]: one["into"] for one in told["vanished"]} == {
            "number 2": "Restored 2026-11-19/INBOX",
            **{f"number {n}": "Restored 2026-11-19/Projects" for n in (11, 12, 13)},
        }
        assert [one["last"] for one in told["vanished"]] == [usual.runs[0]] + [usual.runs[1]] * 3
        assert [(one["subject"], one["folder"]) for one in told["moved"]] == [("number 3", "Trash")]
        assert "4 messages" in usual.text("undelete", JANE, "--dry-run")
        assert "is in Trash now" in usual.said

    def test_it_comes_back_into_a_folder_of_its_own(self, usual: Week) -> None:
        before = messages(usual.jane.root)
        told = usual.run("undelete", JANE, "--to", f"maildir:{usual.place / 'store'}")
        assert (told["restored"], told["present"], told["skipped"]) == (4, 0, [])
        after = messages(usual.jane.root)
        came = {name: content for name, content in after.items() if name not in before}
        assert came == {
            ".Restored 2026-11-19.INBOX/cur/2.M1P1.host:2,S": mail(2),
            **{f".Restored 2026-11-19.Projects/cur/{n}.M1P1.host:2,S": mail(n) for n in (11, 12, 13)},
        }
        assert before.items() <= after.items()
        # Again: nothing is put there twice, neither now nor after the next backup.
        told = usual.run("undelete", JANE, "--to", f"maildir:{usual.place / 'store'}")
        assert (told["restored"], told["present"]) == (0, 4)
        usual.night()
        told = usual.run("undelete", JANE, "--list")
        assert (told["vanished"], len(told["moved"])) == ([], 5)
        assert messages(usual.jane.root) == after

    def test_without_the_mark_that_deletes(self, week: Week) -> None:
        week.deliver(1, flags="FST")
        week.jane.uidlist("7 :1.M1P1.host")
        week.night()
        (week.jane.root / "cur" / "1.M1P1.host:2,FST").unlink()
        week.deliver(2)
        week.night()
        back = week.restored(f"{JANE}/INBOX", "--into", "Back", command="undelete")
        assert back == {"jane/.Back/cur/1.M1P1.host:2,FS": mail(1)}
        assert not list(week.place.glob("target*/jane/.Back/dovecot-uidlist"))

    def test_every_moment_in_between_counts(self, week: Week) -> None:
        """Mail that came and went between two nights in the middle, from several versions into one folder."""
        for number in range(1, 6):
            week.deliver(number)
            week.night()
            (week.jane.root / "cur" / f"{number}.M1P1.host:2,S").unlink()
        week.deliver(9)
        week.night()
        back = week.restored(f"{JANE}/INBOX", "--into", "Back", command="undelete")
        assert back == {f"jane/.Back/cur/{n}.M1P1.host:2,S": mail(n) for n in range(1, 6)}
        back = week.restored(
            f"{JANE}/INBOX",
            "--into",
            "Back",
            "--from",
            week.runs[1],
            "--until",
            week.runs[3],
            command="undelete",
        )
        assert sorted(back.values()) == [mail(2), mail(3)]
        # A time before all that is kept means the oldest that is.
        assert len(week.run("undelete", JANE, "--from", "2020-01-01", "--list")["vanished"]) == 5

    def test_moved_and_then_deleted_is_one_message(self, week: Week) -> None:
        week.deliver(1)
        week.deliver(2)
        week.jane.folder(".Trash")
        week.night()
        move(week, "1.M1P1.host:2,S", "", ".Trash")
        week.night()
        (week.jane.root / ".Trash" / "cur" / "1.M1P1.host:2,S").unlink()
        week.night()
        (one,) = week.run("undelete", JANE, "--list")["vanished"]
        assert one["path"].startswith(f"{JANE}/Trash/")
        (one,) = week.run("undelete", f"{JANE}/INBOX", "--list")["vanished"]
        assert one["path"].startswith(f"{JANE}/INBOX/")

    def test_the_same_content_under_another_name_is_still_there(self, week: Week) -> None:
        week.deliver(1)
        week.deliver(2)
        week.jane.folder(".Kept")
        week.night()
        old = week.jane.root / "cur" / "1.M1P1.host:2,S"
        os.link(old, week.jane.root / ".Kept" / "cur" / "100.M1P1.host:2,S")
        old.unlink()
        week.night()
        told = week.run("undelete", JANE, "--list")
        assert (told["vanished"], [one["folder"] for one in told["moved"]]) == ([], ["Kept"])

    def test_keywords_stay_what_they_were(self, week: Week) -> None:
        week.deliver(1, flags="Sb")
        week.jane.keywords("work", "urgent")
        week.deliver(2)
        week.jane.uidlist("1 :1.M1P1.host", "2 :2.M1P1.host")
        week.night()
        (week.jane.root / "cur" / "1.M1P1.host:2,Sb").unlink()
        week.night()
        week.restored(f"{JANE}/INBOX", "--into", "Back", command="undelete")
        (keywords,) = week.place.glob("target*/jane/.Back/dovecot-keywords")
        assert keywords.read_text() == "0 work\n1 urgent\n"

    def test_a_mailbox_that_is_gone(self, usual: Week) -> None:
        Maildir(usual.place / "store" / "ola").message("1.ola:2,")
        usual.night()
        shutil.rmtree(usual.jane.root)
        usual.night()
        back = usual.restored(JANE, "--into", "Back", "--as", "ola", command="undelete")
        assert {name.rpartition("/")[2].partition(".")[0] for name in back} == {
            *map(str, (1, 2, 3, 4, 5, 6, 11, 12, 13))
        }
        assert all(name.startswith("ola/Maildir/.Back.") for name in back)

    def test_layout_of_directories_within_each_other(self, week: Week) -> None:
        week.jane.folder("Archive/2024")
        week.deliver(1, "Archive/2024")
        week.deliver(2, "Archive/2024")
        week.night()
        (week.jane.root / "Archive/2024/cur/1.M1P1.host:2,S").unlink()
        week.night()
        back = week.restored(JANE, "--into", "Back", command="undelete")
        assert list(back) == ["jane/Back/Archive/2024/cur/1.M1P1.host:2,S"]
        back = week.restored(f"{JANE}/Archive/2024", "--into", "Zurück/da", command="undelete")
        assert list(back) == ["jane/Zur&APw-ck/da/cur/1.M1P1.host:2,S"]

    def test_wrong_use(self, usual: Week) -> None:
        for arguments in (
            ("/primary/user",),
            (f"{JANE}/INBOX/7",),
            (JANE, "--into", "../x"),
            (JANE, "--into", "x/cur"),
            (JANE, "--from", usual.runs[2], "--until", usual.runs[0]),
        ):
            usual.text("undelete", *arguments, "--list", status=2)
        usual.text("undelete", JANE, status=2)
        assert "--to FORMAT:DIR" in usual.said
        usual.text("undelete", f"{JANE}/None", "--list", status=1)

    def test_nothing_has_vanished(self, week: Week) -> None:
        week.deliver(1)
        week.night()
        assert week.restored(JANE, command="undelete") == {}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_an_archive_that_is_gone_costs_what_it_held(usual: Week, lost: int) -> None:
    """What can't be read is said, and no message is taken for one that vanished."""
    archives = sorted((usual.place / "staging").rglob("*.mha"))
    archives[lost].unlink()
    told = usual.run("undelete", JANE, "--list", status=4)
    assert told["damaged"]
    assert {one["subject"] for one in told["vanished"]} <= {f"number {n}" for n in (2, 11, 12, 13)}
    usual.run("find", JANE, "--any-time", "--to", "jane", status=4)
    usual.run("ls", "--history", f"{JANE}/INBOX", status=4)
