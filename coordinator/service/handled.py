"""Which moments of the schedule were seen to. An operation is put in, and its moment is handled, in one
transaction: whenever the process ends, both are on record or neither is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ..catalog.database import transaction
from .database import reading, writing
from .operations import insert
from .records import Handled, Operation, Request
from .values import stamp


class HandledMoments:
    """Those of a staging area, by the names of entries. For any thread: each call has a connection of its
    own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def all(self) -> dict[str, Handled]:
        """All that is on record."""
        with reading(self._staging) as database:
            return {
                row["entry"]: Handled(
                    moment=datetime.fromisoformat(row["moment"]),
                    full=datetime.fromisoformat(row["full"]),
                    passed_over=row["passed_over"],
                )
                for row in database.execute("SELECT * FROM handled")
            }

    def begin(self, fresh: Mapping[str, Handled], kept: Sequence[str]) -> None:
        """The schedule begins with these ``fresh`` entries, whatever was on record of them; of others only
        what is ``kept`` stays."""
        with writing(self._staging) as database:
            known = [row["entry"] for row in database.execute("SELECT entry FROM handled")]
            gone = [(one,) for one in known if one not in kept and one not in fresh]
            database.executemany("DELETE FROM handled WHERE entry = ?", gone)
            database.executemany(
                "INSERT OR REPLACE INTO handled (entry, moment, full) VALUES (?, ?, ?)",
                [(entry, stamp(handled.moment), stamp(handled.full)) for entry, handled in fresh.items()],
            )

    def handle(
        self, seen: Mapping[str, Handled], requests: Sequence[Request], now: datetime
    ) -> tuple[Operation, ...] | None:
        """Put these operations in, and note that the moments of these entries were seen to. None, and nothing
        is done, if one of the moments was seen to before, or an entry is not on record."""
        with reading(self._staging) as database:
            try:
                with transaction(database):
                    for entry, handled in seen.items():
                        changed = database.execute(
                            "UPDATE handled SET moment = ?2, full = ?3, passed_over = ?4"
                            " WHERE entry = ?1 AND moment < ?2",
                            (entry, stamp(handled.moment), stamp(handled.full), handled.passed_over),
                        ).rowcount
                        if not changed:
                            raise _SeenToError
                    return tuple(insert(database, request, now) for request in requests)
            except _SeenToError:
                return None


class _SeenToError(Exception):
    """Somebody else has handled the moment."""
