"""A catalog is lost, and a destination helps to make it again: what was known of copies there stays known."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.fetching import fetch
from mailhaul.coordinator.history import CopyRecord
from mailhaul.coordinator.keepsakes import keep_catalog
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import STAGING
from mailhaul.proto.structs import replace
from mailhaul.tests.sweeping import Swept, SweptChain, directory


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    """An archive with two copies, which has left the staging area."""
    chain = SweptChain(tmp_path / "staging")
    chain.run({"anna": {"INBOX": (b"Subject: a\r\n\r\n",)}})
    places = directory(tmp_path, "vault"), directory(tmp_path, "disk")
    chain.destinations = places
    rules = SweepRules(copies=("vault", "disk"), keep_staged_seconds=0, keep_newest=False)
    made = Swept(chain, places, rules, look_again_seconds=0)
    assert made.sweep().freed
    return made


def _lose(swept: Swept, *places: str) -> None:
    """Copies were found to be damaged; the catalog that knows it is kept beside the archives."""
    with Catalog.open(swept.chain.staging, write=True) as catalog:
        for record in list(catalog.archives()):
            lost = [replace(copy, state="lost") for copy in record.copies if copy.place in places]
            catalog.put_copies([(record.archive, copy_record) for copy_record in lost])
        keep_catalog(swept.chain.staging, catalog)


def _rebuilt(swept: Swept, place: str) -> dict[str, CopyRecord]:
    """The copies that there are, after the catalog was lost and this place was asked."""
    _forget_catalog(swept)
    assert _rebuild(swept, place) == 1
    (record,) = swept.records()
    return {copy.place: copy for copy in record.copies if copy.place != STAGING}


def _forget_catalog(swept: Swept) -> None:
    for file in swept.chain.staging.glob(".mailhaul/catalog.sqlite*"):
        file.unlink()


def _rebuild(swept: Swept, place: str) -> int:
    (asked,) = [destination for destination in swept.destinations if destination.name == place]
    report = rebuild_catalog(swept.chain.staging, fetch=partial(fetch, swept.chain.staging, asked, swept.now))
    assert report.damaged == ()
    return report.archives


def test_what_was_known_of_a_copy_stays_known(swept: Swept) -> None:
    before = {copy.place: copy for copy in swept.records()[0].copies}
    after = _rebuilt(swept, "vault")
    assert after["vault"].checksum == before["vault"].checksum != b""
    assert after["vault"].copied == before["vault"].copied
    assert after["vault"].verified == swept.now
    assert after["disk"] == replace(before["disk"], verified=None), "to be looked at before it is relied on"


def test_a_copy_that_was_found_damaged_does_not_count_again(swept: Swept) -> None:
    _lose(swept, "vault")
    assert {name: record.state for name, record in _rebuilt(swept, "vault").items()} == {
        "vault": "lost",
        "disk": "kept",
    }


def test_where_it_is_all_that_there_is_it_is_read_as_far_as_it_can_be(swept: Swept) -> None:
    _lose(swept, "vault", "disk")
    assert {name: record.state for name, record in _rebuilt(swept, "vault").items()} == {
        "vault": "kept",
        "disk": "lost",
    }


def test_a_copy_that_is_not_there_any_more_does_not_count(swept: Swept, tmp_path: Path) -> None:
    with Catalog.open(swept.chain.staging) as catalog:
        keep_catalog(swept.chain.staging, catalog)
    swept.chain.run({"anna": {"INBOX": (b"Subject: b\r\n\r\n",)}})
    swept.sweep()
    oldest = min(tmp_path.glob("vault/primary/*/*.mha"))
    oldest.unlink()
    _forget_catalog(swept)
    _rebuild(swept, "vault")
    found = {copy.place: copy.state for copy in swept.records()[0].copies}
    assert (found["vault"], found["disk"]) == ("lost", "kept")


def test_what_a_purge_has_dropped_does_not_come_back_from_where_it_still_lies(
    swept: Swept, tmp_path: Path
) -> None:
    swept.chain.run({"anna": {"INBOX": (b"Subject: b\r\n\r\n",)}})
    swept.sweep()
    request = PurgeRequest(path=LogicalPath(), rules_of=lambda _: RetentionRules(last=1))
    purge(swept.chain.staging, request, local_engine(0))
    (left,) = swept.records()
    assert len(list(tmp_path.glob("vault/primary/*/*.mha"))) == 2
    _forget_catalog(swept)
    _rebuild(swept, "vault")
    assert [record.archive for record in swept.records()] == [left.archive]
    with Catalog.open(swept.chain.staging) as catalog:
        assert sorted(discarded.location.place for discarded in catalog.discarded()) == ["disk", "vault"]
    swept.sweep()
    assert [f"primary/user/{path.name}" for path in tmp_path.glob("vault/primary/*/*.mha")] == [left.name]
