"""A place that fails as planned: an error at the n-th call, a short read, an answer that is lost after it was
done, a file that vanishes afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.errors import BackupError, PlaceUnavailableError
from mailhaul.worker.archives.ports import Copy, OnBytes, Place
from mailhaul.worker.archives.wrapping import T, WrappedFile, WrappedPlace


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the n-th call (from 1) of a method (``read``: of any opened file).

    ``before``: the error is raised, and nothing is done. ``lost``: it is done, then the error is raised.
    ``vanish`` (put): it is done, and what was put is gone. ``short`` (read): half of the bytes come.
    """

    what: str
    nth: int = 1
    how: Literal["before", "lost", "vanish", "short"] = "before"
    error: BackupError = PlaceUnavailableError("as planned")  # noqa: RUF009 (immutable here)


class Faults:
    """A plan, and what of it has happened; for several places that belong together."""

    def __init__(self, *faults: Fault) -> None:
        self._left = list(faults)
        self._calls: Counter[str] = Counter()

    @property
    def left(self) -> Sequence[Fault]:
        """What has not happened: a test ends with none."""
        return self._left

    def next_for(self, what: str) -> Fault | None:
        """The fault of this call."""
        self._calls[what] += 1
        for fault in self._left:
            if fault.what == what and fault.nth == self._calls[what]:
                self._left.remove(fault)
                return fault
        return None


class FaultyPlace(WrappedPlace):
    """A place with faults."""

    def __init__(self, place: Place, faults: Faults) -> None:
        super().__init__(place)
        self._faults = faults

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        def put() -> Copy:
            copy = self._place.put(
                name, source, lock_until=lock_until, instead_of=instead_of, on_bytes=on_bytes
            )
            if fault is not None and fault.how == "vanish":
                self._place.remove(name, copy.version)
            return copy

        fault = self._faults.next_for("put")
        return _do(fault, put)

    def _request(self, what: str, call: Callable[[], T]) -> T:
        return _do(self._faults.next_for(what), call)

    def _opened(self, file: RandomAccess) -> RandomAccess:
        return WrappedFile(file, self._read)

    def _read(self, what: str, call: Callable[[], bytes]) -> bytes:
        fault = self._faults.next_for(what)
        data = _do(fault, call)
        return data[: len(data) // 2] if fault is not None and fault.how == "short" else data


def _do(fault: Fault | None, call: Callable[[], T]) -> T:
    if fault is not None and fault.how == "before":
        raise fault.error
    result = call()
    if fault is not None and fault.how == "lost":
        raise fault.error
    return result
