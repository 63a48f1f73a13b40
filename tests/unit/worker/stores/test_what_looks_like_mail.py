"""What looks like mail is taken, or reported; in stores that are searched as in those with a template."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.records import Skipped
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget

from ....maildirs import Maildir, copy_mail, read_files, read_mailbox


def place(path: Path, *directories: str, files: dict[str, str] | None = None) -> Path:
    for directory in directories:
        (path / directory).mkdir(parents=True, exist_ok=True)
    for name, content in (files or {}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    return path


def look(root: Path, pattern: str, *accept: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The users, and what is left out, with the reason."""
    store = MaildirStore(f"{root}{pattern}", accept=accept)
    users = list(store.users())
    return users, [(skip.path, skip.reason) for skip in store.left_out()]


SEARCHED = ""
TEMPLATE = "/{user}/Maildir"
BOTH = pytest.mark.parametrize("pattern", [SEARCHED, TEMPLATE])


class TestMaildirsWithoutEmptyDirectories:
    """As git, rclone, object stores and Thunderbird leave them."""

    @BOTH
    @pytest.mark.parametrize(
        "files",
        [
            {"cur/1.host:2,S": "one"},
            {"new/1.host": "one"},
            {".Sent/cur/1.host:2,S": "one"},
            {".Sent/new/1.host": "one"},
            {"dovecot-uidlist": "3 V1 N1\n", "cur/1.host:2,S": "one"},
        ],
    )
    def test_it_is_taken_and_comes_back(self, tmp_path: Path, pattern: str, files: dict[str, str]) -> None:
        place(tmp_path / "mail" / "jane" / "Maildir", files=files)
        assert look(tmp_path / "mail", pattern) == (["jane"], [])
        store = MaildirStore(f"{tmp_path}/mail{pattern}")
        assert copy_mail(store, MaildirTarget(f"{tmp_path}/back{pattern}")) == []
        back = MaildirStore(f"{tmp_path}/back{pattern}")
        for maildir_store in (store, back):
            with maildir_store.open_mailbox("jane") as mailbox:
                found = [content for _, messages in read_mailbox(mailbox) for _, content in messages]
                assert found == [b"one"]
        assert store.measure("jane").messages == back.measure("jane").messages == 1

    @BOTH
    @pytest.mark.parametrize("directories", [("cur", "tmp"), ("new", "tmp")])
    def test_one_that_is_empty(self, tmp_path: Path, pattern: str, directories: tuple[str, ...]) -> None:
        place(tmp_path / "jane" / "Maildir", *directories)
        assert look(tmp_path, pattern) == (["jane"], [])

    def test_users_may_be_called_as_its_directories(self, tmp_path: Path) -> None:
        for user in ("cur", "new", "tmp"):
            Maildir(tmp_path / "mail" / user)
        assert look(tmp_path / "mail", "")[0] == ["cur", "new", "tmp"] or look(tmp_path / "mail", "")[0] == [
            "mail"
        ]
        # Only two of them: each is what it is.
        Maildir(tmp_path / "one" / "new" / "Maildir")
        place(tmp_path / "one" / "other")
        assert look(tmp_path / "one", "") == (["new"], [])


class TestFoldersAreNoUsers:
    """LAYOUT=fs keeps the INBOX in a directory of its own: the root is no Maildir, and each folder is one."""

    @pytest.mark.parametrize(
        "files",
        [{}, {"dovecot.list.index": "x"}, {"subscriptions": "Sent\n"}, {"dovecot-uidvalidity": ""}],
    )
    @BOTH
    def test_layout_fs(self, tmp_path: Path, pattern: str, files: dict[str, str]) -> None:
        root = tmp_path / "mail" / "jane" / "Maildir"
        for folder in ("INBOX" if not files else "Inbox2", "Sent", "Archive", "Archive/2024"):
            Maildir(root / folder).message("1.host:2,S", folder.encode())
        place(root, files=files)
        assert look(tmp_path / "mail", pattern) == (["jane"], [])
        with MaildirStore(f"{tmp_path}/mail{pattern}").open_mailbox("jane") as mailbox:
            found = {folder.path for folder, _ in read_mailbox(mailbox)}
        assert {b"Sent", b"Archive", b"Archive/2024"} <= found

    def test_directories_of_folders_named_by_the_server(self, tmp_path: Path) -> None:
        """DIRNAME=: the messages of a folder lie one level deeper."""
        root = tmp_path / "jane"
        Maildir(root / "Sent" / "mAildir").message("1.host:2,S")
        place(root, files={"subscriptions": "Sent\n"})
        assert look(tmp_path, "") == (["jane"], [])

    def test_mailboxes_beside_each_other_are_users(self, tmp_path: Path) -> None:
        for user in ("ann", "bob", "ex.org/carol"):
            Maildir(tmp_path / user)
        place(tmp_path, files={"README": "x", "dovecot.conf": "y"})
        assert look(tmp_path, "") == (["ann", "bob", "ex.org/carol"], [])

    @pytest.mark.parametrize("below", ["", "Maildir"])
    def test_a_hidden_one_beside_them_is_a_user_too(self, tmp_path: Path, below: str) -> None:
        for user in (".quarantine", "ann", "bob"):
            Maildir(tmp_path / user / below)
        assert look(tmp_path, "") == ([".quarantine", "ann", "bob"], [])


