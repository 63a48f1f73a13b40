"""Files in memory behind the port of a place: for tests, and the shortest reading of what it promises."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.errors import DamagedError, ExistsError, LockedUntilError, NotYetError
from ...proto.structs import Mutable, field, replace
from ..archives.names import check_file_name
from ..archives.ports import Copy, OnBytes
from .copying import piece_of

Address = tuple[str, str]
"""A name and a version."""


class MemoryFiles(Mutable):
    """What is in a place in memory; several MemoryPlaces over the same one see each other's files.

    The last version of a name is the newest. ``away`` has to be made ready before it can be opened, and was
    ``asked`` for or not. As long as ``locks`` is true copies can be locked.
    """

    files: dict[Address, tuple[Copy, bytes]] = field(default_factory=dict)
    away: set[Address] = field(default_factory=set)
    asked: set[Address] = field(default_factory=set)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def arrive(self) -> None:
        """What was asked for is ready."""
        self.away -= self.asked
        self.asked.clear()


class MemoryPlace:
    """A Place (see ``worker.archives.ports``) with locks and versions. ``now`` tells the time, in seconds
    since 1970, until which locks are kept."""

    reads_anywhere = True

    def __init__(
        self, name: str, files: MemoryFiles | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.name = name
        self.files = MemoryFiles() if files is None else files
        self._now = now

    def list(self, prefix: str = "") -> Iterator[Copy]:
        return iter([copy for copy, _ in self.files.files.values() if copy.name.startswith(prefix)])

    def stat(self, name: str, version: str = "") -> Copy | None:
        found = self._found(name, version)
        return found and found[0]

    def open(self, name: str, version: str = "") -> MemoryFile:
        found = self._found(name, version)
        if found is None:
            raise DamagedError(f"{self.name} has no {name}", reason="missing", place=self.name, file=name)
        copy, data = found
        if (name, copy.version) in self.files.away:
            raise NotYetError(f"{self.name}: {name} has to be made ready first", place=self.name, file=name)
        return MemoryFile(f"{self.name}:{name}", data)

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        check_file_name(name)
        data = bytearray()
        while len(data) < source.size:
            piece = piece_of(source, len(data))
            data += piece
            on_bytes(len(piece))
        there = self._found(name, "")
        if there is None or (there[1] != data and there[0].version in instead_of):
            copy = Copy(
                name=name,
                size_bytes=len(data),
                version=f"v{next(self.files.versions)}",
                checksum=blake3(data).digest(),
            )
            self.files.files[name, copy.version] = copy, bytes(data)
        elif there[1] == data:
            copy = there[0]
        else:
            raise ExistsError(f"{self.name} has another file called {name}", place=self.name, file=name)
        if lock_until is not None:
            copy = replace(copy, locked_until=self.lock(name, copy.version, lock_until))
        return copy

    def commit(self) -> None:
        pass

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        found = self._found(name, version)
        if found is None:
            raise DamagedError(f"{self.name} has no {name}", reason="missing", place=self.name, file=name)
        copy, data = found
        later = max(until, copy.locked_until or until)
        self.files.files[name, copy.version] = replace(copy, locked_until=later), data
        return later

    def remove(self, name: str, version: str = "") -> None:
        found = self._found(name, version)
        if found is None:
            return
        copy, _ = found
        if copy.locked_until is not None and copy.locked_until > datetime.fromtimestamp(self._now(), UTC):
            raise LockedUntilError(
                f"{self.name}: {name} is locked until {copy.locked_until.isoformat()}",
                place=self.name,
                file=name,
                until=copy.locked_until,
            )
        del self.files.files[name, copy.version]

    def request(self, copies: Collection[Address]) -> None:
        self.files.asked |= self.files.away.intersection(copies)

    def reading_order(self, copies: Sequence[Address]) -> Sequence[Address]:
        return sorted(copies)

    def close(self) -> None:
        pass

    def _found(self, name: str, version: str) -> tuple[Copy, bytes] | None:
        """A copy and its bytes; the newest where no version is told."""
        check_file_name(name)
        found = None
        for address, one in self.files.files.items():
            if address[0] == name and version in ("", address[1]):
                found = one
        return found


class MemoryFile:
    """Bytes that are at hand. See RandomAccess."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length] if offset >= 0 and length > 0 else b""

    def close(self) -> None:
        pass
