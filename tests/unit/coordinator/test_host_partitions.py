"""What lay on a host, as it was backed up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.host_partitions import paths_on
from mailhaul.coordinator.places import names_partition, of_partition
from mailhaul.proto.errors import NotFoundError, UsageError
from mailhaul.proto.records import ArchiveId, Partition, RunId, Unit, UnitReport

STARTED = datetime(2026, 8, 1, tzinfo=UTC)


def partition(name: str, *hosts: str) -> Partition:
    return Partition(name=name, format="maildir", path=f"/srv/{name}", hosts=hosts)


def night(catalog: Catalog, number: int, *partitions: Partition) -> RunId:
    started = STARTED + timedelta(days=number)
    run = RunId(started.strftime("%Y%m%dT%H%M%SZ-0000"))
    catalog.begin_run(run, started, paths="/", stores=partitions)
    for one in partitions:
        unit = Unit(run=run, partition=one, group="user", shard=0, users=(), archive=ArchiveId(bytes(16)))
        catalog.plan_units([unit])
        report = UnitReport(
            run=run,
            partition=one.name,
            group="user",
            shard=0,
            archive=None,
            name="",
            mailboxes=(),
            skipped=(),
            messages=0,
            size_bytes=0,
            new_bytes=0,
            archive_bytes=0,
            seconds=0.0,
            cpu_seconds=0.0,
        )
        catalog.commit_unit(report, sealed=started)
    catalog.end_run(run, started)
    return run


def test_the_partitions_that_a_host_had(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        first = night(catalog, 0, partition("a", "one"), partition("b", "one", "two"), partition("c", "two"))
        night(catalog, 1, partition("a", "three"))

        def on(host: str, at: str = "latest") -> list[str]:
            return list(map(str, paths_on(catalog, host, at)))

        assert on("one") == on("one", "latest-good") == ["/b"]
        assert (on("one", first), on("two", first), on("three")) == (["/a", "/b"], ["/b", "/c"], ["/a"])
        with pytest.raises(NotFoundError, match=r"lay on host 'tree' as of run .*; is it three\?"):
            on("tree")


def test_where_nothing_is_recorded_the_configuration_says_it(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        night(catalog, 0, partition("a", "one"))
        catalog.begin_run(RunId("20260901T000000Z-0000"), STARTED, paths="/")
        configured = [partition("a", "two"), partition("never", "two")]
        assert list(map(str, paths_on(catalog, "one", "latest", configured))) == ["/a"]
        with pytest.raises(NotFoundError):
            paths_on(catalog, "two", "latest", configured)


def test_a_place_for_each_partition() -> None:
    place = Partition(
        name="primary", format="maildir", path="/new/{partition}/{user}", home="/home/{partition}/{user}"
    )
    assert names_partition(place)
    found = of_partition(place, "sales")
    assert (found.name, found.path, found.home, found.control) == (
        "sales",
        "/new/sales/{user}",
        "/home/sales/{user}",
        "",
    )
    assert not names_partition(found)
    for name in ("..", "a/b", "", "{user}"):
        with pytest.raises(UsageError, match="can't stand for"):
            of_partition(place, name)
