"""The names in a folder, while nothing and while everything changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.records import Listed
from mailhaul.worker.packing import hot_path
from mailhaul.worker.packing.entries import Entry
from mailhaul.worker.stores.listing import Listing
from mailhaul.worker.stores.numbering import Numbering
from mailhaul.worker.stores.uidlist import UidList

from ....maildirs import Maildir

Open = Callable[[], Listing]


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path)


@pytest.fixture
def listing(box: Maildir) -> Iterator[Open]:
    fds = {place: os.open(box.root / place, os.O_RDONLY) for place in ("new", "cur")}
    yield lambda: Listing(fds)
    for fd in fds.values():
        os.close(fd)


def numbered(listing: Listing, box: Maildir) -> tuple[list[Listed], Numbering]:
    fd = os.open(box.root / "dovecot-uidlist", os.O_RDONLY)
    try:
        numbering = Numbering(listing, UidList(fd, os.fstat(fd).st_size))
    finally:
        os.close(fd)
    return list(numbering), numbering


def test_names_of_all_kinds(box: Maildir, listing: Open) -> None:
    names = [b"1.host,S=3:2,FS", b"1.host", b"b\nc:2,", b"\xff\xfe:2,a", b":2,S", b"x:1,y:z", b"1:", b"a!"]
    for name in names:
        box.message(name)
    box.message("n.host", place="new")
    box.message(".hidden")
    os.mkfifo(box.root / "new" / "pipe")
    (box.root / "cur" / "link").symlink_to("1.host")
    (box.root / "cur" / "directory").mkdir()
    found = listing()
    messages = list(Numbering(found, None))
    assert sorted(listed.base + listed.suffix for listed in messages if listed.place == "cur") == sorted(
        names
    )
    assert [one.base for one in messages if one.place == "new"] == [b"n.host"]
    assert found.others == {("cur", b".hidden"), ("new", b"pipe"), ("cur", b"link"), ("cur", b"directory")}
    for message in messages:
        assert found.entries[found.find(message.base)].startswith(message.base + b"\0")
    assert found.find(b"2") == found.find(b"1.hos") == -1


def test_two_files_of_one_lasting_name_are_two(box: Maildir, listing: Open) -> None:
    box.message("1.host:2,S", b"one")
    box.message("1.host:2,", b"two")
    box.message("1.host", b"three", place="new")
    box.uidlist("5 :1.host")
    messages, _ = numbered(listing(), box)
    assert [(message.base, message.uid) for message in messages] == [
        (b"1.host", 5),
        (b"1.host", 0),
        (b"1.host", 0),
    ]
    assert {(listed.place, listed.suffix) for listed in messages} == {
        ("cur", b":2,S"), ("cur", b":2,"), ("new", b"")
    }  # fmt: skip


def test_a_name_that_changes_while_it_is_read_is_listed_once(
    box: Maildir, listing: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        box.message(f"{number}.host", place="new")
    read = hot_path.entries_in

    def entries_in(fd: int) -> Iterator[Entry]:
        entries = list(read(fd))
        if os.readlink(f"/proc/self/fd/{fd}").endswith("new"):
            for name in os.listdir(box.root / "new"):
                (box.root / "new" / name).rename(box.root / "cur" / f"{name}:2,S")
        return iter(entries)

    monkeypatch.setattr(hot_path, "entries_in", entries_in)
    found = list(Numbering(listing(), None))
    assert [listed.base for listed in found] == sorted(f"{number}.host".encode() for number in range(20))
    assert {(one.place, one.suffix) for one in found} == {("cur", b":2,S")}


def test_a_name_that_was_missed_is_found_by_another_look(
    box: Maildir, listing: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        box.message(f"{number}.host:2,")
    os.utime(box.root / "cur", (1, 1))
    read = hot_path.entries_in
    looks = []

    def entries_in(fd: int) -> Iterator[Entry]:
        looks.append(fd)
        entries = list(read(fd))
        if len(looks) == 2:
            # As some file systems do: the old name is gone already, the new one lies behind.
            (box.root / "cur" / "3.host:2,").rename(box.root / "cur" / "3.host:2,S")
            entries = [entry for entry in entries if not entry[0].startswith(b"3")]
        return iter(entries)

    monkeypatch.setattr(hot_path, "entries_in", entries_in)
    found = {listed.base: listed.suffix for listed in Numbering(listing(), None)}
    assert found == {f"{n}.host".encode(): b":2,S" if n == 3 else b":2," for n in range(5)}


def test_a_directory_that_breaks_off_keeps_what_was_read(
    box: Maildir, listing: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.message("1.host")
    box.message("2.host", place="new")
    read = hot_path.entries_in

    def entries_in(fd: int) -> Iterator[Entry]:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("cur"):
            raise OSError(5, "Input/output error")
        return read(fd)

    monkeypatch.setattr(hot_path, "entries_in", entries_in)
    found = listing()
    assert [listed.base for listed in Numbering(found, None)] == [b"2.host"]
    assert [(place, error.errno) for place, error in found.problems.items()] == [("cur", 5)]


def test_uids_and_fields(box: Maildir, listing: Open) -> None:
    for name in ("a:2,S", "b", "c:2,", "d", "e"):
        box.message(name)
    box.uidlist("1 :gone", "3 W7 :c:2,", "4 :a", "9 P1 W2 :b")
    messages, numbering = numbered(listing(), box)
    assert [(message.base, message.uid, message.fields) for message in messages] == [
        (b"c", 3, b"W7"), (b"a", 4, b""), (b"b", 9, b"P1 W2"), (b"d", 0, b""), (b"e", 0, b"")
    ]  # fmt: skip
    assert numbering.duplicates == 0


def test_uids_given_twice(box: Maildir, listing: Open) -> None:
    for name in ("a", "b", "c", "d"):
        box.message(name)
    box.uidlist("3 :a", "3 :b", "5 :c", "5 :d", "5 :c")
    messages, numbering = numbered(listing(), box)
    assert [(message.base, message.uid) for message in messages] == [
        (b"a", 3),
        (b"c", 5),
        (b"b", 0),
        (b"d", 0),
    ]
    assert numbering.duplicates == 2


def test_uids_out_of_order(box: Maildir, listing: Open) -> None:
    for name in ("a", "b", "c", "d"):
        box.message(name)
    box.uidlist("7 W1 :a", "3 :b", "5 W2 :c", "3 :d", "7 :d")
    messages, numbering = numbered(listing(), box)
    assert [(message.base, message.uid, message.fields) for message in messages] == [
        (b"b", 3, b""), (b"c", 5, b"W2"), (b"a", 7, b"W1"), (b"d", 0, b"")
    ]  # fmt: skip
    assert numbering.duplicates == 2


def test_a_name_listed_again_has_its_later_uid(box: Maildir, listing: Open) -> None:
    for name in ("a", "b"):
        box.message(name)
    box.uidlist("3 W3 :a", "5 :b", "9 :a")
    messages, _ = numbered(listing(), box)
    assert [(message.base, message.uid, message.fields) for message in messages] == [
        (b"b", 5, b""),
        (b"a", 9, b""),
    ]


def test_a_rescan_knows_new_and_remaining_names(box: Maildir, listing: Open) -> None:
    for name in ("a:2,", "b:2,", "c:2,"):
        box.message(name)
    found = listing()
    (box.root / "cur" / "b:2,").rename(box.root / "cur" / "b:2,S")
    (box.root / "cur" / "c:2,").unlink()
    box.message("d")
    rescan = found.rescan()
    assert list(rescan.seen) == [1, 0, 0]
    assert sorted(rescan.fresh) == [b"b", b"d"]


NAMES = st.binary(min_size=1, max_size=12).filter(lambda n: not n.startswith(b".") and not set(n) & {0, 47})


@given(st.lists(NAMES, unique=True, max_size=30))
def test_any_names_are_found_by_what_lasts(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes]
) -> None:
    box = Maildir(tmp_path_factory.mktemp("names"))
    for name in names:
        box.message(name)
    fd = os.open(box.root / "cur", os.O_RDONLY)
    try:
        found = Listing({"cur": fd})
    finally:
        os.close(fd)
    assert sorted(listed.base + listed.suffix for listed in Numbering(found, None)) == sorted(names)
    for name in names:
        base = name.partition(b":")[0]
        assert found.entries[found.find(base)].partition(b"\0")[0] == base
