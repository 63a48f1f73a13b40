"""A night on a large store in which nothing changed: what it costs, and that this goes with the folders.

    python -m mailhaul.bench.macro.scale --place DIR [--folders 20000] [--messages 50] [--changed 0.01]

Builds mailboxes of ten folders with small messages below DIR (1,000,000 messages with the defaults: a file
system with as many free inodes, and 8 GB; a tmpfs does), backs up a quarter of the folders, then all, each
time: in full, with nothing changed, with a share of the messages new. Prints wall and CPU seconds, peak
memory and, where strace is installed, system calls.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .measure import Command, Measured, run

FOLDERS_OF_A_MAILBOX = 10
_NAMES = ("", *(f".Folder{number}" for number in range(1, FOLDERS_OF_A_MAILBOX)))
_MADE_AT = 1_790_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    print("| folders | messages | what | wall s | CPU s | peak MB | system calls | a folder |")
    print("|---|---|---|---|---|---|---|---|")
    for folders in (options.folders // 4, options.folders):
        place = options.place / f"scale-{folders}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            _measure(place, folders, options)
        finally:
            shutil.rmtree(place)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--place", type=Path, required=True, help="where store and staging area are made")
    parser.add_argument("--folders", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=50, help="in each folder")
    parser.add_argument("--changed", type=float, default=0.01, help="share of the messages")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args(arguments)


def _measure(place: Path, folders: int, options: argparse.Namespace) -> None:
    store = place / "store"
    messages = folders * options.messages
    for mailbox in range(folders // FOLDERS_OF_A_MAILBOX):
        for name in _NAMES:
            _fill(store / f"user{mailbox:05}" / "Maildir" / name, range(options.messages))
    time.sleep(0.1)

    def line(what: str, *, strace: bool = False) -> None:
        os.sync()
        done = _backup(place, options.workers)
        told = json.loads(done.output.read_text())
        calls = _calls(place, options.workers) if strace else None
        cells = [
            f"{folders:,}", f"{told['messages']:,}", what, f"{done.wall_seconds:.2f}",
            f"{done.cpu_seconds:.2f}", f"{done.peak_memory_bytes / 1e6:.0f}",
            f"{calls:,}" if calls else "-", f"{calls / folders:.1f}" if calls else "-",
        ]  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)

    line("all, first time")
    line("nothing changed", strace=True)
    # New mail where it usually comes: in few folders.
    new = round(messages * options.changed)
    _fill(store / "user00000" / "Maildir", range(options.messages, options.messages + new // 2))
    for mailbox in range(1, folders // FOLDERS_OF_A_MAILBOX, 10):
        share = max(1, new // 2 // max(1, folders // FOLDERS_OF_A_MAILBOX // 10))
        _fill(
            store / f"user{mailbox:05}" / "Maildir",
            range(options.messages, options.messages + share),
        )
    time.sleep(0.1)
    line(f"{options.changed:.0%} new")


def _fill(folder: Path, numbers: range) -> None:
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    where = str(folder).replace("/", ".")
    for number in numbers:
        name = f"{_MADE_AT + number}.M{number}P1.host:2,S"
        text = (
            f"From: someone{number}@example.org\nTo: {where}@example.org\nSubject: message {number}\n"
            f"Message-ID: <{number}.{where}@example.org>\n\n" + f"{where} {number} says little.\n" * 20
        )
        fd = os.open(folder / "cur" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, text.encode())
        os.close(fd)


def _command(place: Path, workers: int) -> tuple[str, ...]:
    program = str(Path(sys.executable).with_name("mailhaul"))
    store, staging = f"maildir:{place / 'store'}", str(place / "staging")
    return (program, "backup", "--store", store, "--staging", staging, "--json", "--workers", str(workers))


def _backup(place: Path, workers: int) -> Measured:
    return run(Command(_command(place, workers), place), place / "output")


def _calls(place: Path, workers: int) -> int | None:
    """How many system calls the same backup makes again, in all its processes."""
    if shutil.which("strace") is None:
        return None
    counted = place / "calls"
    strace = ("strace", "-f", "-c", "-o", str(counted))
    run(Command((*strace, *_command(place, workers)), place), place / "output")
    total = re.search(r"^\s*100\.00\s+\S+(?:\s+\S+)?\s+(\d+).*total$", counted.read_text(), re.MULTILINE)
    return int(total[1]) if total else None


if __name__ == "__main__":
    main()
