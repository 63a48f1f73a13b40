"""A worker's side of a stream: opened, sent, opened again when the connection was lost, sealed.

Never waits: it acts on what the connection tells it, and says how far it has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ...proto.errors import BackupError, StagingError
from ...proto.wire.envelopes import Checkpoint, Close, Credit, Data, Open, Opened, Refused, Seal, Sealed
from .connection import Answer, Connection, Line
from .flow import CHUNK_BYTES, CLOSED, error_of
from .frame_chain import FrameBatches
from .upload import Upload

_OLDEST_BATCH_SECONDS = 1.0
_SEAL_AGAIN_SECONDS = 10.0


class OutgoingStream(Line):
    """The stream of one archive. All of it is called with the connection's lock held.

    Holds what the receiver has not written, and what was written here but makes no batch yet. What goes
    wrong, and can't be mended by opening the stream again, is raised by ``check`` and by what comes after it.
    """

    def __init__(
        self, connection: Connection, grant: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.draft = b""
        self.sealed = False
        self._connection = connection
        self._grant = grant
        self._clock = clock
        self._batches = FrameBatches(CHUNK_BYTES)
        self._upload: Upload | None = None
        self._number = -1
        self._first_have = -1
        self._is_open = self._asked = False
        self._sealing = False
        self._sent_at = self._seal_at = 0.0
        self._failure: BackupError | None = None

    @property
    def is_open(self) -> bool:
        """Whether the receiver takes data of it now."""
        return self._is_open

    @property
    def is_sent(self) -> bool:
        """Whether all batches are on their way."""
        return self._is_open and self._upload is not None and self._upload.is_sent

    @property
    def is_mailbox_written(self) -> bool:
        """Whether the receiver has written the last mailbox that is complete."""
        return self._is_open and self._upload is not None and self._upload.written >= self._upload.checkpoint

    @property
    def size_bytes(self) -> int:
        """How large the archive is so far, as the receiver has it or will have it."""
        return self._upload.end if self._upload else 0

    @property
    def held_bytes(self) -> int:
        """How much memory is taken by what the receiver has not written."""
        return self._upload.held_bytes if self._upload else 0

    @property
    def waiting(self) -> str:
        """What the receiver waits for; empty where it goes on."""
        return self._upload.waiting if self._upload else ""

    def open(self, *, from_start: bool = False) -> None:
        """Ask for the stream; ``draft`` is what is there already, once it is open. ``from_start`` drops all
        that is there."""
        self._first_have = 0 if from_start else -1
        self._upload, self._is_open = None, False
        self._number = self._connection.new_number()
        self._connection.attach(self._number, self)

    def close(self) -> None:
        """Give it up. What the receiver has stays there. Repeatable."""
        if self._number >= 0:
            self._connection.detach(self._number)
            self._connection.send(Close(self._number))
        self._number, self._is_open = -1, False

    def check(self) -> None:
        """Raises what has gone wrong."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: bytes | bytearray | memoryview) -> bool:
        """Take in a run of bytes. What makes a batch is sent as soon as it may be; True if it made one."""
        self._batches.add(data)
        if not self._batches.full:
            return False
        self.flush()
        return True

    def mark(self) -> None:
        """A mailbox is complete: it is sent without waiting for more."""
        if self._upload is not None:
            self._upload.mark(self._upload.end + self._batches.whole_bytes)
        self.flush()

    def flush(self) -> None:
        """Make a batch of all whole frames, and send it as soon as it may be."""
        if self._upload is not None and self._batches.whole_bytes:
            self._upload.add(self._batches.take())
        self._push()

    def seal(self) -> None:
        """All was written: once everything is sent, ask for the seal; ``sealed`` tells when it is done."""
        if self._batches.partial:
            raise StagingError("the archive ends inside a frame")
        self._sealing = True
        self.flush()

    def greeted(self) -> None:
        """See Line. All that was on its way is lost; the receiver tells how much it has."""
        self._is_open = self._asked = False
        self._seal_at = 0.0
        self._ask()

    def _ask(self) -> None:
        have = self._upload.written if self._upload is not None else self._first_have
        self._asked = self._connection.send(Open(self._number, self._grant, have))

    def answered(self, envelope: Answer, payload: memoryview) -> None:
        """See Line."""
        try:
            self._answered(envelope, payload)
        except BackupError as error:
            self.failed(error)

    def beat(self) -> None:
        """See Line. What was written does not wait for long until it makes a batch."""
        if not self._asked:
            self._ask()
        if self._is_open and self._clock() - self._sent_at >= _OLDEST_BATCH_SECONDS:
            self.flush()

    def failed(self, error: BackupError) -> None:
        """See Line."""
        self._failure = self._failure or error
        self._is_open = False

    def _push(self) -> None:
        """Send all that may be sent now."""
        upload = self._upload
        if upload is None or not self._is_open:
            return
        for offset, data in upload.to_send():
            if not self._connection.send(Data(self._number, offset), data):
                return
            self._sent_at = self._clock()
        mailbox_end = upload.checkpoint_to_send()
        if mailbox_end is not None and self._connection.send(Checkpoint(self._number, mailbox_end)):
            upload.checkpoint_sent()
        is_due = self._sealing and upload.is_sent and self._clock() >= self._seal_at
        if is_due and self._connection.send(Seal(self._number, upload.end)):
            self._seal_at = self._clock() + _SEAL_AGAIN_SECONDS

    def _answered(self, envelope: Answer, payload: memoryview) -> None:
        if isinstance(envelope, Opened):
            self._opened(envelope, payload)
        elif isinstance(envelope, Refused):
            self._refused(envelope)
        elif self._upload is None or not self._is_open:
            return
        elif isinstance(envelope, Credit):
            self._upload.credited(envelope.until, envelope.written, envelope.waiting)
            self._push()
        elif isinstance(envelope, Sealed):
            self._take_seal(envelope.size)

    def _opened(self, opened: Opened, payload: memoryview) -> None:
        if opened.sealed:
            self._take_seal(opened.size)
            return
        if self._upload is None:
            self._upload, self.draft = Upload(opened.size), bytes(payload)
        else:
            self._upload.reopened(opened.size)
        self._is_open = True
        self._push()

    def _refused(self, refused: Refused) -> None:
        if refused.code != CLOSED:
            raise error_of(refused)
        if self._is_open:
            # The receiver gave it up because it did not hear from here for a while.
            self.greeted()

    def _take_seal(self, size: int) -> None:
        if not self._sealing or size != self.size_bytes:
            raise StagingError("the archive was sealed by another attempt", size=size)
        self.sealed = True
