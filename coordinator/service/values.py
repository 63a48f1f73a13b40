"""Values of the service's records, as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(moment: datetime | None) -> str | None:
    """A time as a text that sorts like it. Raises ValueError for one without a time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def moment(text: str | None) -> datetime | None:
    """The time that a text stands for."""
    return None if text is None else datetime.fromisoformat(text)
