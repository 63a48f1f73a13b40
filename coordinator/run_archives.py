"""The archives of runs: one small file for each run that has ended, which tells how.

They lie beside the others, as ``_runs/YEAR/RUN.RESUMED.mhr``: who copies archives copies them too. They hold
no mail; a purge leaves them, as the catalog keeps its record of runs that are purged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .. import __version__
from ..proto.archive.files import RandomAccess
from ..proto.errors import DamagedError, UnreadableError, UnsupportedError
from ..proto.records import ARCHIVE_ID_BYTES, ArchiveId, RunId, Skipped
from .catalog import Catalog
from .ready import withdrawn
from .structure_keys import area_at, encrypts

FOLDER = "_runs"
"""Below the staging area; no partition can be called so."""


def run_archive(run: RunId, resumed: int) -> str:
    """Where the archive of a run lies below the staging area, after it went on so many times."""
    return f"{FOLDER}/{run[:4]}/{run}.{resumed}.mhr"


def seal_run_archives(staging: Path, catalog: Catalog) -> None:
    """Write the archive of every run that has ended and has none; older ones of the same run go. Where
    archives are encrypted and nobody knows here for whom, as in a lost house before its first run, that run
    does so. Call it under the run lock. Raises StagingError."""
    # All that it takes to write an archive: costs 0.1 s, which workers need in the beginning.
    from ..proto.archive.run_end import write_run_end
    from ..worker.staging.sinks import StagedFile

    sealing = area_at(staging).sealing
    if sealing is None and encrypts(staging):
        return
    there = set(_names(staging))
    for run, resumed in catalog.ended_runs():
        name = run_archive(run, resumed)
        if name in there:
            continue
        archive = ArchiveId(os.urandom(ARCHIVE_ID_BYTES))
        sink = StagedFile(staging / name)
        write_run_end(catalog.run_end(run), sink, archive, f"mailhaul {__version__}", sealing=sealing)
        outdated = {run_archive(run, before) for before in range(resumed)} & there
        with withdrawn(staging, outdated):
            for before in outdated:
                (staging / before).unlink(missing_ok=True)


def damaged_run_archives(staging: Path, catalog: Catalog) -> Iterator[Skipped]:
    """The archives of runs that are damaged, or that are of another run. One that is not there is no damage:
    the next run writes it."""
    there = set(_names(staging))
    for run, resumed in catalog.ended_runs():
        name = run_archive(run, resumed)
        if name not in there:
            continue
        try:
            check_run_archive(staging, run, resumed)
        except (UnreadableError, UnsupportedError):
            continue  # it may be whole
        except DamagedError as error:
            yield Skipped(name, "run", f"it does not tell how the run ended: {error.message}")


def check_run_archive(staging: Path, run: RunId, resumed: int) -> None:
    """That the archive of a run is there and whole, to its last byte: what a rebuild needs of it may be whole
    without its end, but nobody else can tell. Raises DamagedError if not, UnsupportedError."""
    from ..proto.archive.run_end import read_run_end
    from ..worker.archives.places import open_local

    with closing(open_local(str(staging / run_archive(run, resumed)))) as file:
        check_whole(file)
        if read_run_end(file, area_at(staging).keys).run != run:
            raise DamagedError("it is of another run")


def check_whole(file: RandomAccess) -> None:
    """That a file is an archive that is whole to its last byte. Raises DamagedError, UnsupportedError."""
    from ..worker.archives.opened import beginning_of
    from ..worker.sweeping.checking import CheckedSource

    CheckedSource(file, archive=beginning_of(file).archive).read_rest()


def renew_run_archives(staging: Path, catalog: Catalog) -> None:
    """Write those anew that are damaged or not there. As ``seal_run_archives``."""
    damaged = [archive.path for archive in damaged_run_archives(staging, catalog)]
    with withdrawn(staging, damaged):
        for name in damaged:
            (staging / name).unlink(missing_ok=True)
    seal_run_archives(staging, catalog)


def _names(staging: Path) -> Iterator[str]:
    for path in staging.glob(f"{FOLDER}/*/*.mhr"):
        yield str(path.relative_to(staging))
