"""Since when a backup of a group should be there, by the schedule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

from ..service.records import Handled
from ..settings import Config
from .entries import Entry, entries
from .timings import last_moment

MARGIN = timedelta(hours=6)
"""A backup that was due so long ago is late, if there is none."""


class PlannedBackups:
    """When backups of groups were due by a schedule, of whose entries this was ``handled``."""

    def __init__(self, config: Config, handled: Mapping[str, Handled], zone: tzinfo) -> None:
        self._schedule = config.schedule
        self._off = config.groups.off
        self._zone = zone
        self._handled = handled
        backups = (entry for entry in entries(config.schedule) if entry.kind == "backup")
        self._entries = {entry.name: entry for entry in backups if entry.name in handled}

    @property
    def are_known(self) -> bool:
        """Whether there are any, and somebody has seen to them."""
        return bool(self._entries)

    def knows(self, group: str) -> bool:
        """Whether the schedule is what says when the group is backed up, or that it is not. Others may be
        backed up by timers of the host."""
        return self._has_own(group) or group in self._off or "backup" in self._entries

    def wanted_since(self, group: str, now: datetime) -> datetime | None:
        """There should be a backup of the group that is no older than this: it was due then, and the margin
        is over. None where none is planned, or none was due since its entry came into the schedule."""
        entry = self._entry_of(group)
        if entry is None:
            return None
        moment = last_moment(entry.all_times, self._zone, now - MARGIN)
        known = self._handled[entry.name].moment
        if moment is None or (known > moment and not self._was_due(entry, known)):
            return None  # what is on record is when the entry began, and that was later
        return moment

    def _entry_of(self, group: str) -> Entry | None:
        if self._has_own(group):
            return self._entries.get(f"backup:{group}")
        return None if group in self._off else self._entries.get("backup")

    def _has_own(self, group: str) -> bool:
        own = self._schedule.groups.get(group)
        return own is not None and (own.backup is not None or own.full is not None)

    def _was_due(self, entry: Entry, moment: datetime) -> bool:
        return last_moment(entry.all_times, self._zone, moment) == moment
