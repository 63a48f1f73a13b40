"""A run to look at: its units, and what its observers are told of them."""

from __future__ import annotations

from mailhaul.coordinator.plan import Plan
from mailhaul.proto.records import (
    ArchiveId,
    MailboxSummary,
    Partition,
    Progress,
    RunId,
    Skipped,
    Unit,
    UnitReport,
)
from mailhaul.worker.archives.names import archive_name
from mailhaul.worker.staging.receiver_status import ReceiverStatus, RefusedStranger, StreamStatus

RUN = RunId("20261121T220000Z-4f3a")
START = 1_795_298_400.0
"""When it begins: 2026-11-21 22:00:00 UTC."""


class FakeClock:
    """A Clock that tests set."""

    def __init__(self) -> None:
        self.seconds = START

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds - START


def make_unit(
    partition: str = "primary",
    group: str = "user",
    shard: int = 0,
    *,
    size_bytes: int = 1000,
    hosts: tuple[str, ...] = ("store01",),
) -> Unit:
    return Unit(
        run=RUN,
        partition=Partition(name=partition, format="maildir", path="/srv/mail", hosts=hosts),
        group=group,
        shard=shard,
        users=("jane", "ola"),
        archive=ArchiveId(f"{partition}/{group}/{shard}".encode().ljust(16)[-16:]),
        size_bytes=size_bytes,
        messages=size_bytes // 10,
    )


def make_plan(*units: Unit, left_out: int = 0) -> Plan:
    return Plan(units=units, left_out=tuple(Skipped(f"/p/user/{i}", "no-group") for i in range(left_out)))


def _summary(unit: Unit, user: str) -> MailboxSummary:
    return MailboxSummary(
        partition=unit.partition.name,
        group=unit.group,
        user=user,
        folders=1,
        listed=0,
        stored=0,
        skipped=0,
        size_bytes=0,
    )


def make_report(unit: Unit, *, size_bytes: int = 1000, skipped: tuple[str, ...] = ()) -> UnitReport:
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=unit.archive,
        name=archive_name(unit.partition.name, unit.group, unit.run, unit.shard, unit.archive),
        mailboxes=tuple(_summary(unit, user) for user in unit.users),
        skipped=tuple(
            Skipped(f"/{unit.partition.name}/{unit.group}/{unit.users[0]}", reason) for reason in skipped
        ),
        messages=size_bytes // 10,
        size_bytes=size_bytes,
        new_bytes=size_bytes * 6 // 10,
        archive_bytes=size_bytes * 3 // 10,
        seconds=2.5,
        cpu_seconds=1.25,
    )


def make_progress(unit: Unit, size_bytes: int, *, user: str = "jane", waiting: str = "") -> Progress:
    return Progress(
        unit.label, size_bytes // 10, size_bytes, user, size_bytes * 6 // 10, size_bytes * 3 // 10, waiting
    )


def make_receiver_status(streams: tuple[StreamStatus, ...] = ()) -> ReceiverStatus:
    return ReceiverStatus(
        time=START,
        started=START - 60,
        pid=4711,
        endpoint="tcp://127.0.0.1:7400",
        streams=streams,
        connections=1,
        free_bytes=1,
        total_bytes=2,
        reserve_bytes=0,
        received_bytes=3,
        read_bytes=4,
        seals=5,
        credit_stalls=6,
        credit_stall_seconds=0.5,
        refused=7,
        fenced=8,
        malformed=9,
        strangers=10,
        last_strangers=(RefusedStranger(time=START, address="10.0.0.1", reason="no key"),),
    )
