"""A worker of its own process for the tests of the receiver.

``write ROOT ENDPOINT EPOCH ARCHIVE PAUSE`` streams the archive in a file, with a pause after each frame, and
seals it; ``flood ROOT ENDPOINT MEGABYTES`` streams blocks and gives up. On standard output: a line once it
has begun, then how it ended (the class of the error), then by how many KiB its memory has grown at most.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from mailhaul.proto.archive import frames
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.errors import BackupError
from mailhaul.proto.ports import ArchiveSink
from mailhaul.proto.records import ArchiveId
from mailhaul.tests.archives import frames_of
from mailhaul.tests.receiving import Place

BLOCK_BYTES = 256 << 10


def main() -> None:
    mode, root, endpoint, *rest = sys.argv[1:]
    place = Place(Path(root), endpoint)
    epoch = int(rest[0]) if mode == "write" else 1
    sink = place.sink(epoch=epoch)
    before = 0
    try:
        sink.begin()
        print("begun", flush=True)
        before = _memory_kib()
        if mode == "write":
            _write(sink, Path(rest[1]).read_bytes(), float(rest[2]))
            sink.seal()
        else:
            _flood(sink, int(rest[0]))
        print("done", flush=True)
    except BackupError as error:
        print(type(error).__name__, flush=True)
    finally:
        sink.abort()
    print(_memory_kib() - before, flush=True)


def _write(sink: ArchiveSink, archive: bytes, pause: float) -> None:
    for frame in frames_of(archive):
        sink.write(archive[frame.at : frame.end])
        time.sleep(pause)


def _flood(sink: ArchiveSink, megabytes: int) -> None:
    owner = ArchiveId(os.urandom(16))
    sink.write(frames.encode_header(FrameType.HEADER, Codec.NONE, b"x", 1, owner, 0) + b"x")
    for number in range(megabytes * 1_000_000 // BLOCK_BYTES):
        payload = os.urandom(BLOCK_BYTES)
        sink.write(frames.encode_header(FrameType.BLOCK, Codec.NONE, payload, BLOCK_BYTES, owner, number + 1))
        sink.write(payload)


def _memory_kib() -> int:
    """The most memory that this process has had so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


if __name__ == "__main__":
    main()
