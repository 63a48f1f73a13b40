"""Putting the data of messages together again, out of the blocks of any number of archives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import DamagedError
from ..records import DIGEST_BYTES, ArchiveId, Message, Piece, StoredFile
from . import recipes
from .kept_blocks import KeptBlocks

if TYPE_CHECKING:
    from .demand import Demand
    from .reader import ArchiveReader


_WHOLE_BYTES = 64 << 10
"""Up to this size a message is put together in memory: to join its pieces costs less than to hand each on."""


class Contents:
    """The data of a set of archives, by pieces. Keeps the blocks read last, up to ``cache_bytes``. Where it
    is known what is to be read (``demand``) these are half of that, and of others is kept what still is."""

    def __init__(
        self,
        open_archive: Callable[[ArchiveId], ArchiveReader],
        cache_bytes: int = 64 << 20,
        demand: Demand | None = None,
    ) -> None:
        self._open_archive = open_archive
        self._archives: dict[ArchiveId, ArchiveReader] = {}
        # Without a demand there is no rest of a block.
        halves = (cache_bytes, 0) if demand is None else (cache_bytes // 2, cache_bytes)
        self._blocks = KeptBlocks(*halves, demand)

    @property
    def blocks_read(self) -> int:
        """How many blocks were read and decompressed."""
        return self._blocks.read

    def message(self, message: Message | StoredFile) -> Iterator[bytes]:
        """The bytes of a message or file, read as they are asked for. Raises DamagedError if they are not
        what was stored; of a large one after the last of them, so whoever writes them makes them visible only
        when the iterator has ended."""
        if message.size <= _WHOLE_BYTES:
            yield self._whole(message)
            return
        digest, size = blake3(), 0
        for chunk in self._chunks(message.pieces):
            size += len(chunk)
            if size > message.size:
                break
            digest.update(chunk)
            yield bytes(chunk)
        if size != message.size or digest.digest(length=DIGEST_BYTES) != message.digest:
            raise _other_content()

    def stored(self, piece: Piece) -> bytes:
        """The stored bytes of a piece, compared with nothing. Raises DamagedError."""
        return b"".join(self._raw(piece))

    def _whole(self, message: Message | StoredFile) -> bytes:
        stored = 0
        for piece in message.pieces:
            stored += piece.length
        if stored > message.size:  # no recipe makes text shorter: whatever metadata claims, memory is bounded
            raise _other_content()
        text = b"".join(self._chunks(message.pieces))
        if len(text) != message.size or blake3(text).digest(length=DIGEST_BYTES) != message.digest:
            raise _other_content()
        return text

    def _chunks(self, pieces: Iterable[Piece]) -> Iterator[bytes | memoryview]:
        run: list[Piece] = []
        for piece in pieces:
            if run and not piece.joined:
                yield from recipes.encode(self._run(run), run[0].recipe)
                run.clear()
            if piece.recipe == recipes.RAW:
                yield from self._raw(piece)
            elif run and run[0].recipe != piece.recipe:
                raise DamagedError("pieces of one run have different recipes", reason="metadata")
            else:
                run.append(piece)
        if run:
            yield from recipes.encode(self._run(run), run[0].recipe)

    def _run(self, pieces: list[Piece]) -> Iterator[memoryview]:
        for piece in pieces:
            yield from self._raw(piece)

    def _raw(self, piece: Piece) -> Iterable[memoryview]:
        archive = self._archives.get(piece.archive) or self._archive(piece.archive)
        chunk = self._blocks.chunk(archive, piece.offset, piece.length) if piece.length else memoryview(b"")
        # Most lie in one block.
        return (chunk,) if len(chunk) == piece.length else self._over_blocks(archive, piece, chunk)

    def _over_blocks(self, archive: ArchiveReader, piece: Piece, chunk: memoryview) -> Iterator[memoryview]:
        yield chunk
        offset, left = piece.offset + len(chunk), piece.length - len(chunk)
        while left > 0:
            chunk = self._blocks.chunk(archive, offset, left)
            yield chunk
            offset += len(chunk)
            left -= len(chunk)

    def _archive(self, archive: ArchiveId) -> ArchiveReader:
        reader = self._archives[archive] = self._open_archive(archive)
        return reader


def _other_content() -> DamagedError:
    return DamagedError("the content does not match its checksum", reason="content")
