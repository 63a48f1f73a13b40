"""Messages for folders that are there: known by their content, linked, and under UIDs that were kept free."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.errors import StoreError, TargetFullError
from mailhaul.proto.ports import MailboxWriter
from mailhaul.proto.records import Folder, Message, Renumbering
from mailhaul.proto.structs import replace
from mailhaul.worker.looking.fates import fate_of
from mailhaul.worker.stores import maildir_target
from mailhaul.worker.stores.listing import Listing
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.stores.present_messages import PresentMessages
from mailhaul.worker.stores.reserved_uids import ReservedUids
from mailhaul.worker.stores.uidlist import parse_header

from ....maildirs import GUID, Maildir, message

INBOX = Folder(name="INBOX", path=b"", uidvalidity=1500, uidnext=9, guid=GUID)
HEADER = f"3 V1500 N10000009 G{GUID}"


def mail(base: bytes, content: bytes, *, uid: int = 0, link: int = 0) -> Message:
    digest = blake3(content).digest(length=16)
    return replace(message(base, content, uid=uid, link=link), digest=digest)


@contextmanager
def writing(root: Path, *, reserves: bool = False) -> Iterator[MailboxWriter]:
    target = MaildirTarget(f"{root}/{{user}}/Maildir", renumbering=Renumbering(reserves=reserves))
    with target.open_mailbox("jane") as writer:
        yield writer
        writer.commit()


def add(root: Path, *uids: int) -> tuple[int, list[str]]:
    """Messages with these UIDs into the INBOX: how many were added, and what was told."""
    with writing(root) as writer:
        into = writer.open_folder(INBOX)
        added = [into.add(mail(b"%d.host" % uid, b"%d" % uid, uid=uid), [b"%d" % uid]) for uid in uids]
        into.finish()
    return sum(added), [skip.reason for skip in writer.skipped()]


def uidlist(box: Maildir) -> list[str]:
    return (box.root / "dovecot-uidlist").read_text().splitlines()


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    """A mailbox whose INBOX was made before its mail."""
    with writing(tmp_path, reserves=True) as writer:
        writer.open_folder(INBOX).finish()
    return Maildir(tmp_path / "jane" / "Maildir")


def test_a_folder_is_filled_from_its_end(tmp_path: Path, box: Maildir) -> None:
    assert uidlist(box) == [f"{HEADER} Mailhaul10000009"]
    (box.root / "dovecot.index").write_bytes(b"old")
    (box.root / "dovecot.index.log").write_bytes(b"old")
    assert add(tmp_path, 5, 4) == (2, [])
    assert uidlist(box) == [f"{HEADER} Mailhaul4", "4 :4.host", "5 :5.host"]
    assert not list(box.root.glob("dovecot.index*"))
    # One above has had its chance: the server numbers it.
    assert add(tmp_path, 1, 7, 4) == (2, [])
    assert uidlist(box) == [HEADER, "1 :1.host", "4 :4.host", "5 :5.host"]
    assert box.names() == [f"{uid}.host:2,S" for uid in (1, 4, 5, 7)]
    assert box.leftovers() == []


def test_without_room_for_the_index_no_file_is_there_without_its_uid(
    tmp_path: Path, box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise TargetFullError("dovecot.index: No space left on device")

    before = uidlist(box)
    with monkeypatch.context() as patched:
        patched.setattr(ReservedUids, "_write_index", full)
        with pytest.raises(TargetFullError):
            add(tmp_path, 5, 4)
    assert (box.names(), uidlist(box)) == ([], before)
    assert add(tmp_path, 5, 4) == (2, [])
    assert uidlist(box) == [f"{HEADER} Mailhaul4", "4 :4.host", "5 :5.host"]
    assert box.leftovers() == []


@pytest.mark.parametrize("seen", [False, True])
def test_a_file_without_its_uid_gets_it(tmp_path: Path, box: Maildir, seen: bool) -> None:
    """A restore that was killed had put it there; unless the server has given it another one."""
    box.message("5.host:2,S", b"5")
    if seen:
        box.uidlist("10000009 :5.host", header=f"{HEADER} Mailhaul10000009")
    (box.root / "dovecot.index").write_bytes(b"old")
    assert add(tmp_path, 5, 6) == (1, [])
    own = ["10000009 :5.host"] if seen else ["5 :5.host"]
    assert sorted(uidlist(box)[1:]) == sorted([*own, "6 :6.host"])
    assert box.names() == ["5.host:2,S", "6.host:2,S"]
    assert box.leftovers() == []


def test_a_file_whose_uid_is_not_free_any_more_stays_as_it_is(tmp_path: Path, box: Maildir) -> None:
    box.message("5.host:2,S", b"5")
    with (box.root / "dovecot-uidlist").open("a") as file:
        file.write("3 :other\n")
    before = uidlist(box)
    assert add(tmp_path, 5, 6) == (1, ["uid"])
    assert uidlist(box) == before
    assert box.names() == ["5.host:2,S", "6.host:2,S"]


@pytest.mark.parametrize(
    "lines",
    [
        ["3 V1501 N10000009 Mailhaul10000009"],
        ["3 V1500 N10000009 G" + "f" * 32 + " Mailhaul10000009"],
        [HEADER],
        ["1 1500 10000009"],
    ],
)
def test_a_folder_that_was_not_made_for_it(tmp_path: Path, box: Maildir, lines: list[str]) -> None:
    text = "\n".join([*lines, ""])
    (box.root / "dovecot-uidlist").write_text(text)
    (box.root / "dovecot.index").write_bytes(b"old")
    assert add(tmp_path, 5) == (1, [])
    assert uidlist(box) == lines
    assert (box.root / "dovecot.index").exists()


def test_uids_that_are_not_free_any_more(tmp_path: Path, box: Maildir) -> None:
    with (box.root / "dovecot-uidlist").open("a") as file:
        file.write("3 :other\n")
    before = uidlist(box)
    assert add(tmp_path, 5) == (1, ["uid"])
    assert uidlist(box) == before
    assert box.names() == ["5.host:2,S"]


def test_a_message_is_known_by_its_content(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "jane" / "Maildir")
    box.message("moved.host:2,F", b"7")
    assert add(tmp_path, 7) == (0, [])
    # One file is one message: of two copies the other one is missing.
    with writing(tmp_path) as writer:
        into = writer.open_folder(INBOX)
        twins = [into.add(mail(base, b"7"), [b"7"]) for base in (b"a.host", b"b.host")]
        into.finish()
    assert twins == [False, True]
    assert box.names() == ["b.host:2,S", "moved.host:2,F"]


def test_a_message_that_is_flagged_meanwhile(tmp_path: Path) -> None:
    box = Maildir(tmp_path)
    box.message("1.host:2,", b"7")
    box.message("2.host:2,", b"8")
    fd = os.open(tmp_path / "cur", os.O_RDONLY)
    try:
        present = PresentMessages({"cur": fd})
        for number in (1, 2):
            (tmp_path / "cur" / f"{number}.host:2,").rename(tmp_path / "cur" / f"{number}.host:2,S")
        assert present.take(mail(b"1.host", b"7"))
        assert present.take(mail(b"9.host", b"8"))
    finally:
        os.close(fd)


def test_names_of_one_file_become_that_again(tmp_path: Path) -> None:
    """In a folder that is there, in one that is made, and across both."""
    box = Maildir(tmp_path / "jane" / "Maildir")
    box.message("1.host", b"1")
    with writing(tmp_path) as writer:
        for folder in (INBOX, Folder(name="Sent", path=b".Sent")):
            into = writer.open_folder(folder)
            for number in (2, 3):
                assert into.add(mail(b"%d.host" % number, b"same", link=7), [b"same"])
            into.finish()
    files = [
        box.root / folder / "cur" / f"{number}.host:2,S" for folder in ("", ".Sent") for number in (2, 3)
    ]
    assert len({file.stat().st_ino for file in files}) == 1
    assert {file.stat().st_nlink for file in files} == {4}


@pytest.mark.parametrize(
    ("header", "kept"), [(f"{HEADER} Mailhaul3", 1), (HEADER, 0), ("3 V7 N9 Mailhaul3", 0)]
)
def test_a_plan_tells_which_uids_are_kept(tmp_path: Path, header: str, kept: int) -> None:
    box = Maildir(tmp_path)
    box.message("1.host:2,", b"1")
    fd = os.open(tmp_path / "cur", os.O_RDONLY)
    try:
        there = Listing({"cur": fd})
    finally:
        os.close(fd)
    messages = [mail(b"%d.host" % uid, b"%d" % uid, uid=uid) for uid in (1, 2, 3)]
    told = fate_of(
        "/p/g/u/INBOX", INBOX, messages, there, parse_header(header.encode()), new_uidvalidity=False
    )
    assert (told.kept, told.renumbered, told.present) == (kept, 2 - kept, 1)


def test_two_restores_of_a_mailbox_follow_one_another(
    tmp_path: Path, box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would add what the other is about to add."""
    first = MaildirTarget(f"{tmp_path}/{{user}}/Maildir")
    with ThreadPoolExecutor(1) as pool:
        with first.open_mailbox("jane") as writer:
            into = writer.open_folder(INBOX)
            assert into.add(mail(b"5.host", b"5", uid=5), [b"5"])
            into.finish()
            with monkeypatch.context() as patch:
                patch.setattr(maildir_target, "_OTHERS_SECONDS", 0.0)
                with pytest.raises(StoreError, match="another restore is at work"):
                    add(tmp_path, 5)
            later = pool.submit(add, tmp_path, 5, 6)
            time.sleep(0.2)
            assert not later.done()
            writer.commit()
        assert later.result(60) == (1, [])
    assert box.names() == ["5.host:2,S", "6.host:2,S"]
