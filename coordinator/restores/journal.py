"""The journal of a restore: the mailboxes that are durable in their target, one line of JSON each
(``proto.restored``), in the order in which they were told.

It is appended to at once, and made durable now and then. A line that is lost in a crash, or cut, makes its
mailbox be restored once more, which skips what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ...proto.errors import StagingError
from ...proto.records import ArchiveId, RestoredMailbox, RestoreReport
from ...proto.restored import decode, encode
from ..durable import read_lines

SYNC_SECONDS = 1.0
"""At most so much of the journal may be lost where the power fails."""


class Journal:
    """What is done of a restore, and the sum of it; in memory only, unless ``append`` takes the lines."""

    def __init__(
        self,
        append: Callable[[bytes], object] | None = None,
        earlier: Iterator[RestoredMailbox] | None = None,
    ) -> None:
        self._append = append
        self._done: set[tuple[ArchiveId, str]] = set()
        self.total = RestoreReport()
        for one in earlier or ():
            self._add(one)

    def __contains__(self, key: object) -> bool:
        return key in self._done

    def __len__(self) -> int:
        return len(self._done)

    def take(self, line: str) -> None:
        """Note what a worker tells; what is no such line is left out: the report of its task has it, too."""
        with suppress(ValueError):
            self.note(decode(line))

    def note(self, mailbox: RestoredMailbox) -> None:
        """A mailbox is done. Repeatable."""
        if self._add(mailbox) and self._append is not None:
            self._append(encode(mailbox).encode("ascii") + b"\n")

    def _add(self, mailbox: RestoredMailbox) -> bool:
        key = mailbox.archive, mailbox.path
        if key in self._done:
            return False
        self._done.add(key)
        self.total += mailbox.report
        return True


def read_journal(path: Path) -> Iterator[RestoredMailbox]:
    """What a journal has; lines that a crash has cut are passed over. Raises StagingError."""
    for line in read_lines(path):
        with suppress(ValueError):
            yield decode(line)


class JournalFile:
    """Appends to a journal; a context manager, at whose end all of it is durable. Where that fails it is told
    to ``on_failure``, once, and the restore goes on without. ``monotonic`` gives the time in seconds."""

    def __init__(
        self, path: Path, monotonic: Callable[[], float], on_failure: Callable[[StagingError], object]
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._on_failure = on_failure
        self._fd = -1
        self._synced = monotonic()

    def __enter__(self) -> JournalFile:
        """Raises StagingError."""
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                os.write(self._fd, b"\n")  # what follows a line that was cut is a line of its own
        except OSError as error:
            raise self._failed(error) from error
        return self

    def append(self, line: bytes) -> None:
        """Add a line, with its end."""
        if self._fd < 0:
            return
        try:
            os.write(self._fd, line)
            if (now := self._monotonic()) >= self._synced + SYNC_SECONDS:
                self._synced = now
                os.fdatasync(self._fd)
        except OSError as error:
            self._close()
            self._on_failure(self._failed(error))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._fd >= 0:
                os.fsync(self._fd)
        except OSError as failed:
            self._on_failure(self._failed(failed))
        finally:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _failed(self, error: OSError) -> StagingError:
        return StagingError(f"{self._path}: can't be written: {error.strerror}", path=str(self._path))
