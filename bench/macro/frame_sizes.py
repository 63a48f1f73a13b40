"""What archives are made of: bytes by type of frame, headers of frames included.

python -m mailhaul.bench.macro.frame_sizes ARCHIVE...
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...proto.archive.files import LocalFile
from ...proto.archive.frames import HEADER_BYTES
from ...proto.archive.scanning import FoundFrame, scan


def sizes(files: Iterable[Path]) -> Counter[str]:
    """Bytes by type of frame. Raises DamagedError for what is no archive."""
    found: Counter[str] = Counter()
    for path in files:
        file = LocalFile(str(path))
        try:
            for one in scan(file):
                if isinstance(one, FoundFrame):
                    found[one.header.type.name] += HEADER_BYTES + one.header.stored_bytes
        finally:
            file.close()
    return found


def table(found: Counter[str]) -> list[str]:
    """The sizes as lines of markdown, the largest first."""
    total = found.total()
    lines = ["| frames | bytes | share |", "|---|---|---|"]
    lines += [f"| {name} | {count:,} | {count / total:.1%} |" for name, count in found.most_common()]
    return [*lines, f"| all | {total:,} | |"]


def main(arguments: Sequence[str] | None = None) -> None:
    paths = [Path(one) for one in (sys.argv[1:] if arguments is None else arguments)]
    print("\n".join(table(sizes(paths))))


if __name__ == "__main__":
    main()
