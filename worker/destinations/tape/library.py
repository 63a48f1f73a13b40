"""The port to where volumes are: a robot with drives, one drive that people load, a directory of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ....proto.structs import Record
from .drive import Drive


class Cartridge(Record, kw_only=True):
    """A volume where it is now: ``where`` is for people, ``tag`` what its bar code says (or the name of its
    file), empty where there is none. One in a mail slot is about to leave (``leaving``): it is not used."""

    where: str
    tag: str
    leaving: bool = False


class Library(Protocol):
    """All methods may raise PlaceUnavailableError, AccessError and PlaceError, as those of Drive do."""

    def cartridges(self) -> Sequence[Cartridge]:
        """What is in reach now, looked at anew."""

    def load(self, cartridge: Cartridge) -> Drive:
        """Put it into a free drive and wait until that is ready, for a bounded time. Closing the drive frees
        it. Raises PlaceUnavailableError if all drives are taken, or somebody else has the volume."""

    def eject(self, cartridge: Cartridge) -> str:
        """Bring it to where somebody can take it; returns where that is. Raises PlaceError if it can't."""

    def add_blank(self) -> Cartridge | None:
        """A new, blank volume, where volumes can be made; else None."""
