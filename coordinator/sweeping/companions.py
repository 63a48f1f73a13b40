"""The files that go to every destination beside the archives: what tells of runs, of erasures and of the
catalog, keys for recipients that came later, and all that it takes to read archives with nothing but the
copy.

What is of none of these kinds goes nowhere. Where archives are encrypted, what names people leaves the
staging area encrypted only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...proto.errors import AccessError
from ...proto.keys.records import SIDECARS
from ...proto.keys.sealed_files import MAGIC, is_sealed
from ...proto.structs import Record
from ...worker.archives.names import check_file_name
from ...worker.keepsake.readme import README, reader_name
from ..catalog.snapshots import FOLDER as CATALOG
from ..erasing.record import FOLDER as ERASURES
from ..run_archives import FOLDER as RUNS


class Kind(Record):
    """Files with names of this ``pattern``, below the staging area. ``open`` says why they may go as they
    are; empty: where archives are encrypted only sealed ones go."""

    pattern: str
    open: str = ""


KINDS = (
    Kind(f"{RUNS}/*/*.mhr", "archives, encrypted as the others of their run: those of before stay in clear"),
    Kind(f"{SIDECARS}/*/*.mhk", "keys, each wrapped for a recipient, as they are in archives"),
    Kind(f"{CATALOG}/*.sqlite.gz*"),
    Kind(f"{CATALOG}/*.names.tsv.gz*"),
    Kind(f"{ERASURES}/*.json*", "no names; sealed where archives are encrypted, but for those of before"),
    Kind(README, "it says what all this is to who has nothing else, and names nobody"),
    Kind(reader_name("*"), "a program, the same for everybody"),
)

FOLDERS = (RUNS, CATALOG, SIDECARS, ERASURES)
"""Below the staging area. What lies in them is never changed under its name."""

PREFIXES = (*(f"{folder}/" for folder in FOLDERS), README, reader_name("").removesuffix(".py"))
"""How the names of all these files begin."""


class Companion(Record, kw_only=True):
    """A file, and its size."""

    name: str
    size_bytes: int


def companions(staging: Path, *, encrypted: bool) -> Iterator[Companion]:
    """Those that lie in the staging area, and may go where archives are ``encrypted`` or not."""
    for kind in KINDS:
        for path in sorted(staging.glob(kind.pattern)):
            name = str(path.relative_to(staging))
            if not path.is_file() or path.is_symlink() or not _may_lie_there(name):
                continue
            with suppress(FileNotFoundError):  # runs and purges replace them meanwhile
                if kind.open or not encrypted or _is_sealed(path):
                    yield Companion(name=name, size_bytes=path.stat().st_size)


def _is_sealed(path: Path) -> bool:
    with path.open("rb") as file:
        return is_sealed(file.read(len(MAGIC)))


def _may_lie_there(name: str) -> bool:
    try:
        check_file_name(name)
    except AccessError:
        return False
    return not name.endswith((".partial", ".new"))
