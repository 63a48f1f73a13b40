"""The zone of a host, by its name."""

from __future__ import annotations

import zoneinfo
from datetime import UTC
from pathlib import Path

import pytest

from mailhaul.coordinator.scheduling import zones
from mailhaul.proto.errors import ConfigError


def of_host(directory: Path, variable: str | None = None) -> str:
    return str(zones.system_zone(variable, local=directory / "localtime", named=directory / "timezone"))


def test_the_zone_of_a_host_has_a_name(tmp_path: Path) -> None:
    assert of_host(tmp_path) == "UTC"  # what the C library keeps then
    (tmp_path / "timezone").write_text("Asia/Tokyo\n")
    assert of_host(tmp_path) == "Asia/Tokyo"
    (tmp_path / "localtime").symlink_to("../usr/share/zoneinfo/America/Argentina/Ushuaia")
    assert of_host(tmp_path) == "America/Argentina/Ushuaia"
    assert of_host(tmp_path, ":Europe/Berlin") == "Europe/Berlin"


def test_a_zone_without_a_name_has_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "localtime").write_bytes(b"TZif2")
    with pytest.raises(
        ConfigError, match=r"schedule[.]zone is missing, .*is a copy.* expected the name of a"
    ):
        of_host(tmp_path)
    with pytest.raises(ConfigError, match="'CET-1CEST': there is no such zone"):
        of_host(tmp_path, "CET-1CEST")


def test_a_host_without_data_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoData:
        def __init__(self, name: str) -> None:
            raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zones, "ZoneInfo", NoData)
    monkeypatch.setattr(zones, "available_timezones", set)
    with pytest.raises(ValueError, match="no data of time zones: install the package tzdata"):
        zones.zone_named("Europe/Berlin")
    assert zones.zone_named("UTC") is UTC


@pytest.mark.parametrize("name", ["Europe/Berlinn", "../../etc/passwd", "/etc/localtime", "", "Europe"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(ValueError, match="there is no such zone"):
        zones.zone_named(name)
