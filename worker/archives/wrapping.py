"""What wrappers of a place have in common: everything is handed on, request by request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from ...proto.archive.files import RandomAccess
from .ports import Copy, OnBytes, Place

T = TypeVar("T")


class WrappedPlace(ABC):
    """A Place around another one. What a wrapper adds it does in ``_request``, ``_source``, ``_opened``."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self.reads_anywhere = place.reads_anywhere
        self._place = place

    @abstractmethod
    def _request(self, what: str, call: Callable[[], T]) -> T:
        """Make a request: the method that is called so (``read`` for one of an opened file)."""

    def _source(self, source: RandomAccess) -> RandomAccess:
        """What a put reads."""
        return source

    def _opened(self, file: RandomAccess) -> RandomAccess:
        """What ``open`` gives."""
        return WrappedFile(file, self._request)

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """See Place."""
        yield from self._request("list", lambda: self._place.list(prefix))

    def stat(self, name: str, version: str = "") -> Copy | None:
        """See Place."""
        return self._request("stat", lambda: self._place.stat(name, version))

    def open(self, name: str, version: str = "") -> RandomAccess:
        """See Place."""
        return self._opened(self._request("open", lambda: self._place.open(name, version)))

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        """See Place."""
        source = self._source(source)
        return self._request(
            "put",
            lambda: self._place.put(
                name, source, lock_until=lock_until, instead_of=instead_of, on_bytes=on_bytes
            ),
        )

    def commit(self) -> None:
        """See Place."""
        self._request("commit", self._place.commit)

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        """See Place."""
        return self._request("lock", lambda: self._place.lock(name, version, until))

    def remove(self, name: str, version: str = "") -> None:
        """See Place."""
        self._request("remove", lambda: self._place.remove(name, version))

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """See Place."""
        self._request("request", lambda: self._place.request(copies))

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """See Place."""
        return self._request("reading_order", lambda: self._place.reading_order(copies))

    def close(self) -> None:
        """See Place."""
        self._place.close()


class WrappedFile:
    """A RandomAccess whose reads go through ``request``, as the methods of a WrappedPlace."""

    def __init__(self, file: RandomAccess, request: Callable[[str, Callable[[], bytes]], bytes]) -> None:
        self.name = file.name
        self.size = file.size
        self._file = file
        self._request = request

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        return self._request("read", lambda: self._file.read_at(offset, length))

    def close(self) -> None:
        """See RandomAccess."""
        self._file.close()
