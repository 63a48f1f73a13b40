"""The private keys that ``serve`` may use: those of its configuration, and what was handed in for a session.

What was handed in is in the memory of this process alone, until its session ends, it is not used for a while,
or the process ends. It gets to the process of an operation by a file without a name (``inherited``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import AccessError, BusyError, LockedError
from ...proto.keys.identities import Identity, handed_identity
from ...proto.ports import Clock
from ...proto.structs import Mutable, Record
from ...worker.archives.opened import Unlock
from ...worker.memory import overwrite_freed_memory
from ..people.roles import Who
from ..unlocking import unlocking

IDLE_SECONDS = 30 * 60.0
LONGEST_SECONDS = 12 * 3600.0
LARGEST_BYTES = 64 << 10
"""A file with a key is smaller."""

_LONGEST_PASSPHRASE = 1024
_MOST_HELD = 100
_AGAIN_SECONDS = 60.0

OpenIdentity = Callable[[], Identity]
"""Opens what is configured. Raises AccessError."""


class HeldKey(Record, kw_only=True):
    """A key that is open. ``unlock`` remembers what it has opened. ``handed`` is what another process opens
    the same with; empty for one of the configuration, which that reads by itself."""

    identity: Identity
    unlock: Unlock
    handed: bytes = b""

    def __repr__(self) -> str:
        return f"HeldKey({self.names})"

    @property
    def recipients(self) -> Mapping[bytes, str]:
        """For whom it opens archives: names by ids."""
        return self.identity.recipients

    @property
    def names(self) -> str:
        """The names of these, and the beginnings of their ids."""
        return ", ".join(f"{name} ({id_.hex()[:8]})" for id_, name in self.recipients.items())


class _Handed(Mutable):
    key: HeldKey
    since: float
    used: float

    def __repr__(self) -> str:
        return repr(self.key)


_Whose = tuple[str, str]
"""A name, and the session in which a key was handed in."""


class PrivateKeys:
    """For any thread. It is a duty: what is over is forgotten at each tick."""

    def __init__(
        self,
        clock: Clock,
        open_configured: OpenIdentity | None = None,
        identities: Sequence[Path] = (),
        passphrase_files: Sequence[Path] = (),
    ) -> None:
        """``open_configured`` opens those of the configuration: ``identities`` with their
        ``passphrase_files``."""
        self._clock = clock
        self._open_configured = open_configured if identities else None
        named = (("--identity", identities), ("--passphrase-file", passphrase_files))
        self._words = tuple(word for name, files in named for file in files for word in (name, str(file)))
        self._configured: HeldKey | None = None
        self._refused: AccessError | None = None
        self._refused_at = 0.0
        self._handed: dict[_Whose, _Handed] = {}
        self._lent: dict[int, _Handed] = {}
        self._lock = threading.RLock()
        self._opening = threading.Lock()

    @property
    def is_configured(self) -> bool:
        """Whether the configuration names private keys."""
        return self._open_configured is not None

    def configured(self) -> HeldKey | None:
        """Those of the configuration, which are opened once; what fails is tried again after a minute. Raises
        AccessError."""
        if self._open_configured is None or self._configured is not None:
            return self._configured  # nobody waits for those who hand in keys
        with self._opening:  # it takes memory and time
            if self._configured is None:
                now = self._clock.monotonic()
                if self._refused is not None and now - self._refused_at < _AGAIN_SECONDS:
                    raise self._refused
                try:
                    identity = self._open_configured()
                except AccessError as error:
                    self._refused, self._refused_at = error, now
                    raise
                self._configured = HeldKey(identity=identity, unlock=unlocking(identity))
            return self._configured

    def of(self, who: Who) -> HeldKey | None:
        """What opens archives for somebody: what they have handed in, else what is configured, if that can be
        opened (``configured`` says why it can't). It counts as used now."""
        with self._lock:
            self._forget_what_is_over()
            handed = self._handed.get(_whose(who))
            if handed is not None:
                handed.used = self._clock.monotonic()
                return handed.key
        with suppress(AccessError):
            return self.configured()
        return None

    def handed(self, who: Who) -> HeldKey | None:
        """What they have handed in; it does not count as used."""
        with self._lock:
            self._forget_what_is_over()
            found = self._handed.get(_whose(who))
            return found.key if found else None

    def opened(self, name: str, data: bytes, passphrase: str) -> HeldKey:
        """A key that somebody wants to hand in, as the content of a file of this name. It is kept nowhere.
        Raises AccessError, BusyError where others do the same just now."""
        if len(data) > LARGEST_BYTES or len(passphrase) > _LONGEST_PASSPHRASE:
            raise AccessError("that is longer than a key or a passphrase is")
        if not self._opening.acquire(timeout=10):
            raise BusyError("other keys are being opened at the moment: try again", retry_seconds=10)
        try:
            identity, handed = handed_identity(name, data, passphrase)
        finally:
            self._opening.release()
        return HeldKey(identity=identity, unlock=unlocking(identity), handed=handed)

    @contextmanager
    def words(self, who: Who) -> Iterator[tuple[Sequence[str], Sequence[int]]]:
        """The words that name somebody's keys to a command, and the file descriptors that it is to inherit,
        while the context lasts."""
        handed = self.handed(who)
        if handed is None:
            yield self._words, ()
            return
        with inherited(handed.handed) as descriptor:
            yield ("--identity", f"/proc/self/fd/{descriptor}"), (descriptor,)

    def keep(self, who: Who, key: HeldKey) -> None:
        """Keep what somebody hands in, instead of what they had handed in before. Raises LockedError."""
        with self._lock:
            self._forget_what_is_over()
            if len(self._handed) >= _MOST_HELD and _whose(who) not in self._handed:
                raise LockedError("too many keys were handed in: forget some, or wait")
            self._drop(_whose(who))
            now = self._clock.monotonic()
            self._handed[_whose(who)] = _Handed(key=key, since=now, used=now)

    def forget(self, who: Who) -> None:
        """Forget what somebody has handed in. Repeatable."""
        with self._lock:
            dropped = self._drop(_whose(who))
        if dropped:
            overwrite_freed_memory()

    @contextmanager
    def lending(self, who: Who) -> Iterator[Callable[[int], None]]:
        """While somebody puts an operation in: call what is yielded with its id, and its process gets what
        they have handed in, if that is still here when it starts. None starts meanwhile."""
        with self._lock:

            def lend(operation: int) -> None:
                if (found := self._handed.get(_whose(who))) is not None:
                    self._lent[operation] = found

            yield lend

    def lent(self, operation: int) -> bytes:
        """What the process of an operation is to have; empty if nothing was handed in for it, or that is
        forgotten."""
        with self._lock:
            self._forget_what_is_over()
            found = self._lent.get(operation)
            return found.key.handed if found else b""

    def tick(self, _now: datetime) -> None:
        """See Duty."""
        with self._lock:
            over = self._forget_what_is_over()
        if over:
            overwrite_freed_memory()

    def _forget_what_is_over(self) -> bool:
        now = self._clock.monotonic()
        over = [
            whose
            for whose, handed in self._handed.items()
            if now - handed.used > IDLE_SECONDS or now - handed.since > LONGEST_SECONDS
        ]
        for whose in over:
            self._drop(whose)
        return bool(over)

    def _drop(self, whose: _Whose) -> bool:
        """Operations that have not begun do without, too."""
        dropped = self._handed.pop(whose, None)
        self._lent = {number: lent for number, lent in self._lent.items() if lent is not dropped}
        return dropped is not None


@contextmanager
def inherited(handed: bytes) -> Iterator[int]:
    """A file descriptor for a process that is started meanwhile, which reads there what was handed in: of
    memory, under no name, and closed here at the end."""
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, handed)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _whose(who: Who) -> _Whose:
    return who.name, who.session
