"""Archives from what volumes hold of them: whole ones, and those whose parts are all there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ....proto.structs import Record
from ...archives.ports import Copy
from .contents import Entry


class Address(Record):
    """An archive, or a part of one, and the UUID of the volume that it is on."""

    volume: str
    entry: Entry


class Found(Record):
    """An archive that can be read: its parts in order, one in most cases."""

    parts: tuple[Address, ...]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.parts[0].entry.name

    @property
    def written(self) -> str:
        """When its end was written."""
        return self.parts[-1].entry.written

    @property
    def copy(self) -> Copy:
        """As the port has it."""
        last = self.parts[-1].entry
        return Copy(
            name=last.name,
            size_bytes=last.size_bytes,
            version=version_of(self.parts[0]),
            checksum=bytes.fromhex(last.checksum),
        )


def version_of(address: Address) -> str:
    """``VOLUME-UUID:BLOCK`` of the (first part of the) archive."""
    return f"{address.volume}:{address.entry.block}"


def parse_version(version: str) -> tuple[str, int]:
    """The inverse; of what is no version, something to sort by."""
    volume, _, block = version.partition(":")
    return volume, int(block) if block.isascii() and block.isdigit() else 0


def archives_of(volumes: Iterable[tuple[str, Sequence[Entry]]]) -> Iterator[Found]:
    """Every archive of which these volumes have all."""
    parts: dict[str, list[Address]] = defaultdict(list)
    for volume, entries in volumes:
        for entry in entries:
            if entry.removed:
                continue
            address = Address(volume, entry)
            if entry.whole:
                yield Found((address,))
            else:
                parts[entry.first or version_of(address)].append(address)
    for found in parts.values():
        yield from _joined(found)


def _joined(parts: list[Address]) -> Iterator[Found]:
    """The archive, if the parts follow each other from its beginning to its end."""
    parts.sort(key=lambda part: part.entry.offset_bytes)
    at = 0
    for part in parts:
        if part.entry.offset_bytes != at:
            return
        at += part.entry.bytes
    if at == parts[-1].entry.size_bytes and parts[-1].entry.checksum:
        yield Found(tuple(parts))
