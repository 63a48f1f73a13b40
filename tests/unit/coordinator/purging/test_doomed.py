"""The record of files to delete: what the catalog knows decides which of them are."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.purging.doomed import Doomed, read_doomed, write_doomed
from mailhaul.proto.errors import DamagedError


def test_a_dead_archive_goes_when_the_catalog_has_forgotten_it() -> None:
    dead = Doomed("a.0.mha")
    assert dead.outdated({"a.0.mha"}) == ""
    assert dead.outdated({"b.0.mha"}) == "a.0.mha"
    assert dead.unfinished({"b.0.mha"}) == ""


@pytest.mark.parametrize(
    ("known", "outdated", "unfinished"),
    [
        ({"a.0.mha"}, "", "a.0.g1.mha"),
        ({"a.0.g1.mha"}, "a.0.mha", ""),
        ({"b.0.mha"}, "", ""),  # a catalog that was made anew and has neither
        ({"a.0.mha", "a.0.g1.mha"}, "", ""),
    ],
)
def test_of_two_files_of_an_archive_the_one_in_use_stays(
    known: set[str], outdated: str, unfinished: str
) -> None:
    replaced = Doomed("a.0.mha", "a.0.g1.mha")
    assert (replaced.outdated(known), replaced.unfinished(known)) == (outdated, unfinished)


def test_the_record_lasts_until_it_is_empty(tmp_path: Path) -> None:
    assert read_doomed(tmp_path) == ()
    files = (Doomed("p/g/a\udcff.0.mha"), Doomed("p/g/b.0.mha", "p/g/b.0.g1.mha"))
    write_doomed(tmp_path, files)
    assert read_doomed(tmp_path) == files
    write_doomed(tmp_path, ())
    assert read_doomed(tmp_path) == ()
    write_doomed(tmp_path, ())
    assert list((tmp_path / ".mailhaul").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"files": [{"file": "a"}]}'])
def test_a_damaged_record_stops_a_purge(tmp_path: Path, text: str) -> None:
    write_doomed(tmp_path, [Doomed("a")])
    (tmp_path / ".mailhaul" / "purge.json").write_text(text)
    with pytest.raises(DamagedError, match=r"purge\.json"):
        read_doomed(tmp_path)
