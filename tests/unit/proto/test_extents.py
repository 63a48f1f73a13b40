"""Stretches of the pieces of a frame, found without decoding messages: those that decoding finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import extents, messages
from mailhaul.proto.archive.messages import MessageColumns, MessageRows
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Piece

from ...archives import message, remapped, unpacked

_archives = st.integers(0, 3).map(lambda number: ArchiveId(bytes([number]) * 16))
_pieces = st.tuples(_archives, st.integers(0, 2000), st.integers(1, 300)).map(lambda row: Piece(*row))


def covered(bounds: dict[ArchiveId, list[int]]) -> set[tuple[ArchiveId, int]]:
    return {
        (archive, at)
        for archive, ends in bounds.items()
        for begin, end in zip(ends[::2], ends[1::2], strict=True)
        for at in range(begin, end)
    }


def payload_of(pieces: list[list[Piece]]) -> bytes:
    columns = MessageColumns()
    for uid, mine in enumerate(pieces, 1):
        columns.add(message(uid, b"", tuple(mine), bytes(16)))
    return columns.take()


@given(st.lists(st.lists(_pieces, max_size=4), max_size=10))
def test_extents_are_those_of_the_pieces(pieces: list[list[Piece]]) -> None:
    found = extents.extents(payload_of(pieces))
    every = tuple(piece for mine in pieces for piece in mine)
    assert covered({key: list(ends) for key, ends in found.items()}) == covered(
        {key: list(ends) for key, ends in extents.of_pieces(every).items()}
    )


@given(st.lists(st.lists(_pieces, max_size=4), min_size=1, max_size=10), st.data())
def test_those_of_some_rows_are_those_of_their_pieces(pieces: list[list[Piece]], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(pieces)))
    count = data.draw(st.integers(0, len(pieces) - first))
    payload = payload_of(pieces)
    found = extents.of_rows(MessageRows(payload).part(first, count))
    assert found == extents.extents(payload, (first, count))
    every = tuple(piece for mine in pieces[first : first + count] for piece in mine)
    assert covered({key: list(ends) for key, ends in found.items()}) == covered(
        {key: list(ends) for key, ends in extents.of_pieces(every).items()}
    )


def test_what_was_stored_in_a_row_is_one_stretch() -> None:
    archive = ArchiveId(b"a" * 16)
    payload = payload_of([[Piece(archive, 100 * i, 100)] for i in range(1000)])
    assert [list(ends) for ends in extents.extents(payload).values()] == [[0, 100_000]]
    assert extents.extents(messages.LOST) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"archives": []},
        {"archives": [b"short"]},
        {"archive": b""},
        {"gap": b"\xff" * 8 + bytes(8)},
        {"gap": b""},
        {"length": None},
        {"length": b"123"},
    ],
)
def test_a_frame_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    archive = ArchiveId(b"a" * 16)
    payload = payload_of([[Piece(archive, 0, 100), Piece(archive, 500, 100)]])
    assert len(unpacked(payload)["archive"]) == 4
    with pytest.raises(DamagedError):
        extents.extents(remapped(payload, **changes))
