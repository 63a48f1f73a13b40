"""Whether a destination does what is asked of it, found out by doing it with a file of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from ...proto.archive.files import RandomAccess
from ...proto.errors import AccessError, ExistsError, LockedUntilError, PlaceError
from ...proto.structs import Record
from ..archives.ports import Place
from .copying import is_same
from .memory import MemoryFile
from .registry import open_destination, probe_destination
from .settings import Destination

CHECKS = "mailhaul-check"
"""Below this name the files of checks lie, as long as they take."""

CHECK_BYTES = 9 << 20
"""Large enough for several pieces, small enough for a slow line."""


class Finding(Record):
    """Something that was found out of a destination, in words."""

    what: str
    found: str


def check(
    settings: Destination, *, size_bytes: int = CHECK_BYTES, clock: Callable[[], float] = time.monotonic
) -> Sequence[Finding]:
    """Write, find, list, read back, refuse another one of the same name, remove. What else an adapter has to
    know of the other side it finds out and keeps.

    Raises what the methods of a place raise; PlaceError for a promise that is not kept.
    """
    probed = probe_destination(settings)
    findings = [Finding(name.replace("_", " "), "yes" if told else "no") for name, told in probed.items()]
    with closing(open_destination(settings)) as place:
        findings += _Check(place, size_bytes, clock).run()
    return findings


class _Check:
    """One check, with a file of its own."""

    def __init__(self, place: Place, size_bytes: int, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self._file = f"{CHECKS}/{secrets.token_hex(8)}"
        self._data = secrets.token_bytes(size_bytes)

    def run(self) -> list[Finding]:
        """Raises PlaceError for a promise that is not kept."""
        place = self._place
        began = self._clock()
        copy = place.put(self._file, self._source())
        place.commit()
        written = self._clock()
        try:
            there = place.stat(self._file, copy.version)
            self._expect(there is not None and there.size_bytes == copy.size_bytes, "found after it was put")
            listed = [one for one in place.list(self._file) if one.version == copy.version]
            self._expect(len(listed) == 1, "listed after it was put")
            begun = self._clock()
            with closing(place.open(self._file, copy.version)) as file:
                same = file.size == copy.size_bytes and is_same(file, self._source()) is not None
            read = self._clock()
            self._expect(same, "read back as it was put")
            self._refuses_another()
        finally:
            removed = self._remove(copy.version)
        return [
            Finding("writes", _rate(copy.size_bytes, written - began)),
            Finding("reads", _rate(copy.size_bytes, read - begun)),
            Finding("overwrites", "no"),
            Finding("removes", removed),
        ]

    def _refuses_another(self) -> None:
        try:
            self._place.put(self._file, MemoryFile("another", b"another"))
        except ExistsError:
            return
        self._expect(False, "kept when another file of its name was put")

    def _remove(self, version: str) -> str:
        """Whether what was put can be removed: credentials for sweeping alone should not be able to."""
        try:
            self._place.remove(self._file, version)
        except LockedUntilError as error:
            return f"not before {error.facts.get('until')}"
        except (AccessError, PlaceError) as error:
            if isinstance(error, PlaceError) and error.retryable:
                raise
            return f"no ({error.message}); {self._file} stays there"
        self._expect(self._place.stat(self._file, version) is None, "gone after it was removed")
        return "yes"

    def _source(self) -> RandomAccess:
        return MemoryFile("check", self._data)

    def _expect(self, kept: bool, what: str) -> None:
        if not kept:
            raise PlaceError(
                f"{self._place.name} is not fit to be a destination: {self._file} was not {what}",
                place=self._place.name,
            )


def _rate(size_bytes: int, seconds: float) -> str:
    return f"{size_bytes / max(seconds, 0.001) / 1e6:.1f} MB/s"
