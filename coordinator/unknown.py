"""Archives that the catalog does not know and should: it was lost, or an old copy of it came back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..proto.errors import BackupError, NotFoundError
from ..proto.records import RunId
from .catalog import Catalog
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
    return bool(later_archives(staging, newest))


def later_archives(staging: Path, newest: RunId | None) -> list[str]:
    """The archives of runs that came after the ``newest`` one that the catalog knows (None: it knows none).

    Left out are those of which nothing can be read, and those that a purge has recorded as orphans. Raises
    DamagedError if the record of purges is damaged, StagingError.
    """
    found = [
        file
        for file in sorted(staging.glob("[!.]*/*/*.mha"))
        if (run := RUN_ID.match(file.name)) and (newest is None or run[0] > newest)
    ]
    orphans = {one for scope in read_purged(staging) for one in scope.orphans} if found else set()
    return [str(file.relative_to(staging)) for file in found if _is_archive(file, orphans)]


def _is_archive(file: Path, orphans: Collection[str]) -> bool:
    """Whether this is an archive, and none of these (ids in hex)."""
    from ..worker.archives.opened import read_beginning  # costs 0.1 s, and hardly any run needs it

    try:
        return read_beginning(str(file)).archive.hex() not in orphans
    except BackupError:
        return False
