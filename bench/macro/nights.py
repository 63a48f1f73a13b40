"""The nights after the first backup: nothing changed, and 1 % changed; beside restic and borg.

    python -m mailhaul.bench.macro.nights [--size 2G] [--plain] [--mailboxes 200] [--nights N]
                                          [--program NAME]... [--base CHECKOUT]

Every program backs up one store of real mail in full. Then, each night: a backup when nothing has changed
since the last one, a day of life (1 % of the messages delivered, flagged, moved, expunged; a mailbox comes,
one goes, a folder is renamed), and a backup of that. All programs see the same store in the same state; their
order rotates. ``--base``: an earlier state of this repository, with its own .venv, takes part as another
program. ``--plain``: without attachments, so that there are many messages for their bytes. What the archives
are made of is told, too. Needs the corpus (env MAILHAUL_SHARED). Prints the tables and writes them to
bench/results/.
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

from . import frame_sizes, peers, programs, stores
from .measure import run
from .report import TARGETS_HEAD, Figures, Result, Step, cpu, heading, memory, target, wall, write

OURS, BASE = "mailhaul lz4 2w", "mailhaul before"
PROGRAMS = (OURS, "mailhaul lz4 1w", "restic", "borg lz4")
STEPS = ("unchanged", "changed")
LIMITS = {("unchanged", "restic"): 1 / 5, ("unchanged", "borg lz4"): 1 / 5, ("changed", "restic"): 1 / 5}
MOST_ARCHIVE_BYTES, MOST_METADATA_BYTES = 1.15, 100


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    corpus = stores.corpus_place()
    place = options.scratch / "nights"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    root, output = place / "store", place / "output"
    size = ("--partitions", "2", "--mailboxes", str(options.mailboxes), "--size", options.size)
    _make(corpus, root, *size, *([] if options.plain else ["--attachments"]))
    store = stores.look_at(root, "corpus")
    wanted = [name for name in options.program or PROGRAMS if not programs.missing(name)]
    running = {name: programs.PROGRAMS[name][0](place / name.replace(" ", "-"), store) for name in wanted}
    versions = {name: programs.version(name) for name in wanted}
    if options.base is not None:
        running[BASE] = programs.of_checkout(OURS, options.base)(place / BASE.replace(" ", "-"), store)
        wanted.append(BASE)
        versions[BASE] = peers.commit(options.base)
    result = Result(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=peers.commit(),
        setting="nights",
        store={"kind": "corpus", "messages": store.messages, "bytes": store.size_bytes},
        machine=peers.machine(),
        versions=versions,
    )

    def night(name: str) -> Step:
        # The same page cache for all; what was written before is nobody's burden.
        stores.warm(root)
        os.sync()
        return Step.of(run(running[name].backup(), output))

    first: dict[str, Step] = {}
    for name in wanted:
        (place / name.replace(" ", "-")).mkdir()
        if command := running[name].create():
            run(command, output)
        if isinstance(running[name], programs.Mailhaul):
            run(running[name].backup(), output)  # so that it is compiled: what it wrote is written again
            shutil.rmtree(place / name.replace(" ", "-") / "staging")
        first[name] = night(name)
        # Marks that are younger than the clock's tick are not believed; a real night is longer than this.
        time.sleep(0.1)
    ours = running.get(OURS)
    full = ours.archives() if isinstance(ours, programs.Mailhaul) else set()
    written: list[Counter[str]] = []
    for number in range(1, options.nights + 1):
        order = wanted[number % len(wanted) :] + wanted[: number % len(wanted)]
        steps: dict[str, dict[str, Step]] = {name: {} for name in wanted}
        for name in order:
            steps[name]["unchanged"] = night(name)
        _make(corpus, root, "--churn", "0.01")
        before = ours.archives() if isinstance(ours, programs.Mailhaul) else set()
        for name in order:
            steps[name]["changed"] = night(name)
        if isinstance(ours, programs.Mailhaul):
            written.append(frame_sizes.sizes(ours.archives() - before))
        for name in wanted:
            stored, beside = running[name].stored()
            all_steps = {"first": first[name], **steps[name]}
            figures = Figures(stored_bytes=stored, beside_bytes=beside, steps=all_steps)
            result.figures.setdefault(name, []).append(figures)
        print(f"{number}/{options.nights}", file=sys.stderr, flush=True)
    text = tables(result)
    if full:
        text += "\n".join(_archive_tables(frame_sizes.sizes(full), store.messages, written)) + "\n"
    shutil.rmtree(place)
    print(text)
    print(f"written to {write(result, options.results, text)}", file=sys.stderr)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="2G")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--mailboxes", type=int, default=200)
    parser.add_argument("--nights", type=int, default=5)
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--base", type=Path, metavar="CHECKOUT")
    parser.add_argument(
        "--scratch", type=Path, default=peers.ROOT / "build" / "bench", help="stores and repositories"
    )
    parser.add_argument("--results", type=Path, default=peers.ROOT / "bench" / "results")
    return parser.parse_args(arguments)


def _make(corpus: Path, out: Path, *options: str) -> None:
    argv = [sys.executable, *stores.corpus_maker(corpus, out, *options)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def tables(result: Result) -> str:
    """The run as markdown that fits a terminal."""
    text = [
        *heading(result),
        "",
        "| first backup | wall s | CPU s | peak MB |",
        "|---|---|---|---|",
    ]
    for name in result.figures:
        cells = [f"{result.median(name, figure('first')):.2f}" for figure in (wall, cpu, memory)]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    text += [
        "",
        "| a night | nothing changed: wall s | CPU s | peak MB | 1 % changed: wall s | CPU s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in result.figures:
        figures = [figure(step) for step in STEPS for figure in (wall, cpu, memory)]
        cells = [f"{result.median(name, figure):.2f}" for figure in figures]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    text += ["", *TARGETS_HEAD]
    for (step, other), limit in LIMITS.items():
        if {OURS, other} <= result.figures.keys():
            ratio = result.ratio(OURS, other, wall(step))
            text.append(target(f"{step}, wall: {OURS} / {other}", ratio, limit))
    if {OURS, BASE} <= result.figures.keys():
        for step in ("first", *STEPS):
            text.append(target(f"{step}, CPU: {OURS} / {BASE}", result.ratio(OURS, BASE, cpu(step)), 1))
    return "\n".join(text) + "\n"


def _archive_tables(full: Counter[str], messages: int, nights: Sequence[Counter[str]]) -> list[str]:
    """What the first backup and the nights came to, by type of frame."""
    metadata = full.total() - full["BLOCK"]
    each, search = metadata / messages, full["SEARCH"] / messages
    # Every folder of which something changed is told of in MESSAGES and SEARCH frames, and those alone.
    shares = [one.total() / (one["BLOCK"] + one["MESSAGES"] + one["SEARCH"]) for one in nights]
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
