"""Where the frames of an archive really lie: for a directory that is wrong about it, and for what other
copies of the archive have. FORMAT.md, "Salvage".
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from ..errors import DamagedError
from ..records import ArchiveId
from .codec import FrameCodec
from .files import RandomAccess
from .frames import FrameType
from .scanning import FoundFrame, scan

_PLACED = (
    FrameType.BLOCK,
    FrameType.MESSAGES,
    FrameType.MAILBOX,
    FrameType.SEARCH,
    FrameType.FOLDERS,
    FrameType.DEPARTED,
)
"""Their positions tell which frame it is."""


class Whereabouts:
    """The whole frames of an archive in a file, found by reading all of it when they are first asked for."""

    def __init__(self, file: RandomAccess, archive: ArchiveId, codec: FrameCodec) -> None:
        self.file = file
        self._archive = archive
        self._codec = codec
        self._found: dict[FrameType, tuple[array[int], array[int]]] | None = None

    def offset(self, kind: FrameType, position: int) -> int | None:
        """Where a whole frame of this kind and position lies; None if there is none."""
        if self._found is None:
            self._found = self._scanned()
        positions, offsets = self._found[kind]
        number = bisect_left(positions, position)
        there = number < len(positions) and positions[number] == position
        return offsets[number] if there else None

    def _scanned(self) -> dict[FrameType, tuple[array[int], array[int]]]:
        pairs: dict[FrameType, dict[int, int]] = {kind: {} for kind in _PLACED}
        try:
            for one in scan(self.file, self._archive, self._codec):
                if isinstance(one, FoundFrame) and one.damage is None and one.header.type in pairs:
                    pairs[one.header.type].setdefault(one.header.position, one.at)
        except DamagedError:
            pass  # nothing of it is there
        return {
            kind: (array("Q", sorted(found)), array("Q", (found[one] for one in sorted(found))))
            for kind, found in pairs.items()
        }
