"""``[drill]``: from the table of the file to a record."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..drills.settings import DrillConfig, SampleRules
from .drill_table import DrillTable
from .problems import wrong_value
from .tables import with_paths

_NAMES = {
    "time": "limit_seconds",
    "bytes": "limit_bytes",
    "scratch_space": "scratch_bytes",
    "reserve": "reserve_bytes",
}
_OF_THE_SAMPLE = {
    "mailboxes": "mailboxes",
    "random": "random",
    "older": "older",
    "largest_every": "largest_every_seconds",
}


def drill(path: Path, table: DrillTable, destinations: Collection[str]) -> DrillConfig:
    """What is configured of ``mailhaul drill``. Raises ConfigError."""
    given: dict[str, Any] = with_paths(path, table.given(), "scratch")
    for name in given.get("places") or ():
        if name not in destinations:
            expected = f"names of destinations: {', '.join(destinations) or 'there are none'}"
            raise wrong_value(path, "drill.places", name, expected)
    directory = path.absolute().parent
    for key in ("identities", "passphrase_files"):
        if key in given:
            given[key] = tuple(directory / one for one in given[key])
    sample = {name: given.pop(key) for key, name in _OF_THE_SAMPLE.items() if key in given}
    return DrillConfig(
        sample=SampleRules(**sample), **{_NAMES.get(key, key): value for key, value in given.items()}
    )
