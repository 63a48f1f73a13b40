"""Archives put into an object storage, beside ``rclone copy`` with the same parallelism; and single reads.

    .venv/bin/python -P -m mailhaul.bench.macro.sweep_s3 [--large N] [--small N] [--rounds N] [--write]

The server is a Ceph RADOS gateway that is started for it (``make servers``; rclone from Debian), on the same
machine, so its work is in the wall time of both. Both send 2 files at a time, of each 4 parts of 8 MiB.
rclone hashes each file before it sends it, and compares size and hash afterwards; mailhaul has each part
checked by the server, and looks at token and size afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from mailhaul.bench.macro.measure import Command, Measured, run
from mailhaul.proto.archive.files import LocalFile
from mailhaul.tests.faults.http_proxy import HttpProxy
from mailhaul.tests.integration.servers.object_storage import S3Server
from mailhaul.tests.integration.servers.rgw import rgw
from mailhaul.worker.destinations.s3.dialect import keep_dialect
from mailhaul.worker.destinations.s3.place import S3Place
from mailhaul.worker.destinations.settings import S3Destination

FILES, PARTS = 2, 4
LARGE_BYTES, SMALL_BYTES = 256 << 20, 4 << 20
READ_BYTES, READS = 256 << 10, 50
RESULTS = Path(__file__).resolve().parent.parent / "results"


@dataclass(frozen=True)
class Reads:
    """What single reads have cost: median and worst milliseconds, requests and bytes for each, counted
    before the server."""

    median_ms: float
    worst_ms: float
    requests: float
    received_bytes: float


def make_archives(place: Path, large: int, small: int) -> int:
    """Files of random bytes, named as archives are; how many bytes in all."""
    for number in range(large + small):
        path = place / "primary" / "user" / f"20261121T031500Z-4f3a.{number}.{number:016x}.mha"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for _ in range((LARGE_BYTES if number < large else SMALL_BYTES) >> 20):
                file.write(os.urandom(1 << 20))
    return large * LARGE_BYTES + small * SMALL_BYTES


def put_all(place: Path, settings: S3Destination) -> None:
    """What is measured of mailhaul: every file of a directory, two at a time."""
    own = threading.local()
    opened: list[S3Place] = []

    def put(path: Path) -> None:
        if not hasattr(own, "place"):
            own.place = S3Place(settings)
            opened.append(own.place)
        with closing(LocalFile(str(path))) as source:
            own.place.put(str(path.relative_to(place)), source)

    with ThreadPoolExecutor(FILES) as pool:
        list(pool.map(put, sorted(path for path in place.rglob("*.mha"))))
    for one in opened:
        one.close()


def mailhaul(server: S3Server, archives: Path, scratch: Path) -> Command:
    """Puts them into a new bucket, whose server is known."""
    settings = server.destination(server.new_bucket(), scratch / "journal", part_threads=PARTS)
    keep_dialect(settings.journal, server.dialect())
    told = json.dumps([str(archives), asdict(settings)])
    return Command((sys.executable, "-P", "-m", __spec__.name, "--put", told), scratch)


def rclone(server: S3Server, archives: Path, scratch: Path) -> Command:
    """The same with rclone."""
    settings = scratch / "rclone.conf"
    settings.write_text(
        f"[s]\ntype = s3\nprovider = Ceph\nendpoint = {server.endpoint}\n"
        f"access_key_id = {server.key}\nsecret_access_key = {server.secret}\n"
    )
    options = (
        f"--config={settings}", f"--transfers={FILES}", f"--s3-upload-concurrency={PARTS}",
        "--s3-chunk-size=8M", "--s3-upload-cutoff=8M", "--s3-no-check-bucket",
    )  # fmt: skip
    argv = ("rclone", "copy", *options, str(archives), f"s:{server.new_bucket()}/site1")
    # Its client can't do with a bundle of certificates that is set for others.
    return Command(argv, scratch, {"AWS_CA_BUNDLE": ""})


PROGRAMS = {"mailhaul": mailhaul, "rclone": rclone}


def measure_puts(
    server: S3Server, archives: Path, scratch: Path, rounds: int
) -> dict[str, list[tuple[float, float, int]]]:
    """Wall seconds, CPU seconds and peak memory of each program and round; who is first takes turns."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in PROGRAMS}
    for number in range(rounds):
        for name in sorted(PROGRAMS, reverse=bool(number % 2)):
            command = PROGRAMS[name](server, archives, scratch)
            subprocess.run(["sync"], check=True)
            cost: Measured = run(command, scratch / "output")
            found[name].append((cost.wall_seconds, cost.cpu_seconds, cost.peak_memory_bytes))
    return found


