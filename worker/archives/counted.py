"""Counts what goes to a place and comes from it: for metrics, and for tests of how little that is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from ...proto.archive.files import RandomAccess
from .ports import Place
from .wrapping import T, WrappedFile, WrappedPlace


class Traffic:
    """What was counted so far; several places may count into one, also from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self.put_bytes = 0
        self.read_bytes = 0

    @property
    def requests(self) -> Counter[str]:
        """Requests, by the method of the place; ``read`` for those of opened files."""
        with self._lock:
            return Counter(self._requests)

    def add(self, what: str = "", *, put_bytes: int = 0, read_bytes: int = 0) -> None:
        """Count."""
        with self._lock:
            if what:
                self._requests[what] += 1
            self.put_bytes += put_bytes
            self.read_bytes += read_bytes


class CountedPlace(WrappedPlace):
    """A place whose requests and bytes are counted, those that fail as well: bytes that are put when they are
    read from their source, bytes that are read when they have come."""

    def __init__(self, place: Place, traffic: Traffic) -> None:
        super().__init__(place)
        self._traffic = traffic

    def _request(self, what: str, call: Callable[[], T]) -> T:
        self._traffic.add(what)
        return call()

    def _source(self, source: RandomAccess) -> RandomAccess:
        return WrappedFile(source, self._put)

    def _opened(self, file: RandomAccess) -> RandomAccess:
        return WrappedFile(file, self._read)

    def _put(self, _what: str, call: Callable[[], bytes]) -> bytes:
        data = call()
        self._traffic.add(put_bytes=len(data))
        return data

    def _read(self, what: str, call: Callable[[], bytes]) -> bytes:
        self._traffic.add(what)
        data = call()
        self._traffic.add(read_bytes=len(data))
        return data
