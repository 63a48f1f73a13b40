"""Notices on record: what became of each cause, and what is still to be said to whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from ..catalog.database import Connection, Row, transaction, translated
from ..notices.records import Event, Notice, Saying, Standing
from .database import opened, place
from .values import moment, stamp

Decide = Callable[[Standing | None], tuple[Standing | None, Saying | None]]


class NoticeRecord:
    """The notices of a staging area. For any thread: each call has a connection of its own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._path = place(staging)

    def change(self, cause: str, decide: Decide) -> Standing | None:
        """Replace what a cause has come to, and note what is to be said: both or, if ``decide`` raises,
        neither. Returns what it has come to."""
        with translated(self._path), closing(opened(self._staging)) as database, transaction(database):
            row = database.execute("SELECT * FROM notices WHERE cause = ?", (cause,)).fetchone()
            before = None if row is None else _standing(row)
            after, saying = decide(before)
            if after is not None and after != before:
                _write(database, after)
            if saying is not None:
                _say(database, saying)
            return after

    def lasts(self, cause: str) -> bool:
        """Whether a cause is on record and not over."""
        with translated(self._path), closing(opened(self._staging)) as database:
            row = database.execute("SELECT 1 FROM notices WHERE cause = ? AND over IS NULL", (cause,))
            return row.fetchone() is not None

    def lasting(self, events: Iterable[Event] = ()) -> tuple[Standing, ...]:
        """What is not over (of these events, if any are named), the oldest first."""
        wanted = tuple(events)
        with translated(self._path), closing(opened(self._staging)) as database:
            rows = database.execute("SELECT * FROM notices WHERE over IS NULL ORDER BY first, cause")
            return tuple(one for one in map(_standing, rows) if not wanted or one.notice.event in wanted)

    def past(self, count: int) -> tuple[Standing, ...]:
        """The newest of what is over, the newest first."""
        with translated(self._path), closing(opened(self._staging)) as database:
            rows = database.execute(
                "SELECT * FROM notices WHERE over IS NOT NULL ORDER BY over DESC, cause LIMIT ?", (count,)
            )
            return tuple(map(_standing, rows))

    def new_sayings(self) -> tuple[Saying, ...]:
        """What was not addressed to anybody yet, the oldest first."""
        with translated(self._path), closing(opened(self._staging)) as database:
            rows = database.execute("SELECT * FROM sayings WHERE addressed IS NULL ORDER BY id")
            return tuple(map(_saying, rows))


def _write(database: Connection, one: Standing) -> None:
    values = (
        one.notice.cause,
        *_notice_values(one.notice),
        stamp(one.first),
        stamp(one.last),
        one.times,
        stamp(one.said),
        one.heard,
        one.returns,
        stamp(one.acknowledged),
        one.acknowledged_by,
        stamp(one.over),
    )
    marks = ", ".join("?" * len(values))
    database.execute(
        "INSERT OR REPLACE INTO notices (cause, event, subject, lines, facts, first, last, times,"  # noqa: S608
        f" said, heard, returns, acknowledged, acknowledged_by, over) VALUES ({marks})",
        values,
    )


def _say(database: Connection, one: Saying) -> None:
    database.execute(
        "INSERT INTO sayings (cause, event, subject, lines, facts, kind, made, first, times)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            one.notice.cause,
            *_notice_values(one.notice),
            one.kind,
            stamp(one.made),
            stamp(one.first),
            one.times,
        ),
    )


def _notice_values(notice: Notice) -> tuple[str, ...]:
    return notice.event, notice.subject, json.dumps(notice.lines), json.dumps(notice.facts)


def _notice(row: Row) -> Notice:
    return Notice(
        event=row["event"],
        cause=row["cause"],
        subject=row["subject"],
        lines=tuple(json.loads(row["lines"])),
        facts=json.loads(row["facts"]),
    )


def _standing(row: Row) -> Standing:
    return Standing(
        notice=_notice(row),
        first=datetime.fromisoformat(row["first"]),
        last=datetime.fromisoformat(row["last"]),
        times=row["times"],
        said=moment(row["said"]),
        heard=row["heard"],
        returns=row["returns"],
        acknowledged=moment(row["acknowledged"]),
        acknowledged_by=row["acknowledged_by"],
        over=moment(row["over"]),
    )


def _saying(row: Row) -> Saying:
    return Saying(
        id=row["id"],
        kind=row["kind"],
        notice=_notice(row),
        made=datetime.fromisoformat(row["made"]),
        first=datetime.fromisoformat(row["first"]),
        times=row["times"],
    )
