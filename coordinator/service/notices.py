"""Notices on record: what became of each cause, and what is still to be said to whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.structs import Record
from ..catalog.database import Connection, Row, transaction
from ..notices.records import Event, Kind, Notice, Saying, Standing
from .database import reading, writing
from .values import moment, stamp

Decide = Callable[[Standing | None], tuple[Standing | None, Saying | None]]


FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)


class Delivery(Record, kw_only=True):
    """A saying that a receiver is still to get; ``attempts`` have failed."""

    saying: Saying
    channel: str
    attempts: int = 0


class ChannelStanding(Record, kw_only=True):
    """How deliveries to a receiver go: so many were ``delivered`` or ``given_up`` and are ``waiting`` still;
    ``failures`` counts attempts. It fails since ``failing_since`` (None: it does not), for ``error``."""

    name: str
    delivered: int
    failures: int
    given_up: int
    waiting: int
    last_delivered: datetime | None = None
    failing_since: datetime | None = None
    error: str = ""


class NoticeRecord:
    """The notices of a staging area. For any thread: each call has a connection of its own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def change(self, cause: str, decide: Decide) -> Standing | None:
        """Replace what a cause has come to, and note what is to be said: both or, if ``decide`` raises,
        neither. Returns what it has come to."""
        with writing(self._staging) as database:
            row = database.execute("SELECT * FROM notices WHERE cause = ?", (cause,)).fetchone()
            before = None if row is None else _standing(row)
            after, saying = decide(before)
            if after is not None and after != before:
                _write(database, after)
            if saying is not None:
                _say(database, saying)
            return after

    def of(self, cause: str) -> Standing | None:
        """What a cause has come to; None if it was never raised, or long ago."""
        with reading(self._staging) as database:
            row = database.execute("SELECT * FROM notices WHERE cause = ?", (cause,)).fetchone()
            return None if row is None else _standing(row)

    def lasts(self, cause: str) -> bool:
        """Whether a cause is on record and not over."""
        with reading(self._staging) as database:
            row = database.execute("SELECT 1 FROM notices WHERE cause = ? AND over IS NULL", (cause,))
            return row.fetchone() is not None

    def lasting(self, events: Iterable[Event] = ()) -> tuple[Standing, ...]:
        """What is not over (of these events, if any are named), the oldest first."""
        wanted = tuple(events)
        with reading(self._staging) as database:
            rows = database.execute("SELECT * FROM notices WHERE over IS NULL ORDER BY first, cause")
            return tuple(
                standing for standing in map(_standing, rows) if not wanted or standing.notice.event in wanted
            )

    def past(self, count: int) -> tuple[Standing, ...]:
        """The newest of what is over, the newest first."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM notices WHERE over IS NOT NULL ORDER BY over DESC, cause LIMIT ?", (count,)
            )
            return tuple(map(_standing, rows))

    def sayings(self, count: int) -> tuple[Saying, ...]:
        """The newest that are kept, the newest first."""
        with reading(self._staging) as database:
            rows = database.execute("SELECT * FROM sayings ORDER BY id DESC LIMIT ?", (count,))
            return tuple(map(_saying, rows))

    def said(self) -> tuple[tuple[Event, Kind, int], ...]:
        """How often something was said, ever, by event and kind."""
        with reading(self._staging) as database:
            return tuple(
                map(tuple, database.execute("SELECT event, kind, times FROM said ORDER BY event, kind"))
            )

    # To whom

    def address(self, receivers: Mapping[str, Collection[Event]], now: datetime) -> None:
        """Note who is to get what was not addressed to anybody yet: every receiver (by its name) of its
        event. What a receiver has not got yet of the same cause gives way to it. Nothing is kept for
        receivers that there are not."""
        if not self._is_new(receivers):
            return
        with writing(self._staging) as database:
            for name in receivers:
                database.execute("INSERT OR IGNORE INTO channels (name) VALUES (?)", (name,))
            known = [name for (name,) in database.execute("SELECT name FROM channels")]
            for name in set(known) - set(receivers):
                database.execute("DELETE FROM deliveries WHERE channel = ?", (name,))
                database.execute("DELETE FROM channels WHERE name = ?", (name,))
            for row in database.execute(
                "SELECT * FROM sayings WHERE addressed IS NULL ORDER BY id"
            ).fetchall():
                for name in (name for name, events in receivers.items() if row["event"] in events):
                    database.execute(_GIVE_WAY, (name, row["cause"]))
                    database.execute(
                        "INSERT INTO deliveries (saying, channel) VALUES (?, ?)", (row["id"], name)
                    )
            database.execute("UPDATE sayings SET addressed = ? WHERE addressed IS NULL", (stamp(now),))

    def _is_new(self, receivers: Collection[str]) -> bool:
        with reading(self._staging) as database:
            found = database.execute("SELECT 1 FROM sayings WHERE addressed IS NULL LIMIT 1").fetchone()
            known = {name for (name,) in database.execute("SELECT name FROM channels")}
            return found is not None or known != set(receivers)

    def due(self, now: datetime) -> tuple[Delivery, ...]:
        """What is to be delivered now, the oldest first; nothing to a receiver that can't be reached until it
        is tried again. A time for that beyond the longest pause was set by a clock that was wrong."""
        with reading(self._staging) as database:
            rows = database.execute(_DUE, (stamp(now), stamp(now + 2 * LONGEST_PAUSE)))
            return tuple(
                Delivery(saying=_saying(row), channel=row["channel"], attempts=row["attempts"])
                for row in rows
            )

    def delivered(self, delivery: Delivery, now: datetime) -> None:
        """A receiver has got it."""
        with writing(self._staging) as database:
            _done_with(database, delivery)
            database.execute(
                "UPDATE channels SET delivered = delivered + 1, last_delivered = ?, failing_since = NULL,"
                " failed_in_row = 0, retry = NULL, error = '' WHERE name = ?",
                (stamp(now), delivery.channel),
            )

    def failed(self, delivery: Delivery, error: str, now: datetime, *, unreachable: bool) -> None:
        """A receiver has not got it, and will be tried again: after a pause that grows with each failure,
        of this delivery, or of all to an ``unreachable`` receiver."""
        with writing(self._staging) as database:
            row = database.execute(
                "SELECT failed_in_row FROM channels WHERE name = ?", (delivery.channel,)
            ).fetchone()
            if row is None:
                return
            in_row = row["failed_in_row"] + unreachable
            database.execute(
                "UPDATE deliveries SET attempts = attempts + 1, retry = ?, error = ?"
                " WHERE saying = ? AND channel = ?",
                (
                    None if unreachable else stamp(now + pause(delivery.attempts + 1)),
                    error,
                    delivery.saying.id,
                    delivery.channel,
                ),
            )
            database.execute(
                "UPDATE channels SET failures = failures + 1, failing_since = ifnull(failing_since, ?),"
                " failed_in_row = ?, retry = ?, error = ? WHERE name = ?",
                (
                    stamp(now),
                    in_row,
                    stamp(now + pause(in_row)) if unreachable else None,
                    error,
                    delivery.channel,
                ),
            )

    def give_up(self, delivery: Delivery) -> None:
        """A receiver will not get it any more."""
        with writing(self._staging) as database:
            _done_with(database, delivery)
            database.execute(
                "UPDATE channels SET given_up = given_up + 1 WHERE name = ?", (delivery.channel,)
            )

    def channels(self) -> tuple[ChannelStanding, ...]:
        """How deliveries go, by receiver."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT c.*, (SELECT count(*) FROM deliveries d WHERE d.channel = c.name) AS waiting"
                " FROM channels c ORDER BY c.name"
            )
            return tuple(
                ChannelStanding(
                    name=row["name"],
                    delivered=row["delivered"],
                    failures=row["failures"],
                    given_up=row["given_up"],
                    waiting=row["waiting"],
                    last_delivered=moment(row["last_delivered"]),
                    failing_since=moment(row["failing_since"]),
                    error=row["error"],
                )
                for row in rows
            )

    def forget_named(self, names: Callable[[Notice], bool]) -> None:
        """Drop what names somebody who was erased, also what is still to be said; nothing of it is left in
        the file."""
        with reading(self._staging) as database:
            database.execute("PRAGMA secure_delete = ON")
            with transaction(database):
                _forget_named(database, names)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forget(self, before: datetime) -> None:
        """Drop what was over before, and what was said of it and has been delivered."""
        with writing(self._staging) as database:
            database.execute("DELETE FROM notices WHERE over < ?", (stamp(before),))
            database.execute(
                "DELETE FROM sayings WHERE made < ? AND addressed IS NOT NULL"
                " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.saying = sayings.id)",
                (stamp(before),),
            )


