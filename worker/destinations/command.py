"""Programs as a place: one takes a file from its input, others bring it back, tell of it, remove it.

Nothing that they say is believed. What was put is brought back and compared, and then a *seal* is put beside
it, a small file with the size and the checksum: without one a file is none. So it does not matter whether the
programs are whole-or-nothing themselves: one that is cut off half-way has stored a half, and may not know it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.errors import AccessError, DamagedError, ExistsError, PlaceError, PlaceUnavailableError
from ..archives.names import check_file_name
from ..archives.ports import Copy, OnBytes
from .copying import PIECE_BYTES, is_same, piece_of
from .programs import Program
from .settings import CommandDestination

SEAL = ".b3"
"""The end of the name of a seal."""

_SEAL = re.compile(rb"([0-9]{20}) ([0-9a-f]{64})\n")
_SEAL_BYTES = 86
_LISTED = re.compile(r"\s*([0-9]{1,20})\s+(\S+)\s*", re.ASCII)
_PREFIX = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._/-]*)?", re.ASCII)


class CommandPlace:
    """What the programs of the settings keep. See Place for what it promises."""

    reads_anywhere = CommandDestination.reads_anywhere

    def __init__(self, settings: CommandDestination) -> None:
        self.name = settings.name
        self._settings = settings

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """See Place."""
        if not self._settings.list:
            raise PlaceError(f"{self.name} has no program that lists", place=self.name)
        sizes = self._sizes(prefix) if _PREFIX.fullmatch(prefix) else {}
        for name, size_bytes in sizes.items():
            if not name.endswith(SEAL) and sizes.get(name + SEAL) == _SEAL_BYTES and name.startswith(prefix):
                yield Copy(name=name, size_bytes=size_bytes)

    def stat(self, name: str, version: str = "") -> Copy | None:
        """See Place. It reads the seal."""
        _check(name)
        size_bytes, seal_bytes = self._size(name), self._size(name + SEAL)
        if version or size_bytes is None or seal_bytes != _SEAL_BYTES:
            return None
        sealed = self._seal(name)
        if sealed is None or sealed[0] != size_bytes:
            return None
        return Copy(name=name, size_bytes=size_bytes, checksum=sealed[1])

    def open(self, name: str, version: str = "") -> RandomAccess:
        """See Place. To go back in it brings it again from the beginning."""
        copy = self.stat(name, version)
        if copy is None:
            raise DamagedError(f"{self.name} has no {name}", reason="missing", place=self.name, file=name)
        return BroughtFile(f"{self.name}:{name}", copy.size_bytes, lambda: self._bring(name))

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
        _check(name)
        if lock_until is not None:
            raise self._no_locks(name, lock_until)
        there = self.stat(name)
        if there is not None:
            try:
                return self._same(there, source)
            except ExistsError:
                if there.version not in instead_of:
                    raise
            # Nothing is given up for what can't be read to its end.
            for at in range(0, source.size, PIECE_BYTES):
                piece_of(source, at)
        # What is there without a seal is the rest of a put that did not end.
        self._remove(name)
        checksum = self._put(name, source, on_bytes)
        self._check_arrived(name, source.size, checksum)
        seal = b"%020d %s\n" % (source.size, checksum.hex().encode())
        self._feed(name + SEAL, [seal])
        if self._seal(name) != (source.size, checksum):
            raise PlaceUnavailableError(f"{self.name}: the seal of {name} did not arrive", place=self.name)
        return Copy(name=name, size_bytes=source.size, checksum=checksum)

    def commit(self) -> None:
        """See Place. What a program has brought back is what it keeps; more can't be asked of it."""

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        """See Place. Never."""
        raise self._no_locks(f"{name} {version}".rstrip(), until)

    def remove(self, name: str, version: str = "") -> None:
        """See Place."""
        if self.stat(name, version) is None:
            return
        if not self._settings.remove:
            raise PlaceError(f"{self.name} has no program that removes", place=self.name, file=name)
        self._remove(name)
        if self.stat(name) is not None:
            raise PlaceUnavailableError(f"{self.name}: {name} was not removed", place=self.name, file=name)

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """See Place. What takes time is for ``get`` to wait for."""

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """See Place. It is not known."""
        return copies

    def close(self) -> None:
        """See Place. Nothing stays open."""

    def _same(self, there: Copy, source: RandomAccess) -> Copy:
        if there.size_bytes == source.size:
            with closing(self.open(there.name)) as file:
                if is_same(file, source) == there.checksum:
                    return there
        raise ExistsError(
            f"{self.name} has another file called {there.name}", place=self.name, file=there.name
        )

    def _put(self, name: str, source: RandomAccess, on_bytes: OnBytes) -> bytes:
        hashed = blake3()

        def pieces() -> Iterator[bytes]:
            at = 0
            while at < source.size:
                data = piece_of(source, at)
                hashed.update(data)
                at += len(data)
                yield data
                on_bytes(len(data))

        self._feed(name, pieces())
        return hashed.digest()

    def _check_arrived(self, name: str, size_bytes: int, checksum: bytes) -> None:
        """Bring it back, and compare."""
        hashed = blake3()
        with self._bring(name) as program:
            while data := program.read(PIECE_BYTES):
                hashed.update(data)
                size_bytes -= len(data)
        if size_bytes or hashed.digest() != checksum:
            raise PlaceUnavailableError(
                f"{self.name}: what is brought back of {name} is not what was put", place=self.name, file=name
            )

    def _seal(self, name: str) -> tuple[int, bytes] | None:
        """The size and the checksum that a seal tells; None if it is none."""
        data = b""
        with self._bring(name + SEAL) as program:
            while len(data) <= _SEAL_BYTES and (more := program.read(_SEAL_BYTES + 1)):
                data += more
        found = _SEAL.fullmatch(data)
        return None if found is None else (int(found[1]), bytes.fromhex(found[2].decode()))

    def _size(self, name: str) -> int | None:
        if not self._settings.stat:
            return self._sizes(name).get(name)
        with self._read("look for", name, self._settings.stat, name) as program:
            words = _all(program).split()
        if not words:
            return None
        if not words[0].isdigit():
            raise PlaceError(
                f"{self.name}: the size of {name} was to be printed, not {words[0][:100]!r}", place=self.name
            )
        return int(words[0])

    def _sizes(self, prefix: str) -> dict[str, int]:
        """The files that are there, finished or not."""
        with self._read("list", prefix or "all", self._settings.list, prefix) as program:
            lines = _all(program).splitlines()
        found = filter(None, map(_LISTED.fullmatch, lines))
        return {one[2]: int(one[1]) for one in found if _is_name(one[2])}

    def _remove(self, name: str) -> None:
        """Remove a file and its seal, the seal first."""
        for one in (name + SEAL, name):
            if self._settings.remove and self._size(one) is not None:
                with self._read("remove", one, self._settings.remove, one) as program:
                    _all(program)

    def _bring(self, name: str) -> Program:
        return self._read("bring back", name, self._settings.get, name)

    def _read(self, what: str, name: str, words: Sequence[str], value: str) -> Program:
        """A program whose output is read."""
        filled = [word.replace("{name}", value).replace("{prefix}", value) for word in words]
        return Program(f"{self.name}: can't {what} {name}", filled, "read", self._settings.limit_seconds)

    def _feed(self, name: str, pieces: Iterable[bytes]) -> None:
        words = [word.replace("{name}", name) for word in self._settings.put]
        subject = f"{self.name}: can't put {name}"
        with Program(subject, words, "feed", self._settings.limit_seconds) as program:
            for data in pieces:
                program.feed(data)
            program.finish()

    def _no_locks(self, name: str, until: datetime) -> PlaceError:
        return PlaceError(
            f"{self.name} is a program: it can't keep {name} from being removed until {until.isoformat()}",
            place=self.name,
            file=name,
        )


