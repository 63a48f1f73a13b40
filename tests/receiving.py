"""Receivers for tests: in a thread, or in a process of its own that can be killed and started again.

Run as a program it is that process: ``python -m mailhaul.tests.receiving AREA KEYS ENDPOINT OPTIONS``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.ports import ArchiveSink
from mailhaul.proto.structs import Record, replace
from mailhaul.proto.wire.grants import Grant, issue
from mailhaul.proto.wire.keys import KeyPair, make_pair, read_allowed, read_pair
from mailhaul.proto.wire.server import Server
from mailhaul.tests.archives import frames_of
from mailhaul.worker.staging.area import ReceiverAddress, StagingArea, open_area, open_sink
from mailhaul.worker.staging.intake import Limits
from mailhaul.worker.staging.partial import PartialArchive
from mailhaul.worker.staging.receiver import MOST_PAYLOAD_BYTES, Receiver, ReceiverSettings

FILE = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
OTHER = "primary/user/20261121T031500Z-4f3a.1.0123456789abcdef.mha"
SECRET = bytes(range(32))
HOSTS = ("store01", "store02", "staging")
ANYWHERE = "tcp://127.0.0.1:*"
DEADLINE_SECONDS = 60.0


def open_file(area: StagingArea, name: str, host: str, grant: bytes) -> RandomAccess | None:
    """An archive of a staging area, None if there is none; what it takes to read it is closed with it."""
    source = open_area(area, host, grant)
    try:
        file = source.open(name)
    except BaseException as error:
        source.close()
        if isinstance(error, DamagedError) and error.facts.get("reason") == "missing":
            return None
        raise
    close_file = file.close

    def close() -> None:
        close_file()
        source.close()

    file.close = close  # type: ignore[method-assign]
    return file


class Place(Record):
    """A staging area with the keys of its receiver and its hosts; ``endpoint`` is where its receiver is."""

    root: Path
    endpoint: str = ""
    lease_seconds: float = 20.0

    @property
    def area(self) -> Path:
        return self.root / "area"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def at(self, endpoint: str) -> Place:
        """The same with its receiver somewhere (else)."""
        return replace(self, endpoint=endpoint)

    def staging(self) -> StagingArea:
        """As workers see it."""
        address = ReceiverAddress(
            endpoint=self.endpoint, server_key=read_pair(self.keys, "receiver").public, keys=str(self.keys)
        )
        return StagingArea(
            path=str(self.area), host="staging", receiver=address, lease_seconds=self.lease_seconds
        )

    def sink(
        self, *, file: str = FILE, epoch: int = 1, host: str = "store01", grant: bytes = b"", **given: Any
    ) -> ArchiveSink:
        """A sink on a host."""
        grant = grant or token(file=file, epoch=epoch, host=host)
        return open_sink(self.staging(), file, host, epoch, grant, **given)

    def file(self, *, file: str = FILE, host: str = "store02", grant: bytes = b"") -> RandomAccess | None:
        """An archive as it is read on a host; with it the connection is closed."""
        return open_file(self.staging(), file, host, grant or token(kind="read", file="", host=host))

    def server(self) -> Server:
        """A socket for its receiver."""
        return Server(
            self.endpoint or ANYWHERE,
            read_pair(self.keys, "receiver"),
            lambda: read_allowed(self.keys),
            most_payload_bytes=MOST_PAYLOAD_BYTES,
        )

    def archive(self, file: str = FILE) -> bytes:
        """What has been sealed."""
        return (self.area / file).read_bytes()

    def names(self) -> list[str]:
        """All files of the area that belong to archives."""
        found = (path.relative_to(self.area) for path in self.area.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if path.parts[0] != ".mailhaul")


def make_place(root: Path) -> Place:
    """A new, empty one."""
    place = Place(root)
    place.area.mkdir(parents=True)
    for name in ("receiver", *HOSTS):
        make_pair(place.keys, name)
    return place


def pair_of(private: bytes) -> KeyPair:
    """The pair with this private half, of 32 bytes."""
    secret = z85.encode(private).decode()
    return KeyPair(zmq.curve_public(secret.encode()).decode(), secret)


def token(
    *,
    kind: str = "write",
    file: str = FILE,
    epoch: int = 1,
    host: str = "store01",
    secret: bytes = SECRET,
    seconds: int = 3600,
) -> bytes:
    """A grant."""
    return issue(secret, Grant(kind, host, file, epoch, int(time.time()) + seconds))


@contextmanager
def receiver_thread(
    place: Place, settings: ReceiverSettings | None = None
) -> Iterator[tuple[Place, Receiver]]:
    """A receiver in a thread of this process."""
    stop = threading.Event()
    with place.server() as server:
        receiver = Receiver(
            place.area, server, SECRET, settings or ReceiverSettings(watchers=frozenset({"staging"}))
        )
        thread = threading.Thread(target=receiver.run, args=(stop.is_set,))
        thread.start()
        try:
            yield place.at(server.endpoint), receiver
        finally:
            stop.set()
            server.wake()
            thread.join()
            receiver.close()


class ReceiverProcess:
    """A receiver in a process of its own. ``options`` are those of ``_serve``."""

    def __init__(self, place: Place, **options: Any) -> None:
        self._options = options
        self._place = place
        self.start()

    @property
    def place(self) -> Place:
        """Where it is."""
        return self._place

    def start(self) -> None:
        """Start it (again), at the same place."""
        command = [sys.executable, "-P", "-m", "mailhaul.tests.receiving", str(self._place.root)]
        command += [self._place.endpoint or ANYWHERE, json.dumps(self._options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self._place = self._place.at(self.process.stdout.readline().strip())
        assert self._place.endpoint, "it did not start"

    def kill(self) -> None:
        """As kill -9 does it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> dict[str, Any]:
        """End it in an orderly way; what it said of itself last."""
        self.process.terminate()
        assert self.process.stdout is not None
        status: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert self.process.wait(DEADLINE_SECONDS) == 0
        return status

    def __enter__(self) -> ReceiverProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def write_frames(sink: ArchiveSink, archive: bytes, begin: int = 0, end: int | None = None) -> None:
    """Write the frames of an archive that lie from ``begin`` to ``end``, as a writer does it."""
    copied: set[int] = set()
    for frame in frames_of(archive):
        is_end = frame.header.type is FrameType.MAILBOX and frame.header.position not in copied
        copied.add(frame.header.position if is_end else -1)
        if frame.at < begin or frame.end > (len(archive) if end is None else end):
            continue
        sink.write(archive[frame.at : frame.at + HEADER_BYTES])
        sink.write(memoryview(archive)[frame.at + HEADER_BYTES : frame.end])
        if is_end:
            sink.checkpoint()


