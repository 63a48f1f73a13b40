"""A first full backup and the nights after it, nothing changed and 1 % changed, beside restic, borg, tar.

    python -m mailhaul.bench.macro.nights small|2g|many [--size BYTES] [--rounds N] [--program NAME]...
                                          [--base CHECKOUT]

Every program backs up one store of real mail in full, so many times, each time into a new repository. Then,
for as many nights: a backup when nothing has changed since the last one, a day of life (1 % of the messages
delivered, flagged, moved, expunged; a mailbox comes, one goes, a folder is renamed), and a backup of that.
All programs see the same store in the same state; their order rotates. Ours are built and installed for the
system's interpreter. ``--base``: an earlier state of this repository takes part with each of our programs, in
turns with the present one. What the archives are made of is said, too. Needs the corpus (env
MAILHAUL_SHARED). Prints the tables and writes them to bench/results/.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from . import frame_sizes, programs, stores
from .installed import interpreter
from .machine import commit, machine
from .measure import run
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
    stored,
    target,
    wall,
    write,
)

OURS, ONE, TAR = "mailhaul lz4 2w", "mailhaul lz4 1w", "tar | lz4"
PURE = f"{ONE}, {programs.PURE}"
CLEAR, SEALED = f"{OURS}{programs.CONFIGURED}", f"{OURS}{programs.ENCRYPTED}"
PROGRAMS = (OURS, CLEAR, SEALED, ONE, PURE, "restic", "borg lz4", TAR)
FIRST, UNCHANGED, CHANGED = STEPS = ("first", "unchanged", "changed")
LIMITS = {
    (FIRST, "restic"): 0.28,
    (FIRST, "borg lz4"): 1 / 3,
    (UNCHANGED, "restic"): 0.12,
    (UNCHANGED, "borg lz4"): 1 / 5,
    (CHANGED, "restic"): 0.15,
}
OF_TAR = {"small": 1.3, "2g": 0.55}
FIRST_OF_BASE = {"small": 0.6, "2g": 0.7, "many": 0.6}
NIGHTS_OF_BASE = {UNCHANGED: 0.5, CHANGED: 0.4}
MOST_PURE = 1.05
MOST_SEALED_WALL, MOST_SEALED_CPU, MOST_SEALED_BYTES = 1.15, 1.2, 1.01
MOST_ARCHIVE_BYTES, MOST_METADATA_BYTES = 1.15, 100


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    place = options.scratch / "nights"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    root = place / "store"
    size = ["--size", options.size] if options.size else []
    _make(root, *stores.SETTINGS[options.setting][0], *size)
    store = stores.look_at(root, "corpus")
    makers, versions = programs.makers(options.program or PROGRAMS, options.base, options.scratch)
    bench = _Bench(place, store, makers)
    result = Result(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit(),
        setting=f"nights-{options.setting}",
        store={"kind": "corpus", "messages": store.messages, "bytes": store.size_bytes},
        machine=machine(interpreter()),
        versions=versions,
    )
    first = [bench.first(number) for number in range(options.rounds)]
    full = frame_sizes.sizes(bench.archives())
    written: list[Counter[str]] = []
    for number, steps in enumerate(first):
        for name, step in bench.turn(number, nightly=True).items():
            steps[name][UNCHANGED] = step
        _make(root, "--churn", "0.01")
        before = bench.archives()
        for name, step in bench.turn(number, nightly=True).items():
            steps[name][CHANGED] = step
        written.append(frame_sizes.sizes(bench.archives() - before))
        for name in makers:
            stored_bytes, beside = bench.running[name].stored()
            figures = Figures(stored_bytes=stored_bytes, beside_bytes=beside, steps=steps[name])
            result.figures.setdefault(name, []).append(figures)
        print(f"night {number + 1}/{options.rounds}", file=sys.stderr, flush=True)
    text = tables(result)
    if full:
        text += "\n".join(_archive_tables(full, store.messages, written)) + "\n"
    shutil.rmtree(place)
    print(text)
    print(f"written to {write(result, options.results, text)}", file=sys.stderr)


class _Bench:
    """The programs that back up one store in turns, each with its repository below ``place``."""

    def __init__(self, place: Path, store: stores.Store, makers: dict[str, programs.Maker]) -> None:
        self._place, self._store, self._makers = place, store, makers
        self.running: dict[str, programs.Program] = {}

    def first(self, number: int) -> dict[str, dict[str, Step]]:
        """A backup of all by each program, in turn ``number``, into a new repository."""
        for name, maker in self._makers.items():
            own = self._place / name.replace(" ", "-").replace("|", "")
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            self.running[name] = maker(own, self._store)
            if command := self.running[name].create():
                run(command, self._place / "output")
        return {name: {FIRST: step} for name, step in self.turn(number, nightly=False).items()}

    def turn(self, number: int, *, nightly: bool) -> dict[str, Step]:
        """A backup by each program; in the nights after the first, by those that know of the one before."""
        names = [name for name in self._makers if not (nightly and name == TAR)]
        shift = number % len(names)
        steps = {name: self._backup(name) for name in names[shift:] + names[:shift]}
        # Marks that are younger than the clock's tick are not believed; a real night is longer than this.
        time.sleep(0.1)
        return steps

    def archives(self) -> set[Path]:
        """What the present state of ours has written so far; none if it does not take part."""
        ours = self.running.get(OURS)
        return ours.archives() if isinstance(ours, programs.Mailhaul) else set()

    def _backup(self, name: str) -> Step:
        # The same page cache for all; what was written before is nobody's burden.
        stores.warm(self._store.root)
        os.sync()
        return Step.of(run(self.running[name].backup(), self._place / "output"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", choices=sorted(stores.SETTINGS))
    parser.add_argument("--size", help="of another store of this kind, as 330M")
    parser.add_argument("--rounds", type=int, default=3, help="first backups, and nights of both kinds")
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--base", type=Path, metavar="CHECKOUT")
    parser.add_argument(
        "--scratch", type=Path, default=stores.ROOT / "build" / "bench", help="stores and repositories"
    )
    parser.add_argument("--results", type=Path, default=stores.ROOT / "bench" / "results")
    return parser.parse_args(arguments)


def _make(out: Path, *options: str) -> None:
    argv = [sys.executable, *stores.corpus_maker(stores.corpus_place(), out, *options)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def tables(result: Result) -> str:
    """The run as markdown that fits a terminal."""
    text = [*heading(result)]
    for step, title in zip(STEPS, ("first backup", "nothing changed", "1 % changed"), strict=True):
        text += ["", f"| {title} | wall s | CPU s | peak MB | stored MB |", "|---|---|---|---|---|"]
        for name, figures in result.figures.items():
            if step in figures[0].steps:
                cells = [f"{result.median(name, of(step)):.2f}" for of in (wall, cpu, memory)]
                cells.append(f"{result.median(name, stored):.1f}" if step == CHANGED else "")
                text.append("| " + " | ".join([name.replace("|", "\\|"), *cells]) + " |")
    text += [*against_base(result, STEPS), "", *TARGETS_HEAD]
    for (step, other), limit in LIMITS.items():
        text += _against(result, step, other, limit)
    setting = result.setting.partition("-")[2]
    if setting in OF_TAR:
        text += _against(result, FIRST, TAR, OF_TAR[setting])
    for name in (OURS, ONE):
        if {name, based(name)} <= result.figures.keys():
            for step, limit in {FIRST: FIRST_OF_BASE[setting], **NIGHTS_OF_BASE}.items():
                ratio = result.ratio(name, based(name), cpu(step))
                text.append(target(f"{step}, CPU: {name} / base", ratio, limit))
            text.append(target(f"stored: {name} / base", result.ratio(name, based(name), stored), 1))
    if {SEALED, CLEAR} <= result.figures.keys():
        for step in STEPS:
            ratio = result.ratio(SEALED, CLEAR, wall(step))
            text.append(target(f"{step}, wall: encrypted / in clear", ratio, MOST_SEALED_WALL))
            ratio = result.ratio(SEALED, CLEAR, cpu(step))
            text.append(target(f"{step}, CPU: encrypted / in clear", ratio, MOST_SEALED_CPU))
        ratio = result.ratio(SEALED, CLEAR, stored)
        text.append(target("stored: encrypted / in clear", ratio, MOST_SEALED_BYTES))
    if {PURE, based(ONE)} <= result.figures.keys():
        for step in STEPS:
            ratio = result.ratio(PURE, based(ONE), cpu(step))
            text.append(target(f"{step}, CPU: {PURE} / base", ratio, MOST_PURE))
    return "\n".join(text) + "\n"


def _against(result: Result, step: str, other: str, limit: float) -> list[str]:
    if not {OURS, other} <= result.figures.keys():
        return []
    return [target(f"{step}, wall: {OURS} / {other}", result.ratio(OURS, other, wall(step)), limit)]


def _archive_tables(full: Counter[str], messages: int, nights: Sequence[Counter[str]]) -> list[str]:
    """What the first backup and the nights came to, by type of frame."""
    metadata = full.total() - full["BLOCK"]
    each, search = metadata / messages, full["SEARCH"] / messages
    # Every folder of which something changed is told of in MESSAGES and SEARCH frames, and those alone.
    shares = [night.total() / (night["BLOCK"] + night["MESSAGES"] + night["SEARCH"]) for night in nights]
    text = [target("metadata, bytes a message, without search terms", each - search, MOST_METADATA_BYTES)]
    if shares:
        limit = "archive of a 1 % night / (new data + messages of changed folders)"
        text.append(target(limit, median(shares), MOST_ARCHIVE_BYTES))
    text += ["", "the first backup", "", *frame_sizes.table(full)]
    if nights:
        text += ["", "the nights of 1 %, all together", "", *frame_sizes.table(sum(nights, Counter[str]()))]
    return text


if __name__ == "__main__":
    main()
