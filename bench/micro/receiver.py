"""One archive streamed to a receiver: MB/s, and CPU seconds per GB on both sides.

    .venv/bin/python -P -m mailhaul.bench.micro.receiver [--gigabytes N] [--rounds N] [--directory DIR]...

A RemoteSink in this process, a Receiver in another one, the loopback interface, CURVE. The archive has blocks
of 256 KiB that do not compress; their headers are made before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailhaul.proto.archive import contents, frames
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.wire.grants import Grant, issue
from mailhaul.proto.wire.keys import make_pair, read_allowed, read_pair
from mailhaul.proto.wire.server import Server
from mailhaul.worker import memory
from mailhaul.worker.staging.area import ReceiverAddress, StagingArea, open_sink
from mailhaul.worker.staging.receiver import MOST_PAYLOAD_BYTES, Receiver, ReceiverSettings

BLOCK_BYTES = 256 << 10
SECRET = b"benchmark" + bytes(23)
HOST = "store01"


@dataclass(frozen=True)
class Cost:
    """What one archive has cost."""

    megabytes_per_second: float
    sender_cpu: float
    receiver_cpu: float
    stalls: int


def archive(size_bytes: int) -> list[bytes]:
    """The runs of bytes that a writer would write: header and payload of each frame. Payloads are shared."""
    owner = ArchiveId(os.urandom(16))
    payloads = [os.urandom(BLOCK_BYTES) for _ in range(16)]
    checksums = [frames.checksum(payload) for payload in payloads]
    parts: list[bytes] = []
    written = 0

    def add(kind: FrameType, payload: bytes, digest: bytes) -> None:
        nonlocal written
        size, number = len(payload), len(parts) // 2
        fields = frames._LAYOUT.pack(
            frames.MAGIC, kind, Codec.NONE, 0, size, size, owner, number, 0, digest, 0
        )
        parts.extend((fields + frames._CRC.pack(zlib.crc32(fields)), payload))
        written += frames.HEADER_BYTES + len(payload)

    add(FrameType.HEADER, b"benchmark", frames.checksum(b"benchmark"))
    for number in range(size_bytes // BLOCK_BYTES):
        add(FrameType.BLOCK, payloads[number % 16], checksums[number % 16])
    footer = contents.encode_footer(contents.Footer(directory=0, footer=written, frames=len(parts) // 2 + 1))
    add(FrameType.FOOTER, footer, frames.checksum(footer))
    return parts


def serve(area: Path, keys: Path) -> None:
    """A receiver that says on standard output where it listens, and at its end what it has used."""
    stopped = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    with Server(
        "tcp://127.0.0.1:*",
        read_pair(keys, "receiver"),
        lambda: read_allowed(keys),
        most_payload_bytes=MOST_PAYLOAD_BYTES,
    ) as server:
        receiver = Receiver(area, server, SECRET, ReceiverSettings())
        print(server.endpoint, flush=True)
        receiver.run(lambda: stopped)
        status = receiver.status()
        receiver.close()
    print(time.process_time(), status.credit_stalls, flush=True)


@contextmanager
def receiving(directory: Path) -> Iterator[tuple[StagingArea, subprocess.Popen[str]]]:
    """A receiver in a process of its own, with its staging area below ``directory``."""
    place = Path(tempfile.mkdtemp(prefix="mailhaul-bench-", dir=directory))
    keys = place / "keys"
    for name in ("receiver", HOST):
        make_pair(keys, name)
    (place / "area").mkdir()
    command = [sys.executable, "-P", "-m", __spec__.name, "--serve", str(place / "area"), str(keys)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = ReceiverAddress(
            endpoint=process.stdout.readline().strip(),
            server_key=read_pair(keys, "receiver").public,
            keys=str(keys),
        )
        yield StagingArea(path=str(place / "area"), host="staging", receiver=address), process
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(place)


def measure(directory: Path, parts: list[bytes]) -> Cost:
    """Stream and seal an archive once."""
    size = sum(map(len, parts))
    with receiving(directory) as (area, process):
        name = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
        grant = issue(SECRET, Grant("write", HOST, name, 1, int(time.time()) + 3600))
        sink = open_sink(area, name, HOST, 1, grant)
        sink.begin()
        began, cpu = time.perf_counter(), time.process_time()
        for part in parts:
            sink.write(part)
        sink.seal()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert Path(area.path, name).stat().st_size == size
        process.terminate()
        assert process.stdout is not None
        receiver_cpu, stalls = process.stdout.readline().split()
    return Cost(size / 1e6 / seconds, cpu / size * 1e9, float(receiver_cpu) / size * 1e9, int(stalls))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, action="append")
    parser.add_argument("--serve", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*given.serve)
        return
    memory.keep_freed_memory()  # as every worker does
    parts = archive(int(given.gigabytes * 1e9))
    print("| to | MB/s (median, least, most) | CPU s/GB worker | receiver | stalls |")
    print("| --- | --- | --- | --- | --- |")
    for directory in given.directory or [Path("/dev/shm"), Path(tempfile.gettempdir())]:
        costs = [measure(directory, parts) for _ in range(given.rounds)]
        speeds = [cost.megabytes_per_second for cost in costs]
        print(
            f"| {directory} | {statistics.median(speeds):,.0f} ({min(speeds):,.0f}, {max(speeds):,.0f}) "
            f"| {statistics.median(one.sender_cpu for one in costs):.2f} "
            f"| {statistics.median(one.receiver_cpu for one in costs):.2f} "
            f"| {statistics.median(one.stalls for one in costs):.0f} |"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nLargest memory of the worker: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
