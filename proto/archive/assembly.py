"""Putting the data of messages together again, out of the blocks of any number of archives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from blake3 import blake3

from ..errors import DamagedError
from ..records import DIGEST_BYTES, ArchiveId, Message, Piece, StoredFile
from . import recipes

if TYPE_CHECKING:
    from .reader import ArchiveReader


class Contents:
    """The data of a set of archives, by pieces. Keeps the blocks read last, up to ``cache_bytes``."""

    def __init__(
        self, open_archive: Callable[[ArchiveId], ArchiveReader], cache_bytes: int = 64 << 20
    ) -> None:
        self._open_archive = open_archive
        self._archives: dict[ArchiveId, ArchiveReader] = {}
        self._blocks: OrderedDict[tuple[ArchiveId, int], bytes] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._cached = 0
        self.blocks_read = 0

    def message(self, message: Message | StoredFile) -> Iterator[bytes]:
        """The bytes of a message or file. Raises DamagedError after the last one if they are not what
        was stored, so whoever writes them makes them visible only when the iterator has ended."""
        digest, size = blake3(), 0
        for chunk in self._chunks(message.pieces):
            size += len(chunk)
            if size > message.size:
                break
            digest.update(chunk)
            yield chunk
        if size != message.size or digest.digest(length=DIGEST_BYTES) != message.digest:
            raise DamagedError("the content does not match its checksum", reason="content")

    def _chunks(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
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

    def _run(self, pieces: list[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._raw(piece)

    def _raw(self, piece: Piece) -> Iterator[bytes]:
        offset, left = piece.offset, piece.length
        archive = self._archive(piece.archive)
        while left > 0:
            number = archive.block_at(offset)
            block = self._block(archive, piece.archive, number)
            within = offset - archive.directory.blocks.data[number]
            chunk = block[within : within + left]
            yield chunk
            offset += len(chunk)
            left -= len(chunk)

    def _archive(self, archive: ArchiveId) -> ArchiveReader:
        reader = self._archives.get(archive)
        if reader is None:
            reader = self._archives[archive] = self._open_archive(archive)
        return reader

    def _block(self, archive: ArchiveReader, name: ArchiveId, number: int) -> bytes:
        block = self._blocks.get((name, number))
        if block is not None:
            self._blocks.move_to_end((name, number))
            return block
        block = archive.block(number)
        self.blocks_read += 1
        self._blocks[name, number] = block
        self._cached += len(block)
        while self._cached > self._cache_bytes and len(self._blocks) > 1:
            self._cached -= len(self._blocks.popitem(last=False)[1])
        return block
