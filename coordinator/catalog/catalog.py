"""The catalog of one staging area: what a run records, and what is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import TracebackType

from ...proto.errors import NotFoundError, UsageError
from ...proto.records import ArchiveId, RunId, Skipped, Unit, UnitReport
from ..clock import RUN_ID
from ..history import (
    ArchiveRecord,
    GoodBackup,
    MailboxVersion,
    ResumedRun,
    RunRecord,
    RunState,
    UnitRecord,
    Unplanned,
)
from . import database as files
from . import rows, schema

_INTERRUPTED = "interrupted: the program ended before the run did"


class Catalog:
    """The catalog of one staging area, opened. For one thread; a context manager that closes it.

    One process may write (it holds the run lock) while others read; a reader sees whole transactions
    only. Every method may raise DamagedError (the file is no sound database) or StagingError (it can't
    be read or written: full disk, permissions, or busy for longer than half a minute).
    """

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        """Use ``open``."""
        self._database = database
        self._path = path

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

    def close(self) -> None:
        """Repeatable."""
        with files.translated(self._path):
            self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What a run records: its journal

    def begin_run(
        self,
        run: RunId,
        started: datetime,
        *,
        paths: str = "",
        options: str = "",
        unplanned: Unplanned | None = None,
    ) -> None:
        """Record that a run has begun, and what its plan could not hold. Runs that are still ``running`` are
        ended: the caller holds the run lock, so their program has died. Raises ValueError unless ``run``
        sorts behind all others (``clock.new_run_id`` makes such ids)."""
        with self._transaction() as database:
            newest = self.newest_run()
            if newest is not None and run <= newest:
                raise ValueError(f"run {run} does not sort behind {newest}")
            _close_interrupted(database)
            rows.insert_run(database, run, started, "running", paths, options, "", unplanned)

    def plan_units(self, units: Iterable[Unit]) -> None:
        """Record units that are to be done, with all that it takes to do them after a crash. Repeatable:
        what is known of a unit stays. Raises NotFoundError for one whose run has not begun."""
        with self._transaction() as database:
            for unit in units:
                names = (unit.run, unit.partition.name, unit.group, unit.shard)
                if rows.unit_number(database, *names) is None:
                    rows.insert_unit(database, *names, rows.encode_plan(unit))

    def resume_run(self, run: RunId) -> ResumedRun:
        """Record that a run goes on, and return what is left of it: every unit that is not sealed. The
        caller holds the run lock.

        Raises NotFoundError for a run that there is not, UsageError if nothing of it is left to do, or if a
        later run has stored something since: to go on with the older one would put its state before that.
        """
        with self._transaction() as database:
            number = rows.known_run(database, run)
            plans = tuple(map(rows.planned, database.execute(schema.PLANS, (number,))))
            if not plans:
                raise UsageError(f"run {run}: nothing is left to do: begin a new run instead", run=run)
            later = database.execute(schema.LATER_ARCHIVES, (number,)).fetchone()
            if later is not None:
                raise UsageError(
                    f"run {run} can't go on: the later run {later[0]} has stored something since; begin a "
                    "new run instead",
                    run=run,
                )
            _close_interrupted(database)
            resumed = rows.reopen_run(database, number)
            unplanned = rows.unplanned(database, number)
        record = self.run(run)
        return ResumedRun(
            started=record.started,
            resumed=resumed,
            sealed=record.sealed_units,
            units=plans,
            unplanned=unplanned,
        )

    def commit_unit(self, report: UnitReport, *, sealed: datetime, attempts: int = 1) -> None:
        """Record that a unit's archive is sealed: all of the report at once, durable on return.

        Repeatable. A later report of the same unit takes the place of an earlier one, as its archive
        took the place of the file. Raises NotFoundError for a unit that was not planned.
        """
        with self._transaction() as database:
            rows.seal_unit(database, report, sealed, attempts)

    def fail_unit(self, unit: Unit, error: str, *, attempts: int) -> None:
        """Record why a unit was given up. One that is sealed stays sealed. Raises NotFoundError for a
        unit that was not planned."""
        with self._transaction() as database:
            number = rows.planned_unit(database, unit.run, unit.partition.name, unit.group, unit.shard)
            database.execute(
                "UPDATE units SET state = 'failed', attempts = ?, error = CAST(? AS TEXT)"
                " WHERE number = ? AND state <> 'sealed'",
                (attempts, rows.raw(error), number),
            )

    def end_run(self, run: RunId, ended: datetime, *, error: str = "") -> RunState:
        """Record that a run has ended, and return how: ``done`` if every planned unit is sealed and there
        is no ``error``; else ``failed`` if none is sealed; else ``partial``. ``error`` is what ended the
        run itself early. Raises NotFoundError."""
        with self._transaction() as database:
            return rows.close_run(database, rows.known_run(database, run), ended, error)

    # What is known

    def newest_run(self) -> RunId | None:
        """The run that was begun last, whatever became of it; None if there was none."""
        return self._first_run("")

    def resolve_time(self, text: str) -> RunId:
        """The run that is meant by ``latest``, a run id, or an ISO date or time: the newest that had
        started by then. A date means the whole day; a time without an offset is UTC.

        Raises NotFoundError if there is no such run, UsageError if the text is none of the three.
        """
        if text == "latest":
            found = self.newest_run()
        elif RUN_ID.fullmatch(text):
            found = self._first_run("WHERE run = ?", text)
        else:
            found = self._first_run("WHERE started <= ?", rows.iso(_moment(text)))
        if found is None:
            raise NotFoundError(f"the catalog knows no run for the time {text!r}", time=text)
        return found

    def runs(self, most: int | None = None) -> list[RunRecord]:
        """The newest runs, newest first: at most so many, or all."""
        limit = -1 if most is None else most
        return [rows.run_record(row) for row in self._rows(schema.NEWEST_RUNS, limit)]

    def run(self, text: str) -> RunRecord:
        """The run that ``resolve_time`` finds, with its errors."""
        (row,) = self._rows(schema.ONE_RUN, rows.run_number(self.resolve_time(text)))
        return rows.run_record(row)

    def units(self, run: RunId) -> list[UnitRecord]:
        """The units of a run, by partition, group, shard."""
        return [UnitRecord(**rows.checked(row)) for row in self._rows(schema.UNITS, rows.run_number(run))]

    def last_good(self) -> list[GoodBackup]:
        """Of each group in each partition that a run ever took on, the newest run that stored all of it, by
        partition and group. One over single users does not count, nor one with ``options``, nor one of
        which only archives tell."""
        return [
            rows.good_backup(scope, self._rows(schema.SEALED_RUNS, scope["number"]))
            for scope in list(self._rows(schema.SCOPES, None, None))
        ]

    def skipped(self, run: RunId) -> Iterator[Skipped]:
        """Everything that the committed units of a run left out, in the order of the commits."""
        return (Skipped(*row) for row in self._rows(schema.SKIPPED, rows.run_number(run)))

    def archives(self, run: RunId | None = None) -> Iterator[ArchiveRecord]:
        """Every archive, or those of one run; by run, partition, group, shard."""
        if run is None:
            return map(rows.archive_record, self._rows(schema.ALL_ARCHIVES))
        return map(rows.archive_record, self._rows(schema.ARCHIVES_OF_RUN, rows.run_number(run)))

    def archive(self, archive: ArchiveId) -> ArchiveRecord:
        """One archive. Raises NotFoundError."""
        for row in self._rows(schema.ONE_ARCHIVE, archive):
            return rows.archive_record(row)
        raise NotFoundError(f"the catalog knows no archive {archive.hex()}", archive=archive.hex())

    def mailboxes_at(
        self, run: RunId, *, partition: str | None = None, group: str | None = None, user: str | None = None
    ) -> Iterator[MailboxVersion]:
        """The newest committed version, at or before a run, of each mailbox in each of its groups: of
        those that are named, or of all. By partition, group, user."""
        names = [name if name is None else rows.raw(name) for name in (partition, group)]
        for scope in list(self._rows(schema.SCOPES, *names)):
            if user is None:
                found = self._rows(schema.VERSIONS_OF_ALL, scope["number"], rows.run_number(run))
            else:
                found = self._rows(
                    schema.VERSION_OF_ONE, scope["number"], rows.run_number(run), rows.raw(user)
                )
            for row in found:
                yield MailboxVersion(partition=scope["partition"], group=scope["group"], **rows.checked(row))

    def known(self, partition: str, group: str) -> dict[str, MailboxVersion]:
        """The newest version of each user of a group: the sizes and shards that a plan starts from."""
        newest = self.newest_run()
        if newest is None:
            return {}
        return {found.user: found for found in self.mailboxes_at(newest, partition=partition, group=group)}

    def last_run_users(self, partition: str) -> frozenset[str]:
        """The users that the last run with a committed unit of this partition has stored there."""
        return frozenset(user for (user,) in self._rows(schema.LAST_USERS, rows.raw(partition)))

    def _first_run(self, where: str, *values: object) -> RunId | None:
        query = f"SELECT run FROM runs {where} ORDER BY number DESC LIMIT 1"  # noqa: S608
        return next((RunId(rows.checked(row)["run"]) for row in self._rows(query, *values)), None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with files.translated(self._path), files.transaction(self._database):
            yield self._database

    def _rows(self, query: str, *values: object) -> Iterator[sqlite3.Row]:
        with files.translated(self._path):
            for row in self._database.execute(query, values):  # noqa: UP028
                yield row  # "yield from" would close the cursor, also when the catalog was closed before


def _close_interrupted(database: sqlite3.Connection) -> None:
    """End the runs that are still ``running``: the caller holds the run lock, so their programs have died."""
    for (left,) in database.execute("SELECT number FROM runs WHERE state = 'running'").fetchall():
        rows.close_run(database, left, None, _INTERRUPTED)


def _moment(text: str) -> datetime:
    """The time that an ISO date (its last moment) or time means. Raises UsageError."""
    try:
        try:
            when = datetime.combine(date.fromisoformat(text), time.max)
        except ValueError:
            when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time: expected latest, a run id, or an ISO date or time", time=text
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)
