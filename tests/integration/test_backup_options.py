"""What is backed up and how, as it is asked for on the command line and in the configuration; every backup is
restored and compared with the store."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine

from ..maildirs import Maildir

USERS = ("anna", "ben", "cara", "dora")


@dataclass
class World:
    """A store of four mailboxes with a configuration; commands run in this process."""

    place: Path
    run: Callable[..., Any]
    err: str = ""
    """What the last command told on stderr."""

    @property
    def mail(self) -> Path:
        return self.place / "mail"

    def mailbox(self, user: str) -> Maildir:
        return Maildir(self.mail / user / "Maildir")

    def configure(self, text: str = "", groups: str = "early=[ab].*\nlate=[c-z].*\n") -> None:
        (self.place / "groups.conf").write_text(groups)
        (self.place / "mailhaul.toml").write_text(
            f'[staging]\npath = "staging"\n[[partition]]\nformat = "maildir"\n'
            f'path = "{self.mail}/{{user}}/Maildir"\n[groups]\nfile = "groups.conf"\n{text}'
        )

    def backup(self, *arguments: object, status: int = 0) -> Any:
        """Back up, some time after the last change to the store: marks of what is younger tell nothing."""
        time.sleep(0.03)
        return self.run("backup", "--json", *arguments, status=status)

    def restored(self, *at: str) -> dict[str, dict[str, bytes]]:
        """By user, the messages of a restore: folder and base name with the content."""
        target = self.place / "restored"
        shutil.rmtree(target, ignore_errors=True)
        self.run("restore", "/", "--to", f"maildir:{target}/{{user}}/Maildir", *at)
        return mail_below(target)


def mail_below(root: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(root.glob("*/Maildir/**/*")):
        if path.parent.name in ("cur", "new"):
            folder = path.parent.parent.name
            name = f"{'INBOX' if folder == 'Maildir' else folder}/{path.name.partition(':')[0]}"
            found.setdefault(path.relative_to(root).parts[0], {})[name] = path.read_bytes()
    return found


@pytest.fixture
def world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> World:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, status: int = 0) -> Any:
        ended = main([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        assert ended == status, captured.err.decode()
        made.err = captured.err.decode()
        return json.loads(captured.out) if "--json" in arguments else captured.out.decode()

    made = World(tmp_path, run)
    for user in USERS:
        mailbox = made.mailbox(user)
        for folder in ("", ".Sent", ".Trash", ".Trash.Old"):
            mailbox.folder(folder)
            for number in range(3):
                mailbox.message(f"{number}.{user}:2,S", f"Subject: {number}\n\n{user}".encode(), folder)
    made.configure()
    return made


def test_a_second_run_reads_what_is_new(world: World) -> None:
    first = world.backup()
    assert (first["read"], first["added"], first["unchanged_units"]) == (48, 48, 0)
    again = world.backup()
    assert (again["read"], again["messages"], again["unchanged_units"]) == (0, 48, 2)
    assert again["archives"] == []
    world.mailbox("anna").message("new.anna", b"Subject: new\n\n", ".Sent")
    os.remove(world.mail / "ben" / "Maildir" / ".Trash" / "cur" / "1.ben:2,S")
    third = world.backup()
    assert (third["read"], third["added"], third["vanished"]) == (1, 1, 1)
    assert third["unchanged_units"] == 1
    assert [unit["changed"] for unit in third["units"]] in ([2, 0], [0, 2])
    assert world.restored() == mail_below(world.mail)
    text = world.run("backup", "--full")
    assert "  read                 48" in text
    assert world.run("runs", "latest", "--json")["options"] == "--full"
    assert world.restored() == mail_below(world.mail)


def test_a_self_contained_archive_needs_no_other(world: World) -> None:
    world.backup()
    world.mailbox("anna").message("new.anna")
    second = world.backup("--self-contained")
    for file in world.place.glob("staging/*/*/*.mha"):
        if str(file) not in second["archives"]:
            file.unlink()
    assert world.restored() == mail_below(world.mail)


def test_since(world: World) -> None:
    old = world.mailbox("anna").message("old.anna")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    new = world.mailbox("anna").message("new.anna")
    os.utime(new, (1_700_000_000, 1_700_000_000))
    told = world.backup("/primary/early/anna", "--since", "20230101:000000")
    assert told["excluded"]
    assert {one["reason"] for one in told["excluded"]} == {"older"}
    assert told["skipped"] == []
    assert world.restored() == {"anna": {"INBOX/new.anna": b"Subject: x\n\nhi\n"}}
    world.backup("/primary/early/anna")
    assert world.restored() == {"anna": mail_below(world.mail)["anna"]}


def test_excluded_folders_are_told_and_taken_where_they_are_named(world: World) -> None:
    world.configure('[exclude]\nfolders = ["Trash"]\n[exclude.group.late]\nfolders = ["Sent"]\n')
    told = world.backup()
    assert {one["reason"] for one in told["excluded"]} == {"excluded"}
    assert {one["path"] for one in told["excluded"]} == {
        *(f"/primary/early/{user}/{name}" for user in USERS[:2] for name in ("Trash", "Trash/Old")),
        *(f"/primary/late/{user}/{name}" for user in USERS[2:] for name in ("Trash", "Trash/Old", "Sent")),
    }
    assert world.backup()["unchanged_units"] == 2
    everything = mail_below(world.mail)
    kept = {
        user: {
            name: content
            for name, content in everything[user].items()
            if not name.startswith((".Trash", ".Sent" if user in USERS[2:] else ".Trash"))
        }
        for user in USERS
    }
    assert world.restored() == kept
    world.backup("/primary/early/anna/Trash")
    kept["anna"] |= {name: found for name, found in everything["anna"].items() if name.startswith(".Trash")}
    assert world.restored() == kept
    survey = world.run("groups", "--json")
    assert survey["excluded_folders"] == {"": ["Trash"], "late": ["Sent"]}
    assert "folders left out, with those below, unless a path names them:\n  all groups: Trash\n" in (
        world.run("groups")
    )


def test_a_run_over_one_folder_leaves_the_others_as_they_were(world: World) -> None:
    world.backup()
    before = world.restored()
    for folder in ("", ".Sent"):
        world.mailbox("anna").message("new.anna", b"Subject: new\n\n", folder)
    told = world.backup("/primary/early/anna/Sent")
    assert (told["read"], told["messages"]) == (1, 13)
    before["anna"][".Sent/new.anna"] = b"Subject: new\n\n"
    assert world.restored() == before
    world.backup("--exclude-folder", "Trash")
    after = {
        user: {name: found for name, found in mail.items() if not name.startswith(".Trash")}
        for user, mail in mail_below(world.mail).items()
    }
    assert world.restored() == after
    world.run("backup", "/primary/early/anna/Nix", status=1)
    assert "the mail store has no such folder" in world.err
    world.run("backup", "/primary/early/ana", status=1)
    assert "the mail store has no such mailbox; is it anna?" in world.err
    world.run("verify", "/primary/early/ana", status=1)
    assert "is it anna?" in world.err


def test_excluded_users_and_groups_that_are_off(world: World) -> None:
    world.backup()
    (world.place / "nobody").write_text("ben\n")
    groups = "early=[ab].*\nlate=c.*\nspare=d.*\n"
    world.configure('off = ["late"]\n[exclude]\nusers = ["do.*"]\nusers_file = "nobody"\n', groups)
    world.mailbox("cara").message("new.cara")
    told = world.backup()
    assert {one["path"]: one["reason"] for one in told["excluded"]} == {
        "/primary/late": "group-off",
        "/primary/user/ben": "excluded-user",
        "/primary/user/dora": "excluded-user",
    }
    assert told["departed"] == []
    told_later = world.run("runs", "latest", "--json")["excluded_entries"]
    assert [(one["path"], one["reason"], one["detail"]) for one in told_later] == [
        ("/primary/late", "group-off", "1 mailbox"),
        ("/primary/user/ben", "excluded-user", ""),
        ("/primary/user/dora", "excluded-user", ""),
    ]
    assert "excluded: 3 (excluded-user 2, group-off 1)" in world.run("runs", "latest")
    assert "/primary/late (group-off) 1 mailbox\n" in world.run("runs", "latest", "--excluded")
    assert world.restored().keys() == set(USERS)  # what was stored before stays
    assert "new.cara" not in str(world.restored()["cara"])
    world.backup("/primary/late")
    assert "new.cara" in str(world.restored()["cara"])
    assert "/primary/late (group-off): 1 mailbox" in world.run("groups")


def test_mailboxes_that_are_gone(world: World) -> None:
    first = world.backup()
    shutil.rmtree(world.mail / "ben")
    told = world.backup()
    (gone,) = told["departed"]
    assert (gone["path"], gone["reason"]) == ("/primary/early/ben", "removed")
    assert "departed: /primary/early/ben (removed)" in world.err
    assert world.restored() == mail_below(world.mail)
    assert world.restored("--at", first["run"]).keys() == set(USERS)
    # Now in another group: nothing is read again.
    world.configure(groups="early=a.*\nlate=b.*\nlater=[c-z].*\n")
    told = world.backup()
    assert told["read"] == 0
    assert {(one["path"], one["reason"], one["detail"]) for one in told["departed"]} == {
        ("/primary/late/cara", "left-group", "now in group later"),
        ("/primary/late/dora", "left-group", "now in group later"),
    }
    assert world.restored() == mail_below(world.mail)


def test_a_store_that_lists_nobody_is_refused(world: World) -> None:
    first = world.backup()
    world.mail.rename(world.place / "elsewhere")
    world.mail.mkdir()
    error = world.backup(status=1)["error"]
    assert (error["code"], error["facts"]["missing"]) == ("store-empty", 4)
    assert world.restored().keys() == set(USERS)
    told = world.backup("--accept-empty")
    assert len(told["departed"]) == 4
    assert world.restored("--at", first["run"]).keys() == set(USERS)
    (world.place / "elsewhere" / "anna").rename(world.mail / "anna")
    told = world.backup()
    assert told["read"] == 0  # it is in the archives still
    assert world.restored() == mail_below(world.mail)


def test_alarms_are_loud_and_hold_what_they_are_about(world: World) -> None:
    for number in range(20):
        world.mailbox("anna").message(f"more{number}.anna")
    world.backup()
    for path in (world.mail / "anna" / "Maildir" / "cur").glob("more*"):
        path.unlink()
    told = world.backup(status=3)
    assert [(alarm["path"], alarm["reason"]) for alarm in told["alarms"]] == [
        ("/primary/early/anna", "mailbox-shrunk")
    ]
    assert (
        "ALARM: /primary/early/anna: it has 12 messages, and had 32; it is held until "
        "`mailhaul release /primary/early/anna`"
    ) in world.err
    holds = world.run("hold", "--json")["holds"]
    assert [(hold["path"], hold["automatic"]) for hold in holds] == [("/primary/early/anna", True)]
    world.backup()  # told once
    world.run("release", "/primary/early/anna")
    assert world.run("hold", "--json")["holds"] == []


def test_nothing_is_left_behind(world: World) -> None:
    world.backup()
    world.backup("--thorough")
    assert list(world.place.rglob("*.partial")) == []


def make_mdbox(root: Path) -> None:
    (root / "mailboxes" / "INBOX" / "dbox-Mails").mkdir(parents=True)
    (root / "storage").mkdir()
    (root / "storage" / "m.1").write_text("x")


def test_what_looks_like_mail_is_listed_until_it_is_accepted(world: World) -> None:
    make_mdbox(world.mail / "eve" / "mdbox")
    Maildir(world.mail / "fred" / ".maildir").message("1.fred:2,S")
    shared = world.mail / "anna" / "Maildir" / "shared-folders"
    shared.mkdir()
    (shared / "sales").symlink_to("/srv/shared/sales")
    # A Maildir that git has carried: its empty directories are gone.
    (world.mail / "ben" / "Maildir" / "new").rmdir()
    (world.mail / "ben" / "Maildir" / "tmp").rmdir()
    told = {(skip["path"], skip["reason"]) for skip in world.backup(status=3)["skipped"]}
    assert told == {
        ("/primary", "other-format"),
        ("/primary", "no-user"),
        ("/primary/early/anna/shared-folders/sales", "leads-out"),
    }
    assert world.restored() == mail_below(world.mail)
    shown = world.run("groups", "--json")
    assert {one["detail"].partition(":")[0] for one in shown["not_taken"]} == {"eve/mdbox", "fred/.maildir"}
    assert "looks like mail, and is not backed up:" in world.run("groups")
    # Every night the same, until it is accepted; what is new is listed all the same.
    world.backup(status=3)
    config = world.place / "mailhaul.toml"
    accept = 'accept = ["eve", "*/.maildir", "shared-folders/*"]\n[groups]'
    config.write_text(config.read_text().replace("[groups]", accept))
    done = world.backup()
    assert (done["skipped"], {one["reason"] for one in done["excluded"]}) == ([], {"accepted"})
    assert len(done["excluded"]) == 3
    make_mdbox(world.mail / "gina")
    (one,) = world.backup(status=3)["skipped"]
    assert (one["reason"], one["detail"].partition(":")[0]) == ("other-format", "gina")
    # A run over one user says nothing of the others.
    assert world.backup("/primary/early/ben")["skipped"] == []


def test_a_store_of_another_format_alone(world: World) -> None:
    make_mdbox(world.place / "other" / "eve")
    told = world.run(
        "backup", "--json", "--store", f"maildir:{world.place}/other", "--staging", "st", status=3
    )
    assert [(skip["reason"], skip["detail"].partition(":")[0]) for skip in told["skipped"]] == [
        ("other-format", "eve")
    ]


@pytest.mark.parametrize("there", [False, True])
def test_a_store_that_fails_leaves_no_staging_area(world: World, there: bool) -> None:
    staging = world.place / "above" / "staging"
    if there:
        staging.mkdir(parents=True)
    (world.place / "empty").mkdir()
    for store in ("empty", "missing"):
        world.run("backup", "--store", f"maildir:{world.place}/{store}", "--staging", staging, status=1)
        assert (world.place / "above").exists() == there
    world.run("backup", "--store", f"maildir:{world.mail}/{{user}}/Maildir", "--staging", staging)
    assert list(staging.rglob("*.mha"))
    # What is there stays, also if a run fails.
    world.run("backup", "--store", f"maildir:{world.place}/missing", "--staging", staging, status=2)
    world.mail.rename(world.place / "away")
    world.run("backup", "--store", f"maildir:{world.mail}/{{user}}/Maildir", "--staging", staging, status=1)
    assert list(staging.rglob("*.mha"))


def test_a_format_that_there_is_not_names_those_there_are(world: World) -> None:
    for store in ("mbox:/srv/mail", "/srv/mail", "maildir:"):
        world.run("backup", "--store", store, "--staging", "st", status=2)
        assert "maildir" in world.err.partition("FORMAT:DIR")[0] or "is one of: maildir" in world.err
    world.run("backup", "--store", "mbox:/srv/mail", "--staging", "st", status=2)
    assert "there is no format 'mbox'; there is: maildir" in " ".join(world.err.split())


class TestWithoutSomeGroups:
    def test_everything_else_is_backed_up_and_of_what_is_left_out_nothing_changes(self, world: World) -> None:
        world.configure(groups="early=[a].*\nlate=[c-z].*\n")  # ben is in no group
        world.backup()
        before = world.restored()
        for user in USERS:
            world.mailbox(user).message(f"new.{user}")
        run = world.backup("--except-group", "early")["run"]
        assert mail_below(world.mail) == world.restored() | {"anna": mail_below(world.mail)["anna"]}
        assert world.restored()["anna"] == before["anna"]
        (told,) = (one for one in world.run("runs", "--json")["runs"] if one["run"] == run)
        assert told["paths"] == "/primary/late /primary/user"
        good = world.run("status", "--json")["good"]
        assert {one["group"]: one["run"] == run for one in good} == {
            "early": False,
            "late": True,
            "user": True,
        }
        assert {one["group"]: one["mailboxes"] for one in good} == {"early": 1, "late": 2, "user": 1}
        world.backup()
        assert world.restored() == mail_below(world.mail)

    def test_what_does_not_go_together_is_refused(self, world: World) -> None:
        world.configure()
        for words, told in (
            (["--except-group", "earl"], "there is no group 'earl'; is it early?"),
            (["/primary/late", "--except-group", "early"], "/primary/late: without some groups only everyth"),
            ([f"--except-group={one}" for one in ("early", "late", "user")], "there is nothing to back up"),
        ):
            world.backup(*words, status=2)
            assert told in world.err
