"""Volumes for a drive: a certain one, one with room, a blank one. After each move its label is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ....proto.errors import BackupError, NotYetError, PlaceError, PlaceUnavailableError
from ....proto.structs import Record, replace
from .alerts import WORN
from .contents import Label
from .drive import Drive
from .inventory import Inventory, KnownVolume, Wanted
from .labelling import ForeignVolumeError, read_label
from .library import Cartridge, Library
from .scanning import holds


class Mounted(Record):
    """A volume in a drive, and what its label says; None if it is blank."""

    drive: Drive
    cartridge: Cartridge
    label: Label | None


class Mounts:
    """The one drive of a place, and the library that it takes volumes from."""

    def __init__(self, library: Library, inventory: Inventory, pool: str, now: Callable[[], str]) -> None:
        self._library = library
        self._inventory = inventory
        self._pool = pool
        self._now = now
        self._mounted: Mounted | None = None

    def mount(self, volume: str) -> Drive:
        """The drive with this volume in it. Raises NotYetError if it is out of reach: from then on it is
        wanted."""
        mounted = self._mounted
        if mounted and mounted.label and mounted.label.volume == volume:
            return mounted.drive
        known = self._inventory.get(volume)
        if known is None:
            raise PlaceError(f"tape volume {volume} is not known", volume=volume)
        found = self.find(known)
        if found is None:
            self.want(known)
            raise not_yet(known)
        return found.drive

    def find(self, known: KnownVolume) -> Mounted | None:
        """A known volume in a drive, wherever it is; None if it is out of reach. Raises
        PlaceUnavailableError if it may be in a drive of somebody else, NotYetError if its cartridge is there
        and can't be read."""
        self.release()
        failures: list[tuple[Cartridge, BackupError]] = []
        for cartridge in self._candidates(known):
            try:
                mounted = self._load_known(cartridge, known)
            except BackupError as error:
                failures.append((cartridge, error))
                continue
            if mounted.label and mounted.label.volume == known.label.volume:
                self._found(known, mounted)
                return mounted
            self.release()
        for _, failure in failures:
            if isinstance(failure, PlaceUnavailableError):
                raise failure
        for cartridge, failure in failures:
            if known.tag and cartridge.tag == known.tag:
                raise unreadable(known, failure)
        return None

    def load(self, cartridge: Cartridge) -> Mounted:
        """What is in a cartridge. Raises ForeignVolumeError for what somebody else has written."""
        self.release()
        drive = self._library.load(cartridge)
        try:
            mounted = Mounted(drive, cartridge, read_label(drive))
        except BaseException:
            drive.close()
            raise
        self._mounted = mounted
        return mounted

    def _load_known(self, cartridge: Cartridge, known: KnownVolume) -> Mounted:
        """``load``; and a volume whose label can't be read is known by the archives on it. These can be read,
        but nothing is written on it any more."""
        try:
            return self.load(cartridge)
        except ForeignVolumeError:
            drive = self._library.load(cartridge)
            try:
                if not holds(drive, known.label, known.contents):
                    raise
                self._inventory.put(replace(known, retired=known.retired or "its label can't be read"))
            except BaseException:
                drive.close()
                raise
        self._mounted = Mounted(drive, cartridge, known.label)
        return self._mounted

    def labelled(self, label: Label) -> None:
        """What is in the drive has this label from now on."""
        if self._mounted is not None:
            self._mounted = replace(self._mounted, label=label)

    def in_reach(self, known: KnownVolume) -> bool:
        """Whether a volume seems to be there: nothing is loaded for it."""
        mounted = self._mounted
        if mounted and mounted.label and mounted.label.volume == known.label.volume:
            return True
        return bool(self._likely(known))

    def unknown(self) -> Iterator[Cartridge]:
        """Cartridges that are none of the known volumes, as far as their tags tell."""
        tags = {known.tag for known in self._inventory.all()} - {""}
        for cartridge in self._library.cartridges():
            if not cartridge.leaving and cartridge.tag not in tags:
                yield cartridge

    def blank(self) -> Cartridge | None:
        """A new volume, where the library makes them."""
        return self._library.add_blank()

    def want(self, known: KnownVolume) -> None:
        """Ask for a volume to be brought."""
        label = known.label
        self._inventory.want(
            Wanted(
                pool=label.pool, volume=label.volume, label=label.label, why="to be read", since=self._now()
            )
        )

    def release(self) -> None:
        """Nothing is in the drive any more, as far as this place goes. Repeatable."""
        mounted, self._mounted = self._mounted, None
        if mounted is not None:
            try:
                self._note_alerts(mounted)
            finally:
                mounted.drive.close()

    def _note_alerts(self, mounted: Mounted) -> None:
        """What the drive says of the volume is recorded; of a worn one nothing more is asked."""
        alerts = mounted.drive.alerts()
        known = self._inventory.get(mounted.label.volume) if alerts and mounted.label else None
        if known is not None:
            worn = ", ".join(alert for alert in alerts if alert in WORN)
            self._inventory.put(replace(known, alerts=tuple(alerts), retired=worn))

    def _candidates(self, known: KnownVolume) -> Iterator[Cartridge]:
        """Where a volume may be. Where its own cartridge turns out to hold another one, tags tell nothing,
        and all others are looked at, too."""
        likely = self._likely(known)
        yield from likely
        if likely and known.tag and likely[0].tag == known.tag:
            for cartridge in self._library.cartridges():
                if not cartridge.leaving and cartridge not in likely:
                    yield cartridge

    def _likely(self, known: KnownVolume) -> Sequence[Cartridge]:
        """The cartridges that may be a volume: first that of its tag, then those that nobody knows."""
        tags = {volume.tag for volume in self._inventory.all()} - {"", known.tag}
        fit = [
            cartridge
            for cartridge in self._library.cartridges()
            if not cartridge.leaving and cartridge.tag not in tags
        ]
        return sorted(fit, key=lambda one: not known.tag or one.tag != known.tag)

    def _found(self, known: KnownVolume, mounted: Mounted) -> None:
        self._inventory.came(known.label.pool, known.label.volume)
        if known.tag != mounted.cartridge.tag:
            self._inventory.put(replace(known, tag=mounted.cartridge.tag))


def not_yet(known: KnownVolume) -> NotYetError:
    """Somebody has to bring a volume."""
    return _unread(known, "is in no drive and no slot: bring it")


def unreadable(known: KnownVolume, why: BackupError) -> NotYetError:
    """Somebody has to see to a volume that is there."""
    return _unread(
        known,
        f"can't be read: {why.message}; try another drive, or say that it is lost: `mailhaul tape forget`",
    )


def _unread(known: KnownVolume, what: str) -> NotYetError:
    label = known.label
    return NotYetError(
        f"tape volume {label.label!r} ({label.volume}) of pool {label.pool!r} {what}",
        volume=label.volume,
        label=label.label,
        pool=label.pool,
    )
