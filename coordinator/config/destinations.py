"""Destinations, and what is swept to them: from the tables of the file to records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...proto.errors import ConfigError
from ...proto.records import STAGING
from ...worker.destinations.settings import CommandDestination, Destination, DirectoryDestination
from ..settings import SweepConfig, SweepRules
from .problems import check_names, wrong_value
from .tables import CommandTable, DestinationTable, DirectoryTable, SweepRulesTable, SweepTable, with_paths


def destinations(path: Path, tables: Sequence[DestinationTable]) -> tuple[Destination, ...]:
    """Those that are configured. Raises ConfigError."""
    found = tuple(_RECORDS[type(table)](path, table.given()) for table in tables)
    names = [STAGING]
    for index, one in enumerate(found):
        # Not by capitals alone: files are called after them.
        if one.name.lower() in names:
            expected = f"a name that no other destination has, and not {STAGING!r}"
            raise wrong_value(path, f"destination[{index}].name", one.name, expected)
        names.append(one.name.lower())
    return found


def sweep(path: Path, table: SweepTable, groups: Collection[str], names: Sequence[str]) -> SweepConfig:
    """What is swept to which of the destinations with these names. Raises ConfigError."""
    given = table.given()
    named: dict[str, SweepRulesTable] = given.pop("group", {})
    check_names(path, "sweep.group", named, groups)
    limits = {name: given.pop(key) for key, name in _LIMITS.items() if key in given}
    rules = _rules(path, "sweep", given, SweepRules(), names)
    return SweepConfig(
        rules=rules,
        groups={
            group: _rules(path, f"sweep.group.{group}", one.given(), rules, names)
            for group, one in named.items()
        },
        **limits,
    )


_LIMITS = {
    "streams": "streams",
    "bytes_per_second": "bytes_per_second",
    "requests_per_second": "requests_per_second",
    "look_again": "look_again_seconds",
}


def _rules(
    path: Path, key: str, given: Mapping[str, Any], before: SweepRules, names: Sequence[str]
) -> SweepRules:
    """The rules that a table gives; what it does not say is as ``before``."""
    for name in given.get("copies") or ():
        if name not in names:
            expected = f"names of destinations: {', '.join(names) or 'there are none'}"
            raise wrong_value(path, f"{key}.copies", name, expected)
    renamed = {"after": "after_seconds", "keep_staged": "keep_staged_seconds"}
    return replace(before, **{renamed.get(key, key): value for key, value in given.items()})


def _directory(path: Path, given: dict[str, Any]) -> DirectoryDestination:
    found = with_paths(path, given, "path")
    return DirectoryDestination(name=found["name"], path=str(found["path"]))


def _command(path: Path, given: dict[str, Any]) -> CommandDestination:
    if not given.get("stat") and not given.get("list"):
        raise ConfigError(
            f"{path}: destination {given['name']!r}: stat and list are missing: expected one of them, so "
            "that it is known what is there",
            file=str(path),
            keys=["destination.stat", "destination.list"],
        )
    renamed = {"time_limit": "limit_seconds"}
    return CommandDestination(
        **{renamed.get(key, key): value for key, value in given.items() if key != "kind"}
    )


_RECORDS: Mapping[type, Callable[[Path, dict[str, Any]], Destination]] = {
    DirectoryTable: _directory,
    CommandTable: _command,
}
