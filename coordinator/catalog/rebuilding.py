"""The catalog made again from what the archives say."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from ...proto.records import ArchiveFacts, Skipped, UnitReport
from . import rows
from .database import companion, connect, create, place, transaction, translated

_REBUILT = "rebuilt from archives: whether other units failed is not known"


def rebuild(staging: Path, entries: Iterable[ArchiveFacts]) -> tuple[Skipped, ...]:
    """Make the catalog again from what the archives say, in any order; call it under the run lock.

    The new one is made beside the old, which stays if this fails, and is durable on return. Returns
    the archives that could not be entered because they contradict others. How the runs ended is not
    known any more: each is ``partial``. Raises StagingError.
    """
    path = place(staging)
    new = path.with_name(path.name + ".new")
    with translated(new):
        path.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        try:
            refused = _write_anew(new, entries)
            _replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    return refused


def _write_anew(new: Path, entries: Iterable[ArchiveFacts]) -> tuple[Skipped, ...]:
    with closing(connect(new)) as database:
        # A crash leaves the old catalog in place, so nothing here needs a journal on disk.
        database.execute("PRAGMA journal_mode = MEMORY")
        database.execute("PRAGMA synchronous = OFF")
        with transaction(database):
            create(database)
            refused = [entry for facts in entries if (entry := _enter(database, facts))]
        database.execute("PRAGMA journal_mode = WAL")
    with new.open("rb") as file:
        os.fsync(file.fileno())
    return tuple(refused)


def _replace(new: Path, path: Path) -> None:
    # The old log must be gone before the new database has the name, or SQLite would apply it to that.
    # The old database goes first: a crash in between leaves no catalog, never a wrong one.
    for old in (path, companion(path, "-wal"), companion(path, "-shm")):
        old.unlink(missing_ok=True)
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _enter(database: sqlite3.Connection, facts: ArchiveFacts) -> Skipped | None:
    """Enter one archive: all of it, or nothing where it contradicts others, which is returned then."""
    refused = None
    database.execute("SAVEPOINT entry")
    try:
        number = rows.run_number(facts.run)
        if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
            rows.insert_run(database, facts.run, facts.started, "partial", "", "", _REBUILT)
        rows.insert_unit(database, facts.run, facts.partition, facts.group, facts.shard)
        rows.seal_unit(database, _report(facts), facts.sealed, attempts=1)
    except (sqlite3.IntegrityError, OverflowError, ValueError) as error:
        # What an archive says of itself may be made up; it must not keep the others out.
        database.execute("ROLLBACK TO entry")
        refused = Skipped(facts.file, "contradicts", str(error))
    database.execute("RELEASE entry")
    return refused


def _report(facts: ArchiveFacts) -> UnitReport:
    """What the worker had reported, as far as an archive tells."""
    return UnitReport(
        run=facts.run,
        partition=facts.partition,
        group=facts.group,
        shard=facts.shard,
        archive=facts.archive,
        file=facts.file,
        mailboxes=facts.mailboxes,
        skipped=facts.skipped,
        messages=sum(mailbox.stored for mailbox in facts.mailboxes),
        size_bytes=sum(mailbox.size_bytes for mailbox in facts.mailboxes),
        new_bytes=0,
        archive_bytes=facts.size_bytes,
        seconds=0.0,
        cpu_seconds=0.0,
    )
