"""Catalogs with made-up runs, for tests: what a run reports, without a run."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from mailhaul.coordinator.catalog import Catalog
from mailhaul.proto.records import (
    ArchiveFacts,
    ArchiveId,
    Departed,
    MailboxSummary,
    Partition,
    RunId,
    Skipped,
    Unit,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.names import archive_name

START = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
PRIMARY = Partition(name="primary", format="maildir", path="/srv/mail")
ODD = "j\udcff\u00e9ne/example.org"


def run_id(day: int) -> RunId:
    """The run of a day."""
    return RunId(f"{START + timedelta(days=day):%Y%m%dT%H%M%SZ}-4f3a")


def unit(
    day: int,
    group: str = "user",
    shard: int = 0,
    users: tuple[str, ...] = (),
    departed: tuple[str, ...] = (),
    partition: str = "primary",
) -> Unit:
    """A unit of the run of a day."""
    unit = Unit(
        run=run_id(day),
        partition=replace(PRIMARY, name=partition),
        group=group,
        shard=shard,
        users=users,
        departed=tuple(Departed(user, "removed") for user in departed),
    )
    return replace(unit, archive=archive_id(unit))


def summary(user: str, stored: int = 9, group: str = "user", partition: str = "primary") -> MailboxSummary:
    """The counts of a mailbox."""
    return MailboxSummary(
        partition=partition,
        group=group,
        user=user,
        folders=3,
        listed=stored + 1,
        stored=stored,
        skipped=1,
        size_bytes=1000 * stored,
    )


def archive_id(unit: Unit) -> ArchiveId:
    """The id of the archive of a unit."""
    name = f"{unit.run}.{unit.partition.name}.{unit.group}.{unit.shard}"
    return ArchiveId(hashlib.sha256(name.encode()).digest()[:16])


def report(
    unit: Unit, stored: int = 9, skipped: tuple[Skipped, ...] = (), references: tuple[ArchiveId, ...] = ()
) -> UnitReport:
    """What the worker tells of a unit that it sealed."""
    names = unit.partition.name, unit.group, unit.run, unit.shard
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=archive_id(unit),
        name=archive_name(*names, archive_id(unit)),
        mailboxes=tuple(summary(user, stored, unit.group, unit.partition.name) for user in unit.users),
        skipped=skipped,
        departed=unit.departed,
        references=references,
        messages=stored * len(unit.users),
        read=stored,
        size_bytes=1000 * stored * len(unit.users),
        new_bytes=500,
        archive_bytes=300,
        seconds=1.5,
        cpu_seconds=1.25,
        peak_memory_bytes=1 << 20,
    )


def unchanged(unit: Unit) -> UnitReport:
    """What the worker tells of a unit in which nothing had changed."""
    return replace(report(unit), archive=None, name="", read=0, new_bytes=0, archive_bytes=0)


def facts(report: UnitReport, day: int) -> ArchiveFacts:
    """What the archive of a unit tells later."""
    assert report.archive is not None
    return ArchiveFacts(
        archive=report.archive,
        run=report.run,
        started=START + timedelta(days=day),
        partition=report.partition,
        group=report.group,
        shard=report.shard,
        name=report.name,
        size_bytes=report.archive_bytes,
        mailboxes=report.mailboxes,
        skipped=report.skipped,
        departed=report.departed,
        references=report.references,
        encrypted=report.encrypted,
        sealed=START + timedelta(days=day, hours=1),
    )


def commit(
    catalog: Catalog, day: int, *units: Unit, stored: int = 9, encrypted: bool | None = None
) -> list[UnitReport]:
    """One whole run."""
    begin(catalog, day, *units)
    reports = [replace(report(one, stored), encrypted=encrypted) for one in units]
    for unit_report in reports:
        catalog.commit_unit(unit_report, sealed=START + timedelta(days=day, hours=1))
    catalog.end_run(run_id(day), START + timedelta(days=day, hours=2))
    return reports


def begin(catalog: Catalog, day: int, *units: Unit) -> None:
    """A run up to its plan."""
    catalog.begin_run(
        run_id(day), START + timedelta(days=day), paths="/", options="--full", mode='{"full": 1}'
    )
    catalog.plan_units(units)
