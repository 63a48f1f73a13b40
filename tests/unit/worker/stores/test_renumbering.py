"""No number is used twice: what folders, counters and the files of Courier say after a restore."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.proto.records import Folder, Renumbering
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.stores.renumbering import COUNTER, Renumberer
from mailhaul.worker.stores.uidlist import parse_header

from ....maildirs import GUID, Maildir, copy_mail

NOW = 1_790_000_000
WORK = Folder(name="Work", path=b".Work", uidvalidity=1500, uidnext=9, guid=GUID)


def renumberer(margin: int = 100, *, new: bool = False, now: int = NOW) -> Renumberer:
    return Renumberer(Renumbering(uid_margin=margin, new_uidvalidity=new), now)


def test_a_folder_goes_on_above_its_numbers() -> None:
    found = renumberer().folder(WORK)
    assert (found.uidvalidity, found.uidnext, found.guid) == (1500, 109, GUID)
    assert renumberer(0).folder(WORK) == WORK


def test_a_folder_without_numbers_gets_them_from_the_server() -> None:
    plain = Folder(name="Plain", path=b".Plain")
    assert renumberer().folder(plain) == plain
    assert renumberer(new=True).folder(plain) == plain


@pytest.mark.parametrize(
    ("uidnext", "margin", "expected"),
    [
        (2**32 - 101, 100, (1500, 2**32 - 1)),
        (2**32 - 100, 100, (NOW + 1, 2**32 - 100)),
        (2**32 - 1, 1, (NOW + 1, 2**32 - 1)),
    ],
)
def test_where_no_uid_is_left_uidvalidity_is_new(
    uidnext: int, margin: int, expected: tuple[int, int]
) -> None:
    folder = Folder(name="a", path=b"a", uidvalidity=1500, uidnext=uidnext)
    found = renumberer(margin).folder(folder)
    assert (found.uidvalidity, found.uidnext) == expected


def test_new_uidvalidities_differ_from_each_other_and_from_the_old_ones() -> None:
    numbers = renumberer(new=True)
    old = [1500, NOW - 1, NOW, NOW + 5, NOW + 6, 2**32 - 1]
    new = [numbers.folder(Folder(name="a", path=b"a", uidvalidity=one, uidnext=7)) for one in old]
    given = [folder.uidvalidity for folder in new]
    assert len(set(given)) == len(old)
    assert all(0 < one < 2**32 and one != was for one, was in zip(given, old, strict=True))
    assert {one.uidnext for one in new} == {107}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (b"dovecot-uidvalidity", b"692a1b2c", max(0x692A1B2C + 1000, NOW)),
        (b"dovecot-uidvalidity", b"f0000000", 0xF0000000 + 1000),
        (b"dovecot-uidvalidity", b"ffffffff", 0xFFFFFFFF),
        (b"dovecot-uidvalidity", b"garbage!", NOW),
        (b"dovecot-uidvalidity", b"", NOW),
        (b"dovecot-uidvalidity.f0000000", b"", 0xF0000000 + 1000),
    ],
)
def test_the_counter_of_uidvalidities_goes_on(name: bytes, content: bytes, expected: int) -> None:
    numbers = renumberer()
    assert numbers.counter_files() == {}
    assert numbers.takes(name, [content])
    number = b"%08x" % expected
    assert numbers.counter_files() == {COUNTER: number, COUNTER + b"." + number: b""}


def test_the_counter_goes_on_above_what_the_restore_itself_gave_out() -> None:
    numbers = renumberer(new=True, now=5000)
    given = [numbers.folder(WORK).uidvalidity for _ in range(2000)]
    assert numbers.takes(COUNTER, [b"00000010"])
    assert int(numbers.counter_files()[COUNTER], 16) == max(given)


def test_other_files_are_no_counters() -> None:
    for name in (b"dovecot-uidlist", b"dovecot-uidvalidity.5f", b"dovecot-uidvalidity.692a1b2c.old", b"x"):
        assert not renumberer().takes(name, [b"692a1b2c"])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (b"courierimapuiddb", b"1 1500 9\n1 a\n8 b\n", b"1 1500 109\n1 a\n8 b\n"),
        (b"courierimapuiddb", b"1 1500 4294967290\n", b"1 %d 4294967290\n" % (NOW + 1)),
        (b"courierimapuiddb", b"2 1500 9\n", b"2 1500 9\n"),
        (b"courierpop3dsizelist", b"/2 9 1500\n1.host 5 8:1500\n", b"/2 109 1500\n1.host 5 8:1500\n"),
        (b"courierpop3dsizelist", b"/1 9\n", b"/1 109\n"),
        (b"courierpop3dsizelist", b"", b""),
        (b"courierimapuiddb", b"x" * 10_000, b"x" * 10_000),
    ],
)
def test_files_of_courier(name: bytes, content: bytes, expected: bytes) -> None:
    for size in (1, 3, 10_000):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert b"".join(renumberer().courier(name, pieces)) == expected
    if name == b"courierimapuiddb" and expected != content:
        changed = b"".join(renumberer(new=True).courier(name, [content]))
        uidnext = expected.split(maxsplit=3)[2]
        assert changed.startswith(b"1 %d %s\n" % (NOW + 1, uidnext))


def test_a_restored_store(tmp_path: Path) -> None:
    """The files of two servers, in a mailbox that is made anew; in that mailbox a folder that is."""
    box = Maildir(tmp_path / "old")
    box.message("1.host")
    box.uidlist("3 :1.host", header=f"3 V1500 N4 G{GUID} Xy")
    box.folder(".Work")
    (box.root / "dovecot-uidvalidity").write_text("692a1b2c")
    (box.root / "dovecot-uidvalidity.692a1b2c").touch(0o444)
    (box.root / ".Work" / "courierimapuiddb").write_text("1 77 5\n1 a\n")
    store, target = MaildirStore(str(box.root)), MaildirTarget(str(tmp_path / "new"))
    assert copy_mail(store, target) == []
    new = tmp_path / "new"
    assert (new / "dovecot-uidlist").read_text() == f"3 V1500 N10000004 G{GUID} Xy\n3 :1.host\n"
    counter = (new / "dovecot-uidvalidity").read_text()
    markers = [name for name in os.listdir(new) if name.startswith("dovecot-uidvalidity.")]
    assert markers == [f"dovecot-uidvalidity.{counter}"]
    assert int(counter, 16) > 0x692A1B2C
    assert (new / "dovecot-uidvalidity").stat().st_mode & 0o777 == (
        box.root / "dovecot-uidvalidity"
    ).stat().st_mode & 0o777
    assert (new / markers[0]).stat().st_mode & 0o777 == 0o444
    assert (new / ".Work" / "courierimapuiddb").read_text() == "1 77 10000005\n1 a\n"

    before = {name: (new / name).read_bytes() for name in (*markers, "dovecot-uidvalidity")}
    (new / ".Work" / "courierimapuiddb").write_text("1 77 6\n")
    assert copy_mail(store, target) == []
    assert {name: (new / name).read_bytes() for name in before} == before
    assert (new / ".Work" / "courierimapuiddb").read_text() == "1 77 6\n"


def test_a_restored_store_with_new_uidvalidities(tmp_path: Path) -> None:
    box = Maildir(tmp_path / "old")
    for number, folder in enumerate(("", ".Work", ".Sent")):
        if folder:
            box.folder(folder)
        box.message("1.host", folder=folder)
        box.uidlist("3 W5 :1.host", header=f"3 V{1500 + number} N4 G{GUID}", folder=folder)
    (box.root / "dovecot-uidvalidity").write_text("000005de")
    target = MaildirTarget(str(tmp_path / "new"), renumbering=Renumbering(new_uidvalidity=True))
    assert copy_mail(MaildirStore(str(box.root)), target) == []
    lists = [tmp_path / "new" / folder / "dovecot-uidlist" for folder in ("", ".Work", ".Sent")]
    headers = [parse_header(path.read_bytes().splitlines()[0]) for path in lists]
    assert len({header.uidvalidity for header in headers}) == 3
    assert all(
        uid_list_header.uidvalidity > 10**9
        and (uid_list_header.uidnext, uid_list_header.guid) == (10_000_004, GUID)
        for uid_list_header in headers
    )
    assert [one.read_text().splitlines()[1] for one in lists] == ["3 W5 :1.host"] * 3
    counter = int((tmp_path / "new" / "dovecot-uidvalidity").read_text(), 16)
    assert counter >= max(one.uidvalidity for one in headers)
