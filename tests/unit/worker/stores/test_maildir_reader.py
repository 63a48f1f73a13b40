"""Reading Maildirs: what each of their features becomes, and what bad input costs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from mailhaul.proto.errors import MessageUnavailable, StoreError
from mailhaul.proto.records import Folder, Listed, ListedFile, Skipped
from mailhaul.worker.stores.maildir import MaildirStore

from ....maildirs import DATE_NS, GUID, Maildir, read_files, read_mailbox

Read = tuple[dict[str, Folder], dict[str, list[tuple[Listed, bytes]]], dict[bytes, bytes], list[Skipped]]


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "mail" / "jane" / "Maildir")


def store(box: Maildir) -> MaildirStore:
    return MaildirStore(f"{box.root.parent.parent}/{{user}}/{box.root.name}")


def read(box: Maildir) -> Read:
    """Everything of the mailbox: folders, messages by folder, other files, what was skipped."""
    with store(box).open_mailbox("jane") as mailbox:
        found = read_mailbox(mailbox)
        files = read_files(mailbox)
        return (
            {folder.name: folder for folder, _ in found},
            {folder.name: messages for folder, messages in found},
            files,
            list(mailbox.skipped()),
        )


def reasons(skipped: list[Skipped]) -> dict[str, str]:
    return {skip.path: skip.reason for skip in skipped}


def test_a_mailbox_as_dovecot_keeps_it(box: Maildir) -> None:
    box.message("1.M1.host,S=15,W=18:2,Sa", b"Subject: 1\n\nxy\n")
    box.message("2.M2.host,S=3", b"abc", place="new")
    box.uidlist("7 :1.M1.host,S=15,W=18", "9 W4 :2.M2.host,S=3:2,", header=f"3 V1500 N12 G{GUID} Xy")
    box.keywords("$Forwarded", "projectX")
    box.folder(".Entw&APw-rfe.2024")
    box.message("3.host:2,D", folder=".Entw&APw-rfe.2024")
    for name in (
        "subscriptions",
        "dovecot-uidvalidity",
        "dovecot-uidvalidity.5f",
        "maildirsize",
        "dovecot-acl",
    ):
        (box.root / name).write_text(name)
    (box.root / ".Entw&APw-rfe.2024" / "maildirfolder").write_text("")
    for name in (
        "dovecot.index", "dovecot.index.log", "dovecot.index.cache", "dovecot.list.index.log",
        "dovecot.mailbox.log", "dovecot-uidlist.lock", "dovecot-uidlist.tmp", "subscriptions.lock",
    ):  # fmt: skip
        (box.root / name).write_text("derived")
    (box.root / "tmp" / "half.a.message").write_text("x")

    folders, messages, files, skipped = read(box)
    assert skipped == []
    assert sorted(folders) == ["Entwürfe/2024", "INBOX"]
    inbox = folders["INBOX"]
    assert (inbox.path, inbox.uidvalidity, inbox.uidnext, inbox.guid) == (b"", 1500, 12, GUID)
    assert (inbox.header, inbox.keywords) == (f"3 V1500 N12 G{GUID} Xy".encode(), ("$Forwarded", "projectX"))
    assert messages["INBOX"] == [
        (
            Listed(b"1.M1.host,S=15,W=18", b":2,Sa", "cur", 7, "S", b"", ("$Forwarded",)),
            b"Subject: 1\n\nxy\n",
        ),
        (Listed(b"2.M2.host,S=3", b"", "new", 9, "", b"W4"), b"abc"),
    ]
    assert folders["Entwürfe/2024"].path == b".Entw&APw-rfe.2024"
    assert [listed.flags for listed, _ in messages["Entwürfe/2024"]] == ["D"]
    kept = ("subscriptions", "dovecot-uidvalidity", "dovecot-uidvalidity.5f", "maildirsize", "dovecot-acl")
    assert files == {name.encode(): name.encode() for name in kept} | {
        b"dovecot-keywords": b"0 $Forwarded\n1 projectX\n", b".Entw&APw-rfe.2024/maildirfolder": b""
    }  # fmt: skip


def test_dates_modes_owners_and_hard_links(box: Maildir) -> None:
    path = box.message("1.host")
    path.chmod(0o640)
    os.link(path, box.root / "cur" / "2.host")
    box.message("3.host")
    with store(box).open_mailbox("jane") as mailbox:
        for folder in mailbox.folders():
            stats = [folder.open_message(message).stat for message in folder.messages()]
    status = path.stat()
    assert {stat.mtime_ns for stat in stats} == {DATE_NS}
    assert (stats[0].owner.mode, stats[0].owner.uid, stats[0].owner.gid) == (
        0o640,
        status.st_uid,
        status.st_gid,
    )
    assert [file_stat.identity for file_stat in stats] == [(status.st_dev, status.st_ino)] * 2 + [None]


def test_a_maildir_that_no_server_has_seen(box: Maildir) -> None:
    box.message("1.host:2,S")
    folders, messages, files, skipped = read(box)
    assert (folders["INBOX"].uidvalidity, folders["INBOX"].uidnext, folders["INBOX"].header) == (0, 0, b"")
    assert ([listed.uid for listed, _ in messages["INBOX"]], files, skipped) == ([0], {}, [])


def test_layout_fs_and_both_in_one(box: Maildir) -> None:
    for folder in ("Archive", "Archive/2024", "a/b/c", ".Sent", "R&-D"):
        box.folder(folder)
        box.message("1.host", folder=folder)
    (box.root / "a" / "notes").write_text("x")
    folders, messages, files, skipped = read(box)
    assert {name: folder.path for name, folder in folders.items()} == {
        "INBOX": b"", "Archive": b"Archive", "Archive/2024": b"Archive/2024", "a/b/c": b"a/b/c",
        "Sent": b".Sent", "R&D": b"R&-D",
    }  # fmt: skip
    assert all(len(messages[name]) == 1 for name in folders if name != "INBOX")
    assert (files, skipped) == ({b"a/notes": b"x"}, [])


def test_uidnext_is_above_every_uid_of_the_list(box: Maildir) -> None:
    box.uidlist("5 :gone", "90 :gone too", header="3 V1 N7")
    assert read(box)[0]["INBOX"].uidnext == 91


def test_directories_are_described(box: Maildir) -> None:
    box.folder(".Sent")
    (box.root / "scripts" / "empty").mkdir(parents=True, mode=0o750)
    (box.root / ".Sent" / "extra").mkdir()
    box.uidlist(folder=".Sent").chmod(0o640)
    os.utime(box.root / ".Sent", ns=(1, DATE_NS))
    (box.root.parent / "sieve").mkdir()
    folders, _, _, _ = read(box)
    inbox = {(str(directory.kind), directory.path): directory for directory in folders["INBOX"].directories}
    sent = {(str(one.kind), one.path): one for one in folders["Sent"].directories}
    assert set(inbox) == {
        ("folder", b""), ("part", b"cur"), ("part", b"new"), ("part", b"tmp"),
        ("near", b"scripts"), ("near", b"scripts/empty"), ("home", b""), ("home", b"sieve"),
    }  # fmt: skip
    assert set(sent) == {
        ("folder", b".Sent"), ("part", b".Sent/cur"), ("part", b".Sent/new"), ("part", b".Sent/tmp"),
        ("near", b".Sent/extra"), ("uidlist", b".Sent/dovecot-uidlist"),
    }  # fmt: skip
    assert sent["folder", b".Sent"].mtime_ns == DATE_NS
    assert sent["uidlist", b".Sent/dovecot-uidlist"].owner.mode == 0o640
    assert inbox["near", b"scripts/empty"].owner.mode == 0o750


def test_files_of_the_home_beside_the_mailbox(box: Maildir) -> None:
    home = box.root.parent
    (home / "sieve" / "old").mkdir(parents=True)
    (home / "sieve" / "main.sieve").write_text("keep;")
    (home / "sieve" / "old" / "a.sieve").write_text("stop;")
    (home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
    (home / ".dovecot.svbin").write_bytes(b"\0")
    (home / "dovecot-acl").write_text("user=bob l")
    (home / "private.txt").write_text("no mail")
    (home / "Documents").mkdir()
    (home / "Documents" / "letter").write_text("no mail")
    (box.root / "active").symlink_to("../sieve/main.sieve")
    assert read(box)[2] == {
        b"../sieve/main.sieve": b"keep;", b"../sieve/old/a.sieve": b"stop;", b"../.dovecot.svbin": b"\0",
        b"../.dovecot.sieve": b"-> sieve/main.sieve", b"../dovecot-acl": b"user=bob l",
        b"active": b"-> ../sieve/main.sieve",
    }  # fmt: skip


def test_a_script_of_the_home_by_its_short_name(box: Maildir) -> None:
    home = box.root.parent
    (home / ".sieve").write_text("keep;")
    (home / ".sieve.svbin").write_bytes(b"\0")
    assert read(box)[2] == {b"../.sieve": b"keep;", b"../.sieve.svbin": b"\0"}
    (home / ".sieve").unlink()
    (home / ".sieve").symlink_to("scripts/main")
    assert read(box)[2][b"../.sieve"] == b"-> scripts/main"
    (home / ".sieve").unlink()
    (home / ".sieve").mkdir()
    (home / ".sieve" / "main").write_text("stop;")
    assert read(box)[2] == {b"../.sieve/main": b"stop;", b"../.sieve.svbin": b"\0"}


def test_a_mailbox_whose_directory_is_the_users_has_no_home(tmp_path: Path) -> None:
    Maildir(tmp_path / "jane")
    (tmp_path / "dovecot-acl").write_text("of all users")
    (tmp_path / "jane" / "out").symlink_to("../bob/secret")
    with MaildirStore(f"{tmp_path}/{{user}}").open_mailbox("jane") as mailbox:
        list(mailbox.folders())
        assert read_files(mailbox) == {}
        assert reasons(list(mailbox.skipped())) == {"out": "leads-out"}
        with pytest.raises(MessageUnavailable):
            mailbox.open_file(ListedFile(b"dovecot-acl", home=True))


def test_strange_messages(box: Maildir) -> None:
    contents = {
        b"1": b"",
        b"2": b"\0" * 10,
        b"3": b"no blank line",
        b"4": b"\n",
        b"5": bytes(range(256)) * 999,
    }
    for name, content in contents.items():
        box.message(name, content)
    _, messages, _, skipped = read(box)
    assert {listed.base: content for listed, content in messages["INBOX"]} == contents
    assert skipped == []


def test_strange_names(box: Maildir) -> None:
    names = [b"\xff\xfe:2,S", b"new\nline", b"..x", b"a..b", b"\x1b[31m", b"%2F..%2F", b" ", b"-rf", b"a:b:c"]
    for name in names:
        box.message(name)
    box.uidlist(*(b"%d :%s" % (number, name) for number, name in enumerate(names, 1)))
    (box.root / os.fsdecode(b".\xff\n")).mkdir()
    box.folder(b".\xff\nb")
    folders, messages, files, skipped = read(box)
    listed = {one.base + one.suffix: one.uid for one, _ in messages["INBOX"]}
    assert listed == {name: uid for uid, name in enumerate(names, 1) if name[:1] != b"."} | {b"new\nline": 0}
    assert files == {b"cur/..x": b"Subject: x\n\nhi\n"}
    assert set(folders) == {"INBOX", "\udcff\nb"}
    assert reasons(skipped) == {"dovecot-uidlist": "uidlist"}


def test_what_is_no_file(box: Maildir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("nobody's business")
    os.mkfifo(box.root / "cur" / "fifo")
    os.mkfifo(box.root / "subscriptions")
    os.mkfifo(box.root / "dovecot-uidlist")
    os.mkfifo(box.root / "dovecot-keywords")
    monkeypatch.chdir(box.root / "new")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (box.root / "cur" / "out").symlink_to(tmp_path / "secret")
        (box.root / "cur" / "in").symlink_to("1.host")
        (box.root / ".Out").symlink_to(tmp_path)
        (box.root / "up").symlink_to("../../../secret")
        (box.root.parent / "sieve").symlink_to(tmp_path)
        box.message("1.host")
        folders, messages, files, skipped = read(box)
    assert list(folders) == ["INBOX"]
    assert [listed.base for listed, _ in messages["INBOX"]] == [b"1.host"]
    assert files == {b"cur/in": b"-> 1.host"}
    assert reasons(skipped) == {
        "cur/fifo": "not-regular", "new/socket": "not-regular", "subscriptions": "not-regular",
        "dovecot-uidlist": "not-regular", "dovecot-keywords": "not-regular", "cur/out": "leads-out",
        ".Out": "leads-out", "up": "leads-out", "../sieve": "leads-out",
    }  # fmt: skip


def test_directories_among_messages_are_kept(box: Maildir) -> None:
    inner = box.root / "cur" / "odd" / "cur"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x")
    (box.root / "new" / ".hidden").write_text("y")
    folders, messages, files, skipped = read(box)
    assert (list(folders), messages["INBOX"], skipped) == (["INBOX"], [], [])
    assert files == {b"cur/odd/cur/file": b"x", b"new/.hidden": b"y"}


@pytest.mark.parametrize("swap", ["link", "fifo", "directory", "symlinked directory"])
def test_what_takes_the_place_of_a_message_is_not_read(box: Maildir, tmp_path: Path, swap: str) -> None:
    (tmp_path / "secret").write_text("nobody's business")
    path = box.message("1.host")
    with store(box).open_mailbox("jane") as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        (listed,) = folder.messages()
        path.unlink()
        if swap == "link":
            path.symlink_to(tmp_path / "secret")
        elif swap == "fifo":
            os.mkfifo(path)
        elif swap == "directory":
            path.mkdir()
        else:
            (box.root / "cur").rename(box.root / "away")
            (tmp_path / "1.host").write_text("nobody's business")
            (box.root / "cur").symlink_to(tmp_path)
        with pytest.raises(MessageUnavailable) as refused:
            folder.open_message(listed)
    wanted = {"link": "leads-out", "symlinked directory": "vanished"}.get(swap, "not-regular")
    assert refused.value.reason == wanted


def test_what_takes_the_place_of_a_file_or_directory_is_not_read(box: Maildir, tmp_path: Path) -> None:
    (box.root / "scripts").mkdir()
    (box.root / "scripts" / "a").write_text("x")
    (tmp_path / "a").write_text("nobody's business")
    with store(box).open_mailbox("jane") as mailbox:
        list(mailbox.folders())
        (file,) = mailbox.files()
        (box.root / "scripts").rename(box.root / "scripts2")
        (box.root / "scripts").symlink_to(tmp_path)
        for read_it in (mailbox.open_file, mailbox.link_stat):
            with pytest.raises(MessageUnavailable) as refused:
                read_it(file)
            assert refused.value.reason == "leads-out"


@pytest.mark.parametrize(
    ("content", "uids", "told"),
    [
        (b"", [0, 0], 1),
        (b"\0" * 300, [0, 0], 2),
        (b"3 V1500 N9\n5 :1.host\nxx\n\xff\n6 :2.host\n", [5, 6], 1),
        (b"3 V1500 N9\n5 :1.host\n5 :2.host\n", [5, 0], 1),
        (b"3 V1500 N9\n5 :1.host\n6 :2.ho", [5, 0], 1),
        (b"oops\n5 :1.host\n6 :2.host\n", [5, 6], 1),
        (b"1 1500 7\n5 1.host\n6 2.host\n", [5, 6], 0),
    ],
)
def test_broken_uid_lists(box: Maildir, content: bytes, uids: list[int], told: int) -> None:
    box.message("1.host")
    box.message("2.host")
    (box.root / "dovecot-uidlist").write_bytes(content)
    _, messages, files, skipped = read(box)
    assert [listed.uid for listed, _ in messages["INBOX"]] == uids
    assert [(skip.path, skip.reason) for skip in skipped] == [("dovecot-uidlist", "uidlist")] * told
    assert files == {}


def test_nesting_without_end(box: Maildir) -> None:
    deep = box.root / "/".join(["d"] * 80)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    skipped = read(box)[3]
    assert [skip.reason for skip in skipped] == ["too-deep"]


def test_permissions_cost_what_they_hide(box: Maildir) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to read as somebody else")
    box.message("1.host").chmod(0o644)
    box.message("2.host").chmod(0o600)
    (box.root / "locked").mkdir(mode=0o700)
    box.folder(".Sent")
    for path in (box.root, *box.root.rglob("*"), *box.root.parents[:3]):
        if path.is_dir() and path.name != "locked":
            path.chmod(0o755)
    (box.root / ".Sent" / "cur").chmod(0o700)
    (box.root / "dovecot-uidlist").touch(0o600)
    script = (
        "import os\n"
        "from mailhaul.worker.stores.maildir import MaildirStore\n"
        "from mailhaul.proto.errors import MessageUnavailable\n"
        "os.setgid(65534)\nos.setuid(65534)\n"
        "with MaildirStore('{user}/Maildir').open_mailbox('jane') as mailbox:\n"
        "    for folder in mailbox.folders():\n"
        "        for one in folder.messages():\n"
        "            try:\n"
        "                print(folder.open_message(one).read(99))\n"
        "            except MessageUnavailable as error:\n"
        "                print(one.base, error.reason)\n"
        "    list(mailbox.files())\n"
        "    print(sorted((one.path, one.reason) for one in mailbox.skipped()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=box.root.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "b'Subject: x\\n\\nhi\\n'",
        "b'2.host' permission",
        "[('.Sent/cur', 'permission'), ('dovecot-uidlist', 'permission'), ('locked', 'permission')]",
    ]


def test_mailboxes_that_cannot_be_entered(box: Maildir, tmp_path: Path) -> None:
    Maildir(tmp_path / "elsewhere" / "Maildir")
    mail = box.root.parent.parent
    (mail / "link").symlink_to(tmp_path / "elsewhere")
    (mail / "inner").mkdir()
    (mail / "inner" / "Maildir").symlink_to(tmp_path / "elsewhere" / "Maildir")
    (mail / "file").write_text("")
    assert list(store(box).users()) == ["inner", "jane", "link"]
    for user in ("link", "inner", "file", "nobody", "..", "a/b"):
        with pytest.raises(StoreError), store(box).open_mailbox(user):
            pass
        assert store(box).measure(user).messages == -1


def test_reading_changes_nothing(box: Maildir) -> None:
    paths = [box.message("1.host"), box.uidlist("5 :1.host"), box.keywords("a")]
    for path in (*paths, box.root / "cur"):
        os.utime(path, ns=(5_000_000_000, DATE_NS))

    def state() -> list[tuple[int, int, int]]:
        status = [path.stat() for path in (*paths, box.root, box.root / "cur")]
        return [(one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns) for one in status[:3]] + [
            (0, one.st_mtime_ns, one.st_ctime_ns) for one in status[3:]
        ]

    before = state()
    read(box)
    assert state() == before


def test_no_descriptor_is_left_open(box: Maildir) -> None:
    for folder in ("", ".Sent", "Archive/2024"):
        box.folder(folder)
        box.message("1.host", folder=folder)
        box.uidlist("1 :1.host", folder=folder)
    (box.root / "subscriptions").write_text("x")
    before = _descriptors()
    read(box)
    list(store(box).users())
    store(box).measure("jane")
    # Others may be closed meanwhile, with what other tests have left to the collector of garbage.
    assert _descriptors() - before == set()


def _descriptors() -> set[tuple[str, str]]:
    """What this process has open: numbers, and what they stand for."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of this list itself
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found
