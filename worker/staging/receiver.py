"""The receiver: takes archives from workers on other hosts into the staging area, and lets them read there.

    socket     one thread, which never waits for a disk                            proto.wire.server
    decide     who may write what, what is granted, who is gone                    intake, clients, reading
    do         check and write frames, sync, seal, read: in threads                files, disk_threads

A crash of it loses no archive: workers find it again, and go on behind what is in the files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from ...proto.errors import AccessError, BackupError
from ...proto.structs import Record, field
from ...proto.wire.envelopes import (
    MOST_DATA_BYTES,
    VERSION,
    Ask,
    Checkpoint,
    Close,
    Data,
    Find,
    Hello,
    Open,
    Ping,
    Pong,
    Read,
    Refused,
    Seal,
    Tell,
    Told,
    Watch,
    Welcome,
)
from ...proto.wire.grants import Grant, check
from ...proto.wire.server import Received, Server
from .asking import Asked, OpenQuestions, Question, nobody_asks, reply
from .clients import Clients
from .disk_threads import DiskThreads, Pool
from .files import StreamFiles
from .flow import CHUNK_BYTES, CLOSED, refusal
from .intake import Effect, Intake, Limits, Note, Send
from .reading import Answer, OpenRequests, answer
from .receiver_status import ReceiverStatus, RefusedStranger, StreamStatus, write_status
from .space import Space
from .stream import Append, Done

MOST_PAYLOAD_BYTES = MOST_DATA_BYTES

_TURN_SECONDS = 0.25
_TICK_SECONDS = 0.25
_STATUS_SECONDS = 1.0
_TURN_MESSAGES = 64


class ReceiverSettings(Record, kw_only=True):
    """How a receiver works. A client is gone when it was not heard from for ``lease_seconds``; only clients
    on the hosts ``watchers`` may watch what others tell; ``threads`` write, as many others sync and read.
    """

    lease_seconds: float = 30.0
    reserve_bytes: int = 0
    limits: Limits = field(default_factory=Limits)
    threads: int = 4
    watchers: frozenset[str] = frozenset()


class _StatusWritten(Record):
    """The status file is written; or why not."""

    problem: str


class Receiver:
    """Serves one staging area over one socket, until it is told to stop. Everything but what disks do
    happens in the thread that calls ``run`` or ``turn``.

    ``secret`` is what grants are signed with, ``now`` gives seconds since 1970. ``on_event`` is told what a
    log should hold: a name, and fields. ``asked`` answers what hosts ask of the coordinator.
    """

    def __init__(
        self,
        area: Path,
        server: Server,
        secret: bytes,
        settings: ReceiverSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        on_event: Callable[[str, dict[str, object]], object] = lambda _name, _fields: None,
        asked: Asked = nobody_asks,
    ) -> None:
        self._area = area
        self._server = server
        self._secret = secret
        self._settings = settings
        self._clock = clock
        self._now = now
        self._on_event = on_event
        self._started = now()
        self._space = Space(area, settings.reserve_bytes, clock=clock)
        self._spaces = {os.stat(area).st_dev: self._space}
        self._clients = Clients(settings.lease_seconds)
        self._intake = Intake(settings.limits, self._check_grant)
        self._requests = OpenRequests()
        self._asked = asked
        self._questions = OpenQuestions(clock)
        self._files = StreamFiles(area, self._space_of)
        self._disks: DiskThreads[Done | Answer | _StatusWritten] = DiskThreads(settings.threads, server.wake)
        self._read_bytes = 0
        self._durable: dict[int, int] = {}
        self._status_problem = ""
        self._next_tick = self._next_status = clock()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop`` says so; write the status each second."""
        while not stop():
            self.turn(_TURN_SECONDS)
            if self._clock() >= self._next_status:
                # Once more when the last one is written, however long that takes.
                self._next_status = float("inf")
                self._disks.start(Pool.READ, self._write_status)

    def turn(self, timeout_seconds: float) -> None:
        """Serve for a moment; wait for that long if there is nothing to do."""
        for _ in range(_TURN_MESSAGES):
            received = self._server.receive(timeout_seconds)
            if received is None:
                break
            self._take(received)
            timeout_seconds = 0.0
        for result in self._disks.results():
            if isinstance(result, Answer):
                self._answer(result)
            elif isinstance(result, _StatusWritten):
                self._status_written(result)
            else:
                self._carry_out(self._intake.done(result, self._clock()))
        if self._clock() >= self._next_tick:
            self._next_tick = self._clock() + _TICK_SECONDS
            self._tick()

    def status(self) -> ReceiverStatus:
        """How things are; for any thread. Raises StagingError if the file system can't be asked."""
        room = self._space.room()
        server, counts = self._server.counts, self._intake.counts
        age = self._now() - self._clock()
        return ReceiverStatus(
            time=self._now(),
            started=self._started,
            pid=os.getpid(),
            endpoint=self._server.endpoint,
            streams=tuple(
                StreamStatus(
                    file=stream.asked.file,
                    host=stream.asked.host,
                    epoch=stream.asked.epoch,
                    written_bytes=stream.written,
                    waiting=stream.waiting,
                    since=stream.since + age,
                )
                for stream in self._intake.streams()
            ),
            connections=server.connections,
            free_bytes=room.free_bytes,
            total_bytes=room.total_bytes,
            reserve_bytes=self._settings.reserve_bytes,
            received_bytes=counts.received_bytes,
            read_bytes=self._read_bytes,
            seals=counts.seals,
            credit_stalls=counts.stalls.count,
            credit_stall_seconds=counts.stalls.seconds,
            refused=counts.refused,
            fenced=counts.fenced,
            malformed=sum(server.malformed.values()),
            strangers=server.refused,
            last_strangers=tuple(
                RefusedStranger(time=stranger.time, address=stranger.address, reason=stranger.reason)
                for stranger in server.strangers
            ),
        )

    def close(self) -> None:
        """Finish what has been begun to be written, and let go of all files. The server stays open."""
        self._disks.close()
        self._files.close()

    def _take(self, received: Received) -> None:
        client, envelope, now = received.client, received.envelope, self._clock()
        if isinstance(envelope, Hello):
            self._greet(client, received.host, envelope, now)
        elif not self._clients.heard(client, now):
            self._refuse_greeting(client, CLOSED, "greet first", retryable=True)
        elif isinstance(envelope, Open | Data | Checkpoint | Seal | Close):
            payload = received.payload
            self._carry_out(self._intake.received(client, received.host, envelope, payload, now))
        elif isinstance(envelope, Find | Read):
            self._ask(client, received.host, envelope)
        elif isinstance(envelope, Ask):
            self._question(client, received.host, envelope, received.payload)
        elif isinstance(envelope, Ping):
            self._server.send(client, Pong(envelope.number))
            self._carry_out(self._intake.remind(client))
        elif isinstance(envelope, Tell):
            for watcher in self._clients.watchers():
                self._server.send(watcher, Told(received.host, envelope.event))
        elif isinstance(envelope, Watch):
            self._watch(client, received.host)

    def _greet(self, client: bytes, host: str, hello: Hello, now: float) -> None:
        problem = self._clients.greeted(client, host, hello, now)
        if problem:
            self._refuse_greeting(client, AccessError.code, problem, retryable=False)
            return
        settings = self._settings
        window = settings.limits.window(1)
        self._server.send(client, Welcome(VERSION, settings.lease_seconds, window, CHUNK_BYTES))

    def _watch(self, client: bytes, host: str) -> None:
        if host in self._settings.watchers:
            self._clients.watch(client)
        else:
            self._refuse_greeting(client, AccessError.code, f"{host} may not watch", retryable=False)

    def _refuse_greeting(self, client: bytes, code: str, message: str, *, retryable: bool) -> None:
        self._server.send(client, Refused("hello", 0, code, message, retryable))

    def _ask(self, client: bytes, host: str, asked: Find | Read) -> None:
        try:
            request = self._requests.admit(client, asked, self._check_grant(asked.grant, host))
        except BackupError as error:
            self._on_event("request.refused", {"host": host, "file": asked.file, "error": error.message})
            self._server.send(client, refusal("request", asked.request, error))
            return
        self._disks.start(Pool.READ, partial(answer, self._area, request))

    def _question(self, client: bytes, host: str, asked: Ask, payload: memoryview) -> None:
        try:
            self._questions.admit(client, host)
        except BackupError as error:
            self._on_event("question.refused", {"host": host, "error": error.message})
            self._server.send(client, refusal("request", asked.request, error))
            return
        question = Question(client, host, asked.request, bytes(payload))
        self._disks.start(Pool.ASK, partial(reply, self._asked, question))

    def _answer(self, told: Answer) -> None:
        if told.about_operations:
            self._questions.answered(told.client)
        else:
            self._requests.answered(told.client)
            self._read_bytes += len(told.payload)
        self._server.send(told.client, told.envelope, told.payload)

    def _tick(self) -> None:
        now = self._clock()
        for client in self._clients.forget_silent(now):
            self._carry_out(self._intake.client_gone(client))
        self._carry_out(self._intake.tick(now))
        durable = self._files.durable()
        for stream, offset in durable.items():
            if offset > self._durable.get(stream, 0):
                self._carry_out(self._intake.durable(stream, offset))
        self._durable = durable

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._server.send(effect.client, effect.envelope, effect.payload)
            elif isinstance(effect, Note):
                self._on_event(effect.event, effect.fields)
            else:
                pool = Pool.WRITE if isinstance(effect, Append) else Pool.SYNC
                self._disks.start(pool, partial(self._files.perform, effect))

    def _check_grant(self, token: bytes, host: str) -> Grant:
        grant = check(self._secret, token, self._now())
        if grant.host != host:
            raise AccessError(f"the grant is for {grant.host}, not for {host}")
        return grant

    def _space_of(self, directory: Path) -> Space:
        """The room of the file system that a directory is on."""
        device = os.stat(directory).st_dev
        return self._spaces.setdefault(
            device, Space(directory, self._settings.reserve_bytes, clock=self._clock)
        )

    def _write_status(self) -> _StatusWritten:
        """Called by a disk thread."""
        try:
            write_status(self._area, self.status())
        except BackupError as error:
            return _StatusWritten(error.message)
        return _StatusWritten("")

    def _status_written(self, written: _StatusWritten) -> None:
        self._next_status = self._clock() + _STATUS_SECONDS
        if written.problem and written.problem != self._status_problem:
            # It is for people, who will notice that it is old; mail is taken as long as there is room.
            self._on_event("status.failed", {"error": written.problem})
        self._status_problem = written.problem