def measure_reads(server: S3Server, archives: Path, scratch: Path) -> Reads:
    """One block of a large archive at a time, from a place that was opened before."""
    path = max(archives.rglob("*.mha"), key=lambda one: one.stat().st_size)
    took = []
    with HttpProxy(server.port) as proxy:
        settings = server.destination(server.new_bucket(), scratch / "journal", port=proxy.port)
        with closing(S3Place(settings)) as place, closing(LocalFile(str(path))) as source:
            name = str(path.relative_to(archives))
            version = place.put(name, source).version
            file = place.open(name, version)
            proxy.seen.clear()
            for number in range(READS):
                offset = (number * 7_919 * READ_BYTES) % (source.size - READ_BYTES)
                began = time.perf_counter()
                data = file.read_at(offset, READ_BYTES)
                took.append((time.perf_counter() - began) * 1000)
                assert data == source.read_at(offset, READ_BYTES)
        received = sum(one.received_bytes for one in proxy.seen)
        return Reads(statistics.median(took), max(took), len(proxy.seen) / READS, received / READS)


def main() -> None:
    """Print the tables, and write them if asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--small", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--put", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.put:
        archives, told = json.loads(given.put)
        put_all(Path(archives), S3Destination(**{**told, "tags": ()}))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mailhaul-bench-") as directory:
        scratch = Path(directory)
        archives = scratch / "archives"
        size = make_archives(archives, given.large, given.small)
        server = rgw(lambda name: Path(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name))
        server.dialect()
        puts = measure_puts(server, archives, scratch, given.rounds)
        reads = measure_reads(server, archives, scratch)
    text = report(size, given.large, given.small, puts, reads, load)
    print(text)
    if given.write:
        commit = subprocess.check_output(["git", "rev-parse", "--short=10", "HEAD"], text=True).strip()
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{commit}-sweep-s3"
        path.with_suffix(".md").write_text(text)
        figures = {"load": load, "bytes": size, "puts": puts, "reads": asdict(reads)}
        path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")


def report(
    size: int,
    large: int,
    small: int,
    puts: dict[str, list[tuple[float, float, int]]],
    reads: Reads,
    load: float,
) -> str:
    """Two tables for people."""
    what = (
        f"{large} archives of {LARGE_BYTES >> 20} MiB, {small} of {SMALL_BYTES >> 20} MiB, {FILES} at a "
        f"time, Ceph RGW on the same machine, {len(puts['rclone'])} rounds, medians; "
        f"load average before: {load:.1f}"
    )
    lines = ["# Archives into object storage", "", what, ""]
    lines += ["| | wall s | MB/s | CPU s | peak MB |", "|---|---|---|---|---|"]
    for name, rounds in puts.items():
        wall, cpu, peak = (statistics.median(figures) for figures in zip(*rounds, strict=True))
        lines.append(f"| {name} | {wall:.2f} | {size / 1e6 / wall:.0f} | {cpu:.2f} | {peak / 1e6:.0f} |")
    ratios = [one[0] / other[0] for one, other in zip(puts["rclone"], puts["mailhaul"], strict=True)]
    single = (
        f"{READS} single reads of {READ_BYTES >> 10} KiB out of an archive of {LARGE_BYTES >> 20} MiB: "
        f"{reads.median_ms:.1f} ms (worst {reads.worst_ms:.1f}), {reads.requests:.1f} requests and "
        f"{reads.received_bytes / 1024:.0f} KiB each, counted before the server"
    )
    speed = f"Speed of mailhaul as a multiple of rclone's: {statistics.median(ratios):.2f} (target: 1.0)"
    lines += ["", speed, "", single, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
