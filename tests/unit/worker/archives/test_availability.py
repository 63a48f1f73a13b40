"""Stretches of data: put together, taken apart, and asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive.contents import ArchiveDirectory
from mailhaul.proto.archive.places import BlockTable
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Piece, Stretch
from mailhaul.worker.archives.availability import Availabilities, Availability, block_stretches
from mailhaul.worker.archives.stretches import common, merged, without

SIZE = 60
SOME = st.lists(st.builds(Stretch, st.integers(0, SIZE - 1), st.integers(0, 9)), max_size=8)
ARCHIVE, OTHER = ArchiveId(b"1" * 16), ArchiveId(b"2" * 16)


def offsets(stretches: list[Stretch] | tuple[Stretch, ...]) -> set[int]:
    return {
        offset for stretch in stretches for offset in range(stretch.offset, stretch.offset + stretch.length)
    }


def is_tidy(stretches: list[Stretch] | tuple[Stretch, ...]) -> bool:
    ends = [stretch.offset + stretch.length for stretch in stretches]
    return all(one.length > 0 for one in stretches) and all(
        end <= following.offset for end, following in zip(ends, stretches[1:], strict=False)
    )


@given(SOME, SOME)
def test_sets_of_stretches(some: list[Stretch], others: list[Stretch]) -> None:
    assert offsets(merged(some)) == offsets(some)
    left, both = without(merged(some), others), common(some, others)
    assert offsets(left) == offsets(some) - offsets(others)
    assert offsets(both) == offsets(some) & offsets(others)
    assert is_tidy(merged(some))
    assert is_tidy(left)
    assert is_tidy(both)


def directory(data_bytes: int, holes: tuple[Stretch, ...] = ()) -> ArchiveDirectory:
    return ArchiveDirectory(
        mailboxes=(),
        blocks=BlockTable(data=[], file=[], size=[]),
        data_bytes=data_bytes,
        index_frames=(),
        holes=holes,
    )


@given(SOME, SOME, st.integers(0, SIZE), st.integers(0, 30))
def test_what_is_missing_of_a_stretch(
    holes: list[Stretch], broken: list[Stretch], offset: int, length: int
) -> None:
    there = Availability(directory(SIZE, tuple(merged(holes))), broken)
    missing = there.missing(offset, length)
    gone = offsets(holes) | offsets(broken) | set(range(SIZE, SIZE + 40))
    assert offsets(missing) == gone & set(range(offset, offset + length))


def test_blocks_end_where_the_next_one_or_a_hole_begins() -> None:
    blocks = BlockTable(data=[0, 10, 40], file=[72, 200, 300], size=[9, 9, 9])
    whole = ArchiveDirectory(
        mailboxes=(), blocks=blocks, data_bytes=50, index_frames=(), holes=(Stretch(20, 20),)
    )
    assert list(block_stretches(whole)) == [Stretch(0, 10), Stretch(10, 10), Stretch(40, 10)]


def test_each_archive_is_looked_at_once() -> None:
    opened: list[ArchiveId] = []

    class Opened:
        directory = directory(100, (Stretch(10, 5),))

    def open_archive(archive: ArchiveId) -> Opened:
        opened.append(archive)
        if archive != ARCHIVE:
            raise DamagedError("it is not there", reason="missing")
        return Opened()

    there = Availabilities(open_archive, {ARCHIVE: (Stretch(50, 10),)})
    assert there.lack([Piece(ARCHIVE, 0, 10), Piece(ARCHIVE, 15, 35)]) is None
    lack = there.lack([Piece(ARCHIVE, 0, 60), Piece(OTHER, 7, 2)])
    assert lack is not None
    assert lack.stretches == (
        (ARCHIVE, Stretch(10, 5)),
        (ARCHIVE, Stretch(50, 10)),
        (OTHER, Stretch(7, 2)),
    )
    assert lack.error.facts["reason"] == "block"
    assert there.has(ARCHIVE, 60, 40)
    assert not there.has(ARCHIVE, 60, 41)
    assert not there.has(OTHER, 0, 1)
    assert opened == [ARCHIVE, OTHER]
