"""The files that go to every destination beside the archives: what tells of runs, and all that it takes to
read archives with nothing but the copy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...proto.errors import AccessError
from ...worker.archives.names import check_file_name
from ..run_archives import FOLDER as RUNS

FOLDERS = (RUNS, "_catalog")
"""Below the staging area. What lies in them is never changed under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """A file, and its size."""

    name: str
    size_bytes: int


def companions(staging: Path) -> Iterator[Companion]:
    """Those that lie in the staging area."""
    for folder in FOLDERS:
        for path in sorted(staging.glob(f"{folder}/**/[!.]*")):
            name = str(path.relative_to(staging))
            if path.is_file() and not path.is_symlink() and _may_lie_there(name):
                yield Companion(name=name, size_bytes=path.stat().st_size)


def _may_lie_there(name: str) -> bool:
    try:
        check_file_name(name)
    except AccessError:
        return False
    return not name.endswith((".partial", ".new"))
