"""What is known in the catalog of one staging area: runs, moments, versions, archives."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ...groups.paths import LogicalPath
from ...proto.errors import NotFoundError
from ...proto.records import (
    STAGING,
    ArchiveId,
    Departed,
    Location,
    Parents,
    Partition,
    RunId,
    Skipped,
    Stretch,
)
from ...proto.run_ends import RunEnd
from ..clock import RUN_ID
from ..history import (
    ArchiveRecord,
    Behind,
    CopyStanding,
    Discarded,
    GoodBackup,
    GroupCopies,
    KnownMailbox,
    Leftovers,
    MailboxVersion,
    Moment,
    NamelessLoss,
    Needed,
    PlaceLooks,
    PlaceStanding,
    RunPlaces,
    RunRecord,
    Totals,
    UnitRecord,
    Version,
)
from . import database as files
from . import journal, locations, queries, run_ends, units, upkeep, values
from .parents import parents
from .values import raw, run_number

_LAST_RUN = (1 << 63) - 1


class CatalogReader:
    """A catalog that is open. For one thread; a context manager that closes it.

    A reader sees whole transactions only. Every method may raise DamagedError (the file is no sound
    database) or StagingError (it can't be read or written: full disk, permissions, or busy for longer than
    half a minute).
    """

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        """Use ``Catalog.open``."""
        self._database = database
        self._path = path

    def close(self) -> None:
        """Repeatable."""
        with files.translated(self._path):
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Runs

    def newest_run(self) -> RunId | None:
        """The run that was begun last, whatever became of it; None if there was none."""
        return next(self._runs_down(""), None)

    def resolve_time(self, text: str) -> RunId:
        """The run that is meant by ``latest``, a run id, or an ISO date or time: the newest that had
        started by then and of which anything is kept. A date means the whole day; a time without an offset
        is UTC.

        Raises NotFoundError if there is no such run, or if a run that was named has been purged; UsageError
        if the text is none of the three.
        """
        if text == "latest":
            return self._found(text, self.newest_run())
        if RUN_ID.fullmatch(text):
            run = RunId(text)
            if not self._is_kept(run):
                raise NotFoundError(
                    f"run {run} was purged: nothing is kept of it; `mailhaul runs` lists what is", run=run
                )
            return self._found(text, next(self._runs_down("WHERE run = ?", run), None))
        started = list(self._runs_down("WHERE started <= ?", values.iso(values.meant(text))))
        kept = next(filter(self._is_kept, started), None)
        if started and kept is None:
            oldest = min(filter(self._is_kept, self._runs_down("")), default=None)
            named = f"; the oldest moment that is kept is {oldest}" if oldest else ""
            raise NotFoundError(
                f"all runs up to {text} were purged: nothing is kept of them{named}", time=text
            )
        return self._found(text, kept)

    def runs(self, most: int | None = None, before: RunId | None = None) -> list[RunRecord]:
        """The newest runs, newest first: at most so many, or all, of those before some run; purged ones
        too."""
        limit = -1 if most is None else most
        end = _LAST_RUN if before is None else run_number(before)
        return [values.run_record(row) for row in self._rows(queries.NEWEST_RUNS, limit, end)]

    def runs_from(self, since: datetime, until: datetime) -> list[RunRecord]:
        """The runs that began from one time on and before another (both aware), oldest first."""
        rows = self._rows(queries.RUNS_FROM, values.first_run_number(since), values.first_run_number(until))
        return [values.run_record(row) for row in rows]

    def oldest_run(self) -> RunId | None:
        """The run that was begun first of those on record; None if there was none."""
        rows = self._rows("SELECT run FROM runs ORDER BY number LIMIT 1")
        return next((RunId(values.checked(row)["run"]) for row in rows), None)

    def run(self, text: str) -> RunRecord:
        """The run that was named, purged or not, or the one that ``resolve_time`` finds."""
        run = RunId(text) if RUN_ID.fullmatch(text) else self.resolve_time(text)
        row = next(self._rows(queries.ONE_RUN, run_number(run)), None)
        if row is None:
            raise self._unknown(text)
        return values.run_record(row)

    def can_go_on(self, run: RunId) -> bool:
        """Whether ``resume_run`` would go on with a run: something of it is left to do, and no later one has
        stored anything."""
        number = run_number(run)
        left = next(self._rows(queries.PLANS, number), None)
        return left is not None and next(self._rows(queries.LATER_RUN, number), None) is None

    def units(self, run: RunId) -> list[UnitRecord]:
        """The units of a run, by partition, group, shard."""
        return [values.unit_record(row) for row in self._rows(queries.UNITS, run_number(run))]

    def skipped(self, run: RunId) -> Iterator[Skipped]:
        """Everything that the committed units of a run left out, in the order of the commits."""
        return (Skipped(*row) for row in self._rows(queries.SKIPPED, run_number(run)))

    def skipped_behind(self, run: RunId, behind: int, most: int) -> list[tuple[int, Skipped]]:
        """At most so many of the same, each with its number, behind the entry of this number (0:
        the first)."""
        rows = self._rows(queries.SKIPPED_BEHIND, run_number(run), behind, most)
        return [(number, Skipped(*entry)) for number, *entry in rows]

    def left_out(self, run: RunId) -> tuple[Skipped, ...]:
        """The mailboxes and groups of its paths that a run took on in no unit: excluded, switched off, in no
        group. Of a run of which only archives tell that is not known."""
        with files.translated(self._path):
            return journal.unplanned(self._database, run_number(run)).left_out

    def unlisted(self, run: RunId) -> tuple[Skipped, ...]:
        """The partitions that a run could not list: name, code of the error, its text."""
        with files.translated(self._path):
            return tuple(Skipped(*one) for one in journal.unplanned(self._database, run_number(run)).failed)

    def stores(self, run: RunId | None = None) -> tuple[Partition, ...]:
        """Where the partitions of a run lay; without one, where each lay when it was backed up last. A run
        that could back up nothing of a partition does not tell where that lies."""
        if run is not None:
            rows = self._rows("SELECT stores FROM runs WHERE number = ?", run_number(run))
            return tuple(store for (text,) in rows for store in journal.stores(text))
        query = """SELECT partition, stores FROM runs JOIN
                (SELECT partition, max(run) AS newest FROM units JOIN scopes ON scopes.number = units.scope
                    WHERE units.state IN ('sealed', 'unchanged') GROUP BY partition)
            ON runs.number = newest"""
        return tuple(
            partition
            for name, text in self._rows(query)
            for partition in journal.stores(text)
            if partition.name == name
        )

    def stores_until(self, run: RunId) -> tuple[Partition, ...]:
        """Where each partition lay when a run at or before this one backed it up last."""
        query = """SELECT r.stores FROM runs r WHERE r.number <= ? AND EXISTS (
                SELECT 1 FROM units u WHERE u.run = r.number AND u.state IN ('sealed', 'unchanged'))
            ORDER BY r.number"""
        found: dict[str, Partition] = {}
        for (text,) in self._rows(query, run_number(run)):
            found.update((store.name, store) for store in journal.stores(text))
        return tuple(found.values())

    def run_end(self, run: RunId) -> RunEnd:
        """How a run ended, for an archive of the run to tell. Raises NotFoundError."""
        with files.translated(self._path):
            return run_ends.run_end(self._database, run)

    def with_known_units(self, end: RunEnd) -> RunEnd:
        """The same end of a run, with what is known now of its units: mailboxes may have been erased since.
        Units of whose archives nothing is left found nothing changed."""
        with files.translated(self._path):
            return run_ends.with_known_units(self._database, end)

    def ended_runs(self) -> list[tuple[RunId, int]]:
        """The runs that have ended, oldest first, and how often each had been resumed."""
        query = "SELECT run, resumed FROM runs WHERE state <> 'running' ORDER BY number"
        return [(RunId(values.checked(row)["run"]), row["resumed"]) for row in self._rows(query)]

    def alarms(self, run: RunId) -> tuple[Skipped, ...]:
        """What ``note_alarms`` was told of a run."""
        with files.translated(self._path):
            return journal.alarms_of(self._database, run_number(run))

    def all_alarms(self) -> list[tuple[RunId, Skipped]]:
        """The alarms of all runs that raised some, the oldest first."""
        runs = [
            RunId(run) for (run,) in self._rows("SELECT run FROM runs WHERE alarms <> '[]' ORDER BY number")
        ]
        return [(run, alarm) for run in runs for alarm in self.alarms(run)]

    def alarmed_runs(self, most: int, before: RunId | None = None) -> list[RunId]:
        """At most so many of the runs that raised alarms, before some run, the newest first."""
        end = _LAST_RUN if before is None else run_number(before)
        query = "SELECT run FROM runs WHERE alarms <> '[]' AND number < ? ORDER BY number DESC LIMIT ?"
        return [RunId(values.checked(row)["run"]) for row in self._rows(query, end, most)]

    def reasons(self, run: RunId) -> Counter[str]:
        """How much a run left out by each reason: entries of its units, and mailboxes and groups in none."""
        found = Counter(dict(map(tuple, self._rows(queries.REASONS, run_number(run)))))
        found.update(skip.reason for skip in self.left_out(run))
        return found

    def last_good(self) -> list[GoodBackup]:
        """The standing of each group in each partition that has mailboxes, by partition and group."""
        return [
            values.good_backup(scope, standing, partial(self._stored_at, scope["number"]))
            for scope in self._scopes()
            for standing in self._rows(queries.STANDING, scope["number"])
            if standing["mailboxes"]
        ]

    def behind(self, since: datetime | None = None) -> Iterator[Behind]:
        """The mailboxes that are there and have no good backup by a run that began ``since`` then; None: that
        the newest run did not store whole. By partition and group, the worst first."""
        bound = None if since is None else values.iso(since)
        return (
            values.behind(scope, row)
            for scope in self._scopes()
            for row in self._rows(queries.BEHIND, scope["number"], bound)
        )

    def totals(self) -> list[Totals]:
        """What runs have done, in all, by partition and group. The sums never get smaller, not by purges
        either."""
        return [Totals(**values.typed(row)) for row in self._rows(queries.TOTALS)]

    # Moments

    def scopes(self) -> list[tuple[str, str]]:
        """Every (partition, group) that a run ever took on."""
        return [(scope["partition"], scope["group"]) for scope in self._scopes()]

    def moments(self, partition: str, group: str) -> list[Moment]:
        """The runs that stored something of a group and are not forgotten there, oldest first: also those
        that found nothing changed. A run of which only archives tell counts as a whole one."""
        return [
            values.moment(scope, row)
            for scope in self._scopes(partition, group)
            for row in self._rows(queries.MOMENTS, scope["number"])
        ]

    def moment_starts(self, partition: str | None = None, group: str | None = None) -> dict[RunId, datetime]:
        """The same runs of all groups that are named, or of all, and when they began; oldest first."""
        names = [name if name is None else raw(name) for name in (partition, group)]
        return dict(map(values.moment_start, self._rows(queries.MOMENT_STARTS, *names)))

    def forgotten(self, partition: str, group: str) -> list[RunId]:
        """The runs that ``forget`` has dropped as moments of a group, oldest first."""
        return [
            values.run_id(run)
            for scope in self._scopes(partition, group)
            for (run,) in self._rows("SELECT run FROM forgotten WHERE scope = ?", scope["number"])
        ]

    # Mailboxes

    def mailboxes_at(
        self,
        run: RunId,
        *,
        partition: str | None = None,
        group: str | None = None,
        user: str | None = None,
        nearest: bool = False,
    ) -> Iterator[MailboxVersion]:
        """The newest committed version, at or before a run, of each mailbox in each of its groups: of
        those that are named, or of all; without those that had departed. By partition, group, user.

        Where that moment of a group is forgotten, the newest kept one before it is taken if ``nearest``.
        Otherwise NotFoundError is raised; for a single user only if no group can tell of it: a version that
        the very run stored stays right as long as it is there.
        """
        scopes = self._scopes(partition, group)
        if user is not None:
            return iter(self._versions_of_one(scopes, run, user, nearest=nearest))
        moments = [(scope, self._moment_of(scope, run, nearest=nearest)) for scope in scopes]
        return (
            values.mailbox_version(scope, row)
            for scope, moment in moments
            for row in self._rows(queries.VERSIONS_OF_ALL, scope["number"], moment)
        )

    def known_users(self, partition: str, group: str) -> dict[str, MailboxVersion]:
        """The newest version of each user of a group that has not departed from it."""
        # No moment is asked for: that of the newest version may be forgotten, where a group is no more.
        return {
            row["user"]: values.mailbox_version(scope, row)
            for scope in self._scopes(partition, group)
            for row in self._rows(queries.VERSIONS_OF_ALL, scope["number"], _LAST_RUN)
        }

    def history(self, partition: str, user: str, group: str | None = None) -> list[Version]:
        """Every version of a mailbox that the catalog knows, in one of its groups or in all, by run."""
        return sorted(self.histories(partition, group, user), key=lambda one: (one.run, one.group))

    def histories(
        self, partition: str | None = None, group: str | None = None, user: str | None = None
    ) -> Iterator[Version]:
        """Every version of the mailboxes that are named, or of all, by partition, group, user, run. Versions
        that hold at no kept moment are not known any more, unless the mailbox is held."""
        for scope in self._scopes(partition, group):
            if user is None:
                rows = self._rows(queries.HISTORY_OF_ALL, scope["number"])
            else:
                rows = self._rows(queries.HISTORY_OF_ONE, scope["number"], raw(user))
            yield from map(values.version, rows)

    def users_like(self, text: str, most: int, groups: Collection[str] | None = None) -> list[KnownMailbox]:
        """The mailboxes whose users' names begin with a text, and then those whose names hold it (in letters
        of any case), at most so many: of all groups, or of these."""
        wanted = raw(text)
        limits = wanted, wanted + b"\xff" * 4, None if groups is None else json.dumps(sorted(groups))
        found: list[KnownMailbox] = []
        for query in (queries.USERS_BEGINNING, queries.USERS_HOLDING):
            if len(found) < most:
                found += map(values.known_mailbox, self._rows(query, *limits, most - len(found)))
        return found

    def present_users(self) -> frozenset[tuple[str, str]]:
        """The mailboxes that were there as of the newest run over their group, by partition and user."""
        query = "SELECT s.partition, p.user FROM present p JOIN scopes s ON s.number = p.scope"
        return frozenset((partition, user) for partition, user in self._rows(query))

    def departures(self, run: RunId) -> list[Version]:
        """The mailboxes that a run found departed, as far as that hides something still."""
        return [values.version(row) for row in self._rows(queries.DEPARTURES, run_number(run))]

    def carried(self, partition: str, group: str) -> dict[int, tuple[Departed, ...]]:
        """The mailboxes that have departed from a group and that older archives may still hold, by the shard
        whose archive told so last."""
        found: dict[int, list[Departed]] = {}
        for scope in self._scopes(partition, group):
            for row in self._rows(queries.CARRIED, scope["number"]):
                found.setdefault(row["shard"], []).append(values.departed(row))
        return {shard: tuple(gone) for shard, gone in found.items()}

    def told_by(self, archive: ArchiveId) -> tuple[Departed, ...]:
        """The departures that an archive is needed to tell of."""
        return tuple(map(values.departed, self._rows(queries.TOLD_BY, archive)))

    def parents(self, partition: str, group: str, users: Collection[str]) -> Parents:
        """What a unit of these users starts from: of each the newest version of its own group; of one that
        is not known there, or has departed from it, the newest of any group of the partition; else that of
        another partition. Archives that are missing are passed over."""
        scope = next((scope["number"] for scope in self._scopes(partition, group)), None)
        with files.translated(self._path):
            return parents(self._database, scope, partition, users)

    # Archives

    def archives(self, run: RunId | None = None) -> Iterator[ArchiveRecord]:
        """Every archive that is known from its own run, or those of one run; by run, partition, group,
        shard."""
        if run is None:
            return map(self._archive, self._rows(queries.ALL_ARCHIVES))
        return map(self._archive, self._rows(queries.ARCHIVES_OF_RUN, run_number(run)))

    def archive(self, archive: ArchiveId) -> ArchiveRecord:
        """One archive. Raises NotFoundError."""
        for row in self._rows(queries.ONE_ARCHIVE, archive):
            return self._archive(row)
        raise NotFoundError(f"the catalog knows no archive {archive.hex()}", archive=archive.hex())

    def copy_standing(self) -> CopyStanding:
        """How many copies there are where, and how long archives have been without."""
        places = tuple(
            PlaceStanding(**{**values.typed(row), "locked_until": values.time_of(row["locked_until"])})
            for row in self._rows(
                "SELECT place, state, count(*) AS archives, sum(size_bytes) AS size_bytes,"
                " count(locked_until) AS locked, min(locked_until) AS locked_until FROM locations"
                " GROUP BY place, state ORDER BY place, state"
            )
        )
        ((alone, since),) = self._rows(queries.ALONE)
        ((unswept, waiting),) = self._rows(queries.UNSWEPT, STAGING)
        return CopyStanding(
            places=places,
            alone=alone,
            alone_since=values.time_of(since),
            leftovers=self.leftovers(),
            unswept=unswept,
            unswept_since=values.time_of(waiting),
        )

    def group_copies(self) -> list[GroupCopies]:
        """Where copies of the archives of each group are, by partition and group."""
        found: dict[tuple[str, str], list[sqlite3.Row]] = {}
        for row in self._rows(queries.GROUP_COPIES):
            found.setdefault((row["partition"], row["group"]), []).append(row)
        return [values.group_copies(partition, group, rows) for (partition, group), rows in found.items()]

    def place_looks(self) -> list[PlaceLooks]:
        """How many copies there are where, by place and state, and when they were read again."""
        times = ("locked_until", "unchecked_since", "checked_since")
        return [
            PlaceLooks(**{**values.typed(row), **{name: values.time_of(row[name]) for name in times}})
            for row in self._rows(queries.PLACE_LOOKS)
        ]

    def place_news(self, since: datetime) -> dict[str, int]:
        """How many bytes in each place are archives of runs that began since then."""
        return dict(map(tuple, self._rows(queries.PLACE_NEWS, values.first_run_number(since))))

    def run_places(self, oldest: RunId | None = None, newest: RunId | None = None) -> dict[RunId, RunPlaces]:
        """Where the archives of each run are that has some, of all runs or of those between two."""
        span = run_number(oldest) if oldest else 0, run_number(newest) if newest else _LAST_RUN
        places: dict[RunId, list[PlaceStanding]] = {}
        for row in self._rows(queries.RUN_PLACES, *span):
            told = values.checked(row)
            places.setdefault(told.pop("run"), []).append(PlaceStanding(**told))
        rows = [values.checked(row) for row in self._rows(queries.RUN_STANDING, STAGING, *span)]
        return {one["run"]: RunPlaces(**one, places=tuple(places.get(one["run"], ()))) for one in rows}

    def users_of(self, archive: ArchiveId) -> list[str]:
        """The users whose mailboxes an archive tells of, as versions that are known."""
        query = """SELECT m.user FROM archives a JOIN versions v ON v.unit = a.unit
                JOIN mailboxes m ON m.number = v.mailbox
            WHERE a.archive = ?"""
        return [user for (user,) in self._rows(query, archive)]

    def nameless_losses(self, at: RunId | None = None) -> list[NamelessLoss]:
        """Mailboxes that kept moments had and of which nothing tells any more: the archives that did are
        damaged or gone, and the catalog was made again since. Only those that are lacking at a moment, if it
        is named: none of a group that a later run over all of it has stored anew, or found to be empty."""
        found = [NamelessLoss(**values.checked(row)) for row in self._rows(queries.FEWER_KNOWN)]
        return found if at is None else [loss for loss in found if self._lacks(loss, at)]

    def _lacks(self, loss: NamelessLoss, at: RunId) -> bool:
        later = (moment for moment in self.moments(loss.partition, loss.group) if loss.run < moment.run <= at)
        told = any(one.whole and not one.unchanged for one in later)
        return loss.run <= at and not told and not self._was_empty(loss, at)

    def _was_empty(self, loss: NamelessLoss, at: RunId) -> bool:
        """Whether a later run over all of the group found nobody in it: then it has no unit of that."""
        group = LogicalPath(loss.partition, loss.group)
        names = (run_number(loss.run), run_number(at), raw(loss.partition), raw(loss.group))
        return any(
            any(path.covers(group) for path in values.paths_of(row["paths"]))
            and str(group)
            not in {skip.path for skip in journal.unplanned(self._database, row["number"]).left_out}
            for row in self._rows(queries.RUNS_WITHOUT_UNIT, *names)
        )

    def locations(self, wanted: Collection[ArchiveId] | None = None) -> dict[ArchiveId, tuple[Location, ...]]:
        """Where the copies of every archive lie that is at hand, that in the staging area first; of all, or
        of those that are wanted."""
        if wanted is not None:
            of = {
                archive_id: tuple(map(values.location, self._rows(queries.LOCATIONS_OF, archive_id)))
                for archive_id in wanted
            }
            return {archive: copies for archive, copies in of.items() if copies}
        found: dict[ArchiveId, list[Location]] = {}
        with files.translated(self._path):
            for archive, location in locations.locations(self._database):
                found.setdefault(archive, []).append(location)
        return {archive: tuple(copies) for archive, copies in found.items()}

    def encrypted(self) -> frozenset[ArchiveId]:
        """The archives that are known to be encrypted."""
        return frozenset(ArchiveId(row["archive"]) for row in self._rows(queries.ENCRYPTED))

    def discarded(self) -> list[Discarded]:
        """The copies that nobody needs, and that their places have yet to remove."""
        query = "SELECT place, name, version, size_bytes, locked_until FROM discarded"
        return [
            Discarded(location=Location(*row[:4]), locked_until=values.time_of(row["locked_until"]))
            for row in self._rows(query)
        ]

    def leftovers(self) -> tuple[Leftovers, ...]:
        """The same in numbers, by place."""
        query = """SELECT place, count(*) AS copies, sum(size_bytes) AS size_bytes,
                max(locked_until) AS locked_until
            FROM discarded GROUP BY place ORDER BY place"""
        return tuple(
            Leftovers(**{**values.typed(row), "locked_until": values.time_of(row["locked_until"])})
            for row in self._rows(query)
        )

    def archives_kept(self) -> frozenset[ArchiveId]:
        """The archives that versions need: to be told of, or because such archives name them."""
        query = queries.WITH_REFERENCES.format(told="SELECT DISTINCT unit FROM versions")
        nameless = (loss.archive for loss in self.nameless_losses())
        return frozenset((*(ArchiveId(archive) for (archive,) in self._rows(query)), *nameless))

    def archives_at(self, partition: str, group: str, run: RunId) -> frozenset[ArchiveId]:
        """The archives that a group as it was at a moment needs, as above."""
        query = queries.WITH_REFERENCES.format(told=queries.UNITS_AT)
        return frozenset(
            ArchiveId(archive)
            for scope in self._scopes(partition, group)
            for (archive,) in self._rows(query, scope["number"], run_number(run))
        )

    def purged_archives(self) -> frozenset[ArchiveId]:
        """The archives that were dropped since nobody needed them, as far as this catalog knows, and that
        have not been found to be needed since."""
        query = "SELECT archive FROM purged WHERE archive NOT IN (SELECT archive FROM archives)"
        return frozenset(ArchiveId(archive) for (archive,) in self._rows(query))

    def names(self) -> dict[ArchiveId, tuple[str, int]]:
        """What every archive that is known is or was called, at hand or not, and how large it is."""
        query = "SELECT archive, name, size_bytes FROM archives WHERE name <> ''"
        return {
            ArchiveId(archive): (values.archive_name(name), size_bytes)
            for archive, name, size_bytes in self._rows(query)
        }

    def references(self, archives: Iterable[ArchiveId]) -> dict[ArchiveId, tuple[ArchiveId, ...]]:
        """The other archives that the metadata of these names, whether at hand or not."""
        with files.translated(self._path):
            return {archive: upkeep.references(self._database, archive) for archive in archives}

    def missing(self) -> dict[ArchiveId, str]:
        """The archives that should be at hand and are not; with the name, where it is known."""
        query = "SELECT archive, name FROM archives WHERE missing ORDER BY number"
        return {ArchiveId(archive): name for archive, name in self._rows(query)}

    def needed(self) -> Needed:
        """What must stay for the versions that the catalog knows. It is looked at as a whole before: what it
        had lost to damage would seem to be needed by nobody."""
        with files.translated(self._path):
            return upkeep.needed(self._database)

    # Within

    def _scopes(self, partition: str | None = None, group: str | None = None) -> list[sqlite3.Row]:
        names = [name if name is None else raw(name) for name in (partition, group)]
        return list(self._rows(queries.SCOPES, *names))

    def _runs_down(self, where: str, *given: object) -> Iterator[RunId]:
        query = f"SELECT run FROM runs {where} ORDER BY number DESC"  # noqa: S608
        return (RunId(values.checked(row)["run"]) for row in self._rows(query, *given))

    def _stored_at(self, scope: int, run: int) -> sqlite3.Row | None:
        return next(self._rows(queries.STORED_AT, scope, run), None)

    def _is_kept(self, run: RunId) -> bool:
        return any(kept for (kept,) in self._rows(queries.KEPT_RUN, run_number(run)))

    def _found(self, text: str, run: RunId | None) -> RunId:
        if run is None:
            raise self._unknown(text)
        return run

    def _unknown(self, text: str) -> NotFoundError:
        oldest = min(filter(self._is_kept, self._runs_down("")), default=None)
        if oldest is None:
            message = "no run is kept"
        elif RUN_ID.fullmatch(text):
            message = f"there is no run {text}; `mailhaul runs` lists those there are"
        else:
            message = f"no run of {text} or before is kept; the oldest that is kept is {oldest}"
        return NotFoundError(message, time=text)

    def _state_at(self, scope: sqlite3.Row, run: RunId) -> tuple[int | None, bool]:
        """The run that tells how a scope was at a run (None: it was not stored yet), and whether it is
        forgotten there."""
        (row,) = self._rows(queries.STATE_AT, scope["number"], run_number(run))
        return row["run"], bool(row["purged"])

    def _moment_of(self, scope: sqlite3.Row, run: RunId, *, nearest: bool) -> int:
        """The number of the run to ask a scope for. Raises NotFoundError."""
        _, purged = self._state_at(scope, run)
        if not purged:
            return run_number(run)
        if not nearest:
            raise _purged(run, scope)
        return next((one for (one,) in self._rows(queries.KEPT_AT, scope["number"], run_number(run))), -1)

    def _versions_of_one(
        self, scopes: Iterable[sqlite3.Row], run: RunId, user: str, *, nearest: bool
    ) -> list[MailboxVersion]:
        found: list[MailboxVersion] = []
        refused: list[sqlite3.Row] = []
        for scope in scopes:
            state, purged = self._state_at(scope, run)
            row = next(self._rows(queries.VERSION_OF_ONE, scope["number"], run_number(run), raw(user)), None)
            if purged and not nearest and (row is None or run_number(row["run"]) != state):
                refused.append(scope)
            elif row is not None:
                found.append(values.mailbox_version(scope, row))
        if refused and not found:
            raise _purged(run, refused[0])
        return found

    def _archive(self, row: sqlite3.Row) -> ArchiveRecord:
        holes = tuple(Stretch(*one) for one in self._rows(queries.HOLES, row["number"]))
        with files.translated(self._path):
            lost = units.losses_of(self._database, row["number"])
            copies = locations.copies_of(self._database, row["number"])
        return values.archive_record(row, holes, lost, copies)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with files.translated(self._path), files.transaction(self._database):
            yield self._database

    def _rows(self, query: str, *given: object) -> Iterator[sqlite3.Row]:
        with files.translated(self._path):
            for row in self._database.execute(query, given):  # noqa: UP028
                yield row  # "yield from" would close the cursor, also when the catalog was closed before


def _purged(run: RunId, scope: sqlite3.Row) -> NotFoundError:
    return NotFoundError(
        f"run {run} was purged: how {scope['partition']}/{scope['group']} was then is not kept any more; "
        "a date instead of the run takes the newest that is kept",
        run=run,
    )
