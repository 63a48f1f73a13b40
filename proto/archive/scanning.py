"""Finding frames without a directory: from the front of a file, across damage.

A frame header has a magic number, its archive's id and a checksum of its own, so after damage the next
frame is found by looking for one. FORMAT.md, "Salvage".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import DamagedError
from ..records import ArchiveId, Skipped
from ..structs import Record
from . import contents, frames
from .codec import PLAIN, FrameCodec
from .files import RandomAccess
from .frames import FrameHeader, FrameType

FOOTER_FRAME_BYTES = frames.HEADER_BYTES + contents.FOOTER_BYTES

_WINDOW = 1 << 20
_PAGE = 1 << 12


class FoundFrame(Record):
    """A frame that lies at ``at``: its payload, or why there is none. Of one that is ``locked`` there is no
    key: what is stored of it is whole."""

    at: int
    header: FrameHeader
    payload: bytes
    damage: DamagedError | None = None
    locked: bool = False


class Gap(Record):
    """A stretch of the file in which no frame of its archive begins."""

    at: int
    length: int


def scan(
    file: RandomAccess, owner: ArchiveId | None = None, codec: FrameCodec = PLAIN
) -> Iterator[FoundFrame | Gap]:
    """Every frame of an archive in order, and every stretch between frames that is none. ``owner`` is the
    archive, where that is known.

    Raises DamagedError if there is no frame at all. A frame that needs a later version counts as damaged;
    one of an optional type has no payload.
    """
    owner = owner or owner_of(file)
    at = 0
    opener = _Opener(codec)
    while at < file.size:
        found = any_header_at(file, at, owner)
        if found is None:
            following = next_header(file, at + 1, owner)
            yield Gap(at, following - at)
            at = following
            continue
        header, lacks = found
        start = at + frames.HEADER_BYTES
        end = start + header.stored_bytes
        try:
            payload = opener.payload(header, file.read_at(start, header.stored_bytes), f"{file.name} at {at}")
        except DamagedError as error:
            yield FoundFrame(at, header, b"", error)
            # Its length is known, but bytes may be missing in it, or there may be more.
            whole = end == file.size or any_header_at(file, end, owner) is not None
            at = end if whole else next_header(file, start, owner)
            continue
        unsupported = DamagedError(lacks, reason="unsupported") if lacks else None
        yield FoundFrame(at, header, payload or b"", unsupported, locked=payload is None)
        at = end


def header_of(file: RandomAccess, found: FoundFrame) -> bytes:
    """The header of a frame that was found, as it lies in the file."""
    if found.header.type is FrameType.LATER:
        return file.read_at(found.at, frames.HEADER_BYTES)
    return frames.pack_header(found.header)


class _Opener:
    """Opens the frames of an archive in their order."""

    def __init__(self, codec: FrameCodec) -> None:
        self._codec = codec
        self._bound = b""

    def payload(self, header: FrameHeader, stored: bytes, where: str) -> bytes | None:
        """None if there is no key for it. Raises DamagedError."""
        kind = header.type
        if kind is FrameType.LATER:
            frames.check_payload(header, stored, where)
            return b""
        if not self._codec.can_open(header):
            frames.check_payload(header, stored, where)
            return None
        bound = self._bound if kind is FrameType.SEARCH else b""
        payload = self._codec.unpack(header, stored, where, bound)
        self._bound = self._codec.binding(payload) if kind is FrameType.MESSAGES else b""
        return payload


def damage_of(file: RandomAccess, found: FoundFrame | Gap) -> Skipped | None:
    """What is wrong at a place of a file, to be listed; None where nothing is."""
    where = f"{file.name} at {found.at}"
    if isinstance(found, Gap):
        return Skipped(where, "gap", f"{found.length} bytes are no frame")
    if found.damage is not None:
        return Skipped(where, "frame", f"{found.header.type.name}: {found.damage.message}")
    return None


def owner_of(file: RandomAccess) -> ArchiveId:
    """Whose frames the file holds: what its first frame says, else its last, else any.

    Not simply the first that can be found: mail may hold archives of its own. Raises DamagedError if there is
    none.
    """
    found = any_header_at(file, 0) or any_header_at(file, file.size - FOOTER_FRAME_BYTES)
    if found is None:
        found = any_header_at(file, next_header(file, 1))
    if found is None:
        raise DamagedError(f"{file.name}: there is no frame of an archive in it", reason="no-header")
    return found[0].archive


def any_header_at(
    file: RandomAccess, at: int, owner: ArchiveId | None = None
) -> tuple[FrameHeader, str] | None:
    """The valid header of a frame that begins there, and what of the frame this version lacks; None if none
    begins there, or one of another archive than ``owner``."""
    try:
        data = file.read_at(at, frames.HEADER_BYTES)
        return frames.decode_any_header(data, f"{file.name} at {at}", owner)
    except DamagedError:
        return None


def next_header(
    file: RandomAccess,
    at: int,
    owner: ArchiveId | None = None,
    wanted: Callable[[FrameHeader], bool] = lambda _header: True,
) -> int:
    """The offset of the next valid frame header (of this archive, and as it is wanted), or the end of the
    file."""
    while at < file.size:
        window = _readable(file, at, _WINDOW + frames.HEADER_BYTES - 1)
        found = window.find(frames.MAGIC, 0, _WINDOW + len(frames.MAGIC) - 1)
        while found >= 0:
            header = _header_of(window[found : found + frames.HEADER_BYTES], owner)
            if header is not None and wanted(header):
                return at + found
            found = window.find(frames.MAGIC, found + 1, _WINDOW + len(frames.MAGIC) - 1)
        at += _WINDOW
    return file.size


def _header_of(data: bytes, owner: ArchiveId | None) -> FrameHeader | None:
    try:
        return frames.decode_any_header(data, "", owner)[0]
    except DamagedError:
        return None


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
