"""Looking at the volumes themselves: which are in reach, what is on each, and whether it can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blake3 import blake3

from ....proto.errors import BackupError, DamagedError, PlaceError
from ....proto.structs import Record, replace
from .contents import Entry, data_records
from .drive import Drive
from .inventory import Inventory, KnownVolume
from .library import Cartridge
from .mounting import Mounts
from .scanning import scan


class Stock(Record, kw_only=True):
    """What a cartridge was found to be: a volume of ours, blank (neither), or a ``problem``, in words."""

    cartridge: Cartridge
    known: KnownVolume | None = None
    problem: str = ""


def take_stock(cartridges: Iterator[Cartridge], mounts: Mounts, inventory: Inventory) -> Iterator[Stock]:
    """Load each, read its label and what is on it, and record that. What was removed stays removed."""
    for cartridge in cartridges:
        try:
            yield _look(cartridge, mounts, inventory)
        except BackupError as error:
            yield Stock(cartridge=cartridge, problem=error.message)
        finally:
            mounts.release()


def _look(cartridge: Cartridge, mounts: Mounts, inventory: Inventory) -> Stock:
    mounted = mounts.load(cartridge)
    if mounted.label is None:
        return Stock(cartridge=cartridge)
    contents = scan(mounted.drive, mounted.label)
    inventory.put(KnownVolume(label=mounted.label, contents=contents, tag=cartridge.tag))
    return Stock(cartridge=cartridge, known=inventory.get(mounted.label.volume))


class Checked(Record, kw_only=True):
    """An archive, or a part of one, that was read from a volume. ``problem`` is empty if all is well."""

    entry: Entry
    problem: str = ""


def check_volume(known: KnownVolume, mounts: Mounts, on_bytes: Callable[[int], object]) -> Iterator[Checked]:
    """Read all archives of a volume, forward, and compare them with their checksums. Raises NotYetError if
    the volume is out of reach."""
    drive = mounts.mount(known.label.volume)
    for entry in sorted(known.contents.entries, key=lambda one: one.block):
        try:
            _check(drive, known.label.record_bytes, entry, on_bytes)
        except (DamagedError, PlaceError) as error:
            yield Checked(entry=entry, problem=error.message)
        else:
            yield Checked(entry=entry)


def _check(drive: Drive, record_bytes: int, entry: Entry, on_bytes: Callable[[int], object]) -> None:
    drive.locate(entry.block + 1)
    digest, left = blake3(), entry.bytes
    for number in range(data_records(entry.bytes, record_bytes)):
        record = drive.read_record()
        if not isinstance(record, bytes) or len(record) != record_bytes:
            raise DamagedError(
                f"{drive.name}: block {entry.block + 1 + number} is no record of {record_bytes} bytes",
                reason="io-error",
            )
        digest.update(memoryview(record)[:left])
        left -= record_bytes
        on_bytes(record_bytes)
    if entry.whole and digest.hexdigest() != entry.checksum:
        raise DamagedError(f"{drive.name}: {entry.name} has changed since it was written", reason="block")


def retire(inventory: Inventory, known: KnownVolume, why: str) -> None:
    """Nothing is written on a volume any more; what is on it can be read as long as it lasts."""
    inventory.put(replace(known, retired=why))
