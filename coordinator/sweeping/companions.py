"""The files that go to every destination beside the archives: what tells of runs and of the catalog, and all
that it takes to read archives with nothing but the copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...proto.errors import AccessError
from ...proto.structs import Record
from ...worker.archives.names import check_file_name
from ...worker.keepsake.readme import README, reader_name
from ..catalog.snapshots import FOLDER as CATALOG
from ..run_archives import FOLDER as RUNS

FOLDERS = (RUNS, CATALOG)
"""Below the staging area. What lies in them is never changed under its name."""

PREFIXES = (*(f"{folder}/" for folder in FOLDERS), README, reader_name("").removesuffix(".py"))
"""How the names of all these files begin."""


class Companion(Record, kw_only=True):
    """A file, and its size."""

    name: str
    size_bytes: int


def companions(staging: Path) -> Iterator[Companion]:
    """Those that lie in the staging area."""
    patterns = (*(f"{folder}/**/[!.]*" for folder in FOLDERS), README, reader_name("*"))
    for pattern in patterns:
        for path in sorted(staging.glob(pattern)):
            name = str(path.relative_to(staging))
            if path.is_file() and not path.is_symlink() and _may_lie_there(name):
                yield Companion(name=name, size_bytes=path.stat().st_size)


def _may_lie_there(name: str) -> bool:
    try:
        check_file_name(name)
    except AccessError:
        return False
    return not name.endswith((".partial", ".new"))