def mdbox(root: Path) -> None:
    place(root, "mailboxes/INBOX/dbox-Mails", "storage", files={"storage/m.1": "x", "subscriptions": "a\n"})


def sdbox(root: Path) -> None:
    place(root, files={"mailboxes/INBOX/dbox-Mails/u.1": "x", "dovecot.list.index": "x"})


def mbox(root: Path) -> None:
    place(root, files={"inbox": "From jane Sat Nov 21\n\nx\n", "Sent": "From jane Sat Nov 21\n\ny\n"})


def mbox_with_indexes(root: Path) -> None:
    place(root, ".imap/INBOX", files={"Sent": ""})


FORMATS = pytest.mark.parametrize("make", [mdbox, sdbox, mbox, mbox_with_indexes])


class TestOtherFormats:
    @FORMATS
    @BOTH
    def test_they_are_reported(self, tmp_path: Path, pattern: str, make: Callable[[Path], None]) -> None:
        Maildir(tmp_path / "jane" / "Maildir")
        make(tmp_path / "bob" / "mail")
        users, left_out = look(tmp_path, pattern)
        assert users == ["jane"]
        ((path, reason),) = left_out
        assert (path.startswith("bob/mail"), reason) == (True, "other-format")
        (told,) = MaildirStoreOf(tmp_path, pattern)
        assert "which this version does not read" in told.detail

    @FORMATS
    def test_also_where_the_template_expects_a_mailbox(
        self, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / "bob" / "Maildir")
        users, left_out = look(tmp_path, TEMPLATE)
        assert (users, [reason for _, reason in left_out]) == ([], ["other-format"])

    @FORMATS
    @BOTH
    def test_they_can_be_accepted(self, tmp_path: Path, pattern: str, make: Callable[[Path], None]) -> None:
        Maildir(tmp_path / "jane" / "Maildir")
        make(tmp_path / "bob" / "mail")
        users, left_out = look(tmp_path, pattern, "bob/mail")
        assert (users, [reason for _, reason in left_out]) == (["jane"], ["accepted"])

    @BOTH
    def test_looking_changes_nothing(self, tmp_path: Path, pattern: str) -> None:
        mbox(tmp_path / "bob" / "mail")
        before = (tmp_path / "bob" / "mail" / "inbox").stat().st_atime_ns
        os.utime(tmp_path / "bob" / "mail" / "inbox", ns=(before - 10**15, before))
        look(tmp_path, pattern)
        assert (tmp_path / "bob" / "mail" / "inbox").stat().st_atime_ns == before - 10**15

    def test_an_mbox_beside_users_of_a_template(self, tmp_path: Path) -> None:
        Maildir(tmp_path / "jane")
        place(tmp_path, files={"bob": "From bob Sat Nov 21\n\nx\n", "notes": "from nobody"})
        assert look(tmp_path, "/{user}") == (["jane"], [("bob", "other-format")])


def MaildirStoreOf(root: Path, pattern: str) -> list[Skipped]:
    store = MaildirStore(f"{root}{pattern}")
    list(store.users())
    return list(store.left_out())


