"""The metadata of a mailbox: every value comes back, and what contradicts itself is damage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mailhaul.proto.archive import mailboxes, recipes
from mailhaul.proto.archive.mailboxes import FolderEntry, Mailbox
from mailhaul.proto.archive.pointers import FramePointer
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import (
    ArchiveId,
    Directory,
    DirectoryKind,
    Folder,
    Ownership,
    Piece,
    Skipped,
    StoredFile,
)
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import ARCHIVE, OWNER, remapped, unpacked

OTHER = ArchiveId(b"another archive!")
THIRD = ArchiveId(b"a third archive!")
ACL = (("system.posix_acl_access", b"\2\0\0\0"),)


def pointer(archive: ArchiveId, mailbox: int, first: int, messages: int) -> FramePointer:
    return FramePointer(archive, mailbox << 32 | 3, first, messages, 1 << 33, 7, 9, (THIRD, ARCHIVE))


FOLDER = Folder(
    name="Lists/R\u00e9sum\u00e9s",
    path=b".Lists.R&AOk-sum&AOk-s",
    uidvalidity=1_785_542_400,
    uidnext=3,
    guid="0123456789abcdef0123456789abcdef",
    highest_modseq=(1 << 62) + 1,
    keywords=("$Forwarded", "NonJunk"),
    header=b"3 V1785542400 N3 G0123",
    directories=(
        Directory(b".Lists.R&AOk-sum&AOk-s/cur", OWNER, -5),
        Directory(b"\xff\n", Ownership(0o2770, 0, 8), 1 << 62, DirectoryKind.NEAR, ACL),
        Directory(b"", OWNER, 7, DirectoryKind.HOME),
    ),
)
FILES = (
    StoredFile(
        b"subscriptions",
        False,
        None,
        OWNER,
        1,
        12,
        b"d" * 16,
        (Piece(ARCHIVE, 7, 6), Piece(OTHER, 9, 6, 39, True)),
        (*ACL, ("user.note", b"")),
    ),
    StoredFile(b".dovecot.sieve", True, b"sieve/\xff.sieve", Ownership(0o777, 0, 0), -1, 0, bytes(16), ()),
)
MAILBOX = Mailbox(
    user="jane@example.org",
    place=b"example.org/jane\xff",
    listed=5,
    size_bytes=1 << 40,
    folders=(
        FolderEntry(FOLDER, (pointer(OTHER, 2, 0, 1), pointer(ARCHIVE, 5, 7, 2)), b"mark\xff"),
        FolderEntry(Folder(name="INBOX", path=b""), (pointer(ARCHIVE, 5, 9, 1),)),
    ),
    files=FILES,
    skipped=(Skipped("/primary/user/jane@example.org/INBOX/7", "vanished", "gone \udcff"),),
    files_mark=b"\0files",
    added=2,
    vanished=1,
    changed=True,
    archives=(THIRD, ARCHIVE, OTHER),
)
(GOOD,) = mailboxes.encode(MAILBOX)


def test_a_mailbox_comes_back() -> None:
    assert mailboxes.decode([GOOD]) == MAILBOX


def test_its_counts() -> None:
    summary = MAILBOX.summary("primary", "staff")
    assert (summary.partition, summary.group, summary.user) == ("primary", "staff", "jane@example.org")
    assert (summary.folders, summary.listed, summary.stored, summary.skipped) == (2, 5, 4, 1)


def test_numbers_that_a_store_can_not_have_meant_are_not_known() -> None:
    odd = replace(FOLDER, uidvalidity=10**30, uidnext=-1, highest_modseq=1 << 63)
    folder = mailboxes.decode(
        mailboxes.encode(replace(MAILBOX, folders=(FolderEntry(odd, MAILBOX.folders[0].frames),)))
    ).folders[0]
    assert (folder.folder.uidvalidity, folder.folder.uidnext, folder.folder.highest_modseq) == (0, 0, 0)


def test_times_out_of_range_become_the_nearest() -> None:
    file = replace(FILES[0], mtime_ns=32_503_680_000 * 10**9)
    folder = replace(FOLDER, directories=(Directory(b"cur", OWNER, -(10**30)),))
    back = mailboxes.decode(
        mailboxes.encode(replace(MAILBOX, files=(file,), folders=(FolderEntry(folder, ()),)))
    )
    assert back.files[0].mtime_ns == (1 << 63) - 1
    assert back.folders[0].folder.directories[0].mtime_ns == -(1 << 63)


def test_a_directory_of_a_later_kind_is_passed_over() -> None:
    row = unpacked(GOOD)
    row["folders"][0]["directories"][1][0] = "later"
    back = mailboxes.decode([remapped(GOOD, folders=row["folders"])]).folders[0].folder
    assert back.directories == (FOLDER.directories[0], FOLDER.directories[2])


def test_what_folders_and_files_take_is_known_before() -> None:
    without = len(mailboxes.encode(replace(MAILBOX, folders=(), files=()))[0])
    parts = sum(map(mailboxes.folder_bytes, MAILBOX.folders)) + sum(map(mailboxes.file_bytes, MAILBOX.files))
    assert 0 <= without + parts - len(GOOD) < 200


def folder_with(**changes: object) -> Callable[[dict[str, Any]], object]:
    def change(row: dict[str, Any]) -> None:
        row["folders"][0].update(changes)

    return change


def pointer_with(place: int, value: object) -> Callable[[dict[str, Any]], object]:
    def change(row: dict[str, Any]) -> None:
        row["folders"][0]["frames"][0][place] = value

    return change


def file_with(place: int, value: object) -> Callable[[dict[str, Any]], object]:
    def change(row: dict[str, Any]) -> None:
        row["files"][0][place] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.update(user=""),
        lambda row: row.update(user=b"jane"),
        lambda row: row.update(user=None),
        lambda row: row.update(place="text"),
        lambda row: row.update(listed=3),
        lambda row: row.update(listed=-1),
        lambda row: row.update(listed=1 << 63),
        lambda row: row.update(listed=True),
        lambda row: row.update(bytes=1.5),
        lambda row: row.update(folders=None),
        lambda row: row.update(folders=[7]),
        lambda row: row.update(folders=["text"]),
        lambda row: row.update(folders={"a": 1}),
        lambda row: row.update(files=[[]]),
        lambda row: row.update(files=[None]),
        lambda row: row.update(files=7),
        lambda row: row.update(archives=[]),
        lambda row: row.update(archives=[b"short"]),
        lambda row: row.update(skipped=[["path", "reason"]]),
        lambda row: row.update(skipped=[["path", "reason", b"detail"]]),
        lambda row: row.update(skipped=[7]),
        lambda row: row["folders"][0].pop("guid"),
        folder_with(name=""),
        folder_with(name=b"INBOX"),
        folder_with(path="INBOX"),
        folder_with(uidvalidity="1"),
        folder_with(modseq=-1),
        folder_with(keywords=[b"x"]),
        folder_with(keywords=7),
        folder_with(directories=[["part", b"cur", 0o700, 0, 0, 0]]),
        folder_with(directories=[["part", b"cur", 0o700, 0, 1 << 32, 0, None]]),
        folder_with(directories=[["part", b"cur", 0o700, 0, 0, 1 << 63, None]]),
        folder_with(directories=[["part", b"cur", 0o700, 0, 0, 0, 99]]),
        folder_with(directories=[[7, b"cur", 0o700, 0, 0, 0, None]]),
        lambda row: row.update(attributes=None),
        lambda row: row.update(attributes=[]),
        lambda row: row.update(attributes=[[["user.a", "text"]]] * 2),
        lambda row: row.update(stored=3),
        lambda row: row.update(count=1),
        lambda row: row.update(parts=1),
        lambda row: row.update(parts=1 << 40),
        lambda row: row.update(rows=[[9, 1]]),
        lambda row: row.update(rows=[7]),
        folder_with(frames=[]),
        folder_with(frames=[1]),
        folder_with(frames=["1"]),
        pointer_with(0, 3),
        pointer_with(0, -1),
        pointer_with(1, 1 << 31),
        pointer_with(2, 1 << 32),
        pointer_with(3, 4096),
        pointer_with(4, 0),
        pointer_with(4, 2),
        pointer_with(4, 4097),
        pointer_with(5, -1),
        pointer_with(6, 99),
        pointer_with(7, "1"),
        pointer_with(8, [3]),
        pointer_with(8, 7),
        file_with(0, "text"),
        file_with(2, "text"),
        file_with(3, -1),
        file_with(6, None),
        file_with(7, -1),
        file_with(8, b"short"),
        file_with(9, [[0, 0, 1, 0]]),
        file_with(9, [[3, 0, 1, 0, False]]),
        file_with(9, [[-1, 0, 1, 0, False]]),
        file_with(9, [[0, -1, 1, 0, False]]),
        file_with(9, [[0, 0, 1, recipes.RECIPE_LIMIT, False]]),
        file_with(9, [[0, 0, 1, 0, True]]),
        file_with(9, 7),
    ],
)
def test_what_contradicts_itself_is_damage(change: Callable[[dict[str, Any]], object]) -> None:
    row = unpacked(GOOD)
    change(row)
    with pytest.raises(DamagedError):
        mailboxes.decode([remapped(GOOD, **row)])


@pytest.mark.parametrize("key", sorted(unpacked(GOOD)))
def test_what_lacks_a_key_is_damage(key: str) -> None:
    row = unpacked(GOOD)
    row["later"] = row.pop(key)
    with pytest.raises(DamagedError):
        mailboxes.decode([remapped(b"\x80", **row)])


def test_a_later_key_is_ignored() -> None:
    assert mailboxes.decode([remapped(GOOD, later=[1])]) == MAILBOX


class TestParts:
    """What is too much for one frame goes on in FOLDERS frames before it."""

    @pytest.fixture
    def large(self, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
        monkeypatch.setattr(mailboxes, "PART_BYTES", 2000)
        folders = tuple(
            FolderEntry(replace(FOLDER, name=f"Folder {n}", path=b"%d" % n), MAILBOX.folders[0].frames)
            for n in range(20)
        )
        files = tuple(replace(FILES[0], path=b"%d" % n) for n in range(30))
        return replace(MAILBOX, folders=folders, files=files, listed=60)

    def test_they_come_back(self, large: Mailbox) -> None:
        payloads = mailboxes.encode(large)
        assert len(payloads) > 4
        assert max(map(len, payloads[:-1])) < 2100
        assert mailboxes.decode(payloads) == large
        head = mailboxes.decode_head(payloads[-1])
        assert head == mailboxes.head_of(large, len(payloads) - 1)
        assert (head.folders, head.stored, head.parts) == (20, 60, len(payloads) - 1)

    def test_none_may_be_missing_and_all_must_be_those_of_the_mailbox(self, large: Mailbox) -> None:
        payloads = mailboxes.encode(large)
        for wrong in (payloads[1:], payloads[-1:], [payloads[0], *payloads]):
            with pytest.raises(DamagedError):
                mailboxes.decode(wrong)

    def test_a_part_that_contradicts_itself_is_damage(self, large: Mailbox) -> None:
        first, *others = mailboxes.encode(large)
        for changes in ({"folders": None}, {"files": [7]}, {"skipped": 7}):
            with pytest.raises(DamagedError):
                mailboxes.decode([remapped(first, **changes), *others])
