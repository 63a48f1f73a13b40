"""Sixty nights on end: is the last one restored as fast as from a fresh full backup?

    python -m mailhaul.bench.macro.chain [--nights 60] [--size 200M] [--mailboxes 50] [--repetitions 5]

A store of real mail is backed up, then lives a day (1 % of churn) and is backed up again, sixty times.
Then the last night is restored from that chain, and from one full backup of the same store, in turns. Needs
the corpus (env MAILHAUL_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from . import stores
from .measure import Command, Measured, run


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    place = options.scratch / "chain"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    store, chain, fresh = place / "store", place / "chain", place / "fresh"
    corpus = stores.corpus_place()
    _make(corpus, store, "--mailboxes", str(options.mailboxes), "--size", options.size, "--attachments")
    _backup(store, chain)
    for _ in range(options.nights):
        _make(corpus, store, "--churn", "0.01")
        _backup(store, chain)
    _backup(store, fresh)
    seconds: dict[Path, list[Measured]] = {chain: [], fresh: []}
    for turn in range(options.repetitions):
        for staging in (chain, fresh) if turn % 2 else (fresh, chain):
            stores.warm(staging)
            os.sync()
            seconds[staging].append(_restore(staging, place / "restored"))
    archives = {one: len(list(one.rglob("*.mha"))) for one in (chain, fresh)}
    print("| restore of the last night from | archives | wall s | CPU s |")
    print("|---|---|---|---|")
    for name, staging in ((f"{options.nights} incremental runs", chain), ("one full run", fresh)):
        wall = median(measured.wall_seconds for measured in seconds[staging])
        cpu = median(one.cpu_seconds for one in seconds[staging])
        print(f"| {name} | {archives[staging]} | {wall:.2f} | {cpu:.2f} |")
    pairs = zip(seconds[chain], seconds[fresh], strict=True)
    ratio = median(mine.wall_seconds / other.wall_seconds for mine, other in pairs)
    print(f"\nratio (median of {options.repetitions}): {ratio:.2f}, at most 1.50")
    shutil.rmtree(place)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--size", default="200M")
    parser.add_argument("--mailboxes", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--scratch", type=Path, default=stores.ROOT / "build" / "bench")
    return parser.parse_args(arguments)


def _make(corpus: Path, out: Path, *options: str) -> None:
    # Of the corpora one that is soon unpacked: this is done for each night.
    argv = [sys.executable, *stores.corpus_maker(corpus, out, *options, corpora=["spamassassin"])]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def _mailhaul(*arguments: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("mailhaul")), *arguments, "--json")


def _backup(store: Path, staging: Path) -> None:
    arguments = ("backup", "--store", f"maildir:{store}", "--staging", str(staging), "--workers", "2")
    # Status 3: so much of a small mailbox has vanished in a day that mailhaul asks whether this is right.
    run(Command(_mailhaul(*arguments), store.parent, ok=(0, 3)), store.parent / "output")


def _restore(staging: Path, target: Path) -> Measured:
    arguments = ("restore", "/", "--staging", str(staging), "--to", f"maildir:{target}", "--workers", "2")
    done = run(Command(_mailhaul(*arguments), staging.parent), staging.parent / "output")
    told = json.loads(done.output.read_text())
    if not told["restored"] or told["skipped"] or told["damaged"]:
        raise SystemExit(f"the restore left something out: {told['skipped'][:1]} {told['damaged'][:1]}")
    shutil.rmtree(target)
    return done


if __name__ == "__main__":
    main()
