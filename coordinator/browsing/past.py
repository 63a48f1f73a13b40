"""What the catalog tells of mailboxes through time, and where the archives lie that it takes to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.errors import NotFoundError
from ...proto.records import ArchiveId, RunId
from ...proto.structs import Record
from ...worker.archives.holdings import Holdings
from ...worker.destinations.settings import Destination
from ..absence import unknown
from ..catalog import Catalog
from ..holdings import holdings
from ..structure_keys import area_at
from .timeline import Timeline, timelines


class Past(Record, kw_only=True):
    """Mailboxes through all kept moments. ``moments`` are these, ascending, and when they began."""

    timelines: tuple[Timeline, ...]
    moments: Mapping[RunId, datetime]
    archives: Holdings


def read_past(
    catalog: Catalog, staging: Path, path: LogicalPath, destinations: Sequence[Destination] = ()
) -> Past:
    """The past of all mailboxes that a path selects. Raises NotFoundError if there is none."""
    group = None if path.group == EVERYBODY else path.group
    moments = catalog.moment_starts(path.partition, group)
    versions = sorted(
        catalog.histories(path.partition, group, path.user), key=lambda one: (one.partition, one.user)
    )
    found = tuple(timelines(versions, tuple(moments), path.group))
    if not found:
        raise NotFoundError(f"{path}: {unknown(catalog, path)}", path=str(path))
    wanted: set[ArchiveId] | None = None
    if path.user is not None:  # of few archives among thousands
        stored = {version.archive for version in versions if version.archive is not None}
        wanted = stored.union(*catalog.references(stored).values())
    archives = holdings(catalog, area_at(staging), destinations, wanted=wanted)
    return Past(timelines=found, moments=moments, archives=archives)
