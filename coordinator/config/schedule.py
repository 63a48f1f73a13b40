"""``[schedule]``: from the tables of the file to a record."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..scheduling.settings import GroupTimes, ScheduleConfig
from .problems import check_names, wrong_value
from .schedule_tables import GroupScheduleTable, ScheduleTable


def schedule(
    path: Path, table: ScheduleTable, groups: Collection[str], destinations: Collection[str]
) -> ScheduleConfig:
    """When what is done, of these groups, and of copies at these destinations. Raises ConfigError."""
    given = table.given()
    named: dict[str, GroupScheduleTable] = given.pop("group", {})
    check_names(path, "schedule.group", named, groups)
    for place in given.get("verify_from") or ():
        if place not in destinations:
            expected = f"names of destinations: {', '.join(destinations) or 'there are none'}"
            raise wrong_value(path, "schedule.verify_from", place, expected)
    if (age := given.pop("verify_older_than", None)) is not None:
        given["verify_older_than_seconds"] = age
    return ScheduleConfig(
        groups={
            group: GroupTimes(**group_schedule_table.given()) for group, group_schedule_table in named.items()
        },
        **given,
    )
