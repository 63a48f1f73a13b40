"""What a robot holds, as the program ``mtx`` tells it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence

from ....proto.errors import PlaceError, PlaceUnavailableError
from ....proto.structs import Record

Run = Callable[[Sequence[str]], str]
"""Runs a program; returns what it prints, whatever its exit status."""

_TAG = r"(?:\s*:VolumeTag ?= ?(?P<tag>[^:\n]*?)\s*(?::AlternateVolumeTag.*)?)?"
_DRIVE = re.compile(
    rf"Data Transfer Element (?P<number>\d{{1,6}}):(?P<fill>Full|Empty)"
    rf"(?: \((?:Storage Element (?P<slot>\d{{1,6}})|Unknown Storage Element) Loaded\))?{_TAG}",
    re.ASCII,
)
_SLOT = re.compile(
    rf"Storage Element (?P<number>\d{{1,6}})(?P<mail> IMPORT/EXPORT)?:(?P<fill>Full|Empty){_TAG}", re.ASCII
)


class Slot(Record, kw_only=True):
    """A place for one volume; one for people to put in and take out is a ``mail`` slot."""

    number: int
    full: bool
    tag: str = ""
    mail: bool = False


class Bay(Record, kw_only=True):
    """A drive, as the robot sees it; its volume came from ``slot``, where that is known."""

    number: int
    full: bool
    tag: str = ""
    slot: int | None = None


class Elements(Record, kw_only=True):
    """All places for volumes."""

    slots: tuple[Slot, ...]
    bays: tuple[Bay, ...]

    def bay(self, number: int) -> Bay:
        """Raises PlaceError if the robot has no such drive."""
        for bay in self.bays:
            if bay.number == number:
                return bay
        raise PlaceError(f"the changer has no drive {number}")

    def slot(self, number: int) -> Slot:
        """Raises PlaceError if the robot has no such slot."""
        for slot in self.slots:
            if slot.number == number:
                return slot
        raise PlaceError(f"the changer has no slot {number}")


def parse_status(text: str) -> Elements:
    """What ``mtx status`` prints. Bar codes are filled up with blanks; an element may have none."""
    slots, bays = [], []
    for line in text.splitlines():
        if found := _DRIVE.fullmatch(line.strip()):
            bays.append(
                Bay(
                    number=int(found["number"]),
                    full=found["fill"] == "Full",
                    tag=found["tag"] or "",
                    slot=int(found["slot"]) if found["slot"] else None,
                )
            )
        elif found := _SLOT.fullmatch(line.strip()):
            slots.append(
                Slot(
                    number=int(found["number"]),
                    full=found["fill"] == "Full",
                    tag=found["tag"] or "",
                    mail=bool(found["mail"]),
                )
            )
    return Elements(slots=tuple(slots), bays=tuple(bays))


class Changer:
    """A robot. Its program says the same for a full drive, an empty slot and an empty drive, so whether a
    move has happened is looked up, before and after."""

    def __init__(self, device: str, run: Run | None = None) -> None:
        self.name = device
        self._run = run or _run

    def look(self) -> Elements:
        """What is where. Raises PlaceUnavailableError if the robot does not answer."""
        text = self._run(["mtx", "-f", self.name, "status"])
        elements = parse_status(text)
        if not elements.bays:
            raise PlaceUnavailableError(f"{self.name}: the changer does not answer: {text.strip()[-300:]}")
        return elements

    def load(self, slot: int, drive: int) -> None:
        """From a slot into a drive."""
        before = self.look()
        if before.bay(drive).full or not before.slot(slot).full:
            raise PlaceUnavailableError(f"{self.name}: slot {slot} is empty, or drive {drive} is full")
        said = self._run(["mtx", "-f", self.name, "load", str(slot), str(drive)])
        self._expect(lambda now: now.bay(drive).full and not now.slot(slot).full, said)

    def unload(self, drive: int, slot: int) -> None:
        """From a drive into a slot."""
        before = self.look()
        if not before.bay(drive).full or before.slot(slot).full:
            raise PlaceUnavailableError(f"{self.name}: drive {drive} is empty, or slot {slot} is full")
        said = self._run(["mtx", "-f", self.name, "unload", str(slot), str(drive)])
        self._expect(lambda now: now.slot(slot).full and not now.bay(drive).full, said)

    def transfer(self, slot: int, other: int) -> None:
        """From slot to slot."""
        said = self._run(["mtx", "-f", self.name, "transfer", str(slot), str(other)])
        self._expect(lambda now: now.slot(other).full and not now.slot(slot).full, said)

    def _expect(self, happened: Callable[[Elements], bool], said: str) -> None:
        if not happened(self.look()):
            raise PlaceUnavailableError(f"{self.name}: the changer did not move it: {said.strip()[-300:]}")


_TIMEOUT_SECONDS = 600


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise PlaceError(f"the program {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise PlaceUnavailableError(f"{' '.join(command)}: no answer in {_TIMEOUT_SECONDS} s") from error
    return done.stdout.decode(errors="replace")
