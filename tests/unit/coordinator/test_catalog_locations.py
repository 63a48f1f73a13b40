"""Where copies of archives lie, as the catalog records it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import CopyRecord
from mailhaul.proto.errors import UsageError
from mailhaul.proto.records import STAGING, Location
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import archive_id, commit, report, unit

ARCHIVE = archive_id(unit(0))
NAME = report(unit(0)).name
WHEN = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
VAULT = CopyRecord(
    place="vault",
    name=NAME,
    version="v1",
    size_bytes=70,
    checksum=bytes(32),
    state="copied",
    copied=WHEN,
    verified=WHEN,
    checked=WHEN.replace(hour=9),
    locked_until=WHEN.replace(year=2027),
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as made:
        commit(made, 0, unit(0, users=("anna",)))
        yield made


def test_an_archive_that_is_sealed_lies_in_the_staging_area(catalog: Catalog) -> None:
    (copy,) = catalog.archive(ARCHIVE).copies
    assert (copy.place, copy.name, copy.state) == (STAGING, NAME, "kept")
    assert catalog.locations() == {ARCHIVE: (Location(STAGING, NAME),)}


def test_copies_come_back_as_they_were_entered(catalog: Catalog) -> None:
    catalog.put_copy(ARCHIVE, VAULT)
    assert catalog.archive(ARCHIVE).copies[1:] == (VAULT,)
    later = replace(VAULT, state="kept", verified=WHEN.replace(hour=11))
    catalog.put_copy(ARCHIVE, later)
    assert catalog.archive(ARCHIVE).copies[1:] == (later,)
    assert catalog.locations()[ARCHIVE][1] == Location("vault", NAME, "v1", 70)


def test_staging_is_freed_only_for_a_copy_that_counts(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="no other copy"):
        catalog.free_staged(ARCHIVE)
    catalog.put_copy(ARCHIVE, VAULT)
    with pytest.raises(UsageError, match="no other copy"):
        catalog.free_staged(ARCHIVE)
    catalog.put_copy(ARCHIVE, replace(VAULT, state="kept"))
    catalog.free_staged(ARCHIVE)
    assert catalog.locations() == {ARCHIVE: (Location("vault", NAME, "v1", 70),)}
    assert not catalog.archive(ARCHIVE).missing


def test_an_archive_is_missing_when_its_last_copy_is_lost(catalog: Catalog) -> None:
    catalog.put_copy(ARCHIVE, replace(VAULT, state="kept"))
    catalog.set_missing(ARCHIVE)
    assert not catalog.archive(ARCHIVE).missing
    catalog.put_copy(ARCHIVE, replace(VAULT, state="lost"))
    assert catalog.archive(ARCHIVE).missing
    assert catalog.locations() == {}
    catalog.put_copy(ARCHIVE, replace(VAULT, state="kept"))
    assert not catalog.archive(ARCHIVE).missing
    catalog.drop_copy(ARCHIVE, Location("vault", NAME, "v1"))
    assert catalog.archive(ARCHIVE).missing


def test_copies_of_an_archive_that_is_purged_have_yet_to_be_removed(catalog: Catalog) -> None:
    commit(catalog, 1, unit(1, users=("anna",)))
    catalog.put_copy(ARCHIVE, VAULT)
    for partition, group in catalog.scopes():
        catalog.forget(partition, group, [], lambda _user: False)
    catalog.remove_archives([ARCHIVE])
    left = Location("vault", NAME, "v1")
    (discarded,) = catalog.discarded()
    assert discarded.location[:3] == left[:3]
    assert discarded.locked_until == VAULT.locked_until
    (standing,) = catalog.copy_standing().leftovers
    assert (standing.place, standing.copies, standing.size_bytes) == ("vault", 1, VAULT.size_bytes)
    assert standing.locked_until == VAULT.locked_until
    catalog.forget_discarded(left)
    assert catalog.discarded() == []


def test_what_is_written_anew_lies_under_its_new_name(catalog: Catalog) -> None:
    catalog.put_copy(ARCHIVE, replace(VAULT, state="kept"))
    catalog.replace_archive(
        ARCHIVE, name="primary/user/new.mha", size_bytes=9, generation=1, holes=(), references=()
    )
    assert catalog.locations()[ARCHIVE] == (
        Location(STAGING, "primary/user/new.mha"),
        Location("vault", NAME, "v1", 70),
    )
    assert [copy.generation for copy in catalog.archive(ARCHIVE).copies] == [1, 0]
