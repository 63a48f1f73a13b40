"""``[governor]``: from the tables of the file to records."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...proto.errors import ConfigError
from ..governing.effort import Rules
from ..governing.settings import GovernorConfig, HostRules, ProbeAccount, governor_name
from .governor_tables import GovernorHostTable, GovernorTable
from .problems import wrong_value
from .tables import with_paths


def governing(
    path: Path, table: GovernorTable, staging: Path, hosts: Collection[str], *, one: bool
) -> GovernorConfig:
    """How the work on which of these ``hosts`` minds its users; what the table of a host does not say is as
    in that of all. With ``one`` they are names of one and the same host. Raises ConfigError."""
    common = table.given()
    named: dict[str, GovernorHostTable] = common.pop("host", {})
    for name in named:
        if name not in hosts:
            expected = f"names of hosts that partitions have: {', '.join(sorted(hosts))}"
            raise wrong_value(path, "governor.host", name, expected)
    if one and len(named) > 1:
        raise wrong_value(path, "governor.host", sorted(named), "one name, as there is one host")
    found = {
        name: _host(path, name, common | governor_host_table.given())
        for name, governor_host_table in named.items()
    }
    return GovernorConfig(name=governor_name(staging), hosts=found) if found else GovernorConfig()


def _host(path: Path, name: str, given: Mapping[str, Any]) -> HostRules:
    for key in ("server", "user", "password_file", "target"):
        if key not in given:
            expected = GovernorHostTable.model_fields[key].description
            raise ConfigError(
                f"{path}: governor.host.{name}.{key} is missing: expected {expected}, here or in [governor]",
                file=str(path),
                keys=[f"governor.host.{name}.{key}"],
            )
    given = with_paths(path, dict(given), "password_file", "ca_file")
    shares = {key: given[key] for key in ("floor", "blind") if key in given}
    window = {"window_seconds": given["window"]} if "window" in given else {}
    return HostRules(
        host=name,
        probe=ProbeAccount(
            server=given["server"],
            user=given["user"],
            password_file=str(given["password_file"]),
            ca_file=str(given.get("ca_file", "")),
        ),
        rules=Rules(target_seconds=given["target"], **shares),
        **window,
    )
