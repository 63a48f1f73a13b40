"""Excerpts: all of an archive but its blocks, at the same offsets. One stays in the staging area when the
archive has gone to its destinations, so that incrementals, browsing and plans need none of these. FORMAT.md,
"Excerpts".
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.archive.reader import open_sealed
from ...proto.errors import DamagedError
from ...proto.keys.records import NO_KEYS, Keyring
from ..staging.partial import open_partial

_MAGIC = b"MHXCERPT"
_VERSION = 1
_HEADER = struct.Struct("<8sI")
_EXTENT = struct.Struct("<QQ")
_END = struct.Struct("<QQ16s8s")
_BEGIN = _HEADER.pack(_MAGIC, _VERSION)
_PART_BYTES = 1 << 20
_MOST_EXTENTS = 1 << 24


def write_excerpt(file: RandomAccess, path: Path, keys: Keyring = NO_KEYS) -> None:
    """Write the excerpt of a whole archive as ``path``; durable, and under that name only when it is whole.
    Repeatable: one that is there already stays. Raises DamagedError if the archive is not whole in its
    directory, StagingError; EncryptedError without the structure key."""
    table = open_sealed(file, keys=keys).directory.blocks
    gaps = [(place.at, place.size_bytes) for place in map(table.place, range(len(table.data)))]
    written = open_partial(path, 0)
    if written is None:
        return
    try:
        written.truncate(0)
        written.append(_BEGIN)
        extents = list(_without(gaps, file.size))
        for start, length in extents:
            for at in range(start, start + length, _PART_BYTES):
                written.append(_exactly(file, at, min(_PART_BYTES, start + length - at)))
        packed = b"".join(_EXTENT.pack(*extent) for extent in extents)
        end = struct.pack("<QQ", file.size, len(extents))
        written.append(packed + _END.pack(file.size, len(extents), _digest(packed, end), _MAGIC))
        written.seal()
    finally:
        written.close()


def _digest(packed: bytes, end: bytes) -> bytes:
    return blake3(packed + end).digest(16)


def _exactly(file: RandomAccess, offset: int, length: int) -> bytes:
    data = file.read_at(offset, length)
    if len(data) != length:
        raise DamagedError(f"{file.name}: it ends at {offset + len(data)}", reason="truncated")
    return data


def _without(gaps: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """What is left of a file of this size, in ascending extents."""
    at = 0
    for start, length in sorted(gaps):
        if start > at:
            yield at, start - at
        at = max(at, start + length)
    if at < size:
        yield at, size - at


class Excerpt:
    """The archive that an excerpt is one of, as far as it has it: a RandomAccess. Of a read that it has in
    part the rest is zeros, which are no frame; DamagedError (``elsewhere``) is raised for one of which it has
    nothing. Raises DamagedError if the file is no whole excerpt."""

    def __init__(self, file: RandomAccess) -> None:
        self.name = file.name
        self._file = file
        self.size, extents = _extents(file)
        self._starts = [start for start, _ in extents]
        self._lengths = [length for _, length in extents]
        self._within: list[int] = []
        at = _HEADER.size
        for length in self._lengths:
            self._within.append(at)
            at += length

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        end = min(offset + length, self.size)
        if offset < 0 or end <= offset:
            return b""
        data = bytearray(end - offset)
        found = False
        number = max(0, bisect_right(self._starts, offset) - 1)
        while number < len(self._starts) and self._starts[number] < end:
            start = self._starts[number]
            first, last = max(offset, start), min(end, start + self._lengths[number])
            if first < last:
                part = _exactly(self._file, self._within[number] + first - start, last - first)
                data[first - offset : last - offset] = part
                found = True
            number += 1
        if not found:
            raise DamagedError(f"{self.name}: what lies at {offset} is not here", reason="elsewhere")
        return bytes(data)

    def close(self) -> None:
        """See RandomAccess."""
        self._file.close()


def _extents(file: RandomAccess) -> tuple[int, list[tuple[int, int]]]:
    """The size of the archive and the extents that are there, each checked. Raises DamagedError."""
    wrong = DamagedError(f"{file.name}: it is no whole excerpt of an archive", reason="excerpt")
    if (
        file.read_at(0, _HEADER.size) != _HEADER.pack(_MAGIC, _VERSION)
        or file.size < _HEADER.size + _END.size
    ):
        raise wrong
    size, count, digest, magic = _END.unpack(_exactly(file, file.size - _END.size, _END.size))
    table_bytes = count * _EXTENT.size
    if magic != _MAGIC or count > _MOST_EXTENTS or table_bytes > file.size - _HEADER.size - _END.size:
        raise wrong
    packed = _exactly(file, file.size - _END.size - table_bytes, table_bytes)
    if _digest(packed, struct.pack("<QQ", size, count)) != digest:
        raise wrong
    extents = list(_EXTENT.iter_unpack(packed))
    at = total = 0
    for start, length in extents:
        if start < at or not length:
            raise wrong
        at = start + length
        total += length
    if at > size or total != file.size - _HEADER.size - _END.size - table_bytes:
        raise wrong
    return size, extents
