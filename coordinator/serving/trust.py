"""Which hosts of the cluster may ask for any operation, by the configuration as it is now."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock

from ...proto.errors import BackupError

_Look = tuple[int, int, int, int]


class TrustedHosts:
    """Those that a configuration file names. It is read again when it has changed; as long as it can't be
    read nobody is trusted: somebody who has just been taken out of it must not stay in by a slip in
    another line. For any thread.

    ``load`` reads the file, ``say`` takes a line for people each time that it can't be read.
    """

    def __init__(
        self, file: Path, load: Callable[[Path], Collection[str]], say: Callable[[str], object]
    ) -> None:
        self._file = file
        self._load = load
        self._say = say
        self._lock = Lock()
        self._looked: _Look | None = None
        self._trusted: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        """Their names."""
        with self._lock:
            look = self._look()
            if look != self._looked:
                # Noted before it is read: what changes meanwhile is another change.
                self._looked = look
                self._trusted = self._read()
            return self._trusted

    def _look(self) -> _Look:
        """Changes with each change of the file, also where another one takes its place."""
        try:
            found = os.stat(self._file)
        except OSError:
            return (0, 0, 0, 0)
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self) -> frozenset[str]:
        try:
            return frozenset(self._load(self._file))
        except BackupError as error:
            self._say(f"until the configuration can be read no host is trusted: {error.message}")
            return frozenset()
