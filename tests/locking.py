"""Places in memory that lock what they have, as object storage does: with versions, for sweeps in tests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.errors import PlaceError
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.ports import Copy, OnBytes, Place
from mailhaul.worker.destinations import registry
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.destinations.settings import S3Destination, TapeDestination

AHEAD = timedelta(days=30)


class Killed(BaseException):
    """The program is gone."""


class LockingStore:
    """What lies at such places, by their names; and what they answer. ``dropped``: they say that they lock,
    and do not. ``refuses``: who asks may not remove anything. After so many calls (``calls_to_live``) the
    program that makes them dies, before or after what it asked for was done."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.files: dict[str, MemoryFiles] = {}
        self.now = now
        self.asked = 0
        self.dropped = False
        self.refuses: Exception | None = None
        self.calls_to_live: int | None = None

    def strike(self) -> None:
        """Perhaps the program dies here."""
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live <= 0:
                self.calls_to_live = None
                raise Killed

    def open(self, settings: S3Destination | TapeDestination) -> Place:
        """See ``registry``."""
        files = self.files.setdefault(settings.name, MemoryFiles())
        return _Locking(settings.name, files, self)

    def copies(self, place: str) -> dict[str, Copy]:
        """By name, what lies there."""
        return {name: copy for (name, _), (copy, _) in self.files[place].files.items()}

    def archives(self, place: str) -> dict[str, Copy]:
        """The archives among them."""
        return {name: copy for name, copy in self.copies(place).items() if name.endswith(".mha")}


class _Locking(MemoryPlace):
    def __init__(self, name: str, files: MemoryFiles, store: LockingStore) -> None:
        super().__init__(name, files, lambda: store.now().timestamp())
        self._store = store

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        self._store.strike()
        copy = super().put(name, source, lock_until=lock_until, instead_of=instead_of, on_bytes=on_bytes)
        self._store.strike()
        return copy

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        self._store.asked += 1
        if self._store.dropped:
            raise PlaceError(f"{name} was to be locked, and the server does not lock it")
        self._store.strike()
        until = super().lock(name, version, until.astimezone(UTC))
        self._store.strike()
        return until

    def remove(self, name: str, version: str = "") -> None:
        if self._store.refuses is not None:
            raise self._store.refuses
        self._store.strike()
        super().remove(name, version)
        self._store.strike()


def locking_store(monkeypatch: pytest.MonkeyPatch, now: Callable[[], datetime]) -> LockingStore:
    """One that is behind every S3Destination and TapeDestination from now on."""
    store = LockingStore(now)
    monkeypatch.setitem(registry._OPENERS, S3Destination, store.open)
    monkeypatch.setitem(registry._OPENERS, TapeDestination, store.open)
    return store


def bucket(tmp_path: Path, name: str, *, locks: bool = True) -> S3Destination:
    """The settings of one."""
    made = S3Destination(name=name, bucket="mail", journal=str(tmp_path / f"{name}-journal"))
    return replace(made, lock="compliance", lock_ahead_seconds=AHEAD.total_seconds()) if locks else made
