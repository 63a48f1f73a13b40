"""What erasures do at destinations: a sweep that removes old copies as soon as the new ones count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError, LockedError
from ...proto.records import ArchiveId
from ...proto.structs import replace
from ...worker.archives.holdings import Holdings
from ...worker.archives.opened import Unlock
from ..clock import utc
from ..dispatch.engine import Engine
from ..erasing.copies import discard_strays, discard_unruled, look_again
from ..erasing.progress import read_progress
from ..erasing.record import read_erasures
from ..hooks import NO_HOOKS
from ..settings import ArchiveConfig, Config, RetentionConfig, SweepConfig, SweepRules
from ..sweeping.report import SweepRequest
from . import adapters
from .asking import Asked
from .configuration import Site
from .output import counted, note, shown
from .progress import Display
from .sweep import Shown, tell_destination


def everywhere(site: Site, config: Config | None, display: Display) -> None:
    """Put new copies, remove old ones, and find out which are left. What goes wrong at a destination is said,
    and stays due. Raises StagingError, DamagedError."""
    progresses = [read_progress(site.area, erasure.erasure) for erasure in read_erasures(site.area)]
    if all(progress.ended is not None for progress in progresses):
        return
    named = SweepConfig(rules=SweepRules(copies=tuple(one.name for one in site.destinations)))
    rules = config.sweep if config else named
    discard_unruled(site.area, rules.of_group)
    discard_strays(site.area, site.destinations)
    if site.destinations:
        from ..sweeping.sweep import sweep  # half a second of imports

        asked = Asked(site.area, adapters.hooks(config) if config else NO_HOOKS)
        request = SweepRequest(
            # A copy counts when it was compared and is there: the old one is to go now, not in an hour.
            config=replace(rules, look_again_seconds=0.0),
            retention=config.retention if config else RetentionConfig(),
            destinations=site.destinations,
            reserve_bytes=config.staging.reserve_bytes if config else 0,
        )
        try:
            report = sweep(site.area, request, adapters.make_lanes, _now, Shown(display, asked))
            asked()
            for destination in report.destinations:
                tell_destination(destination)
        except BackupError as error:
            note(f"no copy was removed at destinations: {shown(error.message)}")
    look_again(site.area, site.destinations, _now())


def go_on_with_erasures(
    staging: Path,
    config: Config | None,
    unlock: Unlock | None,
    bring_back: Callable[[Holdings, Sequence[ArchiveId]], object],
    engine: Engine,
    display: Display,
) -> None:
    """End what erasures have left, as far as that can be done now; says so if it can't. What is encrypted and
    has to be parted takes a private key, what is on tape only ``mailhaul erase --resume``. ``bring_back``:
    see ErasureMeans."""
    erasures = read_erasures(staging)
    if all(read_progress(staging, erasure.erasure).ended is not None for erasure in erasures):
        return
    from ..erasing.erasure import go_on
    from ..erasing.report import ErasureMeans
    from ..recalling import to_recall
    from .purge import Shown as Purging

    destinations = config.destinations if config else ()

    def bring_near_back(holdings: Holdings, archives: Sequence[ArchiveId]) -> None:
        far = to_recall(holdings, archives, far=False)
        bring_back(holdings, [archive for archive in archives if archive not in far])

    means = ErasureMeans(
        destinations=destinations,
        unlock=unlock,
        archive=config.archive if config else ArchiveConfig(),
        bring_back=bring_near_back,
    )
    try:
        go_on(staging, means, _now(), engine, Purging(display))
    except LockedError as error:
        note(f"erasures are not gone on with now: {shown(error.message)}")
        return
    everywhere(Site(area=staging, destinations=destinations), config, display)
    due = [one for one in erasures if read_progress(staging, one.erasure).ended is None]
    if due:
        note(f"{counted(len(due), 'erasure')} not done everywhere yet: mailhaul erase --list")


def _now() -> datetime:
    return utc(adapters.clock().now())
