"""The catalog of one staging area: what runs, purges and repairs record in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from ...proto.erased import Erased
from ...proto.errors import UsageError
from ...proto.keys.records import StructureKey
from ...proto.records import (
    CONFIRMED,
    ArchiveId,
    Location,
    Losses,
    Partition,
    RunId,
    Skipped,
    Stretch,
    Unit,
    UnitReport,
)
from ..history import CopyRecord, ResumedRun, RunState, Unplanned
from . import database as files
from . import erasing, journal, locations, queries, snapshots, standing, units, upkeep
from .reading import CatalogReader
from .snapshots import Snapshot
from .values import raw, run_number

_NOTHING_LOST = Losses()


class Catalog(CatalogReader):
    """The catalog of one staging area, opened. For one thread; a context manager that closes it.

    One process may write (it holds the run lock) while others read. Whatever a method writes is one
    transaction, and durable on return: after a crash all of it is there, or nothing.
    """

    @classmethod
    def open(cls, staging: Path, *, write: bool = False) -> Catalog:
        """Open the catalog of a staging area: for reading, also where nothing may be written; or for
        writing, which makes an empty one where there is none.

        Raises NotFoundError (for reading only) where there is none, and UnsupportedError for one that
        a newer version wrote.
        """
        path = files.place(staging)
        with files.translated(path):
            return cls(files.open_writer(path) if write else files.open_reader(path), path)

    def scratch(self) -> Catalog:
        """A catalog in memory with the same content: what is written to it, is nowhere else."""
        with files.translated(self._path):
            return Catalog(files.copied(self._database), self._path)

    def take_snapshot(self, staging: Path, key: StructureKey | None = None) -> Snapshot | None:
        """Lay a snapshot of the catalog beside the archives, durably, sealed with the ``key`` if there is
        one. There is none of a catalog that knows no run. The caller holds the run lock. Raises
        StagingError."""
        newest = self.newest_run()
        with files.translated(staging / snapshots.FOLDER):
            return None if newest is None else snapshots.take(self._database, staging, newest, key)

    # What a run records: its journal

    def begin_run(
        self,
        run: RunId,
        started: datetime,
        *,
        paths: str = "",
        options: str = "",
        narrowed: bool = False,
        mode: str = "",
        stores: Sequence[Partition] = (),
        unplanned: Unplanned | None = None,
    ) -> None:
        """Record that a run has begun, and what its plan could not hold. ``options`` are for people,
        ``narrowed`` says whether they leave mail out; ``mode`` is kept for ``resume_run``, ``stores`` are
        the partitions that it is over.

        Runs that are still ``running`` are ended: the caller holds the run lock, so their program has died.
        Raises ValueError unless ``run`` sorts behind all others (``clock.new_run_id`` makes such ids)."""
        with self._transaction() as database:
            newest = self.newest_run()
            if newest is not None and run <= newest:
                raise ValueError(f"run {run} does not sort behind {newest}")
            journal.close_interrupted(database)
            journal.insert_run(
                database,
                run,
                started,
                "running",
                paths=paths,
                options=options,
                narrowed=narrowed,
                mode=mode,
                stores=stores,
                unplanned=unplanned,
            )

    def plan_units(self, planned: Collection[Unit], over: Collection[tuple[str, str]] = ()) -> None:
        """Record units that are to be done, with all that it takes to do them after a crash. In the groups
        that the run is ``over`` as a whole (partition, group) no other mailboxes are there. Repeatable: what
        is known of a unit stays. Raises NotFoundError for one whose run has not begun."""
        with self._transaction() as database:
            for unit in planned:
                names = (unit.run, unit.partition.name, unit.group, unit.shard)
                if units.unit_number(database, *names) is None:
                    units.insert_unit(database, *names, journal.encode_plan(unit))
            standing.expect(database, planned, over)

    def resume_run(self, run: RunId) -> ResumedRun:
        """Record that a run goes on, and return what is left of it: every unit that is not done. The
        caller holds the run lock.

        Raises NotFoundError for a run that there is not, UsageError if nothing of it is left to do, if its
        plans were dropped, or if a later run has stored something since: to go on with the older one would
        put its state before that.
        """
        with self._transaction() as database:
            number = journal.known_run(database, run)
            plans = tuple(map(journal.planned, database.execute(queries.PLANS, (number,))))
            if not plans and journal.has_dropped_plans(database, number):
                raise UsageError(
                    f"run {run} can't go on: a purge has taken away since what it may have relied on; begin "
                    "a new run instead, which reads what is not stored yet",
                    run=run,
                )
            if not plans:
                raise UsageError(f"run {run}: nothing is left to do: begin a new run instead", run=run)
            later = database.execute(queries.LATER_RUN, (number,)).fetchone()
            if later is not None:
                raise UsageError(
                    f"run {run} can't go on: the later run {later[0]} has stored something since; begin a "
                    "new run instead",
                    run=run,
                )
            journal.close_interrupted(database)
            resumed = journal.reopen_run(database, number)
            unplanned = journal.unplanned(database, number)
            (mode,) = database.execute("SELECT mode FROM runs WHERE number = ?", (number,)).fetchone()
        record = self.run(run)
        return ResumedRun(
            started=record.started,
            resumed=resumed,
            sealed=record.sealed_units + record.unchanged_units,
            units=plans,
            unplanned=unplanned,
            mode=mode,
        )

    def drop_plans(self) -> None:
        """No run that was ended early can go on any more: to be called, under the run lock, before data is
        taken away that no version needs. What such a run has written already may refer to it."""
        with self._transaction() as database:
            journal.drop_plans(database)

    def commit_unit(self, report: UnitReport, *, sealed: datetime, attempts: int = 1) -> None:
        """Record that a unit's archive is sealed, or that it needed none: all of the report at once.

        Repeatable. A later report of the same unit takes the place of an earlier one, as its archive
        took the place of the file. Raises NotFoundError for a unit that was not planned, ValueError for one
        that tells of departed mailboxes without an archive: nothing would tell of them later.
        """
        with self._transaction() as database:
            units.end_unit(database, report, sealed, attempts)
            standing.note_report(database, report)

    def fail_unit(self, unit: Unit, error: str, *, attempts: int) -> None:
        """Record why a unit was given up. One that is done stays so. Raises NotFoundError for a unit that
        was not planned."""
        with self._transaction() as database:
            number = units.planned_unit(database, unit.run, unit.partition.name, unit.group, unit.shard)
            if units.give_up(database, number, error, attempts):
                scope = units.scope_number(database, unit.partition.name, unit.group)
                standing.note_failure(database, scope, run_number(unit.run), unit.users, error)

    def note_alarms(self, run: RunId, alarms: Sequence[Skipped]) -> None:
        """Add to the alarms of a run. Repeatable: one that is known is not added again. Raises
        NotFoundError."""
        with self._transaction() as database:
            journal.add_alarms(database, journal.known_run(database, run), alarms)

    def end_run(self, run: RunId, ended: datetime, *, error: str = "", interrupted: bool = False) -> RunState:
        """Record that a run has ended, and return how: ``done`` if every planned unit is sealed or was
        unchanged and there is no ``error``; else ``interrupted`` if somebody or something made an end of it;
        else ``failed`` if none is; else ``partial``. ``error`` is what ended the run itself early. Raises
        NotFoundError."""
        with self._transaction() as database:
            number = journal.known_run(database, run)
            return journal.close_run(database, number, ended, error, interrupted=interrupted)

    # What purges and repairs record

    def forget(self, partition: str, group: str, kept: Collection[RunId], held: Callable[[str], bool]) -> int:
        """Drop every moment of a group but those kept, and every version that holds at none of the moments
        that stay; return how many versions went.

        The newest moment is always kept: it is how things are. So the newest version of a mailbox stays
        unless it has departed and nothing is left that this hides. All versions of a user stay that ``held``
        names. What is forgotten does not come back: ``mailboxes_at`` refuses it.
        """
        with self._transaction() as database:
            return sum(
                upkeep.forget(database, scope["number"], kept, held)
                for scope in self._scopes(partition, group)
            )

    def erase(self, erased: Erased) -> int:
        """Forget all that was stored of mailboxes before they were erased, and their names; return how many
        versions went. Also drops the plans of runs that ended early: they name mailboxes."""
        with self._transaction() as database:
            database.execute("PRAGMA secure_delete = ON")
            journal.drop_plans(database)
            return erasing.erase(database, erased)

    def empty_units(self, archives: Iterable[ArchiveId]) -> None:
        """Record that nothing is left of what the units of these archives had changed, as if they had found
        nothing changed: their moments stay, for the other mailboxes."""
        with self._transaction() as database:
            database.executemany(
                "UPDATE units SET state = 'unchanged' WHERE state = 'sealed' AND number = ("
                " SELECT unit FROM archives WHERE archive = ?)",
                ((archive,) for archive in archives),
            )

    def renew_run(self, run: RunId, resumed: int) -> int:
        """Record that the archive of a run is written anew, as if the run had gone on once more; returns how
        often it has then."""
        with self._transaction() as database:
            return journal.renew_run(database, run_number(run), resumed)

    def wipe(self) -> None:
        """What was forgotten is not in the file any more, either."""
        with files.translated(self._path):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def replace_archive(
        self,
        archive: ArchiveId,
        *,
        name: str,
        size_bytes: int,
        generation: int,
        holes: Iterable[Stretch],
        references: Iterable[ArchiveId],
        lost: Losses = _NOTHING_LOST,
    ) -> None:
        """Record that an archive was written anew, under another name, in the staging area. What was known of
        its holes, references and losses is replaced; it is not missing any more. Raises NotFoundError."""
        with self._transaction() as database:
            upkeep.replace_archive(
                database,
                archive,
                name=name,
                size_bytes=size_bytes,
                generation=generation,
                holes=holes,
                references=references,
                lost=lost,
            )
            upkeep.remove_strays(database)

    def remove_archives(self, archives: Iterable[ArchiveId]) -> None:
        """Record that archives are gone for good, as nobody needs them. Repeatable: one that is not known is
        passed over. Raises UsageError, and removes none, if a version needs the metadata of one of them."""
        with self._transaction() as database:
            upkeep.remove_archives(database, archives)
            upkeep.remove_strays(database)

    def mark_lost(self, archive: ArchiveId, lost: Losses) -> None:
        """Record what can't be read of an archive, in place of what was known of that; stretches must not
        overlap. The next run reads again what lies there. Raises NotFoundError."""
        with self._transaction() as database:
            number = units.archive_number(database, archive)
            units.forget_losses(database, number)
            units.insert_losses(database, number, lost)

    def set_missing(self, archive: ArchiveId) -> None:
        """Record that an archive is gone from the staging area, or that nothing of it can be read there. If
        it has no other copy it is missing: its mailboxes are known still, and the next run reads again what
        it held. Raises NotFoundError."""
        with self._transaction() as database:
            locations.drop_staged(database, units.archive_number(database, archive))

    # What sweeps and recalls record: copies

    def put_copy(self, archive: ArchiveId, copy: CopyRecord) -> None:
        """Enter a copy of an archive, in place of what is known of the same one (place, name, version).
        Raises NotFoundError."""
        with self._transaction() as database:
            locations.put_copy(database, units.archive_number(database, archive), copy)

    def put_copies(self, copies: Iterable[tuple[ArchiveId, CopyRecord]]) -> None:
        """``put_copy`` for several, and what was lost under the same names in the same places is not known
        any more. Copies of archives that are gone from the catalog are needed by nobody: they are to be
        removed by their places."""
        with self._transaction() as database:
            for archive, copy in copies:
                locations.note_arrival(database, archive, copy)

    def confirm(self, archive: ArchiveId, copy: CopyRecord) -> bool:
        """Enter what another program keeps of an archive, in place of all that was confirmed of it before.
        False, and nothing changes, if the archive was written anew meanwhile. Raises NotFoundError."""
        with self._transaction() as database:
            number = units.archive_number(database, archive)
            query = "SELECT generation FROM archives WHERE number = ?"
            (generation,) = database.execute(query, (number,)).fetchone()
            if generation == copy.generation:
                locations.drop_confirmed(database, number)
                locations.put_copy(database, number, copy)
            return bool(generation == copy.generation)

    def forget_confirmed(self, archives: Iterable[ArchiveId]) -> None:
        """Record that other programs do not keep these archives any more. Raises NotFoundError."""
        with self._transaction() as database:
            for archive in archives:
                locations.drop_confirmed(database, units.archive_number(database, archive))

    def forget_discarded_elsewhere(self) -> list[Location]:
        """Returns what other programs keep and nobody needs any more, and forgets it: nobody here can remove
        it."""
        with self._transaction() as database:
            return locations.take_discarded(database, CONFIRMED)

    def discard_copy(self, archive: ArchiveId, copy: CopyRecord) -> None:
        """Record that nobody needs this copy any more: it is to be removed by its place. Raises
        NotFoundError."""
        location = Location(copy.place, copy.name, copy.version, copy.size_bytes)
        with self._transaction() as database:
            locations.drop_copy(database, units.archive_number(database, archive), location)
            locations.discard(database, location, copy.locked_until)

    def discard_strays(self, copies: Iterable[Location]) -> None:
        """The same of copies of archives that are not known."""
        with self._transaction() as database:
            for location in copies:
                locations.discard(database, location, None)

    def note_discarded_locks(self, locks: Iterable[tuple[Location, datetime]]) -> None:
        """Record until when places do not let go of copies that nobody needs."""
        with self._transaction() as database:
            for location, until in locks:
                locations.note_discarded_lock(database, location, until)

    def drop_copy(self, archive: ArchiveId, location: Location) -> None:
        """Forget a copy that was removed, or that never was. Raises NotFoundError."""
        with self._transaction() as database:
            locations.drop_copy(database, units.archive_number(database, archive), location)

    def note_locks(self, locks: Iterable[tuple[ArchiveId, Location, datetime]]) -> None:
        """Record until when copies are locked, as their places tell it now; also of archives that were purged
        meanwhile."""
        with self._transaction() as database:
            for archive, location, until in locks:
                locations.note_lock(database, archive, location, until)

    def free_staged(self, archive: ArchiveId) -> None:
        """Record, before it is deleted there, that an archive does not lie in the staging area any more.
        Raises NotFoundError, and UsageError unless another copy counts."""
        with self._transaction() as database:
            number = units.archive_number(database, archive)
            locations.refuse_last(locations.copies_of(database, number), archive)
            locations.drop_staged(database, number)

    def forget_discarded(self, location: Location) -> None:
        """Record that a copy which nobody needs was removed by its place. Repeatable."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM discarded WHERE place = CAST(? AS TEXT) AND name = CAST(? AS TEXT)"
                " AND version = CAST(? AS TEXT)",
                tuple(map(raw, location[:3])),
            )