class TestMailWhereTheTemplateHasNone:
    def test_homes_with_another_name_for_it(self, tmp_path: Path) -> None:
        Maildir(tmp_path / "jane" / "Maildir")
        Maildir(tmp_path / "bob" / ".maildir")
        assert look(tmp_path, TEMPLATE) == (["jane"], [("bob/.maildir", "no-user")])
        assert look(tmp_path, TEMPLATE, "*/.maildir") == (["jane"], [("bob/.maildir", "accepted")])

    def test_a_level_too_few_and_one_too_many(self, tmp_path: Path) -> None:
        Maildir(tmp_path / "ex.org" / "jane" / "Maildir")
        Maildir(tmp_path / "bob" / "Maildir")
        Maildir(tmp_path / "ex.org" / "old" / "carol" / "Maildir")
        users, left_out = look(tmp_path, "/{domain}/{user}/Maildir")
        assert users == ["jane@ex.org"]
        assert set(left_out) == {("bob/Maildir", "no-user"), ("ex.org/old/carol/Maildir", "no-user")}

    def test_hashes_of_another_user(self, tmp_path: Path) -> None:
        Maildir(tmp_path / "j" / "jane")
        Maildir(tmp_path / "x" / "bob")
        assert look(tmp_path, "/{user[0]}/{user}") == (["jane"], [("x/bob", "no-user")])

    def test_homes_without_mail_are_nothing(self, tmp_path: Path) -> None:
        Maildir(tmp_path / "jane" / "Maildir")
        place(tmp_path / "bob", "Documents/deep/deeper/deepest/still", files={"letter": "Dear From \n"})
        assert look(tmp_path, TEMPLATE) == (["jane"], [])


class TestLinks:
    """Homes behind links to another disk: no link is followed, and none is passed over without a word."""

    @BOTH
    @pytest.mark.parametrize("link", ["jane", "jane/Maildir"])
    def test_they_are_users_that_can_not_be_opened(self, tmp_path: Path, pattern: str, link: str) -> None:
        root, disk = tmp_path / "mail", tmp_path / "disk2"
        Maildir(disk / "jane" / "Maildir")
        (root / link).parent.mkdir(parents=True)
        (root / link).symlink_to(disk / link)
        # Known mailboxes must not seem to be gone, so they stay users.
        assert look(root, pattern) == (["jane"], [])
        store = MaildirStore(f"{root}{pattern}")
        with pytest.raises(Exception, match="behind a link"), store.open_mailbox("jane"):
            pass
        assert look(root, pattern, "jane") == ([], [(link, "accepted")])

    @BOTH
    def test_links_that_lead_to_no_mail(self, tmp_path: Path, pattern: str) -> None:
        root = tmp_path / "mail"
        Maildir(root / "ann" / "Maildir")
        (tmp_path / "other" / "x").mkdir(parents=True)
        (root / "other").symlink_to(tmp_path / "other")
        (root / "above").symlink_to(tmp_path)
        (root / "inside").symlink_to("ann")
        (root / "dangling").symlink_to("nowhere")
        assert look(root, pattern) == (["ann"], [])


@pytest.mark.parametrize("name", ["1.M1P1.host,S=15,W=18", "1.M1P1.host,S=15"])
def test_lists_that_a_server_keeps_elsewhere_are_missed(tmp_path: Path, name: str) -> None:
    """With CONTROL= and INDEX= elsewhere, only the names of the messages tell which server it is."""
    Maildir(tmp_path / "jane" / "Maildir").message(f"{name}:2,S")
    for accept, reason in (((), "uidlist"), ((".",), "accepted")):
        with MaildirStore(f"{tmp_path}/{{user}}/Maildir", accept=accept).open_mailbox("jane") as mailbox:
            read_mailbox(mailbox)
            told = [(skip.path, skip.reason) for skip in mailbox.skipped()]
        assert told == ([(".", reason)] if ",W=" in name else [])


def test_what_lies_in_a_mailbox_can_be_accepted_too(tmp_path: Path) -> None:
    """Courier's links to shared folders: every night the same two lines."""
    box = Maildir(tmp_path / "jane" / "Maildir")
    (box.root / "shared-folders").mkdir()
    for name in ("sales", "support"):
        (box.root / "shared-folders" / name).symlink_to(f"/srv/shared/{name}")
    os.mkfifo(box.root / "pipe")
    for accept, reasons in (
        ((), {"leads-out", "not-regular"}),
        (("shared-folders/*",), {"accepted", "not-regular"}),
        (("shared-folders", "pipe"), {"accepted"}),
    ):
        with MaildirStore(f"{tmp_path}/{{user}}/Maildir", accept=accept).open_mailbox("jane") as mailbox:
            read_mailbox(mailbox)
            read_files(mailbox)
            told = mailbox.skipped()
        assert (len(told), {skip.reason for skip in told}) == (3, reasons)
        assert all(one.detail for one in told)
