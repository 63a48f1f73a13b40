"""``mailhaul verify --from``: copies of archives are read at their destination."""

from __future__ import annotations

from datetime import timedelta

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, UsageError
from ...proto.structs import replace
from ...worker.tasks.checking import CheckReport, CheckTask
from ..catalog import Catalog
from ..clock import utc
from ..dispatch.engine import Outcome
from ..history import ArchiveRecord
from ..hooks import Hooks
from ..readers import reading
from ..verifying.copies import check_copies, due_copies
from ..verifying.sidecar_copies import check_sidecars
from . import adapters, output
from .asking import Asked
from .configuration import Site
from .nothing_to_do import is_nothing_to_do
from .output import counted, say
from .progress import Amount, make_display, watched


def verify_copies(
    site: Site,
    path: LogicalPath,
    name: str,
    age_seconds: float | None,
    workers: int,
    hooks: Hooks,
    *,
    as_json: bool,
) -> int:
    """Read the copies at a destination, of the groups that a path selects, and tell what was found. Raises
    UsageError."""
    if path.user is not None:
        raise UsageError(f"{path}: copies are of whole archives: name a partition or a group", path=str(path))
    if all(destination.name != name for destination in site.destinations):
        raise UsageError(f"there is no destination {name!r} in the configuration", place=name)
    if is_nothing_to_do(site.area, site.destinations, "to verify", as_json=as_json):
        return EXIT_OK
    clock = adapters.clock()
    before = None if age_seconds is None else utc(clock.now()) - timedelta(seconds=age_seconds)
    with reading(site.area), make_display(clock, as_json=as_json) as display:
        with Catalog.open(site.area) as catalog:
            due = due_copies(
                (archive for archive in catalog.archives() if _is_in(path, archive)), [name], before
            )
        display.begin({wish.location.name: Amount(0, wish.location.size_bytes) for wish in due})
        done = check_copies(
            site.area,
            due,
            site.destinations,
            watched(adapters.make_engine(workers), display, _ended),
            display.progress,
            lambda: utc(clock.now()),
        )
        if path == LogicalPath():
            (settings,) = (one for one in site.destinations if one.name == name)
            replaced, unread = check_sidecars(site.area, settings)
            done = replace(done, damaged=(*done.damaged, *replaced), unread=(*done.unread, *unread))
    Asked(site.area, hooks)()
    output.list_skipped(done.damaged, "damaged")
    output.list_skipped(done.unread, "not read")
    if as_json:
        output.print_json(
            {"destination": name, "whole": done.whole, "damaged": done.damaged, "not_read": done.unread}
        )
    else:
        say(f"{counted(done.whole, 'copy', 'copies')} at {output.shown(name)} read and whole")
    if done.damaged:
        return EXIT_DAMAGED
    return EXIT_FAILED if done.unread else EXIT_OK


def _is_in(path: LogicalPath, record: ArchiveRecord) -> bool:
    return path.selects_partition(record.partition) and path.selects_group(record.group)


def _ended(outcome: Outcome[CheckTask, CheckReport]) -> tuple[str, Amount]:
    return outcome.task.label, Amount(0, sum(wish.location.size_bytes for wish in outcome.task.wanted))
