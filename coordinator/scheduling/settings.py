"""What can be set of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ...proto.structs import Record, field

Order = Literal["parallel", "serial"]

VERIFY_OLDER_THAN_SECONDS = 30 * 86_400.0


class Timing(Record):
    """When something is due, again and again: the ``text`` of the configuration, and what it means as a
    cron expression of five fields, by the clock on the wall."""

    text: str
    cron: str

    def __str__(self) -> str:
        return self.text


Timings = tuple[Timing, ...]


class GroupTimes(Record, kw_only=True):
    """What a group has of its own. None of ``backup`` and ``full``: those of all groups hold for it; with
    any of them its backups are no part of those of all. The others come beside those of all groups."""

    backup: Timings | None = None
    full: Timings | None = None
    sweep: Timings = ()
    purge: Timings = ()
    verify: Timings = ()
    drill: Timings = ()


class ScheduleConfig(Record, kw_only=True):
    """The schedule of ``mailhaul serve``.

    Times are those of the ``zone`` (an IANA name; empty: the system's). ``backup`` and ``full`` (a backup
    that reads every message again; it takes the place of another that is due at the same moment) are about
    all groups but those that have times of their own in ``groups``. Backups that are due at the same moment
    are one run (``parallel``), or one for each group, one after the other (``serial``).

    A verification reads what was not read for ``verify_older_than_seconds``: in the staging area, and of
    the destinations in ``verify_from`` (None: all that are swept to).
    """

    zone: str = ""
    order: Order = "parallel"
    backup: Timings = ()
    full: Timings = ()
    sweep: Timings = ()
    purge: Timings = ()
    verify: Timings = ()
    drill: Timings = ()
    inventory: Timings = ()
    verify_older_than_seconds: float = VERIFY_OLDER_THAN_SECONDS
    verify_from: tuple[str, ...] | None = None
    groups: Mapping[str, GroupTimes] = field(default_factory=dict)
