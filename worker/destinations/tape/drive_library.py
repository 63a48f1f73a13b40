"""Volumes in drives: drives that people load, or that a robot loads."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ....proto.errors import BackupError, PlaceError, PlaceUnavailableError
from .changer import Changer, Elements
from .drive import Drive
from .library import Cartridge
from .st_drive import StDrive, check_device, eject, is_online, wait_until_online

_SLOT, _MAIL_SLOT, _DRIVE = "slot", "mail slot", "drive"


class DriveLibrary:
    """See Library. The drives are numbered as the robot numbers them (Data Transfer Elements), from 0 on.

    A drive belongs to who has the lock of its file below ``locks``; robots are moved by one at a time.
    """

    def __init__(
        self, devices: Sequence[str], changer: Changer | None, locks: str, load_seconds: float
    ) -> None:
        self._devices = devices
        self._changer = changer
        self._locks = Path(locks)
        self._load_seconds = load_seconds

    def cartridges(self) -> Sequence[Cartridge]:
        """See Library."""
        if self._changer is None:
            return [Cartridge(where=f"{_DRIVE} {number}", tag="") for number in self._loaded()]
        elements = self._changer.look()
        found = [
            Cartridge(where=f"{_DRIVE} {bay.number}", tag=bay.tag)
            for bay in elements.bays
            if bay.full and bay.number < len(self._devices)
        ]
        for slot in elements.slots:
            if slot.full:
                kind = _MAIL_SLOT if slot.mail else _SLOT
                found.append(Cartridge(where=f"{kind} {slot.number}", tag=slot.tag, leaving=slot.mail))
        return found

    def load(self, cartridge: Cartridge) -> Drive:
        """See Library."""
        kind, _, number = cartridge.where.rpartition(" ")
        if kind == _DRIVE:
            drive = int(number)
            lock = self._lock_drive(drive)
        else:
            drive, lock = self._fetch(int(number))
        try:
            device = self._devices[drive]
            check_device(device)
            wait_until_online(device, self._load_seconds)
            return StDrive(device, partial(os.close, lock))
        except BaseException:
            with suppress(OSError):
                os.close(lock)
            raise

    def eject(self, cartridge: Cartridge) -> str:
        """See Library. A robot brings it to an empty mail slot."""
        kind, _, text = cartridge.where.rpartition(" ")
        number = int(text)
        if kind == _MAIL_SLOT:
            return cartridge.where
        if self._changer is None:
            with self._holding(number):
                eject(self._devices[number])
            return cartridge.where
        with self._moving() as changer:
            elements = changer.look()
            mail = next((slot.number for slot in elements.slots if slot.mail and not slot.full), None)
            if mail is None:
                raise PlaceError(f"{changer.name}: there is no empty mail slot")
            if kind == _SLOT:
                changer.transfer(number, mail)
            else:
                with self._holding(number):
                    self._unload(changer, number, mail)
        return f"{_MAIL_SLOT} {mail}"

    def add_blank(self) -> Cartridge | None:
        """See Library. Volumes are bought."""
        return None

    def _loaded(self) -> Iterator[int]:
        """The drives that hold a volume. One that somebody uses holds one."""
        for number, device in enumerate(self._devices):
            check_device(device)
            try:
                loaded = is_online(device)
            except PlaceUnavailableError:
                loaded = True
            if loaded:
                yield number

    def _fetch(self, slot: int) -> tuple[int, int]:
        """Have the robot bring what is in a slot; the drive, and its lock."""
        with self._moving() as changer:
            elements = changer.look()
            drive, lock = self._free_drive(elements)
            try:
                if elements.bay(drive).full:
                    self._unload(changer, drive, _home(elements, drive))
                changer.load(slot, drive)
            except BaseException:
                os.close(lock)
                raise
            return drive, lock

    def _unload(self, changer: Changer, drive: int, slot: int) -> None:
        # Some robots can't take what the drive holds fast.
        with suppress(BackupError):
            eject(self._devices[drive])
        changer.unload(drive, slot)

    def _free_drive(self, elements: Elements) -> tuple[int, int]:
        """An empty drive rather than a full one."""
        ours = [bay for bay in elements.bays if bay.number < len(self._devices)]
        for bay in sorted(ours, key=lambda bay: bay.full):
            with suppress(PlaceUnavailableError):
                return bay.number, self._lock_drive(bay.number)
        raise PlaceUnavailableError(f"all {len(ours)} drives are in use")

    def _lock_drive(self, drive: int) -> int:
        if not 0 <= drive < len(self._devices):
            raise PlaceError(f"there is no drive {drive}")
        return self._lock(f"drive-{drive}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB, f"drive {drive} is in use")

    def _lock(self, name: str, how: int, busy: str) -> int:
        try:
            self._locks.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, how)
            except BaseException:
                os.close(fd)
                raise
        except BlockingIOError as error:
            raise PlaceUnavailableError(busy) from error
        except OSError as error:
            raise PlaceError(f"{self._locks}: {error.strerror}") from error
        return fd

    @contextmanager
    def _holding(self, drive: int) -> Iterator[None]:
        lock = self._lock_drive(drive)
        try:
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _moving(self) -> Iterator[Changer]:
        if self._changer is None:
            raise PlaceError("there is no changer: somebody has to load the drive")
        lock = self._lock("changer.lock", fcntl.LOCK_EX, "")
        try:
            yield self._changer
        finally:
            os.close(lock)


def _home(elements: Elements, drive: int) -> int:
    """Where what is in a drive came from, if nothing is there, else any empty slot."""
    came_from = elements.bay(drive).slot
    empty = [slot.number for slot in elements.slots if not slot.full and not slot.mail]
    if not empty:
        raise PlaceUnavailableError("the changer has no empty slot")
    return came_from if came_from in empty else empty[0]
