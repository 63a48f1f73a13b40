"""Access lists, attributes, names of one file, holes: what comes back as it was, and what is told."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from mailhaul.proto.records import Directory, DirectoryKind, Folder, Ownership
from mailhaul.worker.stores import attributes
from mailhaul.worker.stores.attributes import ACCESS, DEFAULT, AttributeReader, without_list
from mailhaul.worker.stores.file_writer import FileWriter
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.stores.notices import Notices

from ....maildirs import Maildir, copy_mail, message
from ....trees import differences, snapshot

INBOX = Folder(name="INBOX", path=b"", uidvalidity=5, uidnext=9)


def access_list(*, user: int = 6, named: int = 4, group: int = 0, mask: int = 4, other: int = 0) -> bytes:
    """What ``setfacl`` writes: the user 1234 is named."""
    entries = [(1, user, -1), (2, named, 1234), (4, group, -1), (16, mask, -1), (32, other, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory whose file system has both kinds."""
    try:
        os.setxattr(tmp_path, "user.try", b"")
        os.setxattr(tmp_path, DEFAULT, access_list())
        os.removexattr(tmp_path, DEFAULT)
        os.removexattr(tmp_path, "user.try")
    except OSError as error:
        pytest.skip(f"the file system of {tmp_path} has no attributes: {error.strerror}")
    return tmp_path


def lists(root: Path) -> dict[str, dict[str, bytes]]:
    """The attributes of all files and directories below."""
    found = {}
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            found[str(path.relative_to(root))] = {
                name: os.getxattr(path, name) for name in os.listxattr(path)
            }
    return found


def shared_mailbox(root: Path) -> Maildir:
    """A mailbox in which each kind of file and directory has something."""
    box = Maildir(root / "jane" / "Maildir")
    box.folder(".Sent")
    first = box.message("1.host:2,S")
    second = box.message("2.host:2,S", folder=".Sent", place="new")
    (box.root / "dovecot-acl").write_text("user=bob lr\n")
    (box.root / "plain").mkdir()
    (box.root.parent / "sieve").mkdir()
    (box.root.parent / "sieve" / "a").write_text("keep;")
    uids = box.uidlist("1 :1.host")
    for path in (first, second, uids, box.root / "dovecot-acl", box.root.parent / "sieve" / "a"):
        os.setxattr(path, ACCESS, access_list())
        os.setxattr(path, "user.note", path.name.encode())
    for directory in (*box.root.rglob("*/"), box.root, box.root.parent, box.root.parent / "sieve"):
        if directory.is_dir():
            os.setxattr(directory, ACCESS, access_list(user=7, named=5, mask=5))
            os.setxattr(directory, DEFAULT, access_list(user=7, named=5, mask=5))
            os.setxattr(directory, "user.kind", b"directory")
    return box


def test_they_come_back_on_everything_that_is_stored(place: Path) -> None:
    (place / "old").mkdir()
    shared_mailbox(place / "old")
    before = lists(place / "old" / "jane")
    assert before["Maildir/cur/1.host:2,S"].keys() == {ACCESS, "user.note"}
    assert before["Maildir/.Sent/new"].keys() == {ACCESS, DEFAULT, "user.kind"}
    told = copy_mail(
        MaildirStore(f"{place}/old/{{user}}/Maildir"), MaildirTarget(f"{place}/new/{{user}}/Maildir")
    )
    assert told == []
    assert lists(place / "new" / "jane") == before
    assert differences(snapshot(place / "old"), snapshot(place / "new")) == []


def test_a_restore_takes_none_from_the_directory_around(place: Path) -> None:
    """What had no access list must not get one: the list would let somebody in."""
    (place / "old").mkdir()
    Maildir(place / "old" / "jane" / "Maildir").message("1.host:2,S")
    before = lists(place / "old" / "jane")
    (place / "new").mkdir()
    os.setxattr(place / "new", DEFAULT, access_list(named=7, mask=7))
    copy_mail(MaildirStore(f"{place}/old/{{user}}/Maildir"), MaildirTarget(f"{place}/new/{{user}}/Maildir"))
    assert lists(place / "new" / "jane") == before
    assert not any(before.values())
    assert differences(snapshot(place / "old" / "jane"), snapshot(place / "new" / "jane")) == []


