"""The journal of a restore: the mailboxes that are durable in their target, one line of JSON each
(``proto.restored``), in the order in which they were told.

It is appended to at once, and made durable now and then. A line that is lost in a crash, or cut, makes its
mailbox be restored once more, which skips what is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ...proto.errors import StagingError
from ...proto.records import FOLDERS, ArchiveId, RestoredMailbox, RestoreReport
from ...proto.restored import decode, encode
from ...proto.structs import replace
from ..durable import read_lines

SYNC_SECONDS = 1.0
"""At most so much of the journal may be lost where the power fails."""


class Ages(NamedTuple):
    """See ``RestoredMailbox``."""

    last_seen_ns: int
    slices: tuple[tuple[int, int], ...]


class Journal:
    """What is done of a restore, and the sum of it; in memory only, unless ``append`` takes the lines."""

    def __init__(
        self,
        append: Callable[[bytes], object] | None = None,
        earlier: Iterator[RestoredMailbox] | None = None,
    ) -> None:
        self._append = append
        self._done: dict[tuple[ArchiveId, str], tuple[str, ...]] = {}
        self._ages: dict[tuple[ArchiveId, str], Ages] = {}
        self._without_modseq: dict[tuple[ArchiveId, str], int] = {}
        self._whole = 0
        self.total = RestoreReport()
        for mailbox in earlier or ():
            self._add(mailbox)

    def __contains__(self, key: tuple[ArchiveId, str, str]) -> bool:
        """Whether a mailbox, by archive and path, is there as far as that (``RestoredMailbox.reach``)."""
        archive, path, reach = key
        return reach in self._done.get((archive, path), ())

    def __len__(self) -> int:
        """How many mailboxes are there as a whole."""
        return self._whole

    def ages(self, archive: ArchiveId, path: str) -> Ages | None:
        """How old the mail of a mailbox is that has its folders; None where that was not told."""
        return self._ages.get((archive, path))

    def reaches(self) -> Iterator[tuple[str, str]]:
        """The path of each mailbox that is there in part or as a whole, and how much of it is."""
        return ((path, reaches[-1]) for (_, path), reaches in self._done.items())

    def mailboxes(self) -> Iterator[tuple[ArchiveId, str]]:
        """Each mailbox that is there in part or as a whole, by archive and path."""
        return iter(self._done)

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
        known = self._done.get(key, ())
        if mailbox.reach in known:
            return False
        self._done[key] = (*known, sys.intern(mailbox.reach))
        self._whole += not mailbox.reach
        if mailbox.reach == FOLDERS:
            self._ages[key] = Ages(mailbox.last_seen_ns, mailbox.ages)
        # A folder that comes back in parts is one folder.
        without = self._without_modseq.get(key, 0)
        more = max(0, mailbox.report.without_modseq - without)
        if more:
            self._without_modseq[key] = without + more
        self.total += replace(mailbox.report, without_modseq=more)
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
