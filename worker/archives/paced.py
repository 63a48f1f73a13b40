"""Lets a place be used no faster than wanted: by bytes and by requests a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from ...proto.archive.files import RandomAccess
from .ports import Place
from .wrapping import T, WrappedFile, WrappedPlace


class Pace(Protocol):
    """What may be spent, as ``worker.load.budget`` has it: a request counts as a message does there."""

    def spend_message(self) -> None:
        """Wait until one more request may be made."""

    def spend_bytes(self, count: int) -> None:
        """Wait until so many bytes may have been copied."""


class PacedPlace(WrappedPlace):
    """A place that is used at a pace, which others may share. Of the several requests that an adapter may
    make of one call it has to take care itself."""

    def __init__(self, place: Place, pace: Pace) -> None:
        super().__init__(place)
        self._pace = pace
        # An adapter may read its source in several threads.
        self._lock = threading.Lock()

    def _request(self, _what: str, call: Callable[[], T]) -> T:
        with self._lock:
            self._pace.spend_message()
        return call()

    def _source(self, source: RandomAccess) -> RandomAccess:
        return WrappedFile(source, self._copied)

    def _opened(self, file: RandomAccess) -> RandomAccess:
        return WrappedFile(file, self._read)

    def _read(self, what: str, call: Callable[[], bytes]) -> bytes:
        return self._copied(what, lambda: self._request(what, call))

    def _copied(self, _what: str, call: Callable[[], bytes]) -> bytes:
        data = call()
        with self._lock:
            self._pace.spend_bytes(len(data))
        return data