def test_the_mask_is_not_taken_for_the_rights_of_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without access lists the group gets what the list gave it, and that is told."""

    def refused(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    notices = Notices()
    files = FileWriter(notices)
    directory = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr("mailhaul.worker.stores.attributes.os.setxattr", refused)
    kept = ((ACCESS, access_list(named=6, group=0, mask=6)), ("user.note", b"x"))
    mine = Ownership(0o660, os.geteuid(), os.getegid())
    files.write(directory, b"a", [b"x"], mine, 0, kept)
    record = Directory(b"", Ownership(0o770, mine.uid, mine.gid), 0, DirectoryKind.PART, kept)
    (tmp_path / "d").mkdir()
    below = os.open(tmp_path / "d", os.O_RDONLY)
    files.dress(below, record)
    files.report()
    os.close(below)
    os.close(directory)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
    assert [(skip.reason, skip.detail) for skip in notices.skipped] == [
        ("attribute", "without their access list or all their attributes: 2 files")
    ]


@pytest.mark.parametrize(
    ("mode", "value", "left"),
    [
        (0o664, access_list(group=4, mask=6), 0o644),
        (0o644, access_list(group=6, mask=4), 0o644),
        (0o640, b"", 0o600),  # nothing is known of the group
        (0o640, b"\x02\0\0\0garbage", 0o600),
    ],
)
def test_the_mode_without_a_list(mode: int, value: bytes, left: int) -> None:
    assert without_list(mode, ((ACCESS, value),)) == left
    assert without_list(mode, (("user.note", value),)) == mode


def test_a_list_that_is_none_is_refused_by_the_system_and_told(place: Path) -> None:
    notices = Notices()
    files = FileWriter(notices)
    directory = os.open(place, os.O_RDONLY)
    for name, value in (
        ("1", ((ACCESS, b"nonsense"),)),
        ("2", (("user.", b"x"),)),
        ("3", (("user.\0", b"x"),)),
        ("4", (("security.capability", b"x"), ("trusted.x", b"x"))),
    ):
        files.write(directory, name.encode(), [b"x"], Ownership(0o640, os.geteuid(), os.getegid()), 0, value)
        assert lists(place)[name] == {}
    files.report()
    os.close(directory)
    assert "all their attributes: 3 files" in notices.skipped[0].detail


def test_a_file_system_without_attributes_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unsupported(*_: object, **__: object) -> list[str]:
        asked.append(1)
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("mailhaul.worker.stores.attributes.os.listxattr", unsupported)
    notices = Notices()
    reader = AttributeReader(notices)
    with (tmp_path / "a").open("wb") as file:
        for _ in range(3):
            assert reader.of(file.fileno(), 7, b"a") == ()
        assert (len(asked), notices.skipped) == (1, [])
        reader.of(file.fileno(), 8, b"a")
        assert len(asked) == 2


def test_what_cannot_be_read_or_is_too_long_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = Notices()
    reader = AttributeReader(notices)
    (place / "a").touch()
    os.setxattr(place / "a", "user.long", b"x" * 900)
    os.setxattr(place / "a", ACCESS, access_list())
    monkeypatch.setattr(attributes, "MOST_BYTES", 500)
    assert reader.of(os.fsencode(place / "a"), 1, b"a") == ((ACCESS, access_list()),)

    def refused(*_: object, **__: object) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("mailhaul.worker.stores.attributes.os.getxattr", refused)
    assert reader.of(os.fsencode(place / "a"), 1, b"a") == ()
    assert [skip.reason for skip in notices.skipped] == ["attribute", "attribute"]


# Names of one file


def test_names_of_one_file_become_that_again(tmp_path: Path) -> None:
    mine = Ownership(0o600, os.geteuid(), os.getegid())
    target = MaildirTarget(f"{tmp_path}/{{user}}/Maildir")
    sent = Folder(name="Sent", path=b".Sent")
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(INBOX)
        assert into.add(message(b"1.h", b"hello", link=77, owner=mine), [b"hello"])
        assert into.add(message(b"2.h", b"other", link=78, owner=mine), [b"other"])
        into.finish()
        into = writer.open_folder(sent)
        assert into.add(message(b"3.h", b"hello", link=77, owner=mine), iter(()))
        assert into.add(message(b"3.h", b"hello", link=77, owner=mine), iter(())) is False
        # The same number, but another file by now.
        assert into.add(message(b"4.h", b"longer", link=77, owner=mine), [b"longer"])
        assert into.add(message(b"5.h", b"hello", link=77, owner=mine, date_ns=5), [b"hello"])
        assert into.add(message(b"6.h", b"hello", link=0, owner=mine), [b"hello"])
        into.finish()
        writer.commit()
    box = tmp_path / "jane" / "Maildir"
    inodes = {path.name[0]: path.stat().st_ino for path in box.rglob("*.h:2,S")}
    assert inodes["1"] == inodes["3"]
    assert len(set(inodes.values())) == 5
    assert (box / ".Sent" / "cur" / "3.h:2,S").read_bytes() == b"hello"


def test_a_file_that_can_have_no_more_names_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    target = MaildirTarget(f"{tmp_path}/{{user}}/Maildir")
    with target.open_mailbox("jane") as writer:
        into = writer.open_folder(INBOX)
        assert into.add(message(b"1.h", b"hello", link=7), [b"hello"])
        monkeypatch.setattr("mailhaul.worker.stores.known_files.os.link", refused)
        assert into.add(message(b"2.h", b"hello", link=7), [b"hello"])
        into.finish()
        writer.commit()
    found = sorted((tmp_path / "jane" / "Maildir" / "cur").iterdir())
    assert [path.read_bytes() for path in found] == [b"hello", b"hello"]
    assert found[0].stat().st_ino != found[1].stat().st_ino


# Holes


def test_zeros_become_holes_and_nothing_else_changes(tmp_path: Path) -> None:
    files = FileWriter(Notices())
    directory = os.open(tmp_path, os.O_RDONLY)
    mine = Ownership(0o600, os.geteuid(), os.getegid())
    contents = [
        b"head" + bytes(3 << 20) + b"tail",
        bytes(5 << 20),
        bytes(5000),
        b"a" * 4096 + bytes(4096) + b"b",
        b"\0a" * 600_000,
        b"x" * (1 << 20) + bytes(1 << 20),
        b"",
    ]
    for number, content in enumerate(contents):
        pieces = [content[at : at + 70_001] for at in range(0, len(content), 70_001)]
        files.write(directory, b"%d" % number, pieces, mine, 0)
        path = tmp_path / str(number)
        assert path.read_bytes() == content
    os.close(directory)
    allocated = [(tmp_path / str(number)).stat().st_blocks * 512 for number in range(2)]
    assert allocated[0] < 1 << 20
    assert allocated[1] < 1 << 16
