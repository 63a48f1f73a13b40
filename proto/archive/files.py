"""Where the bytes of an archive are read from: whatever can be read at any offset, a local file; and single
frames of it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Protocol, TypeVar

from ..errors import DamagedError, PlaceError, UnsupportedError
from ..records import ArchiveId
from . import frames
from .codec import PLAIN, FrameCodec
from .frames import FrameHeader, FrameType
from .places import FramePlace

T = TypeVar("T")

_NOT_THERE = ("missing", "elsewhere")
_AHEAD_BYTES = 32 << 10
_GAP_BYTES = 256 << 10
_FIRST_ONWARD_BYTES = 1 << 20
_MOST_ONWARD_BYTES = 8 << 20
_MOST_FRAME_BYTES = frames.HEADER_BYTES + frames.LARGEST_FRAME


class RandomAccess(Protocol):
    """Bytes that can be read anywhere."""

    name: str
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer only at the end. Raises DamagedError (reason ``io-error``)."""

    def close(self) -> None:
        """Repeatable."""


class LocalFile:
    """A local file, or the stretch of it that begins at ``start`` and is ``size`` bytes long."""

    def __init__(self, path: str, start: int = 0, size: int | None = None) -> None:
        self.name = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.start = start
        self.size = os.fstat(self._fd).st_size - start if size is None else size

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        try:
            data = os.pread(self._fd, length, self.start + offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), self.start + offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise DamagedError(f"{self.name}: {error.strerror} at {offset}", reason="io-error") from error
        return data

    def close(self) -> None:
        """See RandomAccess."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Joined:
    """A RandomAccess over several, as if they were one file; they stay open if it is closed."""

    def __init__(self, files: Sequence[RandomAccess]) -> None:
        self.name = files[0].name
        self._files = files
        self._ends = list(accumulate(file.size for file in files))
        self.size = self._ends[-1]

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        parts: list[bytes] = []
        while length > 0 and 0 <= offset < self.size:
            number = bisect_right(self._ends, offset)
            file = self._files[number]
            data = file.read_at(offset - (self._ends[number] - file.size), length)
            if not data:
                break
            parts.append(data)
            offset += len(data)
            length -= len(data)
        return b"".join(parts)

    def close(self) -> None:
        """See RandomAccess."""


class Twins:
    """A RandomAccess over files that hold the same bytes, in the order in which they are to be read: of what
    can't be read in one the next is asked for. A frame that is damaged in one is read from the next, too (see
    ``ArchiveReader``). Closed with it. ``on_damage`` is told of files that are damaged, where another was
    whole."""

    def __init__(
        self, files: Sequence[RandomAccess], on_damage: Callable[[RandomAccess], object] = lambda _file: None
    ) -> None:
        self.files = files
        self._on_damage = on_damage
        self.name = files[0].name
        self.size = files[0].size

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess. What a place raises that can't be read now passes through if no other has the
        bytes: nothing is known to be lost then."""
        return self.first(lambda file: file.read_at(offset, length))

    def first(self, read: Callable[[RandomAccess], T]) -> T:
        """What can be read first of these files."""
        damaged: DamagedError | None = None
        away: PlaceError | None = None
        worse: list[RandomAccess] = []
        for file in self.files:
            try:
                found = read(file)
            except DamagedError as error:
                worse.append(file)
                if damaged is None or damaged.facts.get("reason") in _NOT_THERE:
                    damaged = error
            except PlaceError as error:
                away = away or error
            else:
                self.note_damage(worse)
                return found
        raise away or damaged or DamagedError(f"{self.name}: there is no copy", reason="missing")

    def note_damage(self, files: Iterable[RandomAccess]) -> None:
        """Something is damaged in these files that is whole in another."""
        for file in files:
            self._on_damage(file)

    def close(self) -> None:
        """See RandomAccess."""
        for file in self.files:
            file.close()


class ReadAhead:
    """A RandomAccess over another one, for many small reads that lie close together: it reads more than it is
    asked for, and keeps that until a read lies elsewhere."""

    def __init__(self, file: RandomAccess) -> None:
        self.name = file.name
        self.size = file.size
        self._file = file
        self._at = 0
        self._kept = b""

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        within = offset - self._at
        if within >= 0 and within + length <= len(self._kept):
            return self._kept[within : within + length]
        if length >= _AHEAD_BYTES:
            return self._file.read_at(offset, length)
        try:
            self._kept = self._file.read_at(offset, _AHEAD_BYTES)
        except DamagedError:
            # What can't be read may lie behind what is asked for.
            return self._file.read_at(offset, length)
        self._at = offset
        return self._kept[:length]

    def close(self) -> None:
        """See RandomAccess."""
        self._file.close()


