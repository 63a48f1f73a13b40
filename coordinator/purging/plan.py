"""What a purge is to do, decided before anything is done. Pure, but for the catalog that is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import NotFoundError, UsageError
from ...proto.records import STAGING, ArchiveId, Location, RunId
from ...proto.structs import Record, field
from ...worker.archives.holdings import Holdings
from ...worker.archives.names import generation_name
from ...worker.purging.compaction import Remains
from ...worker.purging.liveness import LiveData, NeededArchive, Shares
from ...worker.staging.area import StagingArea
from ..catalog import Catalog
from ..history import ArchiveRecord, Moment, Needed
from ..holdings import holdings
from ..holds import Holds
from ..retention import Reasons, RetentionRules, reasons
from ..structure_keys import area_at


class ScopePlan(Record, kw_only=True):
    """Of the runs that a group of a partition can be restored from: which stay and why, and which go.
    ``unchanged`` are those that stay and have no archive, as nothing had changed."""

    partition: str
    group: str
    kept: Reasons
    unchanged: tuple[RunId, ...]
    forgotten: tuple[RunId, ...]


class Compaction(Record, kw_only=True):
    """An archive that is to be written anew with what remains of it."""

    record: ArchiveRecord
    remains: Remains

    @property
    def new_file(self) -> str:
        """What it is called then."""
        return generation_name(self.record.name, self.record.generation + 1)


class ArchivesPlan(Record, kw_only=True):
    """Archives that nobody needs, and those that are mostly dead."""

    dead: tuple[ArchiveRecord, ...] = ()
    compactions: tuple[Compaction, ...] = ()


class StoredArchives(Record, kw_only=True):
    """The archives that there are, and of each the users whose metadata in it is needed. ``lacking`` are
    those that had more mailboxes of kept moments than is known: without them nothing told of the loss."""

    area: StagingArea
    archives: Holdings
    records: Mapping[ArchiveId, ArchiveRecord]
    needed: Needed = field(default_factory=Needed)
    lacking: frozenset[ArchiveId] = frozenset()

    def remains(self, archive: ArchiveId, live: LiveData) -> Remains:
        """What stays of an archive."""
        return Remains(
            archive=archive,
            location=Location(STAGING, self.records[archive].name),
            stretches=live.stretches.get(archive, b""),
            users=self.needed.users.get(archive, frozenset()),
            mailboxes=live.mailboxes.get(archive, frozenset()),
            frames=live.frames.get(archive, frozenset()),
        )


def plan_scopes(
    catalog: Catalog, path: LogicalPath, rules_of: Callable[[str], RetentionRules], holds: Holds
) -> tuple[ScopePlan, ...]:
    """What becomes of the runs of each group that a path selects. Raises UsageError for a path into a group,
    NotFoundError if nothing is known of it."""
    if path.user is not None:
        raise UsageError(f"{path}: rules are those of groups: name a partition or a group", path=str(path))
    found = tuple(
        plan_scope(partition, group, catalog.moments(partition, group), rules_of(group), holds)
        for partition, group in catalog.scopes()
        if path.selects_partition(partition) and path.selects_group(group)
    )
    if not found and path != LogicalPath():
        raise NotFoundError(f"{path}: the catalog knows no such group", path=str(path))
    return found


def plan_scope(
    partition: str, group: str, moments: Sequence[Moment], rules: RetentionRules, holds: Holds
) -> ScopePlan:
    """What becomes of the runs of one group: the rules say it, and holds keep more."""
    why = reasons(moments, rules)
    kept = {
        moment.run: (*why.get(moment.run, ()), *(("hold",) if holds.holds_run(moment.run) else ()))
        for moment in moments
        if moment.run in why or holds.holds_run(moment.run)
    }
    return ScopePlan(
        partition=partition,
        group=group,
        kept=kept,
        unchanged=tuple(one.run for one in moments if one.run in kept and one.unchanged),
        forgotten=tuple(one.run for one in moments if one.run not in kept),
    )


def stored_archives(catalog: Catalog, staging: Path) -> StoredArchives:
    """What there is, and what of it the versions need that the catalog knows."""
    area = area_at(staging)
    return StoredArchives(
        area=area,
        archives=holdings(catalog, area),
        records={archive.archive: archive for archive in catalog.archives()},
        needed=catalog.needed(),
        lacking=frozenset(loss.archive for loss in catalog.nameless_losses()),
    )


def needed_archives(stored: StoredArchives) -> Iterator[tuple[NeededArchive, ...]]:
    """The archives whose metadata has to be read, in parts that are worth reading together: those of one
    shard of a group repeat each other."""
    parts: dict[tuple[str, str, int], list[NeededArchive]] = {}
    for archive, users in stored.needed.users.items():
        record = stored.records[archive]
        parts.setdefault((record.partition, record.group, record.shard), []).append(
            NeededArchive(
                archive=archive,
                users=users,
                references=stored.needed.references.get(archive, ()),
            )
        )
    return map(tuple, parts.values())


def dead_archives(stored: StoredArchives, live: LiveData) -> tuple[ArchiveRecord, ...]:
    """The archives of which neither data nor metadata is needed."""
    return tuple(
        record
        for archive, record in stored.records.items()
        if archive not in stored.needed.users and archive not in stored.lacking and not live.needs(archive)
    )


def candidates(stored: StoredArchives, live: LiveData) -> dict[ArchiveId, Remains]:
    """The archives of which something is needed, but perhaps not much."""
    left_alone = (
        {dead_archive.archive for dead_archive in dead_archives(stored, live)}
        | stored.lacking
        | live.untouchable
    )
    return {
        archive: stored.remains(archive, live)
        for archive, record in stored.records.items()
        if archive not in left_alone and record.is_staged
    }


def mostly_dead(
    stored: StoredArchives,
    remains: Mapping[ArchiveId, Remains],
    shares: Mapping[ArchiveId, Shares],
    below: float,
) -> tuple[Compaction, ...]:
    """The archives of which less than the share ``below`` is alive."""
    return tuple(
        Compaction(record=stored.records[archive], remains=remains[archive])
        for archive, share in shares.items()
        if share.live_bytes < below * share.size_bytes
    )
