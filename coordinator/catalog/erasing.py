"""What a catalog forgets of mailboxes that were erased: steps of a transaction, which can be repeated."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress

from ...proto.erased import Erased
from ...proto.records import RunId, Skipped
from ...proto.structs import astuple, replace
from ..unnamed import Unnaming
from . import journal, upkeep
from .values import raw, run_number

_MAILBOXES = """
    SELECT m.number, m.user, s.partition FROM mailboxes m JOIN scopes s ON s.number = m.scope"""
_GOING = """
    SELECT departed IS NULL, departed IS NOT NULL, stored, size_bytes, unit FROM versions
    WHERE mailbox = ? AND run < ?"""
# Who has fewer mailboxes than its unit stored has lost some.
_COUNT_LESS = """
    UPDATE units SET mailboxes = max(0, mailboxes - ?), departed = max(0, departed - ?),
        messages = max(0, messages - ?), size_bytes = max(0, size_bytes - ?) WHERE number = ?"""
_PRESENT = """
    SELECT p.scope, p.user, s.partition, p.since, p.good FROM present p JOIN scopes s ON s.number = p.scope"""
_SKIPPED = """
    SELECT k.number, k.path, k.detail, r.run FROM skipped k JOIN units u ON u.number = k.unit
        JOIN runs r ON r.number = u.run"""


def erase(database: sqlite3.Connection, erased: Erased) -> int:
    """Forget all that was stored of mailboxes before they were erased, and their names in the records of
    runs. Returns how many versions went."""
    if not erased:
        return 0
    unnaming = Unnaming(erased)
    versions = 0
    for number, user, partition in database.execute(_MAILBOXES).fetchall():
        if before := erased.before(partition, user):
            those = (number, run_number(RunId(before)))
            database.executemany(_COUNT_LESS, database.execute(_GOING, those).fetchall())
            versions += database.execute("DELETE FROM versions WHERE mailbox = ? AND run < ?", those).rowcount
    # A departure that is left hides nothing any more.
    for (scope,) in database.execute("SELECT number FROM scopes").fetchall():
        upkeep.drop_idle(database, scope)
    _erase_present(database, erased)
    _erase_skipped(database, unnaming)
    for number, run in database.execute("SELECT number, run FROM runs").fetchall():
        if erased.reaches(run):
            _unname_run(database, number, RunId(run), unnaming)
    return versions


def _erase_present(database: sqlite3.Connection, erased: Erased) -> None:
    """Of a mailbox that is there (again) counts what came after."""
    for scope, user, partition, since, good in database.execute(_PRESENT).fetchall():
        before = erased.before(partition, user)
        if not before or since >= run_number(RunId(before)):
            continue
        where = (scope, raw(user))
        if good is not None and good >= run_number(RunId(before)):
            database.execute(
                "UPDATE present SET since = good WHERE scope = ? AND user = CAST(? AS TEXT)", where
            )
        else:
            database.execute("DELETE FROM present WHERE scope = ? AND user = CAST(? AS TEXT)", where)


def _erase_skipped(database: sqlite3.Connection, unnaming: Unnaming) -> None:
    kept = []
    for number, path, detail, run in database.execute(_SKIPPED).fetchall():
        if unnaming.is_of(path, run):
            database.execute("DELETE FROM skipped WHERE number = ?", (number,))
        else:
            kept.append((number, detail, run))
    for number, detail, run in kept:
        if (told := unnaming.text(detail, run)) != detail:
            database.execute(
                "UPDATE skipped SET detail = CAST(? AS TEXT) WHERE number = ?", (raw(told), number)
            )


def _unname_run(database: sqlite3.Connection, number: int, run: RunId, unnaming: Unnaming) -> None:
    alarms = journal.alarms_of(database, number)
    left = unnaming.entries(alarms, run)
    if left != alarms:
        text = json.dumps([astuple(skip) for skip in left])
        database.execute("UPDATE runs SET alarms = ? WHERE number = ?", (text, number))
    for column, told in _texts_of(database, number, run, unnaming):
        database.execute(
            f"UPDATE runs SET {column} = CAST(? AS TEXT) WHERE number = ?",  # noqa: S608
            (raw(told), number),
        )
    for unit, error in database.execute(
        "SELECT number, error FROM units WHERE run = ?", (number,)
    ).fetchall():
        if (told := unnaming.text(error, run)) != error:
            database.execute("UPDATE units SET error = CAST(? AS TEXT) WHERE number = ?", (raw(told), unit))
    unplanned = journal.unplanned(database, number) if _has_unplanned(database, number) else None
    if unplanned is not None:
        left_out: tuple[Skipped, ...] = unnaming.entries(unplanned.left_out, run)
        failed = tuple((what, code, unnaming.text(told, run)) for what, code, told in unplanned.failed)
        if (left_out, failed) != (unplanned.left_out, unplanned.failed):
            text, _, _ = journal.encode_unplanned(replace(unplanned, left_out=left_out, failed=failed))
            database.execute("UPDATE runs SET unplanned = ? WHERE number = ?", (text, number))


def _has_unplanned(database: sqlite3.Connection, number: int) -> bool:
    (text,) = database.execute("SELECT unplanned FROM runs WHERE number = ?", (number,)).fetchone()
    return bool(text != "{}")


def _texts_of(
    database: sqlite3.Connection, number: int, run: RunId, unnaming: Unnaming
) -> Iterator[tuple[str, str]]:
    """The columns of a run that change, and how they read then."""
    row = database.execute(
        "SELECT paths, options, mode, error FROM runs WHERE number = ?", (number,)
    ).fetchone()
    if (paths := unnaming.paths(row["paths"], run)) != row["paths"]:
        yield "paths", paths
    with suppress(ValueError):
        mode = json.loads(row["mode"])
        if (told := unnaming.document(mode, run)) != mode:
            yield "mode", json.dumps(told)
    for column in ("options", "error"):
        if (told := unnaming.text(row[column], run)) != row[column]:
            yield column, told
