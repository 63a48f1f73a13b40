"""Volumes that are files of a directory, ``NAME.tap`` each. Any number of drives; what is moved out of the
directory is out of reach, as a tape on a shelf is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ....proto.errors import PlaceError, PlaceUnavailableError
from .drive import Drive
from .file_drive import FileDrive, TapeEnd
from .library import Cartridge

_ENDING = ".tap"
_EJECTED = "ejected"


class FileLibrary:
    """See Library. The directory has to be there: one that is not is a disk that was not mounted. ``make``:
    it is made, since nothing was ever written there."""

    def __init__(self, directory: str, end: TapeEnd, *, make: bool = False) -> None:
        self._directory = Path(directory)
        self._end = end
        self._make_directory = make

    def cartridges(self) -> Sequence[Cartridge]:
        """See Library."""
        return [
            Cartridge(where=name, tag=name.removesuffix(_ENDING))
            for name in sorted(self._names())
            if name.endswith(_ENDING)
        ]

    def load(self, cartridge: Cartridge) -> Drive:
        """See Library."""
        return FileDrive(str(self._directory / cartridge.where), self._end)

    def eject(self, cartridge: Cartridge) -> str:
        """See Library. It goes into a directory of its own, from where it can be carried away."""
        target = self._directory / _EJECTED / cartridge.where
        if target.exists():
            raise PlaceError(f"{target}: there is a volume of this name already")
        drive = self.load(cartridge)  # nobody may be writing on it
        try:
            target.parent.mkdir(exist_ok=True)
            (self._directory / cartridge.where).rename(target)
        except OSError as error:
            raise PlaceError(f"{target}: {error.strerror}") from error
        finally:
            drive.close()
        return str(target)

    def add_blank(self) -> Cartridge | None:
        """See Library."""
        taken = {name.removesuffix(_ENDING) for name in self._names()}
        ejected = self._directory / _EJECTED
        if ejected.is_dir():
            taken |= {name.removesuffix(_ENDING) for name in os.listdir(ejected)}
        number = 1
        while True:
            tag = f"V{number:05}"
            if tag not in taken and self._make(tag + _ENDING):
                return Cartridge(where=tag + _ENDING, tag=tag)
            number += 1

    def _names(self) -> list[str]:
        try:
            if self._make_directory:
                self._directory.mkdir(parents=True, exist_ok=True)
            return os.listdir(self._directory)
        except OSError as error:
            raise PlaceUnavailableError(f"{self._directory}: {error.strerror}") from error

    def _make(self, name: str) -> bool:
        """Whether there was none of this name yet."""
        try:
            (self._directory / name).open("xb").close()
            fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except FileExistsError:
            return False
        except OSError as error:
            raise PlaceUnavailableError(f"{self._directory}: {error.strerror}") from error
        return True