class BroughtFile:
    """A RandomAccess over what a program writes: read forward it is brought once."""

    def __init__(self, name: str, size: int, bring: Callable[[], Program]) -> None:
        self.name = name
        self.size = size
        self._bring = bring
        self._program: Program | None = None
        self._at = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        program = self._program
        if program is None or offset < self._at:
            self.close()
            program = self._program = self._bring()
            self._at = 0
        while self._at < offset:
            self._take(program, min(PIECE_BYTES, offset - self._at))
        parts = []
        while length:
            data = self._take(program, length)
            parts.append(data)
            length -= len(data)
        return b"".join(parts)

    def close(self) -> None:
        """See RandomAccess."""
        program, self._program = self._program, None
        if program is not None:
            program.close()

    def _take(self, program: Program, length: int) -> bytes:
        try:
            data = program.read(length)
        except PlaceUnavailableError:
            self.close()
            raise
        self._at += len(data)
        if not data:
            at = self._at
            self.close()
            raise DamagedError(f"{self.name} ends at {at}, not at {self.size}", reason="io-error")
        return data


def _all(program: Program) -> str:
    data = b""
    while more := program.read(PIECE_BYTES):
        data += more
    return data.decode(errors="replace")


def _is_name(name: str) -> bool:
    try:
        check_file_name(name.removesuffix(SEAL))
    except AccessError:
        return False
    return True


def _check(name: str) -> None:
    if check_file_name(name).endswith(SEAL):
        raise AccessError(f"{name}: no file is called as a seal is", file=name)
