"""Tries again, after a pause, what failed at a place in a way that may pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import datetime

from ...proto.archive.files import RandomAccess
from ...proto.errors import DamagedError, PlaceUnavailableError
from ...proto.structs import Record
from .ports import Copy, OnBytes, Place
from .wrapping import T, WrappedPlace

_CHANCE = random.SystemRandom()


class Patience(Record, kw_only=True):
    """How long a request is tried: pauses begin with ``first_seconds``, each is twice as long as the one
    before, and none longer than ``longest_seconds``; none begins that might end later than ``total_seconds``
    after the first failure. Of each up to a half is left out by chance, so that many who were refused
    together do not come back together."""

    total_seconds: float = 300.0
    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = _CHANCE.random


class RetriedPlace(WrappedPlace):
    """A place whose requests are tried again after a PlaceUnavailableError, until patience ends: then it is
    raised. All that may be tried again is repeatable, and a file that was opened is opened anew.

    ``on_wait`` is called with the error before each pause.
    """

    def __init__(
        self,
        place: Place,
        patience: Patience | None = None,
        on_wait: Callable[[PlaceUnavailableError], object] = lambda _error: None,
    ) -> None:
        super().__init__(place)
        self._patience = patience or Patience()
        self._on_wait = on_wait

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """See Place. A list that breaks off is begun anew, and goes on where it was."""
        told: set[tuple[str, str]] = set()
        found = iter(self._place.list(prefix))

        def following() -> Copy | None:
            nonlocal found
            try:
                return next((copy for copy in found if (copy.name, copy.version) not in told), None)
            except PlaceUnavailableError:
                found = iter(self._place.list(prefix))
                raise

        while (copy := self._request("list", following)) is not None:
            told.add((copy.name, copy.version))
            yield copy

    def open(self, name: str, version: str = "") -> RandomAccess:
        """See Place."""
        file = self._request("open", lambda: self._place.open(name, version))
        return _Reopened(file, lambda: self._place.open(name, version), self._request)

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        """See Place. Of bytes that are copied again ``on_bytes`` is not told again."""
        told_bytes = 0

        def attempt() -> Copy:
            copied_bytes = 0

            def on_more(size_bytes: int) -> None:
                nonlocal told_bytes, copied_bytes
                copied_bytes += size_bytes
                if copied_bytes > told_bytes:
                    on_bytes(copied_bytes - told_bytes)
                    told_bytes = copied_bytes

            return self._place.put(
                name, source, lock_until=lock_until, instead_of=instead_of, on_bytes=on_more
            )

        return self._request("put", attempt)

    def _request(self, _what: str, call: Callable[[], T]) -> T:
        patience = self._patience
        pause = patience.first_seconds
        until: float | None = None
        while True:
            try:
                return call()
            except PlaceUnavailableError as error:
                now = patience.clock()
                until = now + patience.total_seconds if until is None else until
                if now + pause > until:
                    raise
                self._on_wait(error)
            patience.sleep(pause * (1 - patience.chance() / 2))
            pause = min(2 * pause, patience.longest_seconds)


class _Reopened:
    """A RandomAccess that is opened anew when it can't be reached."""

    def __init__(
        self,
        file: RandomAccess,
        reopen: Callable[[], RandomAccess],
        request: Callable[[str, Callable[[], bytes]], bytes],
    ) -> None:
        self.name = file.name
        self.size = file.size
        self._file: RandomAccess | None = file
        self._reopen = reopen
        self._request = request

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        return self._request("read", lambda: self._read(offset, length))

    def close(self) -> None:
        """See RandomAccess."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read(self, offset: int, length: int) -> bytes:
        if self._file is None:
            self._file = self._reopen()
            if self._file.size != self.size:
                raise DamagedError(f"{self.name} has become another file", reason="io-error")
        try:
            return self._file.read_at(offset, length)
        except PlaceUnavailableError:
            with suppress(PlaceUnavailableError):
                self.close()
            raise
