"""Units of runs and their archives: each function is one step of a transaction that writes their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from ...proto.errors import AccessError, NotFoundError
from ...proto.records import (
    LEFT_PARTITION,
    ArchiveId,
    Departed,
    Losses,
    MailboxSummary,
    Referred,
    RunId,
    Stretch,
    UnitReport,
)
from ...worker.archives.names import name_of
from ..reasons import EXCLUDED, NO_FAULT
from . import queries
from .journal import known_run
from .locations import stage_copy
from .values import iso, raw, run_number

_NOTHING_LOST = Losses()


def scope_number(database: sqlite3.Connection, partition: str, group: str) -> int:
    """The number of a (partition, group); a new one where it has none yet."""
    names = (raw(partition), raw(group))
    database.execute(
        "INSERT INTO scopes (partition, grp) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))"
        " ON CONFLICT DO NOTHING",
        names,
    )
    return int(database.execute(queries.SCOPES, names).fetchone()["number"])


def insert_unit(
    database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int, plan: str | None = None
) -> None:
    """A planned unit. Raises NotFoundError if its run has not begun; twice the same is an IntegrityError."""
    database.execute(
        "INSERT INTO units (run, scope, shard, plan) VALUES (?, ?, ?, ?)",
        (known_run(database, run), scope_number(database, partition, group), shard, plan),
    )


def unit_number(
    database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int
) -> int | None:
    """The number of a unit, if it is planned."""
    row = database.execute(
        "SELECT u.number FROM units u JOIN scopes s ON s.number = u.scope"
        " WHERE u.run = ? AND u.shard = ? AND s.partition = CAST(? AS TEXT) AND s.grp = CAST(? AS TEXT)",
        (run_number(run), shard, raw(partition), raw(group)),
    ).fetchone()
    return None if row is None else int(row[0])


def planned_unit(database: sqlite3.Connection, run: RunId, partition: str, group: str, shard: int) -> int:
    """The number of a unit. Raises NotFoundError."""
    found = unit_number(database, run, partition, group, shard)
    if found is None:
        raise NotFoundError(f"no unit {partition}/{group}.{shard} was planned in run {run}", run=run)
    return found


def end_unit(
    database: sqlite3.Connection,
    report: UnitReport,
    ended: datetime | None,
    attempts: int,
    *,
    generation: int = 0,
    holes: Iterable[Stretch] = (),
    lost: Losses = _NOTHING_LOST,
) -> None:
    """All of a report, in place of what an earlier one may have left."""
    if report.archive is None and report.departed:
        raise ValueError("mailboxes that departed without an archive that tells so")
    unit = planned_unit(database, report.run, report.partition, report.group, report.shard)
    for table in ("versions", "skipped"):
        database.execute(f"DELETE FROM {table} WHERE unit = ?", (unit,))  # noqa: S608
    _remove_archive_of(database, unit)
    if report.archive is not None:
        values = (
            *(unit, raw(report.name), report.archive_bytes, generation),
            *(ended and iso(ended), report.encrypted),
        )
        number = _insert_archive(database, report.archive, values)
        stage_copy(database, number, report.name, report.archive_bytes, generation)
        insert_holes(database, number, holes)
        insert_losses(database, number, lost)
        insert_references(database, number, report.references)
        _insert_versions(database, unit, report.mailboxes)
        _insert_departed(database, unit, (*report.departed, *report.carried))
        if any(departed.from_partition for departed in (*report.departed, *report.carried)):
            spread_departures(database, unit)
    database.executemany(
        "INSERT INTO skipped (unit, path, reason, detail)"
        " VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))",
        ((unit, raw(skip.path), raw(skip.reason), raw(skip.detail)) for skip in report.skipped),
    )
    state = "unchanged" if report.archive is None else "sealed"
    database.execute(queries.END_UNIT, (state, attempts, *_counts(report), ended and iso(ended), unit))


def give_up(database: sqlite3.Connection, unit: int, error: str, attempts: int) -> bool:
    """A unit has failed, unless it was done before; returns whether it has."""
    failed = database.execute(
        "UPDATE units SET state = 'failed', attempts = ?, error = CAST(? AS TEXT)"
        " WHERE number = ? AND state NOT IN ('sealed', 'unchanged')",
        (attempts, raw(error), unit),
    )
    return failed.rowcount > 0


def _counts(report: UnitReport) -> Sequence[float]:
    return (
        len(report.mailboxes),
        len(report.departed),
        sum(skip.reason not in NO_FAULT for skip in report.skipped),
        sum(one.reason in EXCLUDED for one in report.skipped),
        report.messages,
        report.read,
        sum(mailbox.added for mailbox in report.mailboxes),
        sum(summary.vanished for summary in report.mailboxes),
        report.size_bytes,
        report.new_bytes,
        report.archive_bytes,
        report.seconds,
        report.cpu_seconds,
        report.peak_memory_bytes,
    )


def _remove_archive_of(database: sqlite3.Connection, unit: int) -> None:
    """What an earlier attempt at a unit sealed is replaced; who refers to it all the same will be told."""
    row = database.execute("SELECT number FROM archives WHERE unit = ?", (unit,)).fetchone()
    if row is None:
        return
    forget_content(database, row[0])
    database.execute("DELETE FROM locations WHERE archive = ?", (row[0],))
    if database.execute("SELECT 1 FROM refs WHERE other = ?", (row[0],)).fetchone() is None:
        database.execute("DELETE FROM archives WHERE number = ?", (row[0],))
    else:
        database.execute("UPDATE archives SET unit = NULL, missing = 1 WHERE number = ?", (row[0],))


def _insert_archive(database: sqlite3.Connection, archive: ArchiveId, values: Sequence[object]) -> int:
    """A sealed archive: its unit, name, size, generation, when it was sealed, and whether it is encrypted.
    Returns its number."""
    # One that others refer to may have a row already, as missing.
    taken = database.execute(
        "UPDATE archives SET unit = ?, name = CAST(? AS TEXT), size_bytes = ?, generation = ?, sealed = ?,"
        " encrypted = ?, missing = 0 WHERE archive = ? AND unit IS NULL",
        (*values, archive),
    )
    if not taken.rowcount:
        database.execute(
            "INSERT INTO archives (unit, name, size_bytes, generation, sealed, encrypted, archive)"
            " VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?)",
            (*values, archive),
        )
    return archive_number(database, archive)


def insert_missing(
    database: sqlite3.Connection,
    archive: ArchiveId,
    unit: int,
    name: str,
    size_bytes: int,
    ended: str | None,
) -> None:
    """The archive of a unit, which is not there."""
    number = _insert_archive(database, archive, (unit, raw(name), size_bytes, 0, ended, None))
    database.execute("UPDATE archives SET missing = 1 WHERE number = ?", (number,))


def archive_number(database: sqlite3.Connection, archive: ArchiveId) -> int:
    """The number of an archive. Raises NotFoundError."""
    row = database.execute("SELECT number FROM archives WHERE archive = ?", (archive,)).fetchone()
    if row is None:
        raise NotFoundError(f"the catalog knows no archive {archive.hex()}", archive=archive.hex())
    return int(row[0])


def insert_references(database: sqlite3.Connection, number: int, others: Iterable[ArchiveId]) -> None:
    """The archives that the metadata of one names; those that are not known are missing."""
    for other in others:
        database.execute(
            "INSERT INTO archives (archive, name, size_bytes, missing) VALUES (?, '', 0, 1)"
            " ON CONFLICT DO NOTHING",
            (other,),
        )
        database.execute(
            "INSERT INTO refs (archive, other) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (number, archive_number(database, other)),
        )


def name_missing(database: sqlite3.Connection, referred: Iterable[Referred]) -> None:
    """What the files of archives are called that are not at hand, as those tell that refer to them."""
    for one in referred:
        with suppress(AccessError):
            if name := name_of(one):
                database.execute(
                    "UPDATE archives SET name = CAST(? AS TEXT), size_bytes = ?"
                    " WHERE archive = ? AND unit IS NULL AND name = ''",
                    (raw(name), one.size_bytes, one.archive),
                )


def insert_holes(database: sqlite3.Connection, number: int, holes: Iterable[Stretch]) -> None:
    """The holes of an archive of which none is known yet."""
    database.executemany("INSERT INTO holes VALUES (?, ?, ?)", ((number, *hole) for hole in holes))


def insert_losses(database: sqlite3.Connection, number: int, lost: Losses) -> None:
    """What is lost of an archive of which no loss is known yet."""
    database.executemany("INSERT INTO lost VALUES (?, ?, ?)", ((number, *stretch) for stretch in lost.data))
    database.executemany(
        "INSERT INTO lost_frames VALUES (?, ?, ?)", ((number, *frame) for frame in lost.frames)
    )


def losses_of(database: sqlite3.Connection, number: int) -> Losses:
    """What is known to be lost of an archive."""
    data, frames = (
        tuple(Stretch(*row) for row in database.execute(query, (number,)))
        for query in (queries.LOST, queries.LOST_FRAMES)
    )
    return Losses(data, frames)


def forget_losses(database: sqlite3.Connection, number: int) -> None:
    """Take back what is known to be lost of an archive."""
    for table in ("lost", "lost_frames"):
        database.execute(f"DELETE FROM {table} WHERE archive = ?", (number,))  # noqa: S608


def forget_content(database: sqlite3.Connection, number: int) -> None:
    """Take back what is known of the content of an archive."""
    for table in ("refs", "holes"):
        database.execute(f"DELETE FROM {table} WHERE archive = ?", (number,))  # noqa: S608
    forget_losses(database, number)


def _insert_versions(database: sqlite3.Connection, unit: int, mailboxes: Sequence[MailboxSummary]) -> None:
    scope, run = _known_to_scope(database, unit, [mailbox.user for mailbox in mailboxes])
    database.executemany(
        "INSERT INTO versions (mailbox, run, unit, folders, listed, stored, skipped, size_bytes, added,"
        " vanished, changed)"
        " SELECT number, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM mailboxes"
        " WHERE scope = ? AND user = CAST(? AS TEXT)",
        (
            (
                run,
                unit,
                summary.folders,
                summary.listed,
                summary.stored,
                summary.skipped,
                summary.size_bytes,
                summary.added,
                summary.vanished,
                summary.changed,
                scope,
                raw(summary.user),
            )
            for summary in mailboxes
        ),
    )


def _insert_departed(database: sqlite3.Connection, unit: int, departed: Sequence[Departed]) -> None:
    """A departure that was told before is told by this unit now: no older archive is needed for it."""
    scope, run = _known_to_scope(database, unit, [one.user for one in departed])
    database.executemany(
        "INSERT INTO versions (mailbox, run, unit, departed, detail, folders, listed, stored, skipped,"
        " size_bytes, added, vanished, changed)"
        " SELECT number, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), 0, 0, 0, 0, 0, 0, 0, 1 FROM mailboxes"
        " WHERE scope = ? AND user = CAST(? AS TEXT)"
        " ON CONFLICT (mailbox, run) DO UPDATE SET unit = excluded.unit WHERE departed IS NOT NULL",
        (
            (
                run_number(one.run) if one.run else run,
                unit,
                raw(one.reason),
                raw(one.detail),
                scope,
                raw(one.user),
            )
            for one in departed
        ),
    )


def spread_departures(database: sqlite3.Connection, unit: int | None = None) -> None:
    """Mailboxes that left their partition, as a unit tells, or any, have departed from all its groups that
    have them as they were before."""
    database.execute(queries.SPREAD_DEPARTURES, (*LEFT_PARTITION, unit))


def _known_to_scope(database: sqlite3.Connection, unit: int, users: Iterable[str]) -> tuple[int, int]:
    """The scope and run of a unit, once these users are known there."""
    scope, run = database.execute("SELECT scope, run FROM units WHERE number = ?", (unit,)).fetchone()
    database.executemany(
        "INSERT INTO mailboxes (scope, user) VALUES (?, CAST(? AS TEXT)) ON CONFLICT DO NOTHING",
        ((scope, raw(user)) for user in users),
    )
    return scope, run
