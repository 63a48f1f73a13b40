"""A file-backed tape beside ``dd`` with the same records: one file of random bytes, copied and made durable.

    python -m mailhaul.bench.micro.tape [--megabytes N] [--repetitions N] [--directory DIR]

In turns, so that a busy moment of the machine does not hit one of them alone. ``tape`` is the whole way of a
destination: read ahead, BLAKE3, records, catalog, filemark. ``dd`` writes the same records and is waited for
(conv=fsync). Prints the best repetition of each, all of them, and the ratio of the best.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from mailhaul.proto.archive.files import LocalFile
from mailhaul.worker.destinations.settings import TapeDestination
from mailhaul.worker.destinations.tape.opening import open_tape_place

RECORD_BYTES = 256 << 10


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="(default 2000)")
    parser.add_argument("--repetitions", type=int, default=5, help="(default 5)")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        place = Path(name)
        source = place / "source"
        with source.open("wb") as file:
            for _ in range(options.megabytes):
                file.write(os.urandom(10**6))
        ways: dict[str, Callable[[Path, Path], None]] = {"dd": copy_by_dd, "tape": copy_to_tape}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repetitions):
            for way, copy in ways.items():
                found[way].append(measure(copy, source, place / way))
    for way, seconds in found.items():
        rates = [options.megabytes / each for each in seconds]
        print(f"{way}: {max(rates):,.0f} MB/s ({' '.join(f'{rate:,.0f}' for rate in rates)})")
    print(f"tape / dd: {min(found['dd']) / min(found['tape']):.2f}")


def measure(copy: Callable[[Path, Path], None], source: Path, target: Path) -> float:
    """The seconds that a copy takes; nothing of it is left."""
    target.mkdir()
    os.sync()
    began = time.perf_counter()
    copy(source, target)
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


def copy_by_dd(source: Path, target: Path) -> None:
    words = [f"if={source}", f"of={target / 'copy'}", f"bs={RECORD_BYTES}", "conv=fsync", "status=none"]
    subprocess.run(["dd", *words], check=True)


def copy_to_tape(source: Path, target: Path) -> None:
    settings = TapeDestination(
        name="tape", state=str(target / "state"), file=str(target / "tapes"), record_bytes=RECORD_BYTES
    )
    with closing(open_tape_place(settings)) as place:
        file = LocalFile(str(source))
        place.put("source", file)
        place.commit()
        file.close()


if __name__ == "__main__":
    main()
