"""Where copies lie, by place and group, and what fills up when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.overview.places import PlacesView, look_at_places
from mailhaul.proto.records import Location
from mailhaul.tests.pages import SettableClock, make_site, operator
from mailhaul.worker.destinations.settings import DirectoryDestination, TapeDestination

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
DESTINATIONS = (DirectoryDestination(name="vault", path="/srv/vault"),)


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty nights, swept to two destinations."""
    staging = tmp_path_factory.mktemp("small")
    catalogs.make(staging, catalogs.SMALL)
    return staging


@pytest.fixture(scope="module")
def found(staging: Path) -> PlacesView:
    """Its places; one destination is not configured any more."""
    return look_at_places(staging, DESTINATIONS, NOW)


def test_the_sums_are_those_of_the_archives(staging: Path, found: PlacesView) -> None:
    with Catalog.open(staging) as catalog:
        archives = list(catalog.archives())
        standing = catalog.copy_standing()
    alone = [
        archive
        for archive in archives
        if len({copy.place for copy in archive.copies if copy.state == "kept"}) == 1
    ]
    assert found.archives == len(archives)
    assert (found.alone, found.unswept, found.nowhere) == (len(alone), standing.unswept, 0)
    assert found.alone == standing.alone
    assert found.alone_since == min((record.sealed for record in alone if record.sealed), default=None)
    for group in found.groups:
        mine = [
            archive_record
            for archive_record in archives
            if (archive_record.partition, archive_record.group) == (group.partition, group.group)
        ]
        assert group.size_bytes == sum(one.size_bytes for one in mine)
        assert group.places["vault"] == sum(any(copy.place == "vault" for copy in one.copies) for one in mine)


def test_archives_of_which_nothing_is_left_are_told_first(tmp_path: Path) -> None:
    shape = catalogs.Shape(mailboxes=20, groups=2, nights=12, staged=3)
    catalogs.make(tmp_path, shape)
    with Catalog.open(tmp_path, write=True) as catalog:
        record, other = [each for each in catalog.archives() if each.group == "group-02"][:2]
        for archive, copies in ((record, record.copies), (other, other.copies[1:])):
            for copy in copies:
                place = Location(copy.place, copy.name, copy.version, copy.size_bytes)
                catalog.drop_copy(archive.archive, place)
    found = look_at_places(tmp_path, DESTINATIONS, NOW)
    assert (found.nowhere, found.alone, found.alone_since) == (1, 1, other.sealed)
    assert [(group.group, group.nowhere) for group in found.groups] == [("group-02", 1), ("group-01", 0)]
    assert "in no place any more" in operator(make_site(tmp_path)).get("/places").text


def test_each_place_says_what_was_not_read_again(staging: Path, found: PlacesView) -> None:
    assert [(place.name, place.kind, place.configured) for place in found.places] == [
        ("staging", "staging", True),
        ("vault", "directory", True),
        ("mirror", "", False),
    ]
    with Catalog.open(staging) as catalog:
        copies = [copy for archive in catalog.archives() for copy in archive.copies if copy.place == "vault"]
    (vault,) = found.places[1].copies
    assert vault.archives == len(copies)
    never = [record for record in copies if record.checked is None]
    assert vault.unchecked == len(never) > 0
    assert vault.unchecked_since == min(copy_record.copied for copy_record in never if copy_record.copied)
    assert vault.checked_since == min(one.checked for one in copies if one.checked)
    assert 0 < found.places[1].news_bytes < vault.size_bytes
    space = found.places[1].space
    assert space
    assert space.growth_bytes == pytest.approx(40_000_000_000)
    assert found.places[1].full == NOW.date() + timedelta(days=75)
    assert found.places[0].full is None


def test_the_page_and_its_api(staging: Path) -> None:
    clock = SettableClock(NOW.timestamp())
    client = operator(make_site(staging, clock=clock))
    page = client.get("/places").text
    assert "not configured any more" in page
    assert "primary/group-01" in page
    told = client.get("/api/v1/places").json()
    assert told["archives"] == sum(group["archives"] for group in told["groups"])


def test_before_the_first_run_there_is_a_page_too(tmp_path: Path) -> None:
    page = operator(make_site(tmp_path)).get("/places").text
    assert "There are no archives yet" in page
    assert "There is no destination" in page


def test_a_broken_record_of_a_tape_is_said_and_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "state" / "volumes").mkdir(parents=True)
    (tmp_path / "state" / "volumes" / "00000000-0000-4000-8000-000000000000.json").write_text("{")
    tape = TapeDestination(name="drive", pool="p", file=str(tmp_path / "f"), state=str(tmp_path / "state"))
    staging, drive = look_at_places(tmp_path, (tape,), NOW).places
    assert (staging.name, drive.kind, drive.volumes) == ("staging", "tape", ())
    assert drive.trouble