_GIVE_WAY = (
    """DELETE FROM deliveries WHERE channel = ? AND saying IN (SELECT id FROM sayings WHERE cause = ?)"""
)

_DUE = """SELECT s.*, d.channel, d.attempts FROM deliveries d
    JOIN sayings s ON s.id = d.saying JOIN channels c ON c.name = d.channel
    WHERE (d.retry IS NULL OR d.retry <= ?1 OR d.retry > ?2)
        AND (c.retry IS NULL OR c.retry <= ?1 OR c.retry > ?2)
    ORDER BY s.id, d.channel"""


def pause(failures: int) -> timedelta:
    """How long to wait after so many failures in a row."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(max(failures - 1, 0), 16)
    return min(LONGEST_PAUSE, doubled)


def _forget_named(database: Connection, names: Callable[[Notice], bool]) -> None:
    for row in database.execute("SELECT * FROM notices").fetchall():
        if names(_notice(row)):
            database.execute("DELETE FROM notices WHERE cause = ?", (row["cause"],))
    for row in database.execute("SELECT * FROM sayings").fetchall():
        if names(_notice(row)):
            database.execute("DELETE FROM deliveries WHERE saying = ?", (row["id"],))
            database.execute("DELETE FROM sayings WHERE id = ?", (row["id"],))


def _done_with(database: Connection, delivery: Delivery) -> None:
    database.execute(
        "DELETE FROM deliveries WHERE saying = ? AND channel = ?", (delivery.saying.id, delivery.channel)
    )


def _write(database: Connection, standing: Standing) -> None:
    values = (
        standing.notice.cause,
        *_notice_values(standing.notice),
        stamp(standing.first),
        stamp(standing.last),
        standing.times,
        stamp(standing.said),
        standing.heard,
        standing.returns,
        stamp(standing.acknowledged),
        standing.acknowledged_by,
        stamp(standing.over),
    )
    marks = ", ".join("?" * len(values))
    database.execute(
        "INSERT OR REPLACE INTO notices (cause, event, subject, lines, facts, first, last, times,"  # noqa: S608
        f" said, heard, returns, acknowledged, acknowledged_by, over) VALUES ({marks})",
        values,
    )


def _say(database: Connection, saying: Saying) -> None:
    database.execute(
        "INSERT INTO said VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
        (saying.notice.event, saying.kind),
    )
    database.execute(
        "INSERT INTO sayings (cause, event, subject, lines, facts, kind, made, first, times)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            saying.notice.cause,
            *_notice_values(saying.notice),
            saying.kind,
            stamp(saying.made),
            stamp(saying.first),
            saying.times,
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
