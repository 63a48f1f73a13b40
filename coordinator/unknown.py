"""Archives that the catalog does not know and should: it was lost, or an old copy of it came back."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from ..proto.errors import BackupError, NotFoundError
from ..proto.records import RunId
from ..worker.archives.names import EXCERPTS, excerpt_name
from .catalog import Catalog
from .catalog.snapshots import snapshots
from .clock import RUN_ID
from .purging.record import read_purged


def is_behind(staging: Path) -> bool:
    """Whether the catalog is lost though there are archives, or an old copy of it came back. Raises as
    ``later_archives``."""
    try:
        with Catalog.open(staging) as catalog:
            newest = catalog.newest_run()
    except NotFoundError:
        newest = None
    return bool(later_archives(staging, newest)) or _later_snapshot(staging, newest)


def _later_snapshot(staging: Path, newest: RunId | None) -> bool:
    """Whether a snapshot of the catalog tells of a later run."""
    return any(newest is None or snapshot.run > newest for snapshot in snapshots(staging)[:1])


def archives_and_excerpts(staging: Path) -> list[Path]:
    """The archives that lie in a staging area, and the excerpts of others that have left it."""
    staged = sorted(staging.glob("[!.]*/*/*.mha"))
    here = {excerpt_name(str(file.relative_to(staging))) for file in staged}
    excerpts = sorted(staging.glob(f"{EXCERPTS}/*/*/*.mhx"))
    return [*staged, *(file for file in excerpts if str(file.relative_to(staging)) not in here)]


def later_archives(staging: Path, newest: RunId | None) -> list[str]:
    """The archives of runs that came after the ``newest`` one that the catalog knows (None: it knows none).

    Left out are those of which nothing can be read, and those that a purge has recorded as orphans. Raises
    DamagedError if the record of purges is damaged, StagingError.
    """
    found = [
        file
        for file in archives_and_excerpts(staging)
        if (run := RUN_ID.match(file.name)) and (newest is None or run[0] > newest)
    ]
    orphans = {orphan for scope in read_purged(staging) for orphan in scope.orphans} if found else set()
    return [str(file.relative_to(staging)) for file in found if _is_archive(file, orphans)]


def _is_archive(file: Path, orphans: Collection[str]) -> bool:
    """Whether this is an archive, and none of these (ids in hex)."""
    # Costs 0.1 s, and hardly any run needs it.
    from ..worker.archives.excerpts import Excerpt
    from ..worker.archives.opened import beginning_of
    from ..worker.archives.places import open_local

    try:
        with closing(open_local(str(file))) as opened:
            archive = beginning_of(Excerpt(opened) if file.suffix == ".mhx" else opened).archive
    except BackupError:
        return False
    return archive.hex() not in orphans
