"""A folder as it is listed, compared with how it was stored: by columns, and name by name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailhaul.proto.archive.message_rows import MessageRows, Names
from mailhaul.proto.archive.messages import MessageColumns
from mailhaul.proto.records import Listed, Message, Ownership
from mailhaul.worker.stores.keywords import FlagNames
from mailhaul.worker.stores.listed_records import ListedRecords
from mailhaul.worker.stores.listing import Listing
from mailhaul.worker.stores.numbering import Numbering
from mailhaul.worker.stores.uidlist import UidList

from ....maildirs import Maildir

BASES = (b"1.M1P1.mx", b"1.M1P1.mx,S=5", b"2.mx", b"2", b"3.mx,W=1", b"4.mx")
SUFFIXES = (b"", b":2,", b":2,S", b":2,Sa", b":2,RS", b":1,x")
PLACES = ("new", "cur")
KEYWORDS = ("$Forwarded",)
MEANINGS = (FlagNames(), FlagNames(KEYWORDS), FlagNames(KEYWORDS, {2: ("beyond",)}))

Lines = Sequence[tuple[int, str, bytes]]

FILES = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(BASES), st.sampled_from(SUFFIXES)), unique=True
)
LINES = st.lists(st.tuples(st.integers(1, 8), st.sampled_from(("", "W5")), st.sampled_from(BASES)))


class Folder:
    """A folder on disk with these files and this list."""

    def __init__(self, stack: ExitStack, files: Sequence[tuple[str, bytes, bytes]], lines: Lines) -> None:
        self.box = Maildir(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for place, base, suffix in files:
            (self.box.root / place / os.fsdecode(base + suffix)).touch()
        rows = [f"{uid} {fields} :{os.fsdecode(base)}".replace("  ", " ") for uid, fields, base in lines]
        self.box.uidlist(*rows)
        self.fds = {place: os.open(self.box.root / place, os.O_RDONLY) for place in PLACES}
        for fd in self.fds.values():
            stack.callback(os.close, fd)

    def numbering(self, names: FlagNames) -> Numbering:
        fd = os.open(self.box.root / "dovecot-uidlist", os.O_RDONLY)
        try:
            found = Numbering(Listing(self.fds), UidList(fd, os.fstat(fd).st_size))
        finally:
            os.close(fd)
        found.names = names
        return found


def stored(listed: Sequence[Listed]) -> Names:
    """These messages as a frame of an archive tells of them."""
    columns = MessageColumns()
    for one in listed:
        columns.add(
            Message(
                *(one.uid, one.base, one.suffix, one.place, one.flags, one.fields, 0, Ownership(0o600, 0, 0)),
                *(5, bytes(32), (), one.keywords, (), 0, one.inode),
            )
        )
    return MessageRows(columns.take()).names


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[int, dict[str, object]]]:
    """What was otherwise with some messages when they were stored."""
    fields: dict[str, st.SearchStrategy[object]] = {
        "base": st.sampled_from(BASES),
        "suffix": st.sampled_from(SUFFIXES),
        "place": st.sampled_from(PLACES),
        "uid": st.integers(0, 8),
        "flags": st.sampled_from(("", "S", "RS")),
        "fields": st.sampled_from((b"", b"W5")),
        "keywords": st.sampled_from(((), KEYWORDS)),
        "inode": st.sampled_from((0, 1)),
    }
    rows = draw(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(sorted(fields))), max_size=3))
    return [(row, {name: draw(fields[name])}) for row, name in rows]


@given(FILES, LINES, changes(), st.sampled_from(MEANINGS), st.sampled_from(MEANINGS), st.data())
@example([("cur", b"", b":2,S")], [], [], MEANINGS[0], MEANINGS[0], None)
@example([("new", b"1", b"")], [(2, "", b"1")], [], MEANINGS[0], MEANINGS[2], None)
@example([("cur", b"2", b":2,Sa")], [(2, "", b"2")], [], MEANINGS[2], MEANINGS[2], None)
def test_both_ways_of_comparing_agree(
    files: list[tuple[str, bytes, bytes]],
    lines: Lines,
    otherwise: list[tuple[int, dict[str, object]]],
    then: FlagNames,
    now: FlagNames,
    data: st.DataObject | None,
) -> None:
    with ExitStack() as stack:
        folder = Folder(stack, files, lines)
        before = list(folder.numbering(then))
        for row, change in otherwise:
            if row < len(before):
                before[row] = before[row]._replace(**change)  # type: ignore[arg-type]
        before = [one for one in before if one.uid or one.base or one.suffix]
        numbering = folder.numbering(now)
    listed = list(numbering)
    assert len(numbering) == len(listed) == len(files)
    assert numbering.some(0, len(listed)) == listed
    if data is not None and before:
        gone = data.draw(st.integers(0, len(before)))
        before = data.draw(st.permutations(before[:gone])) + before[gone:]
    names, records = stored(before), ListedRecords(listed)
    for first in range(len(listed) + 1):
        for row in range(len(before) + 1):
            count = numbering.agreeing(first, names, row)
            assert count == records.agreeing(first, names, row)
            assert names.has(row, [*map(_as_stored, listed[first : first + count])])


def _as_stored(listed: Listed) -> Listed:
    if not listed.uid and not listed.base:
        return listed._replace(base=listed.suffix, suffix=b"")
    return listed


@pytest.fixture(scope="module")
def long() -> Iterator[Numbering]:
    with ExitStack() as stack:
        bases = [b"%d.mx" % number for number in range(300)]
        lines = [(number + 1, "", base) for number, base in enumerate(bases)]
        yield Folder(stack, [("cur", base, b":2,S") for base in bases], lines).numbering(FlagNames())


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=4), st.integers(0, 299))
def test_where_a_long_frame_differs_is_found(
    long: Numbering, size: int, changed: set[int], first: int
) -> None:
    """Compared many at a time, to the first message that is another."""
    listed = long.some(0, size)
    for row in changed:
        if row < size:
            listed[row] = listed[row]._replace(uid=row + 1000)
    first = min(first, size)
    expected = next((row for row in range(first, size) if row in changed), size) - first
    assert long.agreeing(first, stored(listed), first) == expected
