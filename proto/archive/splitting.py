"""The archives that a file holds one after the other. FORMAT.md, "Several archives in one file".

They are found from the end, as long as each footer is confirmed by the header that it points to. What lies
before the first that is not is walked over from the front, frame by frame.
"""

from __future__ import annotations

from contextlib import ExitStack, closing

from ..errors import DamagedError
from ..records import ArchiveId
from ..structs import Record
from . import frames
from .files import LocalFile, RandomAccess
from .frames import FrameHeader, FrameType
from .reader import read_footer
from .scanning import FOOTER_FRAME_BYTES, any_header_at, next_header

_ZEROS = bytes(1 << 16)


class Part(Record):
    """A stretch of a file: an archive, or what is left of it, or nothing that can be read."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def archives_in(path: str) -> list[LocalFile]:
    """The archives that a file holds, in their order. What is no archive at all counts as one, so that
    whoever opens it will tell of it; zeros behind an archive do not. Several may be the same archive.

    Raises DamagedError if the file is empty, or no frame of an archive is in it.
    """
    with closing(LocalFile(path)) as whole:
        if not whole.size:
            raise DamagedError(f"{path}: the file is empty", reason="no-footer")
        parts = split(whole)
    if not parts:
        raise DamagedError(f"{path}: there is no frame of an archive in it", reason="no-header")
    with ExitStack() as stack:
        files = [stack.enter_context(closing(LocalFile(path, part.start, part.size))) for part in parts]
        stack.pop_all()
    return files


def split(whole: RandomAccess) -> list[Part]:
    """The parts of a file; none if there is no frame in it."""
    last: list[Part] = []
    end = _without_zeros(whole, whole.size)
    while end > 0 and (found := _confirmed(whole, end)) is not None:
        last.insert(0, found)
        end = _without_zeros(whole, found.start)
    front = _Walk(_Beginning(whole, last[0].start if last else whole.size))
    front.run()
    while last and front.promised >= last[0].end:
        # All of it lies within a frame that was cut off: mail, perhaps, and no archive of its own.
        nested = last.pop(0)
        front.parts[-1] = Part(front.parts[-1].start, nested.end - front.parts[-1].start)
    return [*front.parts, *last] if last or front.any_frame else []


class _Beginning:
    """The first bytes of a file, so many. It stays open."""

    def __init__(self, file: RandomAccess, size: int) -> None:
        self.name, self.size = file.name, size
        self._file = file

    def read_at(self, offset: int, length: int) -> bytes:
        return self._file.read_at(offset, min(length, self.size - offset)) if offset < self.size else b""

    def close(self) -> None: ...


def _confirmed(whole: RandomAccess, end: int) -> Part | None:
    """The archive that ends there, if its footer and the header that this points to are of one archive."""
    try:
        header, footer = read_footer(_Beginning(whole, end))
    except DamagedError:
        return None
    start = end - FOOTER_FRAME_BYTES - footer.footer
    found = any_header_at(whole, start, header.archive)
    return Part(start, end - start) if found is not None and _begins(found[0]) else None


def _without_zeros(file: RandomAccess, end: int) -> int:
    """Where what comes before an offset ends, without zeros: no archive ends with one."""
    while end > 0:
        size = min(end, len(_ZEROS))
        try:
            data = file.read_at(end - size, size)
        except DamagedError:
            return end
        if data != _ZEROS[:size]:
            return end - size + len(data.rstrip(b"\0"))
        end -= size
    return end


def _begins(header: FrameHeader) -> bool:
    """Whether a frame is the first one of an archive."""
    return header.type is FrameType.HEADER and header.sequence == 0


class _Walk:
    """Walks over the frames of a file. ``parts`` is what it has found, ``promised`` where the last frame ends
    by what its header says, ``any_frame`` tells whether there was one."""

    def __init__(self, file: RandomAccess) -> None:
        self._file = file
        self._start = 0
        self._owner: ArchiveId | None = None
        self._sealed = False
        self.parts: list[Part] = []
        self.promised = 0
        self.any_frame = False

    def run(self) -> None:
        """All of the file."""
        at = 0
        while at < self._file.size:
            found = any_header_at(self._file, at)
            header = found[0] if found else None
            if header is None or self._is_foreign(header):
                at = self._search(at)
                continue
            if header.archive != self._owner or (_begins(header) and at > self._start):
                self._begin(header.archive, at)
            self._sealed = self._sealed or header.type is FrameType.FOOTER
            self.promised = at + frames.HEADER_BYTES + header.stored_bytes
            whole = self.promised == self._file.size or any_header_at(self._file, self.promised) is not None
            # If nothing begins behind it, bytes may be missing in it. Behind a footer there may be nothing.
            at = self.promised if whole or self._sealed else self._search(at + frames.HEADER_BYTES)
        self._end(self._file.size)

    def _is_foreign(self, header: FrameHeader) -> bool:
        """Whether a frame is none of the archive that has not ended, and begins none."""
        return not (self._is_between or header.archive == self._owner or _begins(header))

    @property
    def _is_between(self) -> bool:
        """Whether no archive has begun that has not ended."""
        return self._owner is None or self._sealed

    def _begin(self, owner: ArchiveId, at: int) -> None:
        self._end(at)
        self._owner, self._sealed, self._start = owner, False, at
        self.any_frame = True

    def _end(self, at: int) -> None:
        if at > self._start:
            self.parts.append(Part(self._start, at - self._start))
        self._start = at

    def _search(self, at: int) -> int:
        """Where to go on, as no frame of the archive begins at an offset."""
        return self._between(at) if self._is_between else self._within(at)

    def _between(self, at: int) -> int:
        """Behind an archive, or before the first one."""
        file = self._file
        following = next_header(file, at)
        found = any_header_at(file, following)
        if self._owner is not None:
            self._end(at)
            if _without_zeros(_Beginning(file, following), following) <= at:
                self._start = following
        if found is not None and not _begins(found[0]):
            # Its header was here.
            self._owner, self._sealed, self.any_frame = found[0].archive, False, True
        return following

    def _within(self, at: int) -> int:
        """In an archive: at the next frame of it, if there is one before it begins once more. What looks like
        an archive up to there is mail. Else at the next archive."""
        file, owner = self._file, self._owner
        following = next_header(file, at, owner)
        found = any_header_at(file, following, owner)
        if found is not None and not _begins(found[0]):
            return following
        while (following := next_header(file, at, None, _begins)) < min(self.promised, file.size):
            found = any_header_at(file, following)
            if found is None or next_header(file, self.promised, found[0].archive) < file.size:
                return following
            # All of it lies within a frame that was cut off: mail, perhaps.
            at = self.promised
        if following == file.size:
            following = next_header(file, max(at, self.promised))
            if following < file.size:
                found = any_header_at(file, following)
                self._begin(found[0].archive, following) if found else None
        return following
