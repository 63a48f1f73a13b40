"""From the bytes of a message to pieces of an archive: cut, look up, store what is new."""

from __future__ import annotations

from operator import add

from blake3 import blake3

from ..proto.archive.contents import decode_index
from ..proto.archive.frames import FrameType
from ..proto.archive.messages import join_pieces
from ..proto.archive.reader import ArchiveReader
from ..proto.archive.writer import ArchiveWriter
from ..proto.errors import DamagedError, MessageUnavailable
from ..proto.ports import OpenedFile
from ..proto.records import DIGEST_BYTES, Piece
from .dedup import SegmentIndex
from .segments import Cutter

WINDOW_BYTES = 8 << 20
"""Larger messages are read, cut and stored in windows of this size, so that memory stays bounded."""

MOST_PIECES = 1 << 16
"""A content that comes to more pieces is not cut any further: its list must fit the archive's frames."""

_MOST_LINKS = 100_000

Packed = tuple[int, bytes, tuple[Piece, ...]]
"""Size in bytes, digest, pieces."""


class Packer:
    """Stores contents in one archive, each segment once. Remembers all that it stored."""

    def __init__(self, archive: ArchiveWriter) -> None:
        self._archive = archive
        self._index = SegmentIndex()
        self._cutter = Cutter()
        self._links: dict[tuple[int, ...], Packed] = {}

    def recall(self, earlier: ArchiveReader) -> None:
        """Know the segments that an earlier attempt stored in this archive. Raises DamagedError."""
        data_bytes = earlier.directory.data_bytes
        for at in earlier.directory.index_frames:
            _, payload = earlier.frame(at, FrameType.INDEX)
            row = decode_index(payload)
            if any(map(data_bytes.__lt__, map(add, row.offsets, row.lengths))):
                raise DamagedError(f"{earlier.file.name}: an index of other data", reason="metadata")
            self._index.extend(row.digests, row.offsets)

    def store(self, opened: OpenedFile) -> Packed:
        """Store the whole content. Raises MessageUnavailable: ``changed`` if its size was not what the
        file system said, else whatever reading raised; what was stored by then is left unused."""
        size = opened.stat.size
        # The number of an inode is given away again when its last name is gone; its time is not.
        identity = opened.stat.identity and (*opened.stat.identity, size, opened.stat.mtime_ns)
        if identity is not None and (known := self._links.get(identity)):
            return known
        pieces: list[Piece] = []
        if size <= WINDOW_BYTES:
            # One byte more than there should be: a full read proves that the file did not grow.
            data = opened.read(size + 1)
            digest = blake3(data)
            read = len(data)
            self._window(data, pieces, body=False)
        else:
            read, digest = self._windows(opened, pieces)
        if read != size:
            raise MessageUnavailable(f"{read} bytes read where {size} were announced", reason="changed")
        packed = size, digest.digest(length=DIGEST_BYTES), tuple(pieces)
        if identity is not None:
            if len(self._links) >= _MOST_LINKS:
                self._links.clear()
            self._links[identity] = packed
        return packed

    def _windows(self, opened: OpenedFile, pieces: list[Piece]) -> tuple[int, blake3]:
        digest, read, rest, body = blake3(), 0, b"", False
        while data := opened.read(WINDOW_BYTES):
            read += len(data)
            if read > opened.stat.size:
                break
            digest.update(data)
            # A window ends where a line ends, so that base64 stays in step.
            data = rest + data
            end = data.rfind(b"\n") + 1 or len(data)
            self._window(data[:end], pieces, body)
            rest, body = data[end:], True
        self._window(rest, pieces, body)
        return read, digest

    def _window(self, data: bytes, pieces: list[Piece], body: bool) -> None:
        archive, index = self._archive, self._index
        name = archive.header.archive
        if len(pieces) >= MOST_PIECES:
            join_pieces(pieces, Piece(name, archive.append(data), len(data)))
            return
        for segment, recipe, indexed, joined in self._cutter.cut(data, body):
            length = len(segment)
            if indexed:
                key = blake3(segment).digest(length=DIGEST_BYTES)
                found = index.find(key)
                if found is not None:
                    offset = found
                else:
                    offset = archive.append(segment)
                    index.add(key, offset)
                    archive.remember(key, offset, length)
            else:
                offset = archive.append(segment)
            join_pieces(pieces, Piece(name, offset, length, recipe, joined))
