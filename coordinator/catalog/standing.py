"""How the mailboxes stand that are there: each function is one step of a transaction.

A mailbox is good as of a run that looked at all of it and stored it whole. Runs that were narrowed by options
decide nothing, nor do those over some of its folders.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping

from ...groups.paths import LogicalPath
from ...proto.records import RunId, Skipped, Unit, UnitReport
from ...proto.run_ends import ScopeEnd
from ..reasons import NO_FAULT
from . import queries
from .units import scope_number
from .values import paths_of, raw, run_number

_FAILED = "failed"

_KNOWN = """
    INSERT INTO present (scope, user, since) VALUES (?, CAST(? AS TEXT), ?) ON CONFLICT DO NOTHING"""
_STORED = """
    INSERT INTO present (scope, user, since, good) VALUES (?1, CAST(?2 AS TEXT), ?3, ?3)
    ON CONFLICT DO UPDATE SET good = ?3, reason = '', detail = ''"""
_TROUBLED = """
    INSERT INTO present (scope, user, since, reason, detail)
    VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT DO UPDATE SET reason = excluded.reason, detail = excluded.detail"""


def expect(database: sqlite3.Connection, planned: Iterable[Unit], over: Collection[tuple[str, str]]) -> None:
    """The mailboxes of these units are there; in the groups that the run is ``over`` as a whole (partition,
    group) no others are."""
    users: dict[tuple[str, str], set[str]] = {scope: set() for scope in over}
    for unit in planned:
        scope = unit.partition.name, unit.group
        users.setdefault(scope, set()).update(unit.users)
        number, run = scope_number(database, *scope), run_number(unit.run)
        database.executemany(_KNOWN, ((number, raw(user), run) for user in unit.users))
    for scope in over:
        number = scope_number(database, *scope)
        known = database.execute("SELECT user FROM present WHERE scope = ?", (number,)).fetchall()
        database.executemany(
            "DELETE FROM present WHERE scope = ? AND user = CAST(? AS TEXT)",
            ((number, raw(user)) for (user,) in known if user not in users[scope]),
        )


def note_report(database: sqlite3.Connection, report: UnitReport) -> None:
    """What a unit found of its mailboxes."""
    number, run = scope_number(database, report.partition, report.group), run_number(report.run)
    asked = database.execute("SELECT narrowed, paths FROM runs WHERE number = ?", (run,)).fetchone()
    if asked["narrowed"]:
        return
    paths = tuple(paths_of(asked["paths"]))
    troubles = dict(_troubles(report))
    whole = [
        user
        for user in {mailbox.user for mailbox in report.mailboxes} | troubles.keys()
        if any(path.covers(LogicalPath(report.partition, report.group, user)) for path in paths)
    ]
    good = ((number, raw(user), run) for user in whole if user not in troubles)
    database.executemany(_STORED, good)
    _note_troubles(database, number, run, {user: troubles[user] for user in whole if user in troubles})


def enter_scope(database: sqlite3.Connection, scope: ScopeEnd, run: int) -> None:
    """How the mailboxes of a group stood at the end of a run, as its record tells; those that came later are
    not good yet."""
    number = scope_number(database, scope.partition, scope.group)
    good = run_number(RunId(scope.good)) if scope.good else None
    others = {user for user, *_ in scope.others}
    passed_over = set(scope.passed_over)
    database.executemany(
        "INSERT INTO present (scope, user, since, good) VALUES (?, CAST(? AS TEXT), ?, ?)",
        [
            (number, raw(user), first, good if first <= run else None)
            for user, first in database.execute(queries.STORED_NOW, (number,)).fetchall()
            if user not in others and user not in passed_over
        ],
    )
    database.executemany(
        "INSERT INTO present (scope, user, since, good, reason, detail)"
        " VALUES (?, CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), CAST(? AS TEXT))",
        (
            (
                number,
                raw(user),
                run_number(RunId(since)) if since else run,
                run_number(RunId(last_good)) if last_good else None,
                raw(reason),
                raw(detail),
            )
            for user, last_good, since, reason, detail in scope.others
        ),
    )


def note_failure(
    database: sqlite3.Connection, scope: int, run: int, users: Iterable[str], error: str
) -> None:
    """A unit of these users was given up."""
    _note_troubles(database, scope, run, {user: Skipped("", _FAILED, error) for user in users})


def _note_troubles(
    database: sqlite3.Connection, scope: int, run: int, troubles: Mapping[str, Skipped]
) -> None:
    rows = ((scope, raw(user), run, raw(skip.reason), raw(skip.detail)) for user, skip in troubles.items())
    database.executemany(_TROUBLED, rows)


def _troubles(report: UnitReport) -> Iterator[tuple[str, Skipped]]:
    """The users of whose mailbox something is missing, with the last that is."""
    faults = [skip for skip in report.skipped if skip.reason not in NO_FAULT]
    for fault in faults:
        mailbox = "/".join(fault.path.split("/")[:4])  # the slashes in the name of a user are escaped
        user = LogicalPath.parse(mailbox).user if mailbox.startswith("/") else None
        if user is not None:
            yield user, fault
