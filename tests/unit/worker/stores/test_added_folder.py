"""Folders that no store had: laid out as those beside them, of the same owner."""

from __future__ import annotations

import pytest

from mailhaul.proto.records import Directory, DirectoryKind, Folder, Ownership
from mailhaul.worker.stores.added_folder import added_folder
from mailhaul.worker.stores.folder_names import folder_name

OWNER = Ownership(0o2750, 1000, 1000)
INBOX = Folder(
    name="INBOX",
    path=b"",
    directories=(Directory(b"", OWNER, 5, DirectoryKind.FOLDER), Directory(b"cur", OWNER, 5)),
)


@pytest.mark.parametrize(
    ("name", "beside", "path"),
    [
        ("Back", b".Sent", b".Back"),
        ("Back/INBOX", b".Sent", b".Back.INBOX"),
        ("Back/INBOX", b"Archive/2024", b"Back/INBOX"),
        ("Zurück & da", b".Sent", b".Zur&APw-ck &- da"),
        ("INBOX", b"Archive", b""),
        ("odd\udcff", b".Sent", b".odd\xff"),
    ],
)
def test_where_it_lies(name: str, beside: bytes, path: bytes) -> None:
    found = added_folder(name, [INBOX, Folder(name="x", path=beside)])
    assert (found.name, found.path) == (name, path)
    assert folder_name(path) == name
    assert (found.uidvalidity, found.guid, found.header) == (0, "", b"")
    assert found.directories == (Directory(path, OWNER, 5, DirectoryKind.FOLDER),)


def test_nothing_but_an_inbox_beside_it() -> None:
    assert added_folder("Back", [INBOX]).path == b".Back"
    assert added_folder("Back", []).directories == ()


def test_in_a_mailbox_with_directories_of_a_fixed_name() -> None:
    beside = [Folder(name="INBOX", path=b"INBOX/mAildir"), Folder(name="a", path=b"a/mAildir")]
    assert added_folder("Rescued/a", beside).path == b"Rescued/a/mAildir"
    assert added_folder("INBOX", beside).path == b"INBOX/mAildir"