class ReadOnward:
    """A RandomAccess over another one of which each read is a request to somewhere else: of reads that follow
    one another each asks for more at once than the last; one that lies elsewhere for no more than it
    needs."""

    def __init__(self, file: RandomAccess) -> None:
        self.name = file.name
        self.size = file.size
        self._file = file
        self._at = self._end = 0
        self._kept = b""
        self._ahead = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        within = offset - self._at
        if not (within >= 0 and within + length <= len(self._kept)):
            follows = 0 < self._end <= offset <= self._end + _GAP_BYTES
            self._ahead = min(max(2 * self._ahead, _FIRST_ONWARD_BYTES), _MOST_ONWARD_BYTES) if follows else 0
            self._kept, self._at, within = self._read(offset, length), offset, 0
        self._end = offset + length
        return self._kept[within : within + length]

    def _read(self, offset: int, length: int) -> bytes:
        if length < self._ahead:
            with suppress(DamagedError):  # what can't be read may lie behind what is asked for
                return self._file.read_at(offset, self._ahead)
        return self._file.read_at(offset, length)

    def close(self) -> None:
        """See RandomAccess."""
        self._file.close()


class ReadTail:
    """A RandomAccess over another one that reads the last ``tail_bytes`` of it at once, when something there
    is asked for: what a reader looks at first lies there side by side."""

    def __init__(self, file: RandomAccess, tail_bytes: int) -> None:
        self.name = file.name
        self.size = file.size
        self._file = file
        self._at = max(0, file.size - tail_bytes)
        self._tail: bytes | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        if offset < self._at:
            return self._file.read_at(offset, length)
        if self._tail is None:
            try:
                self._tail = self._file.read_at(self._at, self.size - self._at)
            except DamagedError:
                # What can't be read may lie elsewhere in it.
                return self._file.read_at(offset, length)
        return self._tail[offset - self._at :][:length]

    def close(self) -> None:
        """See RandomAccess."""
        self._file.close()


def read_frame(
    file: RandomAccess,
    place: FramePlace,
    kind: FrameType,
    owner: ArchiveId | None = None,
    codec: FrameCodec = PLAIN,
    bound: bytes = b"",
) -> tuple[FrameHeader, bytes]:
    """The frame of this kind (and archive) at a place, checked and decompressed; ``bound``: see FrameCodec.
    Raises DamagedError; EncryptedError if there is no key for it."""
    header, stored = _read(file, place, kind, owner)
    return header, codec.unpack(header, stored, f"{file.name} at {place.at}", bound)


def read_stored(
    file: RandomAccess, place: FramePlace, kind: FrameType, owner: ArchiveId | None = None
) -> tuple[FrameHeader, bytes]:
    """The frame of this kind (and archive) at a place, checked and as it is stored. Raises DamagedError."""
    header, stored = _read(file, place, kind, owner)
    frames.check_payload(header, stored, f"{file.name} at {place.at}")
    return header, bytes(stored)


def _read(
    file: RandomAccess, place: FramePlace, kind: FrameType, owner: ArchiveId | None
) -> tuple[FrameHeader, memoryview]:
    """One read, if the size of the frame is known: a size of 0 is that of one that is not."""
    at, size_bytes = place
    where = f"{file.name} at {at}"
    if at < 0:
        raise DamagedError(f"{file.name}: too short to be an archive", reason="truncated")
    data = file.read_at(at, min(size_bytes, _MOST_FRAME_BYTES) or frames.HEADER_BYTES)
    try:
        header = frames.decode_header(data[: frames.HEADER_BYTES], where, owner)
    except UnsupportedError as error:
        if kind is FrameType.HEADER:
            raise
        # It costs what the frame says; the archive itself is one that can be read.
        raise DamagedError(error.message, reason="unsupported") from error
    if header.type is not kind:
        raise DamagedError(f"{where}: a {header.type.name} frame instead of {kind.name}", reason="frame-type")
    if not size_bytes:
        return header, memoryview(file.read_at(at + frames.HEADER_BYTES, header.stored_bytes))
    if size_bytes != frames.HEADER_BYTES + header.stored_bytes:
        raise DamagedError(f"{where}: a frame of another size than the directory tells", reason="length")
    return header, memoryview(data)[frames.HEADER_BYTES :]
