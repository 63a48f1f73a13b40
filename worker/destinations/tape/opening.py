"""From the settings of a tape destination to the parts that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ....proto.structs import Record
from ..settings import TapeDestination
from .allocating import Allocator
from .changer import Changer
from .drive_library import DriveLibrary
from .file_drive import WARNING_BYTES, TapeEnd
from .file_library import FileLibrary
from .front import front_files
from .inventory import Inventory
from .library import Library
from .mounting import Mounts
from .place import TapePlace
from .pools import Allocation, Pool

_FILE_BUFFER_BYTES = 2 << 20


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Tape(Record, kw_only=True):
    """A tape destination, taken apart: what its commands work with."""

    library: Library
    inventory: Inventory
    mounts: Mounts
    allocator: Allocator
    pool: Pool


def open_tape(
    settings: TapeDestination, *, now: Callable[[], datetime] = _utc_now, library: Library | None = None
) -> Tape:
    """Nothing is reached before something is asked for. ``library``: other volumes than the settings name."""
    reuse = None if settings.reuse_seconds is None else timedelta(seconds=settings.reuse_seconds)
    pool = Pool(name=settings.pool, allocation=Allocation(settings.allocation), reuse_after=reuse)
    inventory = Inventory(settings.state)
    library = library or _library(settings, new=next(inventory.all(), None) is None)
    mounts = Mounts(library, inventory, pool.name, lambda: now().isoformat())
    allocator = Allocator(
        inventory,
        mounts,
        pool,
        record_bytes=settings.record_bytes,
        label_blanks=settings.label_blanks or bool(settings.file),
        front=lambda: front_files(settings),
        now=now,
    )
    return Tape(library=library, inventory=inventory, mounts=mounts, allocator=allocator, pool=pool)


def open_tape_place(settings: TapeDestination) -> TapePlace:
    """The place."""
    tape = open_tape(settings)
    return tape_place(settings, tape)


def tape_place(settings: TapeDestination, tape: Tape) -> TapePlace:
    """The place over parts that are open already."""
    return TapePlace(
        settings.name, tape.inventory, tape.mounts, tape.allocator, buffer_bytes=_buffer_bytes(settings)
    )


def _buffer_bytes(settings: TapeDestination) -> int:
    """A file does not mind stopping: what would be waited for until it is full only costs time."""
    return settings.buffer_bytes if settings.devices else min(settings.buffer_bytes, _FILE_BUFFER_BYTES)


def _library(settings: TapeDestination, *, new: bool) -> Library:
    if settings.devices:
        changer = Changer(settings.changer) if settings.changer else None
        return DriveLibrary(settings.devices, changer, settings.state, settings.load_seconds)
    warning_bytes = min(WARNING_BYTES, settings.capacity_bytes // 4)
    end = TapeEnd(capacity_bytes=settings.capacity_bytes, warning_bytes=warning_bytes)
    return FileLibrary(settings.file, end, make=new)
