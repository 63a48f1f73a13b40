"""Rows of a catalog are input: whatever is in them ends in a plain error, and leads nowhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.purging.doomed import read_doomed
from mailhaul.proto.errors import DamagedError

from ...catalogs import commit, unit


@pytest.fixture
def spoil(tmp_path: Path) -> Callable[[str], Path]:
    """A catalog of two runs, in which a statement was carried out."""

    def spoilt(statement: str) -> Path:
        with Catalog.open(tmp_path, write=True) as catalog:
            for day in range(2):
                commit(catalog, day, unit(day, users=("anna",)))
        with sqlite3.connect(tmp_path / ".mailhaul" / "catalog.sqlite") as database:
            database.execute(statement)
        database.close()
        return tmp_path

    return spoilt


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "/etc/passwd", "primary/../../x.mha", "", ".mailhaul/x", "a//b"]
)
@pytest.mark.parametrize(("table", "key"), [("archives", "number"), ("locations", "archive")])
def test_a_file_that_leads_out_of_the_staging_area(
    spoil: Callable[[str], Path], capsys: pytest.CaptureFixture[str], table: str, key: str, file: str
) -> None:
    staging = spoil(f"UPDATE {table} SET name = '{file}' WHERE {table}.{key} = 1")
    with Catalog.open(staging) as catalog:
        with pytest.raises(DamagedError, match="as the name of an archive"):
            list(catalog.archives())
    if table == "locations":
        with Catalog.open(staging) as catalog, pytest.raises(DamagedError, match="as the name of an archive"):
            catalog.locations()
    assert main(["purge", "--staging", str(staging), "--last", "1"]) == 4
    assert "this is a bug" not in capsys.readouterr().err


def test_files_that_a_purge_was_to_delete(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    (tmp_path / ".mailhaul" / "purge.json").write_text('{"files": [{"file": "../x", "instead": ""}]}')
    with pytest.raises(DamagedError, match="is damaged"):
        read_doomed(tmp_path)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("units", "messages", "'many'"),
        ("units", "seconds", "x'00'"),
        ("units", "error", "7"),
        ("units", "archive_bytes", "1.5"),
        ("runs", "paths", "x'ff'"),
        ("runs", "error", "3"),
        ("runs", "started", "5"),
        ("runs", "stores", "'[1]'"),
        ("runs", "unplanned", "'[]'"),
        ("archives", "size_bytes", "'x'"),
        ("archives", "archive", "'text' || number"),
        ("versions", "stored", "'x'"),
    ],
)
def test_a_value_of_a_wrong_type(
    spoil: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    table: str,
    column: str,
    value: str,
) -> None:
    staging = spoil(f"UPDATE {table} SET {column} = {value}")
    for command in (
        ["runs"],
        ["runs", "latest"],
        ["status"],
        ["status", "--behind"],
        ["ls", "/"],
        ["purge", "--last", "1"],
    ):
        assert main([*command, "--staging", str(staging)]) in (0, 1, 4)
        assert "this is a bug" not in capsys.readouterr().err
