"""dovecot-uidlist: what is read of it and what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.records import Folder
from mailhaul.worker.stores.uidlist import (
    NAME,
    UidList,
    UidListWriter,
    format_header,
    format_line,
    parse_header,
)

GUID = "914b7e3a786d016b9d45000083ecc375"
HEADER = f"3 V1500 N9 G{GUID}".encode()


def read(path: Path, size: int | None = None) -> tuple[UidList, list[tuple[int, bytes, bytes]]]:
    fd = os.open(path, os.O_RDONLY)
    try:
        found = UidList(fd, path.stat().st_size if size is None else size)
        return found, list(found.entries())
    finally:
        os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_version_3(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(
        HEADER + b" Xother\n1 :1.M1.host,S=5,W=6\n2 W12 S10 :2.host:2,S\n3  Pa:b  :3.ho st \n4 :4.host:2,Sa\n"
    )
    found, entries = read(path)
    assert (found.header.version, found.header.uidvalidity, found.header.uidnext) == (3, 1500, 9)
    assert (found.header.guid, found.header.line) == (GUID, HEADER + b" Xother")
    assert entries == [
        (1, b"", b"1.M1.host,S=5,W=6"),
        (2, b"W12 S10", b"2.host"),
        (3, b"Pa:b", b"3.ho st "),
        (4, b"", b"4.host"),
    ]
    assert (found.garbled, found.next_uid) == (0, 9)


def test_version_1(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"1 1500 3\n1 1.host\n2 2.host:2,S\n7 7 host\n")
    found, entries = read(path)
    assert (found.header.version, found.header.uidvalidity, found.header.uidnext) == (1, 1500, 3)
    assert entries == [(1, b"", b"1.host"), (2, b"", b"2.host"), (7, b"", b"7 host")]
    assert found.next_uid == 8


@pytest.mark.parametrize(
    "line",
    [b"", b"\0" * 40, b"garbage", b"3", b"2 1 1", b"1 1500", b"3 V\xff", b"03 V1", b"3 V1 N\x01", b"33 V1"],
)
def test_a_first_line_that_is_none(line: bytes) -> None:
    header = parse_header(line)
    assert (header.line, header.uidvalidity) == (line, 0)


@pytest.mark.parametrize("line", [b"3 Vx N5", b"3 V N5", b"3 V12345678901 N5", b"3 N5 Gabc"])
def test_a_first_line_that_says_less(line: bytes) -> None:
    assert (parse_header(line).version, parse_header(line).uidvalidity) == (3, 0)
    assert parse_header(line).uidnext == 5


@pytest.mark.parametrize(
    "line",
    [
        b"x :a", b"0 :a", b"-1 :a", b"+1 :a", b"1_0 :a", b" 1 :a", b"4294967295 :a", b"99999999999 :a",
        b"5", b"5 ", b"5 :", b"5 W1", b"5 W1 :", b"5 ::2,S", b"5 :a/b", b"5 :a\0b", b"\0\0\0", b"\xb2 :a",
    ],
)  # fmt: skip
def test_lines_that_cannot_be_read_are_counted(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(HEADER + b"\n1 :a\n" + line + b"\n\n7 :b\n")
    found, entries = read(path)
    assert entries == [(1, b"", b"a"), (7, b"", b"b")]
    assert found.garbled == 1


@pytest.mark.parametrize("header", [HEADER, HEADER + b" Xw\xc3\xb6rld", b"3  V1500  N9 Q  "])
def test_lines_may_end_as_in_other_systems(tmp_path: Path, header: bytes) -> None:
    """As after an editor; Dovecot takes a CR before the LF for a part of the end."""
    path = tmp_path / "list"
    path.write_bytes(header + b"\r\n1 :1.host,S=5\r\n2 W12 :2.host:2,S\r\n003 :3.host\r\r\n4 :4.host\n")
    found, entries = read(path)
    assert (found.header.line, found.header.uidvalidity, found.header.uidnext) == (header, 1500, 9)
    assert entries == [
        (1, b"", b"1.host,S=5"),
        (2, b"W12", b"2.host"),
        (3, b"", b"3.host\r"),
        (4, b"", b"4.host"),
    ]
    assert found.garbled == 0


def test_a_list_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(HEADER + b"\n1 :a\n2 :bb")
    found, entries = read(path)
    assert entries == [(1, b"", b"a"), (2, b"", b"bb")]
    assert found.garbled == 1


def test_what_is_appended_later_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "list"
    before = HEADER + b"\n1 :a\n2 :b"
    path.write_bytes(before + b"cd\n3 :e\n")
    found, entries = read(path, len(before))
    assert entries == [(1, b"", b"a"), (2, b"", b"bcd")]
    assert found.garbled == 0
    assert read(path, len(HEADER) + 6)[1] == [(1, b"", b"a")]


def test_long_lines_do_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(HEADER + b"\n1 :a\n" + b"x" * 5_000_000 + b"\n2 :b\n")
    found, entries = read(path)
    assert entries == [(1, b"", b"a"), (2, b"", b"b")]
    assert found.garbled == 1


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-uidlist"
    path.write_bytes(content)
    for uid, fields, base in read(path)[1]:
        assert 0 < uid < 0xFFFFFFFF
        assert b"\n" not in base + fields


@pytest.mark.parametrize(
    ("folder", "header"),
    [
        (Folder(name="a", path=b"a", uidvalidity=1500, uidnext=9, header=HEADER), HEADER),
        (
            Folder(name="a", path=b"a", uidvalidity=1500, uidnext=20, header=HEADER + b" Xy"),
            f"3 V1500 N20 G{GUID} Xy".encode(),
        ),
        (Folder(name="a", path=b"a", uidvalidity=1500, uidnext=4, header=b"3 V1500"), b"3 V1500 N4"),
        (Folder(name="a", path=b"a", uidvalidity=5, uidnext=4, header=b"1 5 4"), b"3 V5 N4"),
        (Folder(name="a", path=b"a", uidvalidity=5, guid=GUID), f"3 V5 N1 G{GUID}".encode()),
        (Folder(name="a", path=b"a", uidvalidity=5, guid="x\n1 :y"), b"3 V5 N1"),
        (Folder(name="a", path=b"a", uidvalidity=5, header=b"3 V6 N9\n1 :y"), b"3 V5 N1"),
        (Folder(name="a", path=b"a", uidvalidity=5, header=b"3 V6 N9"), b"3 V5 N9"),
        (
            Folder(name="a", path=b"a", uidvalidity=1600, uidnext=10, header=HEADER + b" Xy"),
            f"3 V1600 N10 G{GUID} Xy".encode(),
        ),
    ],
)
def test_the_first_line_that_is_written(folder: Folder, header: bytes) -> None:
    assert format_header(folder) == header


def test_lines_that_are_written() -> None:
    assert format_line(5, b"", b"a,S=1") == b"5 :a,S=1\n"
    assert format_line(5, b"W12 S10", b"a") == b"5 W12 S10 :a\n"
    for fields in (b"x", b"W1\n6 :b", b"W1 :b", b" W1", b":"):
        assert format_line(5, fields, b"a") == b"5 :a\n"
    for uid, base in ((0, b"a"), (0xFFFFFFFF, b"a"), (5, b"a\nb"), (5, b"a/b")):
        assert format_line(uid, b"", base) is None


def test_written_in_order(directory: int, tmp_path: Path) -> None:
    writer = UidListWriter(directory, Folder(name="a", path=b"a", uidvalidity=1500, header=HEADER))
    for uid in range(1, 5001):
        assert writer.add(uid * 2, b"W%d" % uid if uid % 2 else b"", b"%d.host" % uid)
    assert not writer.add(10_001, b"", b"a\nb")
    writer.finish()
    writer.close()
    found, entries = read(tmp_path / os.fsdecode(NAME))
    assert found.header.line == f"3 V1500 N10001 G{GUID}".encode()
    assert entries[:2] == [(2, b"W1", b"1.host"), (4, b"", b"2.host")]
    assert [uid for uid, _, _ in entries] == list(range(2, 10_001, 2))


def test_uids_out_of_order_are_put_in_order_and_the_first_keeps_one(directory: int, tmp_path: Path) -> None:
    folder = Folder(name="a", path=b"a", uidvalidity=1500, uidnext=4, header=HEADER)
    writer = UidListWriter(directory, folder)
    for uid, base in ((3, b"c"), (1, b"a"), (3, b"d"), (70, b"z"), (2, b"b")):
        writer.add(uid, b"", base)
    writer.finish()
    writer.close()
    writer.close()
    content = (tmp_path / os.fsdecode(NAME)).read_bytes()
    assert content == f"3 V1500 N71 G{GUID}\n1 :a\n2 :b\n3 :c\n70 :z\n".encode()


@pytest.mark.parametrize(("uids", "reserved"), [((), 50), ((7, 9), 7), ((1,), 0), ((60,), 50)])
def test_free_below_the_lowest_that_is_entered(
    directory: int, tmp_path: Path, uids: tuple[int, ...], reserved: int
) -> None:
    folder = Folder(name="INBOX", path=b"", uidvalidity=1500, uidnext=100, guid=GUID)
    writer = UidListWriter(directory, folder, 50)
    for uid in uids:
        assert writer.add(uid, b"", b"%d.host" % uid)
    writer.finish()
    writer.close()
    found, entries = read(tmp_path / os.fsdecode(NAME))
    assert (found.header.reserved, [uid for uid, _, _ in entries]) == (reserved, list(uids))
