"""One archive on its way into the staging area: a state machine, apart from sockets and disks.

Owns what has arrived, what is written, and how much more may come. What it is told are facts; what it
answers are jobs for a disk, one at a time, so that their order holds.
"""

from __future__ import annotations

import errno
from collections import deque
from enum import Enum, auto

from ...proto.errors import BackupError, StagingError
from ...proto.structs import Mutable, Record, field
from .flow import CHUNK_BYTES, LARGEST_BATCH

_JOB_BYTES = 2 << 20
_RETRY_SECONDS = 0.5


class Phase(Enum):
    """Where a stream is: its file is being opened; takes data; is being sealed; is being given up."""

    OPENING = auto()
    OPEN = auto()
    SEALING = auto()
    ENDING = auto()


class Asked(Record, kw_only=True):
    """What a client asked for with Open: ``number`` is its own for the stream.

    ``have`` is -1 for a new attempt, which wants the draft. Else the client holds all bytes from there on;
    who holds them from 0 on begins at the start, whatever there is.
    """

    client: bytes
    number: int
    host: str
    file: str
    epoch: int
    have: int


class OpenFile(Record):
    """Find or make the file of a stream. Answers: FileOpened, FileSealed, Failed."""

    stream: int
    asked: Asked


class Append(Record):
    """Check batches of whole frames and write them; then the mailbox is complete, if ``checkpoint`` says
    so. Answers: Appended, Failed."""

    stream: int
    batches: tuple[memoryview, ...]
    checkpoint: bool


class SealFile(Record):
    """Seal a file of this size. Answers: FileSealed, Failed."""

    stream: int
    size_bytes: int


class CloseFile(Record):
    """Let go of a file that was not sealed; it stays. Answer: FileClosed."""

    stream: int


Job = OpenFile | Append | SealFile | CloseFile


class FileOpened(Record):
    """The file takes data behind ``size_bytes``. ``draft`` is what a new attempt is to know of them."""

    stream: int
    size_bytes: int
    frames: int
    draft: bytes


class Appended(Record):
    """The first ``batches`` of a job are written. Unless that is ``complete``, there was no room for more;
    ``lack`` says of what, see ``Space``."""

    stream: int
    batches: int
    complete: bool
    lack: int = errno.ENOSPC


class FileSealed(Record):
    """The file is sealed, now or before."""

    stream: int
    size_bytes: int


class FileClosed(Record):
    """The file is free for others."""

    stream: int


class Failed(Record):
    """A job could not be done. A file that was open still is."""

    stream: int
    error: BackupError


Done = FileOpened | Appended | FileSealed | FileClosed | Failed


class Stalls(Mutable):
    """How often, and for how long, streams had nothing left that they were allowed to send."""

    count: int = 0
    seconds: float = 0.0


class Stream(Mutable):
    """``expected`` is the offset of the next byte to arrive, ``written`` that of the next to be written,
    ``granted`` that up to which the client may send. ``bound`` is False when no client is to hear of it
    any more. ``waiting`` says what the disk waits for, ``lack`` why there was no room (see ``Space``)."""

    number: int
    asked: Asked
    since: float
    bound: bool = True
    phase: Phase = Phase.OPENING
    expected: int = 0
    written: int = 0
    granted: int = 0
    waiting: str = ""
    waiting_since: float = 0.0
    lack: int = errno.ENOSPC
    paused: bool = False
    retry_at: float = 0.0
    busy: bool = True
    has_file: bool = False
    checkpoint: int = -1
    seal_bytes: int = -1
    stalled_since: float | None = None
    batches: deque[memoryview] = field(default_factory=deque)
    _marking: bool = False

    def opened(self, size_bytes: int) -> None:
        """The file is there."""
        self.phase = Phase.OPEN
        self.expected = self.written = self.granted = size_bytes

    def take(self, offset: int, batch: memoryview, now: float) -> None:
        """Data arrived. Raises StagingError if it is not what may come now."""
        size = len(batch)
        if self.phase is not Phase.OPEN or self.seal_bytes >= 0:
            raise StagingError("the stream takes no data now")
        if offset != self.expected:
            raise StagingError(f"data for {offset} instead of {self.expected}", offset=offset)
        # A frame may be larger than the window: it may come alone.
        alone = self.written == offset and not self.waiting and size <= LARGEST_BATCH
        if not size or not (alone or offset + size <= self.granted):
            raise StagingError(f"{size} bytes at {offset} are more than was granted", offset=offset)
        self.batches.append(batch)
        self.expected += size
        if self.stalled_since is None and self.granted - self.expected < CHUNK_BYTES:
            self.stalled_since = now

    def mark(self, offset: int) -> None:
        """A mailbox ends at this offset. Raises StagingError if the data does not reach that far."""
        if offset > self.expected:
            raise StagingError(f"a mailbox ends at {offset}, behind {self.expected}", offset=offset)
        self.checkpoint = offset

    def finish(self, size_bytes: int) -> None:
        """All data was sent. Raises StagingError if it is not all here."""
        if self.phase is Phase.OPEN and size_bytes != self.expected:
            raise StagingError(f"the end is at {size_bytes} instead of {self.expected}", offset=size_bytes)
        self.seal_bytes = size_bytes

    def next_job(self) -> Job | None:
        """What the disk is to do next, if it is free and there is something; it is busy from then on."""
        if self.busy:
            return None
        job = self._next_job()
        self.busy = job is not None
        return job

    def _next_job(self) -> Job | None:
        if self.phase is Phase.ENDING:
            return CloseFile(self.number) if self.has_file else None
        if self.paused:
            return None
        if self.batches or self.checkpoint >= 0:
            return self._append()
        if self.seal_bytes >= 0:
            self.phase = Phase.SEALING
            return SealFile(self.number, self.seal_bytes)
        return None

    def _append(self) -> Append:
        taken: list[memoryview] = []
        size = 0
        for batch in self.batches:
            if taken and size + len(batch) > _JOB_BYTES:
                break
            taken.append(batch)
            size += len(batch)
        self._marking = 0 <= self.checkpoint <= self.written + size
        return Append(self.number, tuple(taken), self._marking)

    def appended(self, batches: int, complete: bool) -> None:
        """So many batches of the last job are written: all, if it is ``complete``."""
        for _ in range(batches):
            self.written += len(self.batches.popleft())
        if complete and self._marking and self.checkpoint <= self.written:
            self.checkpoint = -1

    def wait(self, why: str, now: float, lack: int) -> None:
        """The disk has no room."""
        self.lack = lack
        if not self.waiting:
            self.waiting, self.waiting_since = why, now
        self.paused, self.retry_at = True, now + _RETRY_SECONDS

    def grant(self, window_bytes: int, now: float) -> float:
        """Grant what fits into the window. Returns for how many seconds the client had nothing left."""
        until = self.written + window_bytes
        if until <= self.granted:
            return 0.0
        self.granted = until
        stalled, self.stalled_since = self.stalled_since, None
        return now - stalled if stalled is not None else 0.0

    def end(self) -> None:
        """Give up: what has not been written is dropped."""
        self.phase, self.bound = Phase.ENDING, False
        self.batches.clear()
        self.checkpoint = self.seal_bytes = -1
