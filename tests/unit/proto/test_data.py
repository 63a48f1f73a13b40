"""Putting messages together again from pieces: block borders, encoded runs, checksums, the cache."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable

import pytest
from blake3 import blake3

from mailhaul.proto.archive import recipes
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.framing import BLOCK_BYTES
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Message, Piece
from mailhaul.tests.archives import ARCHIVE, MemoryFile, MemorySink, archive_header, message

DATA = random.Random(7).randbytes(4 * BLOCK_BYTES)
MISSING = ArchiveId(b"is not at hand!!")


@pytest.fixture(scope="module")
def reader() -> ArchiveReader:
    """An archive of four blocks."""
    sink = MemorySink()
    archive = ArchiveWriter(sink, archive_header())
    archive.append(DATA)
    archive.finish()
    return open_sealed(MemoryFile(bytes(sink.data)))


def contents(reader: ArchiveReader, cache_bytes: int = 64 << 20) -> Contents:
    def opened(archive: ArchiveId) -> ArchiveReader:
        if archive != ARCHIVE:
            raise DamagedError("no such archive", reason="missing")
        return reader

    return Contents(opened, cache_bytes)


def stored(text: bytes, *pieces: Piece, size: int | None = None) -> Message:
    return message(1, text, pieces, blake3(text).digest(length=16), size=len(text) if size is None else size)


def read(reader: ArchiveReader, one: Message) -> bytes:
    return b"".join(contents(reader).message(one))


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(0, 0)],
        [(0, 10)],
        [(BLOCK_BYTES - 5, 10)],
        [(0, 4 * BLOCK_BYTES)],
        [(5, 3 * BLOCK_BYTES)],
        [(4 * BLOCK_BYTES - 1, 1)],
        [(100, 50), (0, 20), (BLOCK_BYTES, 7), (100, 50)],
    ],
)
def test_pieces_lie_anywhere(reader: ArchiveReader, ranges: list[tuple[int, int]]) -> None:
    text = b"".join(DATA[at : at + length] for at, length in ranges)
    assert read(reader, stored(text, *(Piece(ARCHIVE, at, length) for at, length in ranges))) == text


def encoded(recipe: int, *pieces: tuple[int, int]) -> list[Piece]:
    return [Piece(ARCHIVE, at, length, recipe, number > 0) for number, (at, length) in enumerate(pieces)]


def base64_lines(data: bytes) -> bytes:
    return base64.encodebytes(data)[:-1]


def test_encoded_runs_are_encoded_again_as_one(reader: ArchiveReader) -> None:
    apart = [(1000, 100), (BLOCK_BYTES - 1, 55), (7, 1), (9, 0)]
    data = b"".join(DATA[at : at + length] for at, length in apart)
    text = DATA[:9] + base64_lines(data) + base64_lines(DATA[50:60]) + DATA[:5]
    pieces = [
        Piece(ARCHIVE, 0, 9),
        *encoded(39, *apart),
        *encoded(39, (50, 10)),
        Piece(ARCHIVE, 0, 5),
    ]
    assert read(reader, stored(text, *pieces)) == text


def test_the_first_piece_of_a_run_may_say_that_it_continues(reader: ArchiveReader) -> None:
    text = base64_lines(DATA[:10])
    assert read(reader, stored(text, Piece(ARCHIVE, 0, 10, 39, True))) == text


def test_a_run_of_different_recipes_is_damage(reader: ArchiveReader) -> None:
    pieces = Piece(ARCHIVE, 0, 30, 39), Piece(ARCHIVE, 30, 30, 40, True)
    with pytest.raises(DamagedError):
        read(reader, stored(base64_lines(DATA[:60]), *pieces))


@pytest.mark.parametrize(
    "wrong",
    [
        stored(DATA[:10], Piece(ARCHIVE, 1, 10)),
        stored(DATA[:10], Piece(ARCHIVE, 0, 9)),
        stored(DATA[:10], Piece(ARCHIVE, 0, 11)),
        stored(DATA[:10]),
        stored(DATA[:10], Piece(ARCHIVE, 0, 10), size=9),
        stored(DATA[:10], Piece(ARCHIVE, 0, 10), size=1 << 60),
        stored(DATA[:10], *(Piece(ARCHIVE, 0, BLOCK_BYTES) for _ in range(10_000))),
        stored(DATA[:10], Piece(ARCHIVE, 0, 10, 39)),
        stored(DATA[:10], Piece(ARCHIVE, 0, 10, recipes.RECIPE_LIMIT - 1)),
        stored(DATA[:10], Piece(ARCHIVE, 4 * BLOCK_BYTES, 1)),
        stored(DATA[:10], Piece(ARCHIVE, 4 * BLOCK_BYTES - 1, 10)),
        stored(DATA[:10], Piece(ARCHIVE, (1 << 64) - 1, (1 << 32) - 1)),
        stored(DATA[:10], Piece(MISSING, 0, 10)),
    ],
)
def test_what_is_not_what_was_stored_is_damage(reader: ArchiveReader, wrong: Message) -> None:
    given: list[int] = []

    def read_all() -> None:
        given.extend(map(len, contents(reader).message(wrong)))

    with pytest.raises(DamagedError):
        read_all()
    assert sum(given) <= wrong.size


class TestCache:
    def touch(self, reader: ArchiveReader, data: Contents, blocks: Iterable[int]) -> int:
        before = data.blocks_read
        for block in blocks:
            b"".join(
                data.message(stored(DATA[block * BLOCK_BYTES :][:5], Piece(ARCHIVE, block * BLOCK_BYTES, 5)))
            )
        return data.blocks_read - before

    def test_a_block_is_read_once(self, reader: ArchiveReader) -> None:
        assert self.touch(reader, contents(reader), [0, 1, 0, 1, 1, 0]) == 2

    def test_those_used_last_are_kept(self, reader: ArchiveReader) -> None:
        data = contents(reader, 2 * BLOCK_BYTES)
        assert self.touch(reader, data, [0, 1, 0, 2]) == 3  # 1 goes
        assert self.touch(reader, data, [0, 2]) == 0
        assert self.touch(reader, data, [1]) == 1

    def test_at_least_one_is_kept(self, reader: ArchiveReader) -> None:
        data = contents(reader, 0)
        assert self.touch(reader, data, [0, 0, 1, 1, 0]) == 3


def test_of_pieces_that_are_more_than_the_message_nothing_is_read(reader: ArchiveReader) -> None:
    data = contents(reader)
    with pytest.raises(DamagedError, match="checksum"):
        list(data.message(stored(DATA[:100], *[Piece(ARCHIVE, 0, 2 * BLOCK_BYTES)] * 1000)))
    assert data.blocks_read == 0


@pytest.mark.parametrize("size", [10, 64 << 10, (64 << 10) + 1, 3 * BLOCK_BYTES])
def test_whoever_writes_messages_gets_bytes(reader: ArchiveReader, size: int) -> None:
    pieces = list(contents(reader).message(stored(DATA[:size], Piece(ARCHIVE, 0, size))))
    assert b"".join(pieces) == DATA[:size]
    assert all(type(piece) is bytes for piece in pieces)
