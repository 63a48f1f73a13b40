"""What lay on a host: the partitions that it had when they were backed up."""

from __future__ import annotations

from collections.abc import Iterable

from ..groups.nearness import hint
from ..groups.paths import LogicalPath
from ..proto.errors import NotFoundError
from ..proto.records import Partition
from .catalog import Catalog
from .good_moments import LATEST_GOOD


def paths_on(catalog: Catalog, host: str, at: str, configured: Iterable[Partition] = ()) -> list[LogicalPath]:
    """The partitions of which a host had the mail at a time (as ``from_catalog`` takes it), as paths: also
    those that it shared with others. Where nothing is recorded, as after a rebuild of the catalog, those that
    are ``configured`` so. Raises NotFoundError if there is none."""
    # Which moment is good is asked of paths, so these can't be asked of it.
    run = catalog.resolve_time("latest" if at == LATEST_GOOD else at)
    kept = {partition for partition, _ in catalog.scopes()}
    stores = {one.name: one for one in configured if one.name in kept}
    stores.update((one.name, one) for one in catalog.stores_until(run))
    found = sorted(store.name for store in stores.values() if host in store.hosts)
    if not found:
        known = {name for one in stores.values() for name in one.hosts}
        raise NotFoundError(f"nothing that is kept lay on host {host!r} as of run {run}{hint(host, known)}")
    return [LogicalPath(name) for name in found]
