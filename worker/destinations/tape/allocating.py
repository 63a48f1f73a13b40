"""Finding a volume to write on: one of the pool that has room, else one to label anew, else a blank one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime

from ....proto.errors import AccessError, BackupError, DamagedError, PlaceError, PlaceFullError
from ....proto.structs import replace
from .contents import Contents, Label
from .inventory import Inventory, KnownVolume, Wanted
from .labelling import Front, write_label
from .library import Cartridge
from .mounting import Mounted, Mounts
from .pools import Pool, reusable, writable
from .scanning import scan
from .writing import VolumeWriter

Now = Callable[[], datetime]


class Allocator:
    """What a pool is written on. ``label_blanks``: a volume that the drive knows to be blank is labelled for
    it; without, only those that somebody has labelled are used."""

    def __init__(
        self,
        inventory: Inventory,
        mounts: Mounts,
        pool: Pool,
        *,
        record_bytes: int,
        label_blanks: bool,
        front: Callable[[], Front],
        now: Now,
    ) -> None:
        self._inventory = inventory
        self._mounts = mounts
        self._pool = pool
        self._record_bytes = record_bytes
        self._label_blanks = label_blanks
        self._front = front
        self._now = now

    def writer(self) -> VolumeWriter:
        """A volume in the drive, at the end of what is committed to it. Raises PlaceFullError if there is
        none: from then on one is wanted."""
        failures: list[BackupError] = []
        for attempt in self._attempts():
            try:
                writer = attempt()
            except (PlaceError, AccessError, DamagedError) as error:
                self._mounts.release()
                failures.append(error)
                continue
            if writer is not None:
                self._inventory.came(self._pool.name, "")
                return writer
        self._mounts.release()
        name = self._pool.name
        self._inventory.want(Wanted(pool=name, why="to be written on", since=self._stamp()))
        why = "; ".join(dict.fromkeys(error.message for error in failures))
        raise PlaceFullError(
            f"no tape volume of pool {name!r} has room: bring one, or label one with `mailhaul tape label`"
            + (f" ({why})" if why else ""),
            pool=name,
        )

    def record(self, writer: VolumeWriter) -> None:
        """Record what is committed to a volume."""
        known = self._inventory.get(writer.label.volume)
        if known is not None:
            self._inventory.put(replace(known, contents=writer.contents))

    def label(self, mounted: Mounted, name: str, *, worm: bool = False) -> KnownVolume:
        """Label what is in the drive, a blank volume or one of ours, for the pool. What was on it is gone.
        Raises ForeignVolumeError, AccessError (write-protected), PlaceError."""
        before = mounted.label
        label = Label(
            volume=str(uuid.uuid4()),
            label=name,
            pool=self._pool.name,
            record_bytes=self._record_bytes,
            made=self._stamp(),
            worm=worm,
            generation=mounted.drive.status().generation,
            uses=before.uses + 1 if before else 1,
        )
        end = write_label(mounted.drive, label, self._front(), instead_of=before.volume if before else None)
        self._mounts.labelled(label)
        if before is not None:
            self._inventory.forget(before.volume)
        known = KnownVolume(label=label, contents=Contents(end_block=end), tag=mounted.cartridge.tag)
        self._inventory.put(known)
        return known

    def _attempts(self) -> Iterator[Callable[[], VolumeWriter | None]]:
        now = self._now()
        for known in writable(self._pool, self._inventory.all(), now):
            yield lambda known=known: self._continued(known)  # type: ignore[misc]
        for known in reusable(self._pool, self._inventory.all(), now):
            yield lambda known=known: self._reused(known)  # type: ignore[misc]
        if self._label_blanks:
            for cartridge in self._mounts.unknown():
                yield lambda cartridge=cartridge: self._blank(cartridge)  # type: ignore[misc]
            if (made := self._mounts.blank()) is not None:
                yield lambda: self._blank(made)

    def _continued(self, known: KnownVolume) -> VolumeWriter | None:
        mounted = self._mounts.find(known)
        if mounted is None or mounted.label is None or self._is_retired(known):
            return None
        if mounted.drive.status().write_protected:
            raise AccessError(f"volume {known.label.label!r} is write-protected", volume=known.label.volume)
        try:
            contents = scan(mounted.drive, mounted.label, known.contents)
        except DamagedError as error:
            self._retire(known, error.message)
            raise
        self._inventory.put(replace(known, contents=contents, tag=mounted.cartridge.tag))
        if contents.finished:
            return None
        return VolumeWriter(mounted.drive, mounted.label, contents, self._stamp)

    def _reused(self, known: KnownVolume) -> VolumeWriter | None:
        mounted = self._mounts.find(known)
        return self._labelled(mounted, known.label.label) if mounted else None

    def _blank(self, cartridge: Cartridge) -> VolumeWriter | None:
        mounted = self._mounts.load(cartridge)
        if mounted.label is not None:
            # One of ours, or of somebody like us: an inventory tells.
            return None
        return self._labelled(mounted, cartridge.tag or f"{self._pool.name}-{uuid.uuid4().hex[:6]}")

    def _labelled(self, mounted: Mounted, name: str) -> VolumeWriter:
        known = self.label(mounted, name)
        return VolumeWriter(mounted.drive, known.label, known.contents, self._stamp)

    def _retire(self, known: KnownVolume, why: str) -> None:
        with suppress(PlaceError):
            self._inventory.put(replace(known, retired=why))

    def _is_retired(self, known: KnownVolume) -> bool:
        """Whether it turned out that nothing should be written on a volume when it was loaded."""
        now = self._inventory.get(known.label.volume)
        return now is not None and bool(now.retired)

    def _stamp(self) -> str:
        return self._now().isoformat()
