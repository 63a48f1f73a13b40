"""The port to a tape drive with a volume in it: records, filemarks, positions.

A tape is a sequence of *blocks*, numbered from 0: each is a record (bytes that are read as they were written,
never in parts) or a filemark. ``tests/contract/test_tape_drives.py`` holds every adapter to these promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from ....proto.errors import PlaceFullError
from ....proto.structs import Record


class EndOfTapeError(PlaceFullError):
    """The drive warns that the end of the tape is near. Whether the record or the filemark that was being
    written is on the tape it does not say: ``Drive.position`` may. Only little more should be written."""


class Mark(Enum):
    """What a read may find in place of a record."""

    FILEMARK = auto()
    END = auto()
    """Nothing was ever written here, or what was is given up."""


class DriveStatus(Record, kw_only=True):
    """What a drive tells of its volume. ``generation`` is empty where it can't be told."""

    write_protected: bool
    generation: str = ""


class Drive(Protocol):
    """A drive whose volume is ready. All methods but ``close`` may raise PlaceUnavailableError (the volume is
    gone, the drive fails in a way that may pass), AccessError, and PlaceError (anything else).

    Where a drive is after an error is not known, but for EndOfTapeError: ``locate`` before anything else.
    """

    name: str

    def read_record(self) -> bytes | Mark:
        """The next block, and go behind it; behind a filemark that is the first block of the next file. At
        the end it stays. Raises DamagedError (``io-error``) for a record that can't be read."""

    def write_record(self, record: bytes) -> None:
        """Write a record here and go behind it; all that lay behind is gone. It may be lost with the power
        until ``write_filemark``. Raises EndOfTapeError."""

    def write_filemark(self) -> None:
        """Write a filemark here and go behind it. When this returns, all that was written is on the medium.
        Raises EndOfTapeError."""

    def rewind(self) -> None:
        """Go to block 0."""

    def locate(self, block: int) -> None:
        """Go before a block, or to the end right behind the last one. Raises PlaceError if there is none."""

    def locate_end(self) -> None:
        """Go to the end, behind the last block."""

    def position(self) -> int | None:
        """The number of the next block; None where the drive can't tell, after an error."""

    def is_blank(self) -> bool:
        """Whether the drive knows that nothing was ever written on this volume; not knowing is no. Leaves it
        anywhere."""

    def status(self) -> DriveStatus:
        """Not to be asked between reads that belong together."""

    def alerts(self) -> Sequence[str]:
        """What the drive tells of itself and the volume since somebody last asked (TapeAlert), in words;
        nothing where it can't."""

    def close(self) -> None:
        """Let go of the drive; the volume stays in it. Repeatable. What was written behind the last filemark
        may be on the tape or not."""
