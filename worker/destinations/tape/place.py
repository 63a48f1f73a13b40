"""Tape as a place where archives lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime

from blake3 import blake3

from ....proto.archive.files import RandomAccess
from ....proto.errors import DamagedError, ExistsError, PlaceError, PlaceFullError
from ....proto.structs import replace
from ...archives.names import check_file_name
from ...archives.ports import Copy, OnBytes
from ..settings import TapeDestination
from .addresses import Address, Found, archives_of, parse_version, version_of
from .allocating import Allocator
from .contents import Entry
from .drive import Drive, EndOfTapeError
from .feeding import feed
from .inventory import Inventory, removed
from .mounting import Mounts, not_yet
from .reading import Placed, TapedFile
from .writing import Part, VolumeWriter


def _ignore(_size_bytes: int) -> None:
    """Nobody wants to know."""


class TapePlace:
    """See Place. One drive at a time: several places of the same settings use several drives.

    What arrives is checked by the drive, which reads what it writes; ``mailhaul tape check`` reads it again.
    """

    reads_anywhere = TapeDestination.reads_anywhere

    def __init__(
        self,
        name: str,
        inventory: Inventory,
        mounts: Mounts,
        allocator: Allocator,
        *,
        buffer_bytes: int,
    ) -> None:
        self.name = name
        self._inventory = inventory
        self._mounts = mounts
        self._allocator = allocator
        self._buffer_bytes = buffer_bytes
        self._writer: VolumeWriter | None = None
        self._lost: PlaceError | None = None

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """See Place. From the inventory: no volume is loaded."""
        for found in self._archives():
            if found.name.startswith(prefix):
                yield found.copy

    def stat(self, name: str, version: str = "") -> Copy | None:
        """See Place. From the inventory: no volume is loaded."""
        found = self._find(name, version)
        return found.copy if found else None

    def open(self, name: str, version: str = "") -> RandomAccess:
        """See Place."""
        found = self._find(name, version)
        if found is None:
            raise DamagedError(f"{self.name}: there is no {name}", reason="missing", file=name)
        parts = []
        for address in found.parts:
            known = self._inventory.get(address.volume)
            if known is None or not (self._writing_on(address.volume) or self._mounts.in_reach(known)):
                if known:
                    self._mounts.want(known)
                    raise not_yet(known)
                raise DamagedError(f"{self.name}: the volume of {name} is not known", reason="missing")
            parts.append(Placed(address.volume, known.label.record_bytes, address.entry))
        self._read_from(parts[0].volume)
        return TapedFile(f"{self.name}:{name}", parts, self._read_from)

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = _ignore,
    ) -> Copy:
        """See Place."""
        existing = self._find(name, "")
        if lock_until is not None:
            raise PlaceError(f"{self.name}: a tape can't be locked until a time", file=name)
        # What the inventory tells of a copy does not tell whether it can still be read.
        if existing is not None and existing.copy.version not in instead_of:
            return self._same(existing.copy, source)
        return self._write(name, source, _Once(on_bytes))

    def commit(self) -> None:
        """See Place."""
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost
        writer = self._writer
        if writer is not None:
            self._guarded(writer, writer.commit)
            if writer.contents.finished:
                self._let_go()

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        """See Place."""
        raise PlaceError(
            f"{self.name}: a tape can't be locked until a time", file=name, version=version, until=until
        )

    def remove(self, name: str, version: str = "") -> None:
        """See Place. The bytes stay on the tape until all on it was removed and it is labelled anew."""
        found = self._find(name, version)
        if found is None:
            return
        self._settle()
        for address in found.parts:
            known = self._inventory.get(address.volume)
            if known is not None:
                self._inventory.put(removed(known, address.entry.block))
            if self._writing_on(address.volume):
                # It goes on from what is recorded.
                self._let_go()

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """See Place. What is out of reach is put on the list of wanted volumes."""
        for name, version in copies:
            found = self._find(name, version)
            for address in found.parts if found else ():
                known = self._inventory.get(address.volume)
                if known and not self._writing_on(address.volume) and not self._mounts.in_reach(known):
                    self._mounts.want(known)

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """See Place."""
        return sorted(copies, key=self._address)

    def close(self) -> None:
        """See Place."""
        self._writer = None
        self._mounts.release()

    def _archives(self) -> Iterator[Found]:
        volumes = []
        for known in self._inventory.all():
            entries = known.contents.entries
            if self._writer and self._writing_on(known.label.volume):
                entries = (*entries, *self._writer.pending)
            volumes.append((known.label.volume, entries))
        return archives_of(volumes)

    def _find(self, name: str, version: str) -> Found | None:
        """The archive of this name, the newest if there are several."""
        check_file_name(name)
        fit = [
            archive
            for archive in self._archives()
            if archive.name == name and version in ("", archive.copy.version)
        ]
        return max(fit, key=lambda one: one.written, default=None)

    def _address(self, copy: tuple[str, str]) -> tuple[str, int]:
        name, version = copy
        found = None if version else self._find(name, "")
        return parse_version(found.copy.version if found else version)

    def _same(self, copy: Copy, source: RandomAccess) -> Copy:
        """The copy, if it holds the bytes of the source."""
        if copy.size_bytes == source.size:
            digest = blake3()
            with feed(source, 0, 1 << 20, 4 << 20) as pieces:
                for piece in pieces:
                    digest.update(piece)
            if digest.digest() == copy.checksum:
                return copy
        raise ExistsError(f"{self.name}: there is another {copy.name}", file=copy.name)

    def _write(self, name: str, source: RandomAccess, on_bytes: _Once) -> Copy:
        """An archive is written whole on one volume. One that exceeds an empty volume is written in parts."""
        part = Part(name=name, size_bytes=source.size)
        whole = blake3()
        parts: list[Address] = []
        while True:
            writer = self._appending()
            spanning = bool(parts) or writer.empty
            entry = self._written(writer, part, source, whole, on_bytes)
            ended = entry is not None
            if entry is None and spanning:
                entry = writer.keep_part()
            if entry is not None:
                parts.append(Address(writer.label.volume, entry))
                part = replace(
                    part, offset_bytes=entry.offset_bytes + entry.bytes, first=version_of(parts[0])
                )
            elif writer.empty:
                raise PlaceFullError(f"{self.name}: not one record fits on volume {writer.label.label!r}")
            if writer.warned:
                self._guarded(writer, writer.finish)
                self._let_go()
            if ended:
                return Found(tuple(parts)).copy
            if not parts:
                whole = blake3()

    def _written(
        self, writer: VolumeWriter, part: Part, source: RandomAccess, whole: blake3, on_bytes: _Once
    ) -> Entry | None:
        """What was written; None if the tape came to its end."""
        on_bytes.begin(part.offset_bytes)
        try:
            with feed(source, part.offset_bytes, writer.label.record_bytes, self._buffer_bytes) as pieces:
                return writer.write(part, on_bytes.counted(pieces), whole)
        except EndOfTapeError:
            return None
        except PlaceError as error:
            if writer.failed:
                self._lose(error)
            raise

    def _read_from(self, volume: str) -> Drive:
        """The drive with a volume in it, for reading."""
        self._settle()
        if not self._writing_on(volume):
            self._writer = None
        return self._mounts.mount(volume)

    def _appending(self) -> VolumeWriter:
        if self._writer is None:
            self._writer = self._allocator.writer()
        return self._writer

    def _guarded(self, writer: VolumeWriter, act: Callable[[], None]) -> None:
        """Commit or finish a volume, and record what is on it then."""
        try:
            act()
        except PlaceError as error:
            self._lose(error)
            self._lost = None
            raise
        finally:
            self._allocator.record(writer)

    def _lose(self, error: PlaceError) -> None:
        """What was not committed is lost: ``commit`` tells."""
        writer = self._writer
        if writer is not None and writer.pending:
            self._lost = error
        self._let_go()

    def _settle(self) -> None:
        """Nothing is pending any more: the tape may be moved."""
        if self._writer is not None and self._writer.pending:
            self.commit()

    def _let_go(self) -> None:
        self._writer = None
        with suppress(PlaceError):
            self._mounts.release()

    def _writing_on(self, volume: str) -> bool:
        return self._writer is not None and self._writer.label.volume == volume


class _Once:
    """Tells of bytes that were copied, also where some of them are written again on the next volume."""

    def __init__(self, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._at = 0
        self._told = 0

    def begin(self, offset: int) -> None:
        self._at = offset

    def counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            self._at += len(piece)
            if self._at > self._told:
                self._on_bytes(self._at - self._told)
                self._told = self._at
