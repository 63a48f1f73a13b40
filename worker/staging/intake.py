"""Who writes which archive: the receiver's decisions about streams, apart from sockets and disks.

A file has one stream at a time. A later attempt (a greater epoch) takes the file away from the stream that
has it; a client that comes back after its connection was lost goes on with the stream that it had.
"""

from __future__ import annotations

from collections.abc import Callable

from ...proto.errors import AccessError, BackupError, FencedError, StagingError
from ...proto.structs import Mutable, Record, field
from ...proto.wire.envelopes import (
    Checkpoint,
    Close,
    Credit,
    Data,
    Durable,
    Envelope,
    Open,
    Opened,
    Refused,
    Seal,
    Sealed,
)
from ...proto.wire.grants import Grant
from ..archives.names import check_writable
from .flow import CHUNK_BYTES, CLOSED, refusal
from .space import FULL, no_room
from .stream import (
    Appended,
    Asked,
    Done,
    FileClosed,
    FileOpened,
    FileSealed,
    Job,
    OpenFile,
    Phase,
    Stalls,
    Stream,
)

StreamEnvelope = Open | Data | Checkpoint | Seal | Close


class Send(Record):
    """An envelope is to go to a client."""

    client: bytes
    envelope: Envelope
    payload: bytes = b""


class Note(Record):
    """Something that a log should hold."""

    event: str
    fields: dict[str, object]


Effect = Send | Note | Job


