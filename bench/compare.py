"""Two results of bench/macro/peers.py beside each other: what became slower, faster, smaller.

    python -m mailhaul.bench.compare OLD.json NEW.json

Prints new / old of the medians. Results from different machines or days are comparable only through
a program that did not change: the second figure of each cell is divided by that of ``tar | lz4``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .macro.report import Result, cpu, memory, read, stored, wall

YARDSTICK = "tar | lz4"
COLUMNS = {
    "backup wall": wall("backup"),
    "backup CPU": cpu("backup"),
    "backup memory": memory("backup"),
    "stored": stored,
    "restore wall": wall("restore"),
    "restore CPU": cpu("restore"),
    "mailbox wall": wall("mailbox"),
    "message wall": wall("message"),
}
NOT_OF_THE_MACHINE = ("backup memory", "stored")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args(arguments)
    print(comparison(read(options.old), read(options.new)))


def comparison(old: Result, new: Result) -> str:
    """The table: a row per figure, a column per program that both results have."""
    names = [name for name in new.figures if name in old.figures]
    lines = [
        f"new: {new.setting} {new.commit} {new.date}, old: {old.setting} {old.commit} {old.date}; new / old:",
        "",
        "| | " + " | ".join(name.replace("|", "\\|") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for title, figure in COLUMNS.items():
        ratios = {name: new.median(name, figure) / old.median(name, figure) for name in names}
        cells = []
        for name in names:
            cell = f"{ratios[name]:.2f}"
            if YARDSTICK in ratios and name != YARDSTICK and title not in NOT_OF_THE_MACHINE:
                cell += f" ({ratios[name] / ratios[YARDSTICK]:.2f})"
            cells.append(cell)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
