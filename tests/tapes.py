"""Tapes that are files: a destination over them, and what may happen to them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import TapeDestination
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.file_library import FileLibrary
from mailhaul.worker.destinations.tape.opening import Tape, open_tape, tape_place
from mailhaul.worker.destinations.tape.place import TapePlace
from mailhaul.worker.destinations.tape.stocktaking import Stock, take_stock

from .contract.putting import Pattern

RECORD = 10_240
_DAMAGED = 1 << 31  # as TAPE.md says of volumes in files


def source(name: str, size: int) -> Pattern:
    """Bytes that are those of this archive only."""
    return Pattern(size, name.encode())


@dataclass
class Tapes:
    """A pool of volumes below a directory."""

    root: Path
    end: TapeEnd = field(default_factory=lambda: TapeEnd(capacity_bytes=1 << 30))
    settings: TapeDestination = field(init=False)
    now: datetime = datetime(2026, 11, 29, 3, 15, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.directory = self.root / "tapes"
        self.directory.mkdir(parents=True)
        self.settings = TapeDestination(
            name="drive",
            state=str(self.root / "state"),
            file=str(self.directory),
            record_bytes=RECORD,
            buffer_bytes=1 << 20,
        )

    def tape(self, **changes: object) -> Tape:
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return open_tape(settings, now=lambda: self.now, library=FileLibrary(str(self.directory), self.end))

    def open(self, **changes: object) -> TapePlace:
        return tape_place(self.settings, self.tape(**changes))

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def put(self, archives: Mapping[str, int]) -> None:
        """Put and commit these names and sizes, each of bytes of its own."""
        with closing(self.open()) as place:
            for name, size in archives.items():
                place.put(name, source(name, size))
            place.commit()

    def volumes(self) -> list[Path]:
        return sorted(self.directory.glob("*.tap"))

    def forget(self) -> None:
        """The inventory is lost."""
        rmtree(self.root / "state")

    def take_stock(self) -> list[Stock]:
        """Make the inventory from the volumes."""
        tape = self.tape()
        return list(take_stock(iter(tape.library.cartridges()), tape.mounts, tape.inventory))

    def check(self, archives: Mapping[str, int]) -> None:
        """That these archives are there, and nothing else, and can be read."""
        with closing(self.open()) as place:
            listed = {copy.name: copy for copy in place.list()}
            assert {name: copy.size_bytes for name, copy in listed.items()} == dict(archives)
            order = place.reading_order([(copy.name, copy.version) for copy in listed.values()])
            for name, version in order:
                with closing(place.open(name, version)) as file:
                    whole = source(name, archives[name])
                    assert file.size == whole.size
                    assert file.read_at(0, file.size) == whole.read_at(0, whole.size)


def damage(volume: Path, block: int) -> None:
    """A block of a volume can't be read from now on."""
    drive = FileDrive(str(volume), TapeEnd(capacity_bytes=1 << 40))
    drive.locate(block + 1)
    start, end = drive._starts[block], drive._starts[block + 1]
    drive.close()
    with volume.open("r+b") as file:
        for at in (start + 3, end - 1):
            file.seek(at)
            file.write(b"\x80")


def taken_off(volumes: Iterable[Path]) -> dict[str, bytes]:
    """The files that lie on volumes, each as it was written last."""
    return {name: data for (name, _), data in copies_on(volumes).items()}


def copies_on(volumes: Iterable[Path]) -> dict[tuple[str, str], bytes]:
    """The files that lie whole on volumes, with the addresses where they begin: for who has nothing but
    TAPE.md. What is on damaged blocks comes as zeros."""
    parts: dict[tuple[str, str], dict[int, bytes]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for volume in volumes:
        blocks = list(_blocks(volume.read_bytes()))
        # The label tells it first, but may be on a damaged block.
        uuid = next((told["volume"] for _, told in map(_told, blocks) if "volume" in told), None)
        for start, facts in _entries(blocks, uuid).items():
            copy = facts["name"], facts.get("first") or f"{uuid}:{start}"
            count = -(-facts["bytes"] // len(blocks[start]))
            data = b"".join(blocks[start + 1 : start + 1 + count])[: facts["bytes"]]
            parts.setdefault(copy, {})[facts.get("offset_bytes", 0)] = data
            sizes[copy] = facts.get("size_bytes", 0)
    files = {copy: b"".join(found[offset] for offset in sorted(found)) for copy, found in parts.items()}
    return {copy: data for copy, data in files.items() if len(data) == sizes[copy]}


def _entries(blocks: list[bytes], volume: object) -> dict[int, dict[str, Any]]:
    """The archives of a volume and their parts, by the blocks where they begin: as they tell themselves, and
    as the catalogs behind them tell."""
    begun: dict[int, dict[str, Any]] = {}
    found: dict[int, dict[str, Any]] = {}
    for number, block in enumerate(blocks):
        kind, facts = _told(block)
        if (facts.get("volume"), facts.get("block")) != (volume, number):
            continue
        if kind == "archive":
            begun[number] = facts
        elif kind == "archive-end" and facts.get("archive", 0) in begun:
            start = facts.get("archive", 0)
            found[start] = begun[start] | {"bytes": facts.get("bytes", 0)}
        elif kind == "catalog":
            found |= {one.get("block", 0): {"bytes": 0} | one for one in facts.get("archives", ())}
    return found


def _blocks(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        told = int.from_bytes(data[at : at + 4], "little")
        length = told & ~_DAMAGED
        yield bytes(length) if told & _DAMAGED else data[at + 4 : at + 4 + length]
        at += 8 + length + length % 2 if length else 4


def _told(block: bytes) -> tuple[str, dict[str, Any]]:
    """The kind of a record that tells, and what it does; nothing of other blocks."""
    first, _, rest = block.partition(b"\n")
    if not first.startswith(b"mailhaul-tape 1 "):
        return "", {}
    return first.split()[2].decode(), json.loads(rest)