class Limits(Record, kw_only=True):
    """How much memory streams may take: each about ``window_bytes``, all about ``total_bytes``; each at
    least one batch. Without room on the disk a stream waits for up to ``patience_seconds``."""

    window_bytes: int = 8 << 20
    total_bytes: int = 512 << 20
    patience_seconds: float = 3600.0

    def window(self, streams: int) -> int:
        """The window of each of so many streams."""
        return max(CHUNK_BYTES, min(self.window_bytes, self.total_bytes // max(1, streams)))


class Counts(Mutable):
    """What has happened since the receiver was started."""

    received_bytes: int = 0
    seals: int = 0
    refused: int = 0
    fenced: int = 0
    stalls: Stalls = field(default_factory=Stalls)


class Intake:
    """``check_grant`` turns a token, and the name of the host that shows it, into the grant that it is; it
    raises AccessError. Every method returns what is to be done, in this order."""

    def __init__(self, limits: Limits, check_grant: Callable[[bytes, str], Grant]) -> None:
        self.counts = Counts()
        self._limits = limits
        self._check_grant = check_grant
        self._number = 0
        self._streams: dict[int, Stream] = {}
        self._bound: dict[tuple[bytes, int], Stream] = {}
        self._files: dict[str, Stream] = {}
        self._successors: dict[str, Asked] = {}

    def streams(self) -> list[Stream]:
        """All streams, those that are being given up too. May be called by other threads."""
        return list(self._streams.values())

    def received(
        self, client: bytes, host: str, envelope: StreamEnvelope, payload: memoryview, now: float
    ) -> list[Effect]:
        """A client asks for something."""
        if isinstance(envelope, Open):
            return self._open(client, host, envelope, now)
        stream = self._bound.get((client, envelope.stream))
        if stream is None:
            if isinstance(envelope, Close):
                self._forget_successors(
                    lambda asked: (asked.client, asked.number) == (client, envelope.stream)
                )
                return []
            refused = Refused("stream", envelope.stream, CLOSED, "the stream is not open", True)
            return [Send(client, refused)]
        try:
            return self._moved(stream, envelope, payload, now)
        except StagingError as error:
            return self._refuse(stream, error)

    def _moved(
        self, stream: Stream, envelope: Data | Checkpoint | Seal | Close, payload: memoryview, now: float
    ) -> list[Effect]:
        if isinstance(envelope, Data):
            stream.take(envelope.offset, payload, now)
            self.counts.received_bytes += len(payload)
        elif isinstance(envelope, Checkpoint):
            stream.mark(envelope.offset)
        elif isinstance(envelope, Seal):
            stream.finish(envelope.size)
        else:
            return self._end(stream)
        return self._go_on(stream)

    def done(self, done: Done, now: float) -> list[Effect]:
        """A job was done."""
        stream = self._streams[done.stream]
        stream.busy = False
        if isinstance(done, FileOpened):
            return self._file_opened(stream, done, now)
        if isinstance(done, Appended):
            return self._appended(stream, done, now)
        if isinstance(done, FileSealed):
            return self._file_sealed(stream, done, now)
        if isinstance(done, FileClosed):
            return self._gone(stream, now)
        if stream.has_file:
            return self._refuse(stream, done.error)
        return self._tell_refusal(stream, done.error) + self._gone(stream, now)

    def client_gone(self, client: bytes) -> list[Effect]:
        """A client was not heard from for too long: its files are let go of."""
        self._forget_successors(lambda asked: asked.client == client)
        effects: list[Effect] = []
        for stream in [one for one in self._bound.values() if one.asked.client == client]:
            effects += self._end(stream)
        return effects

    def remind(self, client: bytes) -> list[Effect]:
        """Tell a client again how its streams stand: what it was told before may not have reached it."""
        return [
            self._standing(stream)
            for stream in self._bound.values()
            if stream.asked.client == client and stream.phase is Phase.OPEN
        ]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: streams without room try again, or are given up."""
        effects: list[Effect] = []
        for stream in [one for one in self._streams.values() if one.paused]:
            if now - stream.waiting_since > self._limits.patience_seconds:
                error = no_room(stream.asked.file, self._limits.patience_seconds, stream.lack)
                effects += self._refuse(stream, error)
            elif now >= stream.retry_at:
                stream.paused = False
                effects += self._go_on(stream)
        return effects

    def durable(self, number: int, offset: int) -> list[Effect]:
        """So much of a stream's file survives a crash of the machine."""
        stream = self._streams.get(number)
        if stream is None or not stream.bound or stream.phase is Phase.OPENING:
            return []
        return [Send(stream.asked.client, Durable(stream.asked.number, offset))]

    def _open(self, client: bytes, host: str, envelope: Open, now: float) -> list[Effect]:
        try:
            asked = self._asked(client, host, envelope)
        except AccessError as error:
            self.counts.refused += 1
            note = Note("stream.refused", {"host": host, "code": error.code, "error": error.message})
            return [note, _refusal(client, envelope.stream, error)]
        current = self._files.get(asked.file)
        waiting = self._successors.get(asked.file)
        newest = max((one.epoch for one in (current and current.asked, waiting) if one), default=asked.epoch)
        if asked.epoch < newest:
            return self._fence(asked)
        if current is None:
            return self._start(asked, now)
        if asked.epoch == current.asked.epoch and current.asked.host != host:
            return self._fence(asked)
        if current.phase is Phase.OPEN and asked.epoch == current.asked.epoch and asked.have > 0:
            return self._rebind(current, asked, now)
        return self._displace(current, asked)

    def _asked(self, client: bytes, host: str, envelope: Open) -> Asked:
        grant = self._check_grant(envelope.grant, host)
        if grant.kind != "write":
            raise AccessError("the grant is not one for writing")
        open_now = self._bound.get((client, envelope.stream))
        using = [
            successor
            for successor in self._successors.values()
            if (successor.client, successor.number) == (client, envelope.stream)
        ]
        using += [open_now.asked] if open_now else []
        if any(asked.file != grant.file for asked in using):
            raise AccessError("a stream of this number is open for another file")
        check_writable(grant.file)
        return Asked(
            client=client,
            number=envelope.stream,
            host=host,
            file=grant.file,
            epoch=grant.epoch,
            have=envelope.have,
        )

    def _start(self, asked: Asked, now: float) -> list[Effect]:
        self._number += 1
        stream = Stream(self._number, asked, now)
        self._streams[stream.number] = self._files[asked.file] = stream
        self._bound[asked.client, asked.number] = stream
        return [OpenFile(stream.number, asked)]

    def _rebind(self, stream: Stream, asked: Asked, now: float) -> list[Effect]:
        """The connection was lost and is back: all that has arrived counts."""
        if asked.have > stream.expected:
            error = StagingError(f"there is nothing from {stream.expected} to {asked.have} any more")
            return [_refusal(asked.client, asked.number, error), *self._refuse(stream, error)]
        self._bound.pop((stream.asked.client, stream.asked.number), None)
        stream.asked = asked
        self._bound[asked.client, asked.number] = stream
        opened = Opened(asked.number, stream.expected, 0, False)
        return [Send(asked.client, opened), *self._credit(stream, now)]

    def _displace(self, current: Stream, asked: Asked) -> list[Effect]:
        """Another one gets the file, as soon as its stream has let go of it."""
        effects: list[Effect] = []
        before = self._successors.get(asked.file)
        if before is not None:
            effects += self._fence(before)
        self._successors[asked.file] = asked
        if current.phase is Phase.SEALING:
            return effects
        if asked.epoch > current.asked.epoch and current.bound:
            self._unbind(current)
            effects += self._fence(current.asked)
        return effects + self._end(current)

    def _file_opened(self, stream: Stream, done: FileOpened, now: float) -> list[Effect]:
        stream.has_file = True
        if stream.phase is Phase.ENDING:
            return self._go_on(stream)
        stream.opened(done.size_bytes)
        opened = Opened(stream.asked.number, done.size_bytes, done.frames, False)
        return [
            _note("stream.opened", stream.asked, size_bytes=done.size_bytes),
            Send(stream.asked.client, opened, done.draft),
            *self._credit(stream, now),
        ]

    def _file_sealed(self, stream: Stream, done: FileSealed, now: float) -> list[Effect]:
        effects: list[Effect] = []
        told: Envelope
        if stream.has_file:
            self.counts.seals += 1
            effects.append(_note("stream.sealed", stream.asked, size_bytes=done.size_bytes))
            told = Sealed(stream.asked.number, done.size_bytes)
        else:
            told = Opened(stream.asked.number, done.size_bytes, 0, True)
        if stream.bound:
            effects.append(Send(stream.asked.client, told))
        return effects + self._gone(stream, now)

    def _appended(self, stream: Stream, done: Appended, now: float) -> list[Effect]:
        if stream.phase is Phase.ENDING:
            return self._go_on(stream)
        stream.appended(done.batches, done.complete)
        if done.complete:
            stream.waiting = ""
            return [*self._credit(stream, now), *self._go_on(stream)]
        stream.wait(FULL, now, done.lack)
        return self._credit(stream, now)

    def _credit(self, stream: Stream, now: float) -> list[Effect]:
        """Tell what is written, and grant more, unless the disk has no room."""
        if not stream.waiting:
            was_stalled = stream.stalled_since is not None
            self.counts.stalls.seconds += stream.grant(self._limits.window(len(self._streams)), now)
            self.counts.stalls.count += was_stalled and stream.stalled_since is None
        return [self._standing(stream)]

    def _standing(self, stream: Stream) -> Send:
        asked = stream.asked
        return Send(asked.client, Credit(asked.number, stream.granted, stream.written, stream.waiting))

    def _go_on(self, stream: Stream) -> list[Effect]:
        job = stream.next_job()
        return [job] if job else []

    def _refuse(self, stream: Stream, error: BackupError) -> list[Effect]:
        """Give a stream up, and tell its client why."""
        return self._tell_refusal(stream, error) + self._end(stream)

    def _tell_refusal(self, stream: Stream, error: BackupError) -> list[Effect]:
        if not stream.bound:
            return []
        self.counts.refused += 1
        self._unbind(stream)
        note = _note("stream.refused", stream.asked, code=error.code, error=error.message)
        return [note, _refusal(stream.asked.client, stream.asked.number, error)]

    def _fence(self, asked: Asked) -> list[Effect]:
        """A later attempt has the file."""
        self.counts.fenced += 1
        error = FencedError(f"{asked.file}: a later attempt has taken over", file=asked.file)
        return [_note("stream.fenced", asked), _refusal(asked.client, asked.number, error)]

    def _end(self, stream: Stream) -> list[Effect]:
        """Let go of the file as soon as the disk is done with it."""
        self._unbind(stream)
        stream.end()
        return self._go_on(stream)

    def _unbind(self, stream: Stream) -> None:
        key = stream.asked.client, stream.asked.number
        if self._bound.get(key) is stream:  # its client may have opened another one under this number
            del self._bound[key]
        stream.bound = False

    def _gone(self, stream: Stream, now: float) -> list[Effect]:
        """A stream has no file any more; whoever waits for the file gets it."""
        self._unbind(stream)
        del self._streams[stream.number], self._files[stream.asked.file]
        successor = self._successors.pop(stream.asked.file, None)
        return self._start(successor, now) if successor else []

    def _forget_successors(self, is_one: Callable[[Asked], bool]) -> None:
        for file in [file for file, asked in self._successors.items() if is_one(asked)]:
            del self._successors[file]


def _note(event: str, asked: Asked, **fields: object) -> Note:
    return Note(event, {"file": asked.file, "host": asked.host, "epoch": asked.epoch, **fields})


def _refusal(client: bytes, number: int, error: BackupError) -> Send:
    return Send(client, refusal("stream", number, error))
