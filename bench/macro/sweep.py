"""Sweeps beside what files are copied with otherwise; and one message out of an object storage.

    python -m mailhaul.bench.macro.sweep [small|2g] [--way directory|s3|tape]... [--repetitions N]

A store of real mail is backed up twice: into archives of about 250 MB, and into a single one. Then, in turns,
the archives go

    directory   by ``mailhaul sweep`` to a directory, and by ``cp`` and ``sync``
    s3          to a Ceph RADOS gateway on the same machine, one file at a time and of it 4 parts, and by
                ``rclone copy``: 4 files at a time, with the same parts of each
    tape        to a drive made of a file, and by ``dd`` with the same records, made durable (conv=fsync)

In the time of a sweep are the start of the program, the check of every frame before the first copy, the copy,
the verification of what arrived, and the records in the catalog. ``message`` is ``mailhaul restore`` of one
message of the single archive, which has left the staging area: what was read is counted before the server.
Ceph and rclone: ``make servers``. Prints the tables and writes them to bench/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mailhaul.tests.faults.http_proxy import HttpProxy
from mailhaul.tests.integration.servers.object_storage import S3Server
from mailhaul.tests.integration.servers.rgw import new_rgw

from . import stores
from .machine import commit, machine
from .measure import Command, run
from .report import TARGETS_HEAD, Figures, Result, Step, cpu, heading, memory, target, wall, write

STREAMS, PARTS, PART_BYTES, RECORD_BYTES = 4, 4, 8 << 20, 256 << 10
LEAST = {"directory": 0.9, "s3": 1.0, "tape": 0.8}
OTHERS = {"directory": "cp + sync", "s3": "rclone copy", "tape": "dd"}
MOST_MEMORY = 200
MOST_READS, MOST_READ_BYTES, MOST_SECONDS = 3, 4_000_000, 1.0
SIZES = {"several": "250 MB", "one": "100 GB"}
OURS, THEIRS = "mailhaul", "others"

CONFIG = """\
[staging]
path = {staging}
same_device = true
[[partition]]
format = "maildir"
path = {store}
[groups]
largest_unit = "{unit}"
[[destination]]
name = "there"
{destination}
[sweep]
copies = ["there"]
look_again = "{look_again}"
"""


@dataclass(frozen=True)
class Bench:
    """Where the benchmark works, and on what."""

    place: Path
    store: stores.Store
    gateway: S3Server | None = None

    @property
    def server(self) -> S3Server:
        """The gateway, where there is one."""
        assert self.gateway is not None
        return self.gateway

    def staging(self, size: str) -> Path:
        return self.place / f"staging-{size}"

    def mailhaul(self, config: Path, *arguments: str) -> Command:
        program = Path(sys.executable).parent / "mailhaul"
        env = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.place / "bytecode")}
        return Command((str(program), "--config", str(config), *arguments), self.place, env)

    def config(
        self, path: Path, staging: Path, size: str, destination: str, look_again: str = "1 hour"
    ) -> Path:
        path.write_text(
            CONFIG.format(
                staging=json.dumps(str(staging)),
                store=json.dumps(str(self.store.root)),
                unit=SIZES[size],
                destination=destination,
                look_again=look_again,
            )
        )
        return path

    def key(self) -> Path:
        """The key of the server, as a file."""
        path = self.place / "key.env"
        path.touch(mode=0o600)
        path.write_text(f"AWS_ACCESS_KEY_ID={self.server.key}\nAWS_SECRET_ACCESS_KEY={self.server.secret}\n")
        return path

    def bucket(self, bucket: str, port: int = 0) -> str:
        """A bucket as a destination."""
        return (
            f'kind = "s3"\nendpoint = "http://127.0.0.1:{port or self.server.port}"\nbucket = "{bucket}"\n'
            f"credentials = {json.dumps(str(self.key()))}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    store = stores.find(options.setting, None, options.scratch)
    place = (options.scratch / "sweep").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    bench = Bench(place, store)
    archives = {size: _back_up(bench, size) for size in SIZES}
    ways = options.way or list(LEAST)
    result = Result(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit(),
        setting=f"sweep-{options.setting}",
        store={"kind": store.kind, "messages": store.messages, "bytes": store.size_bytes},
        machine=machine(Path(sys.executable)),
        versions={"archives": str([len(paths) for paths in archives.values()])},
    )
    for number in range(options.repetitions):
        steps: dict[str, dict[str, Step]] = {OURS: {}, THEIRS: {}}
        with new_rgw(_program) if "s3" in ways else nullcontext() as server:
            bench = Bench(place, store, server)
            for way in ways:
                for size in SIZES:
                    for name in sorted(steps, reverse=bool(number % 2)):
                        measured = _sweep if name == OURS else _copy
                        steps[name][f"{way}, {size}"] = measured(bench, way, size)
            if server is not None:
                steps[OURS]["message"], reads, read_bytes = _message(bench)
                print(f"one message: {reads} reads, {read_bytes} bytes", file=sys.stderr)
                result.versions[f"reads {number}"] = f"{reads}, {read_bytes}"
        size_bytes = sum(path.stat().st_size for path in archives["several"])
        for name, figures in steps.items():
            done = Figures(stored_bytes=size_bytes, beside_bytes=0, steps=figures)
            result.figures.setdefault(name, []).append(done)
        print(f"{number + 1}/{options.repetitions}", file=sys.stderr, flush=True)
    text = tables(result, ways)
    shutil.rmtree(place)
    print(text)
    print(f"written to {write(result, options.results, text)}", file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", nargs="?", default="2g", choices=sorted(stores.SETTINGS))
    parser.add_argument("--way", action="append", choices=list(LEAST))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=stores.ROOT / "build" / "bench")
    parser.add_argument("--results", type=Path, default=stores.ROOT / "bench" / "results")
    return parser.parse_args(arguments)


def _program(name: str) -> Path:
    return Path(shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name)


def _back_up(bench: Bench, size: str) -> list[Path]:
    """Make a staging area; its archives."""
    staging = bench.staging(size)
    config = bench.config(bench.place / "backup.toml", staging, size, 'kind = "directory"\npath = "nowhere"')
    # Of several workers each would write an archive of its own.
    workers = ("--workers", "1") if size == "one" else ()
    run(bench.mailhaul(config, "backup", *workers), bench.place / "output")
    return _archives(staging)


def _archives(staging: Path) -> list[Path]:
    return sorted(staging.glob("[!._]*/*/*.mha"))


def _sweep(bench: Bench, way: str, size: str) -> Step:
    """What a sweep of a staging area costs that was never swept; nothing of it is left."""
    place = bench.place / "run"
    place.mkdir()
    staging = place / "staging"
    # Archives never change; what lies beside them does.
    shutil.copytree(bench.staging(size), staging, copy_function=os.link)
    shutil.rmtree(staging / ".mailhaul")
    shutil.copytree(bench.staging(size) / ".mailhaul", staging / ".mailhaul")
    destination = {
        "directory": lambda: f'kind = "directory"\npath = {json.dumps(str(place / "there"))}',
        "s3": lambda: bench.bucket(bench.server.new_bucket()),
        "tape": lambda: f'kind = "tape"\nfile = {json.dumps(str(place / "there"))}',
    }[way]()
    config = bench.config(place / "mailhaul.toml", staging, size, destination)
    run(bench.mailhaul(config, "destination", "check", "there"), bench.place / "output")
    stores.warm(staging)
    os.sync()
    cost = Step.of(run(bench.mailhaul(config, "sweep"), bench.place / "output"))
    _expect_swept(bench, config)
    shutil.rmtree(place)
    return cost


def _expect_swept(bench: Bench, config: Path) -> None:
    output = bench.place / "output"
    run(bench.mailhaul(config, "sweep", "--dry-run", "--json"), output)
    (there,) = json.loads(output.read_text())["destinations"]
    if there["copied"]:
        raise SystemExit(f"{there['copied']} archives were not swept")


def _copy(bench: Bench, way: str, size: str) -> Step:
    """What it costs to copy the same archives by another program."""
    place = bench.place / "run"
    place.mkdir()
    archives = [str(path) for path in _archives(bench.staging(size))]
    command = {
        "directory": lambda: Command(("sh", "-c", 'cp "$@" . && sync', "cp", *archives), place),
        "s3": lambda: _rclone(bench, bench.staging(size), place),
        "tape": lambda: Command(("sh", "-c", _DD, "dd", *archives), place),
    }[way]()
    stores.warm(bench.staging(size))
    os.sync()
    cost = Step.of(run(command, bench.place / "output"))
    shutil.rmtree(place)
    return cost


_DD = f"""for one; do
    dd if="$one" of="$(basename "$one")" bs={RECORD_BYTES} conv=fsync status=none || exit 1
