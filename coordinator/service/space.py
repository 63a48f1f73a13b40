"""How full each place was, day by day."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from ..catalog.database import transaction, translated
from ..notices.space import Sample
from .database import opened, place

_KEPT = timedelta(days=60)
_NOT_KNOWN = -1


class SpaceRecord:
    """The measurements of a staging area and its destinations. For any thread: each call has a connection of
    its own. All raise StagingError, DamagedError, UnsupportedError."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._path = place(staging)

    def samples(self) -> tuple[Sample, ...]:
        """All that are kept, by day and place."""
        with translated(self._path), closing(opened(self._staging)) as database:
            rows = database.execute("SELECT * FROM space ORDER BY day, place")
            return tuple(
                Sample(
                    place=row["place"],
                    day=date.fromisoformat(row["day"]),
                    used_bytes=row["used_bytes"],
                    free_bytes=row["free_bytes"] if row["free_bytes"] != _NOT_KNOWN else None,
                )
                for row in rows
            )

    def note(self, samples: Iterable[Sample]) -> None:
        """Add measurements: of each day and place the fullest stays; of several as full the newest."""
        found = list(samples)
        with translated(self._path), closing(opened(self._staging)) as database, transaction(database):
            database.executemany(
                "INSERT INTO space VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " used_bytes = excluded.used_bytes, free_bytes = excluded.free_bytes"
                " WHERE excluded.used_bytes >= space.used_bytes",
                [
                    (sample.place, sample.day.isoformat(), sample.used_bytes, _free(sample))
                    for sample in found
                ],
            )
            if found:
                oldest = (max(one.day for one in found) - _KEPT).isoformat()
                database.execute("DELETE FROM space WHERE day < ?", (oldest,))


def _free(sample: Sample) -> int:
    return _NOT_KNOWN if sample.free_bytes is None else sample.free_bytes