def wait_until(what: str, is_so: Any, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for something that is going to happen."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def _serve(
    root: str,
    endpoint: str,
    lease_seconds: float = 30.0,
    patience_seconds: float = 600.0,
    reserve_bytes: int = 0,
    slow_seconds: float = 0.0,
) -> None:
    """``slow_seconds`` is how long the disk takes for each batch."""
    place, stop = Place(Path(root), endpoint), threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
    append = PartialArchive.append

    def slow_append(self: PartialArchive, data: bytes | bytearray | memoryview) -> None:
        time.sleep(slow_seconds)
        append(self, data)

    if slow_seconds:
        PartialArchive.append = slow_append  # type: ignore[method-assign]
    settings = ReceiverSettings(
        lease_seconds=lease_seconds,
        reserve_bytes=reserve_bytes,
        limits=Limits(patience_seconds=patience_seconds),
        watchers=frozenset({"staging"}),
    )
    with place.server() as server:
        receiver = Receiver(place.area, server, SECRET, settings)
        print(server.endpoint, flush=True)
        receiver.run(stop.is_set)
        receiver.close()
        status = receiver.status()
    print(
        json.dumps(
            {
                "received_bytes": status.received_bytes,
                "stalls": status.credit_stalls,
                "refused": status.refused,
                "fenced": status.fenced,
                "pid": os.getpid(),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], **json.loads(sys.argv[3]))
