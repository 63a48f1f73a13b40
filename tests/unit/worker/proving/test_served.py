"""A mailbox as a server shows it, beside what it has to show; and how a server is told of its folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import StoreError
from mailhaul.proto.records import Folder, Message, Ownership, Skipped
from mailhaul.worker.proving.comparison import Served, ServedFolder
from mailhaul.worker.proving.matching import AsMail
from mailhaul.worker.proving.scratch_server import Layout, layout_of
from mailhaul.worker.proving.served import compare_served
from mailhaul.worker.stores.imap.shown import Shown, ShownAccount

JANE = LogicalPath("primary", "user", "jane")
NS = 1_000_000_000


class Account:
    """What a server shows, made up."""

    def __init__(self, folders: dict[str, tuple[int, list[Shown]]]) -> None:
        self.shown = folders
        self.opened = ""

    def folders(self) -> list[str]:
        return ["INBOX", *(one for one in self.shown if one != "INBOX")]

    def open(self, folder: str) -> int:
        self.opened = folder
        return self.shown[folder][0]

    def messages(self) -> Iterator[Shown]:
        for one in self.shown[self.opened][1]:
            if one.uid == 99:
                raise StoreError("the server says: BYE")
            yield one


def served(uid: int, *, likeness: bytes = b"", flags: str = "S") -> Served:
    owner = Ownership(0, 0, 0)
    message = Message(uid, b"%d" % uid, b"", "cur", flags, b"", 7 * NS + 5, owner, 10, b"file", ())
    return Served(uid, message, AsMail(11, b"mail %d" % uid, likeness))


def shown(uid: int, **changes: Any) -> Shown:
    flags = frozenset(("\\Seen", "\\Recent", "$Forwarded", "projectX"))
    return Shown(uid, flags, 7, 11, b"mail %d" % uid, b"")._replace(**changes)


def lacks(*messages: Shown, folder: str = "INBOX", uidvalidity: int = 3) -> tuple[Skipped, ...]:
    account = cast(ShownAccount, Account({folder: (uidvalidity, list(messages))}))
    has_to = ServedFolder(name="INBOX", uidvalidity=3, messages=(served(1), served(2)))
    return compare_served(account, JANE, [has_to], lambda _messages, _bytes: None)


def test_the_same() -> None:
    assert lacks(shown(1), shown(2)) == ()


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"digest": b"?"}, "other bytes"),
        ({"size": 12}, "12 bytes, not 11"),
        ({"flags": frozenset(("\\Flagged",))}, "flags \\Flagged"),
        ({"seconds": 8}, "another date"),
        ({"seconds": None}, "another date"),
    ],
)
def test_each_difference(changes: dict[str, Any], detail: str) -> None:
    (skip,) = lacks(shown(1), shown(2, **changes))
    assert skip == Skipped(f"{JANE}/INBOX/2", "imap", f"a mail server shows it otherwise: {detail}")


def test_what_is_not_shown() -> None:
    (skip,) = lacks(shown(1))
    assert skip == Skipped(f"{JANE}/INBOX/2", "imap", "a mail server does not show it")
    (validity,) = lacks(shown(1), shown(2), uidvalidity=4)
    assert validity.detail == "UIDVALIDITY was 3, a mail server shows 4"
    (broken,) = lacks(shown(1), shown(99))
    assert broken.detail == "the server says: BYE"


def test_folders_that_are_lacking_or_too_many() -> None:
    account = cast(ShownAccount, Account({"INBOX": (3, []), "New": (5, [])}))
    old = ServedFolder(name="Old", uidvalidity=3, messages=())
    inbox = ServedFolder(name="INBOX", uidvalidity=3, messages=())
    found = compare_served(account, JANE, [inbox, old], lambda _messages, _bytes: None)
    assert [(skip.path, skip.detail) for skip in found] == [
        (f"{JANE}/Old", "a mail server does not list the folder"),
        (f"{JANE}/New", "a mail server lists a folder that the backup has not"),
    ]


def test_what_servers_alter_is_compared_by_what_stays_the_same() -> None:
    """A NUL becomes 0x80, a stray CR goes."""
    folder = ServedFolder(name="INBOX", uidvalidity=3, messages=(served(1, likeness=b"alike"),))

    def told(**changes: Any) -> tuple[Skipped, ...]:
        account = cast(ShownAccount, Account({"INBOX": (3, [shown(1, **changes)])}))
        return compare_served(account, JANE, [folder], lambda _messages, _bytes: None)

    assert told(digest=b"?", likeness=b"alike", size=12) == ()
    assert len(told(digest=b"?", likeness=b"another")) == 1


def test_messages_without_numbers_are_found_by_content() -> None:
    folder = ServedFolder(name="INBOX", uidvalidity=0, messages=(served(1), served(2)))

    def told(*messages: Shown) -> tuple[Skipped, ...]:
        account = cast(ShownAccount, Account({"INBOX": (77, list(messages))}))
        return compare_served(account, JANE, [folder], lambda _messages, _bytes: None)

    assert told(shown(5, digest=b"mail 2"), shown(6, digest=b"mail 1")) == ()
    assert [skip.path for skip in told(shown(5, digest=b"mail 2"))] == [f"{JANE}/INBOX/1"]


def folders(**paths: bytes) -> list[Folder]:
    return [Folder(name=name.replace("__", "/"), path=path) for name, path in paths.items()]


def test_layouts() -> None:
    assert layout_of(folders(INBOX=b"", Work=b".Work", Work__Old=b".Work.Old")) == Layout()
    assert layout_of(folders(INBOX=b"", Work=b"Work", Work__Old=b"Work/Old")) == Layout(fs=True)
    assert layout_of([Folder(name="INBOX", path=b".INBOX")]) == Layout(inbox=".INBOX")
    assert layout_of([Folder(name="Entwürfe", path=b".Entw&APw-rfe")]) == Layout()
    assert layout_of([Folder(name="Entwürfe", path=".Entwürfe".encode())]) == Layout(utf_8=True)
    assert layout_of([Folder(name="Work", path=b"0123456789abcdef0123456789abcdef")]) is None
