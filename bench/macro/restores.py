"""Restores beside restic and borg: all of a store, and one message with the start of the program.

    python -m mailhaul.bench.macro.restores small|2g|many [--store DIR] [--repetitions N] [--program NAME]...
                                            [--base CHECKOUT]

Each program backs the store up once. Then, in turns, each restores all of it into a new directory, and
one message into another. What was restored stays until the end: ext4 passes over the inodes of files that
were just removed, one by one, which costs whoever restores next as much as the restore itself. So the disk
has to hold the store once for each program and repetition.

``all, durable`` is the time until what was restored would survive a crash: with a ``sync`` behind the
program, of which little is left behind mailhaul, which does that for each mailbox. ``cp -a`` of the store is
what writing these files alone takes, without finding, decoding and checking them; ``python -c pass`` is the
least that a program in Python takes. In the first repetition all that comes back is compared with the
store. ``--base``: an earlier state of this repository takes part. Prints the tables and writes them to
bench/results/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import programs, stores
from .installed import interpreter
from .machine import commit, machine
from .measure import Command, run
from .report import (
    TARGETS_HEAD,
    Figures,
    Result,
    Step,
    against_base,
    based,
    cpu,
    heading,
    memory,
    target,
    wall,
    write,
)

OURS, COPY, FLOOR = "mailhaul", "cp -a", "python -c pass"
CLEAR, SEALED = f"{OURS}{programs.CONFIGURED}", f"{OURS}{programs.ENCRYPTED}"
PROGRAMS = (OURS, CLEAR, SEALED, "restic", "borg lz4")
ALL, DURABLE, MESSAGE = "all", "all, durable", "message"
MOST_OF_THE_BETTER, MOST_OF_BASE, MOST_MESSAGE_SECONDS = 0.40, 0.65, 0.5
MOST_SEALED = 1.15


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    store = stores.find(options.setting, options.store, options.scratch)
    place = (options.scratch / "restores").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    makers, versions = programs.makers(options.program or PROGRAMS, options.base, options.scratch)
    running = {name: maker(place / name, store) for name, maker in makers.items()}
    for name, program in running.items():
        (place / name).mkdir(exist_ok=True)
        for command in filter(None, (program.create(), program.backup())):
            run(command, place / "output")
    result = Result(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit(),
        setting=f"restores-{options.setting}",
        store={"kind": store.kind, "messages": store.messages, "bytes": store.size_bytes},
        machine=machine(interpreter()),
        versions=versions,
    )
    for repetition in range(options.repetitions):
        turn = repetition % len(running)
        for name in [*running, *running][turn : turn + len(running)]:
            print(f"{repetition + 1}/{options.repetitions} {name}", file=sys.stderr, flush=True)
            steps = _measure(place / name, running[name], store, repetition)
            result.figures.setdefault(name, []).append(
                Figures(stored_bytes=running[name].stored()[0], beside_bytes=0, steps=steps)
            )
        copy = place / "copy" / str(repetition)
        copy.mkdir(parents=True)
        stores.warm(store.root)
        least = {
            COPY: _written(Command(("cp", "-a", str(store.root), str(copy)), place), place),
            FLOOR: {MESSAGE: Step.of(run(Command((sys.executable, "-c", "pass"), place), place / "output"))},
        }
        for name, steps in least.items():
            figures = Figures(stored_bytes=0, beside_bytes=0, steps=steps)
            result.figures.setdefault(name, []).append(figures)
        result.versions[f"load after {repetition + 1}"] = f"{os.getloadavg()[0]:.2f}"
    text = tables(result)
    print(text)
    print(f"written to {write(result, options.results, text)}", file=sys.stderr)
    shutil.rmtree(place)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", choices=sorted(stores.SETTINGS))
    parser.add_argument("--store", type=Path, help="a built store, read only, instead of making one")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--base", type=Path, metavar="CHECKOUT")
    parser.add_argument("--scratch", type=Path, default=stores.ROOT / "build" / "bench")
    parser.add_argument("--results", type=Path, default=stores.ROOT / "bench" / "results")
    return parser.parse_args(arguments)


def _measure(place: Path, program: programs.Program, store: stores.Store, repetition: int) -> dict[str, Step]:
    everything, path = place / f"all-{repetition}", place / f"one-{repetition}"
    steps: dict[str, Step] = {}
    for target_directory in (everything, path):
        target_directory.mkdir()
    stores.warm(place / "repository" if (place / "repository").exists() else place / "staging")
    steps |= _written(program.restore(everything), place)
    steps[MESSAGE] = Step.of(run(program.restore_message(path, store.sample), place / "output"))
    if not repetition:
        for differing in (
            store.differences(program.restored(everything)),
            store.differences(program.restored(path), store.sample.message),
        ):
            if differing:
                raise SystemExit(f"{place.name}: {len(differing)} files differ, as {differing[0]}")
    return steps


def _written(command: Command, place: Path) -> dict[str, Step]:
    """What it takes to write a store, and until that is durable."""
    os.sync()
    whole = Step.of(run(command, place / "output"))
    began = time.perf_counter()
    os.sync()
    synced = time.perf_counter() - began
    return {ALL: whole, DURABLE: replace(whole, wall_seconds=round(whole.wall_seconds + synced, 3))}


def tables(result: Result) -> str:
    """What was measured, and the targets."""
    lines = [
        *heading(result),
        f"load average before: {result.machine['load_before']}, "
        + ", ".join(f"{name}: {load}" for name, load in result.versions.items() if name.startswith("load")),
        "",
        "| | all: wall s | until durable: wall s | CPU s | peak MB | one message: wall s | CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    measured = [name for name in result.figures if name not in (COPY, FLOOR)]
    for name in measured:
        seconds = [wall(ALL), wall(DURABLE), cpu(ALL), wall(MESSAGE), cpu(MESSAGE)]
        cells = [f"{result.median(name, figure):.2f}" for figure in seconds]
        cells.insert(3, f"{result.median(name, memory(ALL)):.0f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    copied = [f"{result.median(COPY, figure):.2f}" for figure in (wall(ALL), wall(DURABLE), cpu(ALL))]
    lines.append(f"| {COPY} | " + " | ".join(copied) + " | - | - | - |")
    least = [f"{result.median(FLOOR, figure(MESSAGE)):.2f}" for figure in (wall, cpu)]
    lines.append(f"| {FLOOR} | - | - | - | - | " + " | ".join(least) + " |")
    lines += [*against_base(result, (ALL, DURABLE, MESSAGE)), "", *TARGETS_HEAD]
    others = [name for name in measured if name not in (OURS, CLEAR, SEALED, based(OURS))]
    for step in (ALL, DURABLE) if others and OURS in measured else ():
        best = min(others, key=lambda name: result.median(name, wall(step)))
        ratio = result.ratio(OURS, best, wall(step))
        lines.append(target(f"{step}: wall time of {best}", ratio, MOST_OF_THE_BETTER))
        ratio = result.ratio(OURS, COPY, wall(step))
        lines.append(f"| {step}: wall time of {COPY} | {ratio:.2f} | - | - |")
    for best in others if OURS in measured else ():
        lines.append(f"| {ALL}: CPU time of {best} | {result.ratio(OURS, best, cpu(ALL)):.2f} | - | - |")
    if based(OURS) in measured:
        ratio = result.ratio(OURS, based(OURS), cpu(ALL))
        lines.append(target(f"{ALL}: CPU time of base", ratio, MOST_OF_BASE))
    if {SEALED, CLEAR} <= set(measured):
        for step in (ALL, DURABLE):
            ratio = result.ratio(SEALED, CLEAR, wall(step))
            lines.append(target(f"{step}, wall: encrypted / in clear", ratio, MOST_SEALED))
        ratio = result.ratio(SEALED, CLEAR, cpu(ALL))
        lines.append(f"| {ALL}, CPU: encrypted / in clear | {ratio:.2f} | - | - |")
    if OURS in measured:
        lines.append(target("one message: wall s", result.median(OURS, wall(MESSAGE)), MOST_MESSAGE_SECONDS))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
