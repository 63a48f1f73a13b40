"""``[schedule]``: its tables, in which times have become what they mean."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, InstanceOf

from ..scheduling.settings import Order, Timing
from .tables import Names, Seconds, Table, Text


def _times(given: object) -> tuple[Timing, ...]:
    from ..scheduling.timings import parse  # few commands are run where there is a schedule

    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("no text, and no list of texts")
    return tuple(map(parse, texts))


def _zone(name: object) -> object:
    from ..scheduling.zones import zone_named  # as above

    if isinstance(name, str):
        zone_named(name)
    return name


_Times = Annotated[tuple[InstanceOf[Timing], ...], BeforeValidator(_times)]
_TIMES: Any = Field(
    default=None,
    description="a time such as '02:00', 'sun 02:00' or 'mon-fri 22:30', a cron expression such as "
    "'0 2 1 * *', or a list of these",
)


class GroupScheduleTable(Table):
    backup: _Times | None = _TIMES
    full: _Times | None = _TIMES
    sweep: _Times | None = _TIMES
    purge: _Times | None = _TIMES
    verify: _Times | None = _TIMES
    drill: _Times | None = _TIMES


class ScheduleTable(Table):
    zone: Annotated[Text, BeforeValidator(_zone)] | None = Field(
        default=None, description="the name of a time zone such as 'Europe/Berlin'"
    )
    order: Order | None = Field(default=None, description="'parallel' or 'serial'")
    backup: _Times | None = _TIMES
    full: _Times | None = _TIMES
    sweep: _Times | None = _TIMES
    purge: _Times | None = _TIMES
    verify: _Times | None = _TIMES
    drill: _Times | None = _TIMES
    inventory: _Times | None = _TIMES
    verify_older_than: Seconds | None = Field(default=None, description="a time such as '30d'")
    verify_from: Names | None = Field(default=None, description="a list of the names of destinations")
    group: dict[str, GroupScheduleTable] = Field(
        default={}, description="a table [schedule.group.NAME] for each group"
    )