done"""


def _rclone(bench: Bench, archives: Path, place: Path) -> Command:
    server = bench.server
    settings = place / "rclone.conf"
    settings.write_text(
        f"[s]\ntype = s3\nprovider = Ceph\nendpoint = {server.endpoint}\n"
        f"access_key_id = {server.key}\nsecret_access_key = {server.secret}\n"
    )
    options = (
        f"--config={settings}", f"--transfers={STREAMS}", f"--s3-upload-concurrency={PARTS}",
        f"--s3-chunk-size={PART_BYTES}B", f"--s3-upload-cutoff={PART_BYTES}B", "--s3-no-check-bucket",
        "--include=*.mha",
    )  # fmt: skip
    argv = ("rclone", "copy", *options, str(archives), f"s:{server.new_bucket()}/site1")
    # Its client can't do with a bundle of certificates that is set for others.
    return Command(argv, place, {"AWS_CA_BUNDLE": ""})


def _message(bench: Bench) -> tuple[Step, int, int]:
    """What one message costs out of an archive that has left the staging area; how many reads of data that
    were, and of how many bytes."""
    place = bench.place / "run"
    place.mkdir()
    staging = place / "staging"
    shutil.copytree(bench.staging("one"), staging)
    output, bucket = bench.place / "output", bench.server.new_bucket()
    config = place / "mailhaul.toml"
    bench.config(config, staging, "one", bench.bucket(bucket) + _KEEP_NOTHING, look_again="0s")
    run(bench.mailhaul(config, "destination", "check", "there"), output)
    run(bench.mailhaul(config, "sweep"), output)
    if _archives(staging):
        raise SystemExit("the archive has not left the staging area")
    sample = bench.store.sample
    message = f"/primary/user/{quote(sample.user, safe='')}/INBOX/{sample.uid}"
    with HttpProxy(bench.server.port) as proxy:
        bench.config(config, staging, "one", bench.bucket(bucket, proxy.port) + _KEEP_NOTHING)
        command = bench.mailhaul(config, "restore", message, "--to", f"maildir:{place / 'restored'}")
        cost = Step.of(run(command, output))
        reads = [seen for seen in proxy.seen if seen.method == "GET" and "/primary/" in seen.path]
    restored = [path for path in (place / "restored").rglob("*") if path.parent.name in ("cur", "new")]
    if [stores.digest(path) for path in restored] != [stores.digest(bench.store.root / sample.message)]:
        raise SystemExit(f"{message} did not come back as it was: {restored}")
    shutil.rmtree(place)
    return cost, len(reads), sum(one.received_bytes for one in reads)


_KEEP_NOTHING = '\n[sweep.group.user]\ncopies = ["there"]\nkeep_staged = "0s"\nkeep_newest = false'


def tables(result: Result, ways: Sequence[str]) -> str:
    """What was measured, and the targets."""
    lines = [*heading(result), "", "| | wall s | CPU s | peak MB |", "|---|---|---|---|"]
    steps = [f"{way}, {size}" for way in ways for size in SIZES]
    for step in steps:
        for name in (OURS, THEIRS):
            shown = OURS if name == OURS else OTHERS[step.partition(",")[0]]
            figures = [result.median(name, of(step)) for of in (wall, cpu, memory)]
            lines.append(f"| {shown}: {step} | {figures[0]:.2f} | {figures[1]:.2f} | {figures[2]:.0f} |")
    lines += ["", *TARGETS_HEAD]
    for step in steps:
        way = step.partition(",")[0]
        slower = result.ratio(OURS, THEIRS, wall(step))
        lines.append(target(f"{step}: wall time / {OTHERS[way]}", slower, 1 / LEAST[way]))
    for step in steps:
        lines.append(target(f"{step}: peak MB", result.median(OURS, memory(step)), MOST_MEMORY))
    if "s3" in ways:
        reads = [told.split(", ") for name, told in result.versions.items() if name.startswith("reads")]
        lines.append(target("message: reads of data", max(int(one) for one, _ in reads), MOST_READS))
        lines.append(target("message: bytes read", max(int(one) for _, one in reads), MOST_READ_BYTES))
        lines.append(target("message: wall s", result.median(OURS, wall("message")), MOST_SECONDS))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
