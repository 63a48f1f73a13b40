"""Which operations follow from the schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mailhaul.coordinator.cli.operation_words import checked
from mailhaul.coordinator.request import paths_without
from mailhaul.coordinator.scheduling.entries import Due, entries, named, requests
from mailhaul.coordinator.scheduling.settings import GroupTimes, Order, ScheduleConfig, Timing
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.settings import Config, GroupsConfig, StagingConfig, SweepConfig, SweepRules
from mailhaul.groups.assignment import GroupRules
from mailhaul.groups.definitions import parse_definitions
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import Partition
from mailhaul.worker.destinations.settings import DirectoryDestination, TapeDestination

MOMENT = datetime(2026, 11, 29, 1, tzinfo=UTC)


def times(*texts: str) -> tuple[Timing, ...]:
    return tuple(map(parse, texts))


def config(schedule: ScheduleConfig, *, off: frozenset[str] = frozenset(), groups: str = "") -> Config:
    definitions = parse_definitions(groups or "sales=s.*\nstaff=t.*\nrest=.*\n", "groups")
    return Config(
        staging=StagingConfig(path=Path("/staging")),
        partitions=(
            Partition(name="one", format="maildir", path="/1/{user}"),
            Partition(name="two", format="maildir", path="/2/{user}"),
        ),
        groups=GroupsConfig(rules=GroupRules(definitions=definitions), off=off),
        destinations=(
            DirectoryDestination(name="vault", path="/vault"),
            DirectoryDestination(name="spare", path="/spare"),
            TapeDestination(name="robot", state="/robot"),
        ),
        sweep=SweepConfig(rules=SweepRules(copies=("vault", "robot"))),
        schedule=schedule,
    )


def asked(made: Config, *full: str, but: tuple[str, ...] = ()) -> list[str]:
    """What is asked for when all is due but these entries, and the ``full`` ones for a full backup."""
    due = [
        Due(entry=entry, moment=MOMENT, full=entry.name in full)
        for entry in entries(made.schedule)
        if entry.name not in but
    ]
    found = requests(due, made)
    for request in found:  # the queue takes each of them
        assert checked(request.kind, request.arguments, elsewhere=True) == request.arguments
    assert {(one.asked_by, one.due) for one in found} == {("schedule:", MOMENT)}
    assert frozenset().union(*map(named, found)) == {one.entry.name for one in due}
    return [f"{one.entry}: {' '.join((one.kind, *one.arguments))}" for one in found]


def own(order: Order = "parallel") -> ScheduleConfig:
    return ScheduleConfig(
        order=order,
        backup=times("02:00"),
        groups={"sales": GroupTimes(backup=times("01:00")), "staff": GroupTimes(full=times("sat 01:00"))},
    )


class TestBackups:
    def test_of_all_groups(self) -> None:
        assert asked(config(ScheduleConfig(backup=times("02:00")))) == ["backup: backup"]
        assert asked(config(ScheduleConfig(full=times("02:00"))), "backup") == ["backup: backup --full"]

    def test_groups_that_are_due_together_are_one_run(self) -> None:
        assert asked(config(own())) == ["backup,backup:sales,backup:staff: backup"]
        assert asked(config(own()), but=("backup:staff",)) == [
            "backup,backup:sales: backup --except-group staff"
        ]
        assert asked(config(own()), but=("backup",)) == [
            "backup:sales,backup:staff: backup /one/sales /two/sales /one/staff /two/staff"
        ]

    def test_full_ones_are_apart(self) -> None:
        assert asked(config(own()), "backup:staff") == [
            "backup,backup:sales: backup --except-group staff",
            "backup:staff: backup /one/staff /two/staff --full",
        ]

    def test_a_group_that_is_off_is_named(self) -> None:
        assert asked(config(own(), off=frozenset({"sales"}))) == [
            "backup,backup:staff: backup --except-group sales",
            "backup:sales: backup /one/sales /two/sales",
        ]

    def test_one_after_the_other(self) -> None:
        assert asked(config(own("serial"))) == [
            "backup: backup --except-group sales --except-group staff",
            "backup:sales: backup /one/sales /two/sales",
            "backup:staff: backup /one/staff /two/staff",
        ]
        assert asked(
            config(ScheduleConfig(backup=times("02:00"), order="serial"), off=frozenset({"staff"}))
        ) == [
            "backup: backup /one/sales /two/sales",
            "backup: backup --except-group sales --except-group staff",
        ]

    def test_times_that_a_group_does_not_have_are_those_of_all(self) -> None:
        found = {entry.name: (entry.times, entry.full) for entry in entries(own())}
        assert found == {
            "backup": (times("02:00"), ()),
            "backup:sales": (times("01:00"), ()),
            "backup:staff": (times("02:00"), times("sat 01:00")),
        }


def test_all_else() -> None:
    schedule = ScheduleConfig(
        sweep=times("06:00"),
        purge=times("sun 12:00"),
        verify=times("sat 08:00"),
        drill=times("05:00"),
        inventory=times("mon 07:00"),
        groups={"sales": GroupTimes(sweep=times("07:00"), verify=times("08:00"), drill=times("09:00"))},
    )
    assert asked(config(schedule)) == [
        "sweep: sweep",
        "sweep:sales: sweep /one/sales",
        "sweep:sales: sweep /two/sales",
        "verify: verify --older-than 30d",
        "verify: verify --from vault --older-than 30d",
        "verify: verify --from robot --older-than 30d",
        "verify:sales: verify /one/sales --older-than 30d",
        "verify:sales: verify /one/sales --from vault --older-than 30d",
        "verify:sales: verify /one/sales --from robot --older-than 30d",
        "verify:sales: verify /two/sales --older-than 30d",
        "verify:sales: verify /two/sales --from vault --older-than 30d",
        "verify:sales: verify /two/sales --from robot --older-than 30d",
        "purge: purge",
        "drill: drill",
        "drill:sales: drill /one/sales /two/sales",
        "inventory: inventory robot",
    ]


def test_which_copies_are_verified_and_how_old_they_are_then() -> None:
    schedule = ScheduleConfig(
        verify=times("08:00"), verify_from=("spare",), verify_older_than_seconds=90 * 60.0
    )
    assert asked(config(schedule)) == [
        "verify: verify --older-than 90m",
        "verify: verify --from spare --older-than 90m",
    ]


def test_everything_but_some_groups_is_the_others_and_who_is_in_none() -> None:
    found = paths_without([LogicalPath()], ["sales"], ["one", "two"], config(own()).groups)
    assert list(map(str, found)) == [
        "/one/staff", "/one/rest", "/one/user", "/two/staff", "/two/rest", "/two/user",
    ]  # fmt: skip
