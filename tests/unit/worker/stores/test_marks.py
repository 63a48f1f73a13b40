"""Marks: what they rest on, and when there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.proto.records import ListedFile
from mailhaul.worker.stores.marks import (
    HASH_BYTES,
    FilesMark,
    has_settled,
    identity_hash,
    state_hash,
    tick_ns,
)

SECOND = 1_000_000_000
FINE = 1_700_000_000 * SECOND + 123_456_789
COARSE = 1_700_000_000 * SECOND


def status(*, modified: int = FINE, changed: int = FINE, inode: int = 7, size: int = 4096) -> os.stat_result:
    """A status with these times, to the nanosecond."""
    template = list(os.stat("/"))
    template[1], template[6] = inode, size
    seconds = [0, modified // SECOND, changed // SECOND]
    floats = [float(second) for second in seconds]
    nanoseconds = [0, modified, changed]
    return os.stat_result((*template[:7], *seconds, *floats, *nanoseconds))


def test_the_double_is_right() -> None:
    one = status(modified=FINE, changed=COARSE, inode=9, size=12)
    assert (one.st_mtime_ns, one.st_ctime_ns, one.st_ino, one.st_size) == (FINE, COARSE, 9, 12)


@pytest.mark.parametrize(
    ("stamp", "later_ns", "settled"),
    [
        (FINE, 0, False),
        (FINE, 19_000_000, False),
        (FINE, 21_000_000, True),
        (FINE, -3600 * SECOND, False),
        (COARSE, 21_000_000, False),
        (COARSE, SECOND, False),
        (COARSE, 2 * SECOND + 1, True),
        (COARSE, -1, False),
    ],
)
def test_a_time_settles_after_a_tick_and_never_before_the_clock_is_there(
    stamp: int, later_ns: int, settled: bool
) -> None:
    long_ago = FINE - 86400 * SECOND
    assert has_settled(status(modified=stamp, changed=stamp), stamp + later_ns) is settled
    assert has_settled(status(modified=long_ago, changed=stamp), stamp + later_ns) is settled
    assert has_settled(status(modified=stamp, changed=long_ago), stamp + later_ns) is settled


def test_ticks_are_long_where_there_are_no_parts_of_a_second() -> None:
    assert tick_ns(FINE) < tick_ns(COARSE)


def test_a_state_is_made_of_every_fact_in_order() -> None:
    one, two = status(inode=1), status(inode=2)
    states: list[list[os.stat_result | None]] = [
        [one, two],
        [two, one],
        [one, None],
        [None, one],
        [one, status(inode=2, size=1)],
        [one, status(inode=2, changed=FINE + 1)],
        [one, status(inode=2, modified=FINE - 1)],
        [],
    ]
    hashes = [state_hash(parts) for parts in states]
    assert len(set(hashes)) == len(states)
    assert hashes[0] == state_hash([status(inode=1), status(inode=2)])
    assert {len(one) for one in hashes} == {HASH_BYTES}


def test_an_identity_outlives_all_but_the_directory(tmp_path: Path) -> None:
    def identity(*names: str) -> bytes:
        fds = [os.open(tmp_path / name, os.O_RDONLY) for name in names]
        try:
            return identity_hash([*fds, None])
        finally:
            for fd in fds:
                os.close(fd)

    (tmp_path / "cur").mkdir()
    (tmp_path / "new").mkdir()
    first = identity("new", "cur")
    assert identity("cur", "new") != first
    assert identity("cur") != first
    (tmp_path / "cur" / "1").touch()
    (tmp_path / "cur").chmod(0o750)
    os.utime(tmp_path / "cur", (1, 1))
    (tmp_path / "cur").rename(tmp_path / "other")
    assert identity("new", "other") == first
    seen = {first}
    for _ in range(5):
        # The next directory often gets the number of the one before it.
        (tmp_path / "new").rmdir()
        (tmp_path / "new").mkdir()
        seen.add(identity("new", "other"))
    assert len(seen) == 6


def test_a_mark_of_files_is_made_of_their_names_and_facts() -> None:
    def mark(*files: ListedFile, **facts: int) -> bytes:
        files_mark = FilesMark(FINE + SECOND)
        for file in files:
            files_mark.add(file, status(**facts))
        return files_mark.digest()

    a, b = ListedFile(b"a"), ListedFile(b"b")
    marks = [
        mark(),
        mark(a),
        mark(a, b),
        mark(b, a),
        mark(ListedFile(b"ab")),
        mark(ListedFile(b"a", home=True)),
        mark(ListedFile(b"a", target=b"b")),
        mark(ListedFile(b"a", target=b"c")),
        mark(a, size=5),
        mark(a, inode=8),
        mark(a, modified=FINE - 1),
        mark(a, changed=FINE - 1),
    ]
    assert len(set(marks)) == len(marks)
    assert mark(a, b) == marks[2] != b""


def test_files_that_are_young_or_unknown_have_no_mark() -> None:
    young = FilesMark(FINE + 1_000_000)
    young.add(ListedFile(b"a"), status())
    young.add(ListedFile(b"b"), status(modified=1, changed=1))
    assert young.digest() == b""
    unknown = FilesMark(FINE + SECOND)
    unknown.add_unknown()
    unknown.add(ListedFile(b"a"), status())
    assert unknown.digest() == b""
