"""Destinations, and what is swept to them: from the tables of the file to records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...proto.errors import ConfigError
from ...proto.records import CONFIRMED, STAGING
from ...proto.structs import replace
from ...worker.archives.holdings import EXCERPTS
from ...worker.destinations.settings import (
    CommandDestination,
    Destination,
    DirectoryDestination,
    S3Destination,
    TapeDestination,
)
from ..settings import SweepConfig, SweepRules, own_directory
from .problems import check_names, wrong_value
from .tables import (
    CommandTable,
    DestinationTable,
    DirectoryTable,
    S3Table,
    SweepRulesTable,
    SweepTable,
    TapeTable,
    with_paths,
)


def destinations(path: Path, tables: Sequence[DestinationTable], staging: Path) -> tuple[Destination, ...]:
    """Those that are configured beside a staging area. Raises ConfigError."""
    found = tuple(
        _RECORDS[type(table)](path, table.given(), own_directory(staging, table.name)) for table in tables
    )
    reserved = (STAGING, CONFIRMED, EXCERPTS)
    names = list(reserved)
    for index, one in enumerate(found):
        # Not by capitals alone: files are called after them.
        if one.name.lower() in names:
            expected = f"a name that no other destination has, and none of {', '.join(reserved)}"
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
            group: _rules(path, f"sweep.group.{group}", sweep_rules_table.given(), rules, names)
            for group, sweep_rules_table in named.items()
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
        if name != CONFIRMED and name not in names:
            expected = f"names of destinations: {', '.join((*names, CONFIRMED))}"
            raise wrong_value(path, f"{key}.copies", name, expected)
    renamed = {"after": "after_seconds", "keep_staged": "keep_staged_seconds"}
    return replace(before, **{renamed.get(key, key): value for key, value in given.items()})


def _directory(path: Path, given: dict[str, Any], _own: Path) -> DirectoryDestination:
    found = with_paths(path, given, "path")
    return DirectoryDestination(name=found["name"], path=str(found["path"]))


def _s3(path: Path, given: dict[str, Any], own: Path) -> S3Destination:
    for key in ("credentials", "ca_file"):
        if key in given:
            given[key] = str(with_paths(path, given, key)[key])
    if prefix := given.get("prefix", ""):
        given["prefix"] = prefix.rstrip("/") + "/"
    if "tags" in given:
        given["tags"] = tuple(sorted(given["tags"].items()))
    return S3Destination(**_renamed(given, _S3), journal=str(own))


def _tape(path: Path, given: dict[str, Any], own: Path) -> TapeDestination:
    name = given["name"]
    if ("file" in given) == ("device" in given):
        raise wrong_value(path, f"destination {name!r}: file", given.get("file"), "either a file or a device")
    if "file" in given:
        given["file"] = str(with_paths(path, given, "file")["file"])
    return TapeDestination(**_renamed(given, _TAPE), state=str(own))


_S3 = {"lock_ahead": "lock_ahead_seconds", "capacity": "capacity_bytes"}

_COMMAND = {"time_limit": "limit_seconds", "capacity": "capacity_bytes"}

_TAPE = {
    "device": "devices",
    "record": "record_bytes",
    "capacity": "capacity_bytes",
    "reuse_after": "reuse_seconds",
    "load_time": "load_seconds",
    "buffer": "buffer_bytes",
}


def _command(path: Path, given: dict[str, Any], _own: Path) -> CommandDestination:
    if not given.get("stat") and not given.get("list"):
        raise ConfigError(
            f"{path}: destination {given['name']!r}: stat and list are missing: expected one of them, so "
            "that it is known what is there",
            file=str(path),
            keys=["destination.stat", "destination.list"],
        )
    return CommandDestination(**_renamed(given, _COMMAND))


def _renamed(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The keys of a table as the record has them."""
    return {names.get(key, key): value for key, value in given.items() if key != "kind"}


_RECORDS: Mapping[type, Callable[[Path, dict[str, Any], Path], Destination]] = {
    DirectoryTable: _directory,
    S3Table: _s3,
    TapeTable: _tape,
    CommandTable: _command,
}
