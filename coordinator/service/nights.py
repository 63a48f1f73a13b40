"""Nights that were looked at, and whether the switch was worked after the good ones."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from ...proto.structs import Record
from ..catalog.database import Row
from .database import reading, writing
from .notices import LONGEST_PAUSE, pause
from .values import moment, stamp


class Night(Record, kw_only=True):
    """A night by the day on which it ended: a ``good`` one, or not. The switch was ``worked`` then; it failed
    ``attempts`` times, the last for ``error``, and is tried again at ``retry``."""

    day: date
    good: bool
    worked: datetime | None = None
    attempts: int = 0
    retry: datetime | None = None
    error: str = ""


class Nights:
    """The nights of a staging area. For any thread: each call has a connection of its own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def newest(self) -> Night | None:
        """The last that was looked at; None if none ever was."""
        with reading(self._staging) as database:
            row = database.execute("SELECT * FROM nights ORDER BY day DESC LIMIT 1").fetchone()
            return None if row is None else _night(row)

    def last_good(self) -> Night | None:
        """The last good one."""
        with reading(self._staging) as database:
            row = database.execute("SELECT * FROM nights WHERE good ORDER BY day DESC LIMIT 1").fetchone()
            return None if row is None else _night(row)

    def note(self, day: date, *, good: bool) -> None:
        """A night was looked at. What is on record of it stays, but that it may have become a good one."""
        with writing(self._staging) as database:
            database.execute(
                "INSERT INTO nights (day, good) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET good = max(good, excluded.good)",
                (day.isoformat(), good),
            )
            database.execute(
                "DELETE FROM nights WHERE day NOT IN (SELECT day FROM nights ORDER BY day DESC LIMIT 1000)"
            )

    def worked(self, night: Night, now: datetime) -> None:
        """The switch was worked."""
        self._change(night, "worked = ?, retry = NULL, error = ''", (stamp(now),))

    def failed(self, night: Night, error: str, now: datetime) -> None:
        """It could not be worked, and is tried again after a pause that grows."""
        retry = stamp(now + pause(night.attempts + 1))
        self._change(night, "attempts = attempts + 1, retry = ?, error = ?", (retry, error))

    def _change(self, night: Night, assignments: str, values: tuple[object, ...]) -> None:
        with writing(self._staging) as database:
            database.execute(
                f"UPDATE nights SET {assignments} WHERE day = ?",  # noqa: S608 (constants)
                (*values, night.day.isoformat()),
            )


def is_due(night: Night, now: datetime) -> bool:
    """Whether the switch is to be worked for it now. A time to try again that lies further ahead than any
    pause was set by a clock that was wrong."""
    if not night.good or night.worked is not None:
        return False
    return night.retry is None or not now < night.retry <= now + 2 * LONGEST_PAUSE


def _night(row: Row) -> Night:
    return Night(
        day=date.fromisoformat(row["day"]),
        good=bool(row["good"]),
        worked=moment(row["worked"]),
        attempts=row["attempts"],
        retry=moment(row["retry"]),
        error=row["error"],
    )
