"""What lies outside of the mailbox: control directories, separate homes, keys and filters in them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.errors import ConfigError, StoreError
from mailhaul.proto.records import Folder, Partition, Skipped
from mailhaul.worker.stores import registry
from mailhaul.worker.stores.control import Control, control_of
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.stores.surroundings import Surroundings

from ....maildirs import GUID, Maildir, copy_mail, message, read_files, read_mailbox
from ....trees import differences, snapshot

Around = Callable[[str], Surroundings]


def around(root: Path, **more: object) -> Surroundings:
    return Surroundings(control=f"{root}/control/{{user}}", **more)  # type: ignore[arg-type]


def store(root: Path, surroundings: Surroundings | None = None) -> MaildirStore:
    """Looked at a second later: what is there is old enough to be marked, however fast this machine is."""
    return MaildirStore(
        f"{root}/mail/{{user}}/Maildir",
        surroundings=surroundings,
        now=lambda: time.time_ns() + 1_000_000_000,
    )


def target(root: Path, surroundings: Surroundings | None = None) -> MaildirTarget:
    return MaildirTarget(f"{root}/mail/{{user}}/Maildir", surroundings=surroundings)


def controlled(root: Path) -> Maildir:
    """A mailbox whose server keeps its lists elsewhere."""
    box = Maildir(root / "mail" / "jane" / "Maildir")
    box.folder(".Sent")
    box.message("1.host:2,Sa")
    box.message("2.host:2,S", folder=".Sent")
    control = root / "control" / "jane"
    for name, lines in ((".INBOX", "7 :1.host\n"), (".Sent", "9 :2.host\n")):
        (control / name).mkdir(parents=True, mode=0o750)
        (control / name / "dovecot-uidlist").write_text(f"3 V1500 N12 G{GUID}\n{lines}")
    (control / ".INBOX" / "dovecot-keywords").write_text("0 work\n")
    (control / "subscriptions").write_text("Sent\n")
    (control / "dovecot-uidvalidity").write_text("5f000000")
    for name in (".INBOX/dovecot.index.log", ".INBOX/dovecot-uidlist.lock"):
        (control / name).touch()
    return box


def numbers(root: Path, surroundings: Surroundings | None = None) -> list[tuple[str, int, list[int]]]:
    with store(root, surroundings).open_mailbox("jane") as mailbox:
        return [
            (folder.name, folder.uidvalidity, [listed.uid for listed, _ in messages])
            for folder, messages in read_mailbox(mailbox)
        ]


def test_lists_of_a_control_directory_are_read_as_those_of_the_folders(tmp_path: Path) -> None:
    controlled(tmp_path)
    assert numbers(tmp_path, around(tmp_path)) == [("INBOX", 1500, [7]), ("Sent", 1500, [9])]
    assert numbers(tmp_path) == [("INBOX", 0, [0]), ("Sent", 0, [0])]
    with store(tmp_path, around(tmp_path)).open_mailbox("jane") as mailbox:
        ((inbox, ((listed, _),)), _) = read_mailbox(mailbox)
        assert (inbox.keywords, listed.keywords) == (("work",), ("work",))
        assert read_files(mailbox) == {
            b"dovecot-keywords": b"0 work\n",
            b"dovecot-uidvalidity": b"5f000000",
            b"subscriptions": b"Sent\n",
        }
        assert mailbox.skipped() == []


def test_an_old_list_in_the_folder_does_not_count(tmp_path: Path) -> None:
    box = controlled(tmp_path)
    box.uidlist("77 :1.host")
    (box.root / "subscriptions").write_text("Old\n")
    assert numbers(tmp_path, around(tmp_path))[0] == ("INBOX", 1500, [7])
    with store(tmp_path, around(tmp_path)).open_mailbox("jane") as mailbox:
        read_mailbox(mailbox)
        assert read_files(mailbox)[b"subscriptions"] == b"Sent\n"


def test_they_come_back_where_they_were(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    controlled(old)
    assert copy_mail(store(old, around(old)), target(new, around(new))) == []
    wanted = {name: entry for name, entry in snapshot(old).items() if b"uidlist" not in name}
    found = {name: entry for name, entry in snapshot(new).items() if b"uidlist" not in name}
    here = ("mail", "mail/jane", "control")  # made for it; nothing tells what these were like
    assert (
        differences(
            {name: entry for name, entry in wanted.items() if name.decode() not in here},
            {name: entry for name, entry in found.items() if name.decode() not in here},
        )
        == []
    )
    assert numbers(new, around(new)) == numbers(old, around(old))
    assert not list((new / "mail").rglob("dovecot*"))
    assert not list(new.rglob(".mailhaul-restore-*"))


def test_to_a_server_without_a_control_directory_and_back(tmp_path: Path) -> None:
    """How the server keeps its lists is no matter of the backup."""
    old, plain, back = tmp_path / "old", tmp_path / "plain", tmp_path / "back"
    controlled(old)
    copy_mail(store(old, around(old)), target(plain))
    assert numbers(plain) == numbers(old, around(old))
    assert (plain / "mail" / "jane" / "Maildir" / "subscriptions").read_text() == "Sent\n"
    copy_mail(store(plain), target(back, around(back)))
    assert numbers(back, around(back)) == numbers(old, around(old))
    assert (back / "control" / "jane" / ".INBOX" / "dovecot-keywords").read_text() == "0 work\n"


def test_lists_that_outlived_the_mail_are_kept(tmp_path: Path) -> None:
    """The disk with the mail is gone, that with the lists is not: they know the UIDs given out since."""
    old, new = tmp_path / "old", tmp_path / "new"
    controlled(old)
    controlled(new)
    newer = f"3 V1500 N20 G{GUID}\n7 :1.host\n19 :later.host\n"
    (new / "control" / "jane" / ".INBOX" / "dovecot-uidlist").write_text(newer)
    (new / "mail").rename(tmp_path / "lost")
    told = copy_mail(store(old, around(old)), target(new, around(new)))
    assert (new / "control" / "jane" / ".INBOX" / "dovecot-uidlist").read_text() == newer
    assert numbers(new, around(new)) == [("INBOX", 1500, [7]), ("Sent", 1500, [9])]
    assert {skip.reason for skip in told} == {"exists"}


def test_messages_that_are_added_get_the_letters_of_the_control_directory(tmp_path: Path) -> None:
    controlled(tmp_path)
    (tmp_path / "control" / "jane" / ".INBOX" / "dovecot-uidlist.lock").unlink()
    inbox = Folder(name="INBOX", path=b"", uidvalidity=1500, keywords=("urgent", "work"))
    with target(tmp_path, around(tmp_path)).open_mailbox("jane", layout=[inbox]) as writer:
        into = writer.open_folder(inbox)
        into.add(message(b"3.host", b"x", suffix=b":2,ab"), [b"x"])
        into.finish()
        writer.commit()
    control = tmp_path / "control" / "jane" / ".INBOX"
    assert (control / "dovecot-keywords").read_text() == "0 work\n1 urgent\n"
    box = tmp_path / "mail" / "jane" / "Maildir"
    assert sorted(os.listdir(box / "cur")) == ["1.host:2,Sa", "3.host:2,ab"]
    assert not (box / "dovecot-keywords").exists()


def test_without_dirname_a_folder_of_one_level_is_not_taken_for_one(tmp_path: Path) -> None:
    for name in ("INBOX/Sub/cur", "control/INBOX/Sub"):
        (tmp_path / name).mkdir(parents=True)
    root, fd = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / "control", os.O_RDONLY)
    assert control_of(root, fd).path(b"INBOX/Sub") == b"INBOX/Sub"
    (tmp_path / "control" / "INBOX" / "Sub").rmdir()
    assert control_of(root, fd).path(b"Archive/Sub") == b"Archive"
    os.close(root)
    assert Control(fd).path(b"") == b"INBOX"
    os.close(fd)


def test_a_control_directory_that_cannot_be_read_fails_the_mailbox(tmp_path: Path) -> None:
    """What was stored with UIDs must not be replaced by the same without."""
    controlled(tmp_path)
    (tmp_path / "control" / "jane").rename(tmp_path / "elsewhere")
    (tmp_path / "control" / "jane").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError), store(tmp_path, around(tmp_path)).open_mailbox("jane"):
        pass


# A server that keeps UIDs somewhere else


@pytest.mark.parametrize("doveadm", [(), ("false",)])
def test_mail_without_any_uid_list_is_told_where_there_is_a_server(
    tmp_path: Path, doveadm: tuple[str, ...]
) -> None:
    box = controlled(tmp_path)

    def told() -> list[Skipped]:
        place = f"{tmp_path}/mail/{{user}}/Maildir"
        with MaildirStore(place, doveadm).open_mailbox("jane") as mailbox:
            read_mailbox(mailbox)
            return [skip for skip in mailbox.skipped() if skip.reason == "uidlist"]

    assert bool(told()) == bool(doveadm)
    (box.root / "dovecot.index.log").touch()
    (skip,) = told()
    assert "control" in skip.detail
    box.uidlist("1 :1.host")
    assert told() == []


def test_a_mailbox_without_mail_needs_no_list(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    (box.root / "dovecot.index.log").touch()
    with store(tmp_path).open_mailbox("jane") as mailbox:
        read_mailbox(mailbox)
        assert mailbox.skipped() == []


# Homes


def test_what_the_mail_needs_in_a_home(tmp_path: Path) -> None:
    home = tmp_path / "mail" / "jane"
    Maildir(home / "Maildir").message("1.host:2,S")
    for name in (
        "keys/private/a.pem",
        "keys/b.txt",
        ".sieve/main",
        "big/film",
        "dovecot-attributes",
        "x.p12",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / ".hidden.p12").write_text("x")
    (home / "keys").chmod(0o750)
    found = Surroundings(also=("keys/*/*.pem", "*.p12", "M*", "nothing/here"))
    with store(tmp_path, found).open_mailbox("jane") as mailbox:
        read_mailbox(mailbox)
        found_files = [name.decode() for name in read_files(mailbox)]
        assert sorted(found_files) == [
            "../.sieve/main",
            "../dovecot-attributes",
            "../keys/private/a.pem",
            "../x.p12",
        ]
        assert mailbox.files_mark()
    new = tmp_path / "new"
    assert copy_mail(store(tmp_path, found), target(new)) == []
    assert (new / "mail/jane/keys/private/a.pem").read_text() == "keys/private/a.pem"
    assert (new / "mail/jane/keys").stat().st_mode & 0o777 == 0o750
    assert (new / "mail/jane/keys").stat().st_mtime_ns == (home / "keys").stat().st_mtime_ns
    assert not (new / "mail/jane/big").exists()


def test_a_filter_that_is_a_file(tmp_path: Path) -> None:
    home = tmp_path / "mail" / "jane"
    Maildir(home / "Maildir").message("1.host:2,S")
    (home / ".sieve").write_text("keep;")
    with store(tmp_path).open_mailbox("jane") as mailbox:
        read_mailbox(mailbox)
        assert read_files(mailbox) == {b"../.sieve": b"keep;"}


def test_separate_homes(tmp_path: Path) -> None:
    separate = Surroundings(home=f"{tmp_path}/home/{{user}}")
    Maildir(tmp_path / "spool" / "jane").message("1.host:2,S")
    Maildir(tmp_path / "spool" / "bob").message("1.host:2,S")
    home = tmp_path / "home" / "jane"
    (home / "sieve").mkdir(parents=True)
    (home / "sieve" / "main").write_text("keep;")
    home.chmod(0o750)
    old = MaildirStore(f"{tmp_path}/spool/{{user}}", surroundings=separate)
    with old.open_mailbox("jane") as mailbox:
        read_mailbox(mailbox)
        assert read_files(mailbox) == {b"../sieve/main": b"keep;"}
    there = Surroundings(home=f"{tmp_path}/new/home/{{user}}")
    assert copy_mail(old, MaildirTarget(f"{tmp_path}/new/spool/{{user}}", surroundings=there)) == []
    assert differences(snapshot(home), snapshot(tmp_path / "new" / "home" / "jane")) == []
    assert (tmp_path / "new" / "home" / "jane").stat().st_mode & 0o777 == 0o750


def test_templates_are_checked(tmp_path: Path) -> None:
    partition = Partition(name="p", format="maildir", path=str(tmp_path), control=f"{tmp_path}/control")
    with pytest.raises(ConfigError, match="partition 'p'"):
        registry.open_store(partition)


# Directories above, and those that are there


@pytest.mark.parametrize("end", ["/Maildir", ""])
def test_directories_above_come_back_with_their_modes(tmp_path: Path, end: str) -> None:
    """A server that can't make a mailbox in the directory of a domain takes no mail for new users."""
    path = "{domain}/{user[0]}/{user}" + end
    for user in ("jane", "john"):
        Maildir(tmp_path / "old" / "example.org" / user[0] / user / end.strip("/")).message("1.host:2,S")
    (tmp_path / "old" / "example.org").chmod(0o2771)
    (tmp_path / "old" / "example.org" / "j").chmod(0o750)
    old, new = MaildirStore(f"{tmp_path}/old/{path}"), MaildirTarget(f"{tmp_path}/new/{path}")
    assert copy_mail(old, new, ["jane@example.org"]) == []
    domain, letter = tmp_path / "new" / "example.org", tmp_path / "new" / "example.org" / "j"
    assert [one.stat().st_mode & 0o7777 for one in (domain, letter)] == [0o2771, 0o750]
    # What is there already is somebody's by now.
    domain.chmod(0o700)
    assert copy_mail(old, new) == []
    assert domain.stat().st_mode & 0o7777 == 0o700


def test_a_restore_does_not_open_directories_that_are_there(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    (box.root / "Archive").mkdir(mode=0o755)
    box.folder("Archive/2024")
    old = store(tmp_path)
    with old.open_mailbox("jane") as mailbox:
        folders = [folder.folder for folder in mailbox.folders()]
    (box.root / "Archive" / "2024").rename(tmp_path / "gone")
    (box.root / "Archive").chmod(0o700)
    before = (box.root / "Archive").stat()
    with target(tmp_path).open_mailbox("jane", layout=folders) as writer:
        writer.open_folder(folders[-1]).finish()
        writer.commit()
    assert (box.root / "Archive" / "2024" / "cur").is_dir()
    assert (box.root / "Archive").stat().st_mode == before.st_mode
