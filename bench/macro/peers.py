"""mailhaul beside restic, borg and ``tar | lz4``: one run, one store, the same questions.

    python -m mailhaul.bench.macro.peers small|2g [--store DIR] [--repetitions N] [--program NAME]...
                                         [--base CHECKOUT]

Each program backs up the whole store into a new repository, restores all of it, one mailbox, one
message. In the first repetition all that comes back is compared with the store. Before each step all
files that it reads are read once, and what was written before is flushed; the order of the programs
rotates from repetition to repetition. Ours are built and installed for the system's interpreter.
``--base``: an earlier state of this repository takes part with each of our programs, in turns with the
present one, and a table says what has become of their CPU seconds. Prints the tables and writes them, with
every single figure, to bench/results/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import programs, stores
from .installed import interpreter
from .machine import commit, machine
from .measure import Command, run
from .report import BASE, Figures, Result, Step, tables, write

ROOT = stores.ROOT
PROGRAMS = ("mailhaul lz4 2w", "mailhaul lz4 1w", "mailhaul zstd 2w", "mailhaul zstd 1w", *programs.PEERS)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    store = stores.find(options.setting, options.store, options.scratch)
    wanted = list(options.program or PROGRAMS)
    makers, versions = programs.makers(wanted, options.base, options.scratch)
    result = Result(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit(),
        setting=options.setting,
        store={
            "kind": store.kind,
            "messages": store.messages,
            "files": len(store.files),
            "bytes": store.size_bytes,
        },
        machine=machine(interpreter()),
        versions=versions,
    )
    order = sorted(makers, key=lambda name: name.removesuffix(BASE))
    for repetition in range(options.repetitions):
        turn = repetition % len(order)
        for name in order[turn:] + order[:turn]:
            _tell(f"{repetition + 1}/{options.repetitions} {name}")
            place = options.scratch / "run"
            figures = _measure(name, makers[name], store, place, compare=repetition == 0)
            result.figures.setdefault(name, []).append(figures)
    text = tables(result)
    print(text)
    _tell(f"written to {write(result, options.results, text)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", choices=sorted(stores.SETTINGS))
    parser.add_argument("--store", type=Path, help="a built store, read only, instead of making one")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--program", action="append", choices=[*programs.OURS, *programs.PEERS])
    parser.add_argument("--base", type=Path, metavar="CHECKOUT")
    parser.add_argument(
        "--scratch", type=Path, default=ROOT / "build" / "bench", help="stores and repositories"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results")
    return parser.parse_args(arguments)


def _measure(name: str, maker: programs.Maker, store: stores.Store, place: Path, *, compare: bool) -> Figures:
    """One repetition of one program, in an empty directory that is removed afterwards.

    ``compare``: hold all restored files against the store; the single message always is.
    """
    _remove(place)
    place.mkdir()
    target, output = place / "target", place / "output"
    program = maker(place / "program", store)
    (place / "program").mkdir(exist_ok=True)
    if command := program.create():
        run(command, output)

    def step(command: Command, reads: Path) -> Step:
        stores.warm(reads)
        os.sync()
        return Step.of(run(command, output))

    def restore(command: Command, below: Path | None) -> Step:
        cost = step(command, place / "program")
        if compare:
            _expect_same(name, store.differences(program.restored(target), below))
        _remove(target)
        target.mkdir()
        return cost

    target.mkdir()
    backup = step(program.backup(), store.root)
    stored, beside = program.stored()
    everything = restore(program.restore(target), None)
    mailbox = restore(program.restore_mailbox(target, store.sample), store.sample.mailbox)
    message = step(program.message(store.sample), place / "program")
    if stores.digest(output) != stores.digest(store.root / store.sample.message):
        _expect_same(name, [str(store.sample.message)])
    _remove(place)
    steps = {"backup": backup, "restore": everything, "mailbox": mailbox, "message": message}
    return Figures(stored_bytes=stored, beside_bytes=beside, steps=steps)


def _expect_same(name: str, differing: list[str]) -> None:
    if differing:
        raise SystemExit(f"{name}: {len(differing)} files came back missing or different, as {differing[0]}")


def _remove(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
