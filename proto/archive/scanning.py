"""Finding frames without a directory: from the front of a file, across damage.

A frame header has a magic number, its archive's id and a checksum of its own, so after damage the next
frame is found by looking for one. FORMAT.md, "Salvage".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import DamagedError
from ..records import ArchiveId, Skipped
from . import contents, frames
from .files import RandomAccess
from .frames import FrameHeader, FrameType

FOOTER_FRAME_BYTES = frames.HEADER_BYTES + contents.FOOTER_BYTES

_WINDOW = 1 << 20
_PAGE = 1 << 12


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """A frame that lies at ``at``: its payload, or why there is none."""

    at: int
    header: FrameHeader
    payload: bytes
    damage: DamagedError | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the file in which no frame of its archive begins."""

    at: int
    length: int


def scan(file: RandomAccess) -> Iterator[FoundFrame | Gap]:
    """Every frame of an archive in order, and every stretch between frames that is none.

    Raises DamagedError if there is no frame at all, UnsupportedError for a frame that this version can't
    read.
    """
    owner = _owner(file)
    at = 0
    while at < file.size:
        header = _header_at(file, at, owner)
        if header is None:
            following = _next_header(file, at + 1, owner)
            yield Gap(at, following - at)
            at = following
            continue
        start = at + frames.HEADER_BYTES
        end = start + header.stored_bytes
        try:
            payload = frames.decode_payload(
                header, file.read_at(start, header.stored_bytes), f"{file.name} at {at}"
            )
        except DamagedError as error:
            yield FoundFrame(at, header, b"", error)
            # Its length is known, but bytes may be missing in it, or there may be more.
            whole = end == file.size or _header_at(file, end, owner) is not None
            at = end if whole else _next_header(file, start, owner)
            continue
        yield FoundFrame(at, header, payload)
        at = end


def damage_of(file: RandomAccess, found: FoundFrame | Gap) -> Skipped | None:
    """What is wrong at a place of a file, to be listed; None where nothing is."""
    where = f"{file.name} at {found.at}"
    if isinstance(found, Gap):
        return Skipped(where, "gap", f"{found.length} bytes are no frame")
    if found.damage is not None:
        return Skipped(where, "frame", f"{found.header.type.name}: {found.damage.message}")
    return None


def sealed_bytes(file: RandomAccess) -> int | None:
    """How long the first archive of a file is, if it has a whole footer at its end. Raises as ``scan``."""
    for found in scan(file):
        if isinstance(found, FoundFrame) and found.header.type is FrameType.FOOTER and _ends(found):
            return found.at + FOOTER_FRAME_BYTES
    return None


def _ends(found: FoundFrame) -> bool:
    """Whether a FOOTER frame is whole and lies where it says."""
    try:
        return contents.decode_footer(found.payload).footer == found.at
    except DamagedError:
        return False


def _owner(file: RandomAccess) -> ArchiveId:
    """Whose frames the file holds: what its first frame says, else its last, else any.

    Not simply the first that can be found: mail may hold archives of its own.
    """
    header = _header_at(file, 0, None) or _header_at(file, file.size - FOOTER_FRAME_BYTES, None)
    if header is None:
        header = _header_at(file, _next_header(file, 1, None), None)
    if header is None:
        raise DamagedError(f"{file.name}: there is no frame of an archive in it", reason="no-header")
    return header.archive


def _header_at(file: RandomAccess, at: int, owner: ArchiveId | None) -> FrameHeader | None:
    try:
        return frames.decode_header(file.read_at(at, frames.HEADER_BYTES), f"{file.name} at {at}", owner)
    except DamagedError:
        return None


def _next_header(file: RandomAccess, at: int, owner: ArchiveId | None) -> int:
    """The offset of the next valid frame header, or the end of the file."""
    while at < file.size:
        window = _readable(file, at, _WINDOW + frames.HEADER_BYTES - 1)
        found = window.find(frames.MAGIC, 0, _WINDOW + len(frames.MAGIC) - 1)
        while found >= 0:
            if _is_header(window[found : found + frames.HEADER_BYTES], owner):
                return at + found
            found = window.find(frames.MAGIC, found + 1, _WINDOW + len(frames.MAGIC) - 1)
        at += _WINDOW
    return file.size


def _is_header(data: bytes, owner: ArchiveId | None) -> bool:
    try:
        frames.decode_header(data, "", owner)
    except DamagedError:
        return False
    return True


def _readable(file: RandomAccess, at: int, length: int) -> bytes:
    """What can be read of a stretch; zeros for what the disk does not give back."""
    try:
        return file.read_at(at, length)
    except DamagedError:
        pages = []
        for page in range(at, min(at + length, file.size), _PAGE):
            size = min(_PAGE, at + length - page, file.size - page)
            try:
                pages.append(file.read_at(page, size))
            except DamagedError:
                pages.append(bytes(size))
        return b"".join(pages)
