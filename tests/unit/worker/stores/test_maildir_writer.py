"""Restoring Maildirs: new mailboxes, folders and messages, what is left alone, what is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import MessageUnavailable, StoreError
from mailhaul.proto.ports import MailboxWriter
from mailhaul.proto.records import Directory, DirectoryKind, Folder, Ownership
from mailhaul.proto.structs import replace
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget

from ....maildirs import DATE_NS, GUID, Maildir, copy_mail, file, message
from ....trees import differences, snapshot

INBOX = Folder(name="INBOX", path=b"", uidvalidity=1500, uidnext=9, guid=GUID, keywords=("a", "b"))
SENT = Folder(name="Sent", path=b".Sent", uidvalidity=7, uidnext=3)
ROOT = os.geteuid() == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail"


@pytest.fixture
def target(root: Path) -> MaildirTarget:
    return MaildirTarget(f"{root}/{{user}}/Maildir")


@pytest.fixture
def box(root: Path) -> Maildir:
    """A mailbox that exists, as a server would have it by now."""
    box = Maildir(root / "jane" / "Maildir")
    box.message("1.host,S=1:2,Sa", b"1")
    box.uidlist("3 :1.host,S=1", header="3 V99 N4 G" + "f" * 32)
    box.keywords("own")
    return box


@contextmanager
def writing(target: MaildirTarget, user: str = "jane", place: bytes = b"") -> Iterator[MailboxWriter]:
    """A mailbox to write, committed at the end."""
    with target.open_mailbox(user, place) as writer:
        yield writer
        writer.commit()


def add(writer: MailboxWriter, folder: Folder, *bases: bytes, content: bytes = b"x") -> list[bool]:
    """Messages with the UIDs 1, 2, … and the flag Seen."""
    into = writer.open_folder(folder)
    added = [into.add(message(base, content, uid=uid), [content]) for uid, base in enumerate(bases, 1)]
    into.finish()
    return added


def give_up(target: MaildirTarget, user: str) -> None:
    """Write much and commit nothing."""
    with target.open_mailbox(user) as writer:
        add(writer, INBOX, b"9.host")
        add(writer, SENT, b"1.host")
        writer.open_folder(Folder(name="half", path=b".half")).add(message(b"1", b"x"), [b"x"])
        writer.add_file(file(b"notes", b"x"), [b"x"])
        writer.add_file(file(b".dovecot.sieve", b"x", home=True), [b"x"])


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def same(old: Path, new: Path) -> None:
    assert differences(snapshot(old), snapshot(new)) == []


def rich_store(root: Path) -> None:
    """Two mailboxes with all that a mailbox may have."""
    jane = Maildir(root / "example.org" / "jane" / "Maildir")
    jane.message("1.host,S=5:2,Sab", b"hello").chmod(0o640)
    jane.message("2.host", b"", place="new")
    jane.message("3.host:1,odd:x")
    jane.uidlist("7 W12 :1.host,S=5", "9 :2.host", header=f"3 V1500 N12 G{GUID} Xy").chmod(0o600)
    os.utime(jane.root / "dovecot-uidlist", ns=(DATE_NS, DATE_NS))
    jane.keywords("$Forwarded", "projectX")
    for folder in (".Sent", ".R&-D.2024", "fs/deep"):
        jane.folder(folder)
        jane.message("1.host:2,", folder=folder, content=folder.encode())
        jane.uidlist("1 :1.host", folder=folder)
    (jane.root / ".Sent" / "maildirfolder").touch(0o644)
    (jane.root / "dovecot-uidvalidity.5f").touch(0o444)
    (jane.root / "subscriptions").write_text("Sent\n")
    (jane.root / "scripts" / "empty").mkdir(parents=True, mode=0o755)
    (jane.root / "scripts" / "a").write_text("x")
    (jane.root / "active").symlink_to("scripts/a")
    home = jane.root.parent
    (home / "sieve").mkdir(mode=0o750)
    (home / "sieve" / "main").write_text("keep;")
    (home / ".dovecot.sieve").symlink_to("sieve/main")
    plain = Maildir(root / "bob")
    plain.message("1.host")
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        # Where a server stores mail with owners of its own, they come back too.
        if ROOT:
            os.chown(path, 1000, 1000 + number % 3, follow_symlinks=False)
        if path.name != "example.org":
            os.utime(path, ns=(DATE_NS + number, DATE_NS + number), follow_symlinks=False)


@pytest.mark.parametrize("exists", [False, True])
def test_a_store_comes_back_as_it_was(tmp_path: Path, exists: bool) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    rich_store(old)
    if exists:
        new.mkdir()
    assert copy_mail(MaildirStore(str(old)), MaildirTarget(str(new))) == []
    if not exists:
        os.utime(old / "example.org", (1, 1))
        os.utime(new / "example.org", (1, 1))
    before, after = snapshot(old), snapshot(new)
    # Several users may lie in a directory of that kind; it is made, not restored.
    del before[b"example.org"], after[b"example.org"]
    assert differences(before, after) == []


def test_one_mailbox_comes_back_as_it_was(tmp_path: Path) -> None:
    rich_store(tmp_path / "old")
    jane = tmp_path / "old" / "example.org" / "jane" / "Maildir"
    (tmp_path / "empty" / "Maildir").mkdir(parents=True)
    for place in ("new", "empty"):
        restored = tmp_path / place / "Maildir"
        assert copy_mail(MaildirStore(str(jane)), MaildirTarget(str(restored))) == []
        same(jane, restored)
        same(jane.parent / "sieve", restored.parent / "sieve")


def test_uid_list_and_keywords_of_a_new_folder(target: MaildirTarget, root: Path) -> None:
    with writing(target) as writer:
        add(writer, INBOX, b"1.host", b"2.host")
        add(writer, replace(SENT, uidvalidity=0, uidnext=0), b"1.host")
    box = Maildir(root / "jane" / "Maildir")
    assert (box.root / "dovecot-uidlist").read_text() == f"3 V1500 N10000009 G{GUID}\n1 :1.host\n2 :2.host\n"
    assert (box.root / "dovecot-keywords").read_text() == "0 a\n1 b\n"
    assert not (box.root / ".Sent" / "dovecot-uidlist").exists()
    assert box.names() == ["1.host:2,S", "2.host:2,S"]
    assert box.leftovers() == []


def test_the_keywords_file_that_was_kept_counts(target: MaildirTarget, root: Path) -> None:
    with writing(target) as writer:
        add(writer, INBOX, b"1.host")
        assert writer.add_file(file(b"dovecot-keywords", b"0 mine\n"), [b"0 mine\n"])
    assert (root / "jane" / "Maildir" / "dovecot-keywords").read_text() == "0 mine\n"


def test_a_folder_alone_makes_a_mailbox(target: MaildirTarget, root: Path) -> None:
    with writing(target) as writer:
        add(writer, SENT, b"1.host")
    assert everything(root / "jane" / "Maildir") == {
        "cur", "new", "tmp", ".Sent", ".Sent/cur", ".Sent/new", ".Sent/tmp", ".Sent/dovecot-uidlist",
        ".Sent/cur/1.host:2,S",
    }  # fmt: skip
    assert list(MaildirStore(str(root)).users()) == ["jane"]


def test_a_mailbox_appears_all_at_once(target: MaildirTarget, root: Path) -> None:
    with target.open_mailbox("jane") as writer:
        add(writer, INBOX, b"1.host")
        assert not (root / "jane" / "Maildir").exists()
        assert list(MaildirStore(f"{root}/{{user}}/Maildir").users()) == []
        assert list(MaildirStore(str(root)).users()) == []
        writer.commit()
        assert everything(root / "jane") >= {"Maildir/cur/1.host:2,S", "Maildir/dovecot-uidlist"}
        assert Maildir(root / "jane" / "Maildir").leftovers() == []


def test_what_is_not_committed_leaves_nothing(target: MaildirTarget, root: Path, box: Maildir) -> None:
    before = snapshot(root, times=False)
    for user in ("jane", "bob"):
        give_up(target, user)
    assert differences(before, snapshot(root, times=False)) == []


def test_a_mailbox_that_comes_into_being_meanwhile_is_added_to(target: MaildirTarget, root: Path) -> None:
    with target.open_mailbox("jane") as writer:
        add(writer, INBOX, b"1.host")
        add(writer, SENT, b"1.host")
        theirs = Maildir(root / "jane" / "Maildir")
        theirs.message("2.host")
        theirs.uidlist("1 :2.host", header="3 V99 N2")
        writer.commit()
        assert [(skip.path, skip.reason) for skip in writer.skipped()] == [("dovecot-uidlist", "exists")]
    assert theirs.names() == ["1.host:2,S", "2.host"]
    assert (theirs.root / "dovecot-uidlist").read_text() == "3 V99 N2\n1 :2.host\n"
    assert theirs.names(".Sent") == ["1.host:2,S"]
    assert theirs.leftovers() == []


def test_messages_for_a_folder_that_exists(target: MaildirTarget, box: Maildir) -> None:
    uidlist = (box.root / "dovecot-uidlist").read_bytes()
    with writing(target) as writer:
        into = writer.open_folder(INBOX)
        assert not into.add(message(b"1.host,S=1", b"y"), [b"y"])
        assert into.add(message(b"1.host,S=1", b"other"), [b"other"])
        assert into.add(message(b"2.host", b"z", suffix=b"", place="new", uid=3), [b"z"])
        assert box.names() == ["1.host,S=1:2,Sa"]
        into.finish()
        assert box.names() == ["1.host,S=1:2,Sa"]
    assert box.names() == ["1.host,S=1:2,Sa", "1.host_r1,S=1:2,S"]
    assert (box.root / "cur" / "1.host_r1,S=1:2,S").read_bytes() == b"other"
    assert box.names(place="new") == ["2.host"]
    assert (box.root / "dovecot-uidlist").read_bytes() == uidlist
    assert (box.root / "cur" / "1.host_r1,S=1:2,S").stat().st_mtime_ns == DATE_NS
    assert box.leftovers() == []
    assert os.listdir(box.root / "tmp") == []


def test_a_name_of_an_expunged_message_is_not_used_again(target: MaildirTarget, box: Maildir) -> None:
    """To Dovecot, a file of a name that its list still has would be the old message under its old UID."""
    box.uidlist("3 :1.host,S=1", "4 :2.host", "5 :2.host_r1")
    for added in (True, False):
        with writing(target) as writer:
            assert add(writer, INBOX, b"2.host") == [added]
        assert box.names() == ["1.host,S=1:2,Sa", "2.host_r2:2,S"]
    # The server has cleaned its list up: the message is known by the name it got nevertheless.
    box.uidlist("3 :1.host,S=1", "6 :2.host_r2")
    with writing(target) as writer:
        assert add(writer, INBOX, b"2.host") == [False]


MD5 = b"f" * 32


@pytest.mark.parametrize(
    ("base", "restored"),
    [
        (b"2.host,U=5", "2.host"),
        (b"2.host,U=5,FMD5=" + MD5, "2.host"),
        (b"2.host,S=3,U=5,W=4", "2.host,S=3,W=4"),
        (b"2.host,S=3", "2.host,S=3"),
        (b"2.host,U=x,FMD5=1", "2.host,U=x,FMD5=1"),
    ],
)
def test_what_other_programs_read_in_a_name_stays_out_of_a_folder_that_exists(
    target: MaildirTarget, box: Maildir, base: bytes, restored: str
) -> None:
    """mbsync and OfflineIMAP keep the UID in the name: now it is another message's, or an expunged one's."""
    box.message("9.host,U=5:2,S", b"another")
    for _ in range(2):  # the second time it is known again
        with writing(target) as writer:
            folder = writer.open_folder(INBOX)
            folder.add(message(base, b"old"), [b"old"])
            folder.finish()
        assert box.names() == sorted(["1.host,S=1:2,Sa", "9.host,U=5:2,S", f"{restored}:2,S"])
    assert (box.root / "cur" / f"{restored}:2,S").read_bytes() == b"old"


def test_a_message_that_is_there_under_its_whole_name_is_known(target: MaildirTarget, box: Maildir) -> None:
    box.message("2.host,U=5:2,FS", b"old")
    with writing(target) as writer:
        folder = writer.open_folder(INBOX)
        assert not folder.add(message(b"2.host,U=5", b"old"), [b"old"])
        folder.finish()
    assert box.names() == ["1.host,S=1:2,Sa", "2.host,U=5:2,FS"]


def test_a_folder_that_comes_back_whole_keeps_the_names_of_other_programs(
    target: MaildirTarget, root: Path
) -> None:
    """Their own record of it comes back with it."""
    with writing(target) as writer:
        folder = writer.open_folder(SENT)
        folder.add(message(b"2.host,U=5", b"old"), [b"old"])
        folder.finish()
        writer.add_file(file(b".Sent/.uidvalidity", b"17\n5\n"), [b"17\n5\n"])
    there = Maildir(root / "jane" / "Maildir")
    assert there.names(".Sent") == ["2.host,U=5:2,S"]


def test_keywords_of_a_folder_that_exists(target: MaildirTarget, box: Maildir) -> None:
    old = (box.root / "dovecot-keywords").stat()
    with writing(target) as writer:
        into = writer.open_folder(replace(INBOX, keywords=("new", "own", "unused")))
        into.add(message(b"2.host", b"x", suffix=b":2,Sab"), [b"x"])
        into.finish()
    assert box.names() == ["1.host,S=1:2,Sa", "2.host:2,Sab"]
    assert (box.root / "dovecot-keywords").read_text() == "0 own\n1 new\n"
    new = (box.root / "dovecot-keywords").stat()
    assert (new.st_mode, int(new.st_mtime) > int(old.st_mtime)) == (old.st_mode, True)
    assert not (box.root / "dovecot-uidlist.lock").exists()


def test_keywords_that_cannot_be_added_are_told(
    target: MaildirTarget, box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (box.root / "dovecot-uidlist.lock").write_text("1:otherhost")
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**9, 40)).__next__)
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(replace(INBOX, keywords=("new", "own")))
        into.add(message(b"2.host", b"x", suffix=b":2,Sab"), [b"x"])
        into.finish()
        writer.commit()
        assert [skip.reason for skip in writer.skipped()] == ["keyword", "keyword"]
    assert box.names() == ["1.host,S=1:2,Sa", "2.host:2,Sa"]
    assert (box.root / "dovecot-keywords").read_text() == "0 own\n"


def test_a_folder_full_of_keywords(target: MaildirTarget, box: Maildir) -> None:
    box.keywords(*(f"k{number}" for number in range(26)))
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(replace(INBOX, keywords=("k25", "more")))
        into.add(message(b"2.host", b"x", suffix=b":2,Sab"), [b"x"])
        into.finish()
        writer.commit()
        (told,) = writer.skipped()
    assert (told.path, told.reason, "more" in told.detail) == (".", "keyword", True)
    assert box.names()[1] == "2.host:2,Sz"


def test_new_folders_in_a_mailbox_that_exists(target: MaildirTarget, box: Maildir) -> None:
    (box.root / "Archive").mkdir()
    (box.root / "Archive" / "notes").write_text("theirs")
    for name in ("dovecot.list.index", "dovecot.list.index.log"):
        (box.root / name).write_text("which folders there are")
    with writing(target) as writer:
        add(writer, SENT, b"1.host")
        add(writer, Folder(name="Archive", path=b"Archive", uidvalidity=8), b"2.host")
        add(writer, Folder(name="a/b/c", path=b"a/b/c"), b"3.host")
        assert not writer.add_file(file(b"Archive/notes", b"ours"), [b"ours"])
        assert writer.add_file(file(b"Archive/more", b"ours"), [b"ours"])
    assert (box.root / ".Sent" / "dovecot-uidlist").read_text() == "3 V7 N10000003\n1 :1.host\n"
    assert (box.root / "Archive" / "dovecot-uidlist").read_text() == "3 V8 N10000001\n1 :2.host\n"
    assert box.names("a/b/c") == ["3.host:2,S"]
    assert (box.root / "Archive" / "notes").read_text() == "theirs"
    assert (box.root / "Archive" / "more").read_text() == "ours"
    # A directory became a folder: the server must look again.
    assert not [name for name in os.listdir(box.root) if name.startswith("dovecot.list.index")]


def test_state_of_the_server_is_not_mixed(target: MaildirTarget, box: Maildir) -> None:
    with writing(target) as writer:
        for name in (b"dovecot-uidvalidity", b"dovecot-uidvalidity.5f", b"maildirsize"):
            assert not writer.add_file(file(name, b"old"), [b"old"])
    assert not list(box.root.glob("dovecot-uidvalidity*"))


def test_restoring_twice_changes_nothing(tmp_path: Path) -> None:
    rich_store(tmp_path / "old")
    store, target = MaildirStore(str(tmp_path / "old")), MaildirTarget(str(tmp_path / "new"))
    copy_mail(store, target)
    before = snapshot(tmp_path / "new", times=False)
    assert copy_mail(store, target) == []
    assert differences(before, snapshot(tmp_path / "new", times=False)) == []


@pytest.mark.skipif(not ROOT, reason="needs root, to give files away")
def test_owners(target: MaildirTarget, root: Path) -> None:
    owner = Ownership(0o660, 1234, 1235)
    folder = replace(INBOX, directories=(Directory(b"", Ownership(0o2770, 1234, 1235), DATE_NS),))
    with writing(target) as writer:
        into = writer.open_folder(folder)
        into.add(message(b"1.host", b"x", owner=owner), [b"x"])
        into.finish()
        writer.add_file(file(b"deep/notes", b"x", owner=owner), [b"x"])
        writer.add_file(file(b"link", target=b"deep/notes", owner=owner), [])
        writer.add_file(file(b"sieve/main", b"x", owner=owner, home=True), [b"x"])
    for path in (root / "jane", *(root / "jane").rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (1234, 1235), path
    mailbox = root / "jane" / "Maildir"
    assert stat.S_IMODE(mailbox.stat().st_mode) == 0o2770
    assert mailbox.stat().st_mtime_ns == DATE_NS
    assert stat.S_IMODE((mailbox / "dovecot-uidlist").stat().st_mode) == 0o660


@pytest.mark.skipif(not ROOT, reason="needs root, to give files away")
def test_owners_in_a_mailbox_that_exists_are_its_own(target: MaildirTarget, box: Maildir) -> None:
    os.chown(box.root, 4321, 4322)
    (box.root / "tmp").rmdir()
    owner = Ownership(0o600, 1234, 1235)
    with writing(target) as writer:
        for folder in (INBOX, SENT):
            into = writer.open_folder(folder)
            into.add(message(b"9.host", b"x", owner=owner, suffix=b":2,b"), [b"x"])
            into.finish()
        writer.add_file(file(b"deep/notes", b"x", owner=owner), [b"x"])
    for name in ("tmp", "cur/9.host:2,b", ".Sent", ".Sent/cur/9.host:2,b", "deep", "deep/notes"):
        status = (box.root / name).stat()
        assert (status.st_uid, status.st_gid) == (4321, 4322), name


@pytest.mark.skipif(not ROOT, reason="needs root, to become somebody else")
def test_owners_that_cannot_be_set_are_told_once(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from mailhaul.proto.records import Folder, Message, Ownership\n"
        "from mailhaul.worker.stores.maildir_target import MaildirTarget\n"
        "os.setgid(65534)\nos.setuid(65534)\n"
        "with MaildirTarget('{user}').open_mailbox('jane') as writer:\n"
        "    into = writer.open_folder(Folder(name='INBOX', path=b''))\n"
        "    for base in (b'1', b'2'):\n"
        "        one = Message(0, base, b'', 'cur', '', b'', 0, Ownership(0o640, 1000, 1000), 1, b'', ())\n"
        "        into.add(one, [b'x'])\n"
        "    into.finish()\n"
        "    writer.commit()\n"
        "    print([one.reason for one in writer.skipped()])\n"
    )
    tmp_path.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("['owner']\n", "")
    status = (tmp_path / "jane" / "cur" / "2").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_mtime) == (0o640, 65534, 0)


def test_set_user_id_bits_are_not_restored(target: MaildirTarget, root: Path) -> None:
    owner = Ownership(0o6755, os.geteuid(), os.getegid())
    folder = replace(INBOX, directories=(Directory(b"", replace(owner, mode=0o6755), DATE_NS),))
    with writing(target) as writer:
        into = writer.open_folder(folder)
        into.add(message(b"1.host", b"x", owner=owner), [b"x"])
        into.finish()
        writer.add_file(file(b"shell", b"x", owner=owner), [b"x"])
    mailbox = root / "jane" / "Maildir"
    modes = [stat.S_IMODE((mailbox / name).stat().st_mode) for name in ("cur/1.host:2,S", "shell", ".")]
    assert modes == [0o755, 0o755, 0o2755]


@pytest.mark.parametrize("date_ns", [-(10**18), 0, 2**63 - 1, 10**30, -(10**30)])
def test_any_date(target: MaildirTarget, root: Path, date_ns: int) -> None:
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(INBOX)
        assert into.add(message(b"1.host", b"x", date_ns=date_ns), [b"x"])
        into.finish()
        writer.commit()
        assert {skip.reason for skip in writer.skipped()} <= {"date"}
        assert (abs(date_ns) == 10**30) == bool(writer.skipped())
    assert (root / "jane" / "Maildir" / "cur" / "1.host:2,S").read_bytes() == b"x"


def test_uids_that_contradict_each_other(target: MaildirTarget, root: Path) -> None:
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(INBOX)
        for base, uid in ((b"a", 5), (b"b", 3), (b"c", 5), (b"d\nx", 6), (b"e", 2**32), (b"f", 0), (b"a", 9)):
            into.add(message(base, b"x" if uid != 9 else b"other", uid=uid), [b"x"])
        into.finish()
        writer.commit()
        assert [skip.reason for skip in writer.skipped()] == ["uid", "uid"]
    box = Maildir(root / "jane" / "Maildir")
    lines = (box.root / "dovecot-uidlist").read_text().splitlines()
    assert lines == [f"3 V1500 N10000009 G{GUID}", "3 :b", "5 :a", "9 :a_r1"]
    assert len(box.names()) == 7


def test_files_are_never_written_through_links(target: MaildirTarget, box: Maildir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (box.root / "link").symlink_to(outside)
    (box.root / ".Link").symlink_to(outside)
    (box.root.parent / "sieve").symlink_to(outside)
    with writing(target) as writer:
        for path, home in ((b"link/x", False), (b".Link/x", False), (b"sieve/x", True)):
            with pytest.raises(MessageUnavailable) as refused:
                writer.add_file(file(path, b"x", home=home), [b"x"])
            assert refused.value.reason == "leads-out"
        with pytest.raises(MessageUnavailable):
            writer.open_folder(Folder(name="x", path=b".Link"))
        assert not writer.add_file(file(b"link", b"x"), [b"x"])
    assert os.listdir(outside) == []


def test_files_are_never_written_through_links_of_the_archive(target: MaildirTarget, root: Path) -> None:
    with writing(target) as writer:
        writer.open_folder(INBOX).finish()
        assert writer.add_file(file(b"in", target=b"cur"), [])
        for path in (b"in/x", b"in/x/y"):
            with pytest.raises(MessageUnavailable):
                writer.add_file(file(path, b"x"), [b"x"])
        assert writer.add_file(file(b"plain", b"x"), [b"x"])
        with pytest.raises(MessageUnavailable):
            writer.open_folder(Folder(name="x", path=b"plain"))
        with pytest.raises(MessageUnavailable):
            writer.add_file(file(b"plain/x", b"x"), [b"x"])
    assert os.listdir(root / "jane" / "Maildir" / "cur") == []


@pytest.mark.parametrize("kind", [DirectoryKind.NEAR, DirectoryKind.HOME])
@pytest.mark.parametrize("record", [b"..", b"../x", b"../..", b"/etc", b"a//b", b"sieve/../../x"])
def test_directories_are_never_made_elsewhere(
    target: MaildirTarget, root: Path, record: bytes, kind: DirectoryKind
) -> None:
    folder = replace(INBOX, directories=(Directory(record, Ownership(0o777, 0, 0), 0, kind),))
    with writing(target) as writer:
        with pytest.raises(MessageUnavailable):
            writer.open_folder(folder)
    assert everything(root) == {"jane", *(f"jane/Maildir{name}" for name in ("", "/cur", "/new", "/tmp"))}


def test_a_home_that_exists_is_left_as_it_is(target: MaildirTarget, root: Path) -> None:
    (root / "jane" / "sieve").mkdir(parents=True, mode=0o751)
    (root / "jane" / ".dovecot.sieve").write_text("theirs")
    folder = replace(
        INBOX,
        directories=(
            Directory(b"", Ownership(0o700, os.geteuid(), os.getegid()), 5, DirectoryKind.FOLDER),
            Directory(b"", Ownership(0o777, 1, 1), 5, DirectoryKind.HOME),
            Directory(b"sieve", Ownership(0o777, 1, 1), 5, DirectoryKind.HOME),
        ),
    )
    with writing(target) as writer:
        writer.open_folder(folder).finish()
        assert not writer.add_file(file(b".dovecot.sieve", b"ours", home=True), [b"ours"])
        assert writer.add_file(file(b"sieve/a", b"ours", home=True), [b"ours"])
    home = root / "jane"
    assert (home / ".dovecot.sieve").read_text() == "theirs"
    assert stat.S_IMODE(home.stat().st_mode) != 0o777
    assert home.stat().st_uid == os.geteuid()
    assert (home / "sieve" / "a").read_text() == "ours"


def test_no_home_no_files_of_a_home(root: Path) -> None:
    with writing(MaildirTarget(f"{root}/{{user}}")) as writer:
        with pytest.raises(MessageUnavailable) as refused:
            writer.add_file(file(b".dovecot.sieve", b"x", home=True), [b"x"])
        assert refused.value.reason == "leads-out"
        assert not stays(writer)
    assert ".dovecot.sieve" not in os.listdir(root)


def stays(writer: MailboxWriter) -> bool:
    """Whether a link from a mailbox without a home may lead beside it."""
    try:
        return writer.add_file(file(b"link", target=b"../bob/secret"), [])
    except MessageUnavailable:
        return False


@pytest.mark.parametrize("user", ["..", "a/b", "", "a\0b"])
def test_users_that_lead_elsewhere_are_refused(target: MaildirTarget, root: Path, user: str) -> None:
    with pytest.raises(StoreError), target.open_mailbox(user):
        pass
    assert everything(root) == set()


def test_mailboxes_behind_links_are_refused(target: MaildirTarget, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "jane").symlink_to(outside)
    (root / "bob").mkdir()
    (root / "bob" / "Maildir").symlink_to(outside)
    (root / "carol").write_text("a file")
    for user in ("jane", "bob", "carol"):
        with pytest.raises(StoreError), target.open_mailbox(user):
            pass
    assert os.listdir(outside) == []


def test_a_directory_with_other_things_does_not_become_a_maildir(tmp_path: Path) -> None:
    Maildir(tmp_path / "bob")
    with pytest.raises(StoreError, match="not empty"), MaildirTarget(str(tmp_path)).open_mailbox("x", b"."):
        pass
    assert os.listdir(tmp_path) == ["bob"]


def test_a_name_that_is_too_long_costs_one_message(target: MaildirTarget, root: Path) -> None:
    with writing(target) as writer:
        into = writer.open_folder(INBOX)
        with pytest.raises(MessageUnavailable):
            into.add(message(b"x" * 300, b"x"), [b"x"])
        assert into.add(message(b"1.host", b"x"), [b"x"])
        into.finish()
    assert Maildir(root / "jane" / "Maildir").names() == ["1.host:2,S"]


def test_a_full_disk_leaves_nothing(
    target: MaildirTarget, root: Path, box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(root, times=False)
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr("os.write", full)
    for user in ("jane", "bob"):
        with target.open_mailbox(user) as writer:
            into = writer.open_folder(INBOX)
            into.add(message(b"8.host", b"x"), [b"x"])
            with pytest.raises(StoreError, match="No space left"):
                into.add(message(b"9.host", b"x" * 5000), [b"x" * 5000])
    assert differences(before, snapshot(root, times=False)) == []


def test_short_writes_are_continued(
    target: MaildirTarget, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: write(fd, bytes(data)[:1000]))
    content = os.urandom(5500)
    with writing(target) as writer:
        into = writer.open_folder(INBOX)
        into.add(message(b"1.host", content), [content[:100], content[100:]])
        into.finish()
    assert (root / "jane" / "Maildir" / "cur" / "1.host:2,S").read_bytes() == content


def test_no_descriptor_is_left_open(target: MaildirTarget, root: Path, box: Maildir) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for user in ("jane", "bob"):
        with writing(target, user) as writer:
            add(writer, INBOX, b"7.host")
            add(writer, SENT, b"7.host")
            writer.open_folder(Folder(name="half", path=b".half")).add(message(b"1", b"x"), [b"x"])
            writer.add_file(file(b"sieve/a", b"x", home=True), [b"x"])
        give_up(target, user)
    assert len(os.listdir("/proc/self/fd")) == before


NAME = st.binary(min_size=1, max_size=20).filter(
    lambda name: (
        not set(name) & {0, 47}
        and not name.startswith(b".")
        and name not in (b"cur", b"new", b"tmp")
        and b",W=" not in name  # of a server that keeps UIDs: that they are missing would be told
    )
)
MESSAGE = st.tuples(NAME, st.sampled_from(["", ":2,", ":2,FS", ":2,Sab", ":1,x"]), st.binary(max_size=300))
FOLDER = st.lists(NAME, min_size=1, max_size=3).map(b"/".join) | NAME.map(lambda name: b"." + name)


@given(
    st.dictionaries(FOLDER | st.just(b""), st.lists(MESSAGE, max_size=4), max_size=5), st.integers(0, 2**40)
)
def test_any_tree_of_folders_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    tree: dict[bytes, list[tuple[bytes, str, bytes]]],
    date: int,
) -> None:
    place = tmp_path_factory.mktemp("tree")
    old = Maildir(place / "old")
    for path, messages in tree.items():
        if not any(part.startswith((b".mailhaul-restore-", b"dovecot")) for part in path.split(b"/")):
            folder = old.folder(path)
            for number, (base, suffix, content) in enumerate(messages):
                name = base.replace(b":", b"") + b"%d" % number + suffix.encode()
                (folder / "cur" / os.fsdecode(name)).write_bytes(content)
    for entry in (old.root, *old.root.rglob("*")):
        os.utime(entry, ns=(date, date))
    skipped = copy_mail(MaildirStore(str(old.root)), MaildirTarget(str(place / "new")))
    # Names such as Dovecot gives (",W=") without any UID list are told.
    assert [skip for skip in skipped if skip.reason != "uidlist"] == []
    same(old.root, place / "new")


BELOW = Folder(name="INBOX", path=b"INBOX", uidvalidity=1500, uidnext=9)
DEEP = Folder(name="a/b", path=b"a/b", uidvalidity=1500, uidnext=9)


@pytest.mark.parametrize("restored", [(BELOW, DEEP), (DEEP,)])
def test_a_mailbox_whose_own_directory_was_no_folder_does_not_become_one(
    target: MaildirTarget, root: Path, restored: tuple[Folder, ...]
) -> None:
    mailbox = root / "jane" / "Maildir"
    for number in range(2):  # into nothing, then into what is there
        with target.open_mailbox("jane", layout=[BELOW, DEEP]) as writer:
            for folder in restored:
                add(writer, folder, b"%d.host" % number)
            writer.commit()
        top = {folder.path.decode().partition("/")[0] for folder in restored}
        assert set(os.listdir(mailbox)) == top
        assert len(os.listdir(mailbox / "a" / "b" / "cur")) == number + 1
        assert not [name for name in everything(root) if ".mailhaul-restore-" in name]
    assert list(MaildirStore(f"{root}/{{user}}/Maildir").users()) == ["jane"]


def test_a_mailbox_that_is_its_own_anchor_and_no_folder_is_restored_into_again(tmp_path: Path) -> None:
    for number in range(2):
        with MaildirTarget(str(tmp_path / "box")).open_mailbox("x", b".", [BELOW]) as writer:
            add(writer, BELOW, b"%d.host" % number)
            writer.commit()
    assert os.listdir(tmp_path / "box") == ["INBOX"]
    assert len(os.listdir(tmp_path / "box" / "INBOX" / "cur")) == 2


def test_index_files_in_directories_that_are_no_folders_do_not_come_back(root: Path) -> None:
    box = root / "old" / "jane" / "Maildir"
    (box / "INBOX" / "cur").mkdir(parents=True)
    (box / "index" / ".Sent").mkdir(parents=True)
    for name in ("dovecot.list.index.log", "index/.Sent/dovecot.index.cache", "subscriptions", "index/note"):
        (box / name).touch()
    target = MaildirTarget(f"{root}/new/{{user}}/Maildir")
    copy_mail(MaildirStore(f"{root}/old/{{user}}/Maildir"), target)
    found = everything(root / "new" / "jane" / "Maildir")
    assert {name for name in found if (root / "new" / "jane" / "Maildir" / name).is_file()} == {
        "subscriptions",
        "index/note",
    }


@pytest.mark.skipif(not ROOT, reason="only root can give files to others")
def test_a_mailbox_without_folders_is_its_users_own(root: Path, target: MaildirTarget) -> None:
    """As a server leaves it of somebody who has subscribed to a folder of others, and never looked in."""
    owner = Ownership(0o600, 4321, 4322)
    with writing(target) as writer:
        assert writer.add_file(file(b"subscriptions", b"x", owner=owner), [b"x"])
    jane = root / "jane"
    for path in (jane, jane / "Maildir", jane / "Maildir/cur", jane / "Maildir/subscriptions"):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (4321, 4322), path
        assert stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path
