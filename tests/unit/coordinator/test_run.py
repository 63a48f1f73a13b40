"""What a run records and tells, from what its engines report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from mailhaul.coordinator.alarms import Alarm
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.engine import Engine, Outcome
from mailhaul.coordinator.history import CopyRecord, RunRecord
from mailhaul.coordinator.holds import read_holds
from mailhaul.coordinator.observers import RunObserver
from mailhaul.coordinator.request import Request
from mailhaul.coordinator.result import RunResult
from mailhaul.coordinator.run import Means, resume_run, run_to_staging
from mailhaul.coordinator.settings import Config, GroupsConfig, StagingConfig
from mailhaul.groups.assignment import GroupRules
from mailhaul.groups.definitions import parse_definitions
from mailhaul.groups.paths import LogicalPath
from mailhaul.groups.selection import Verdict
from mailhaul.proto.errors import EmptyStoreError, NotFoundError, StagingError
from mailhaul.proto.records import (
    ArchiveId,
    BackupMode,
    Departed,
    MailboxSize,
    MailboxSummary,
    Partition,
    Skipped,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.names import excerpt_name
from mailhaul.worker.inventory import Stock
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.tasks.backup import BackupTask

from ...watched import FakeClock


class World(RunObserver):
    """A store of mailboxes that hold so many messages, and a staging area; its engines do without both.

    ``lost`` messages of each mailbox vanish in the next run. ``broken`` groups fail.
    """

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.messages: dict[str, dict[str, int]] = {"one": {"anna": 100, "ben": 20}}
        self.stored: dict[tuple[str, str], int] = {}
        self.places: set[tuple[str, str, str]] = set()
        self.broken: set[str] = set()
        self.rules = GroupRules()
        self.tasks: list[BackupTask] = []
        self.measured: set[str] = set()
        self.told: list[Alarm] = []
        self.clock = FakeClock()

    def alarmed(self, alarm: Alarm) -> None:
        self.told.append(alarm)

    def config(self) -> Config:
        return Config(
            staging=StagingConfig(path=self.staging),
            partitions=tuple(
                Partition(name=name, format="maildir", path=f"/{name}") for name in self.messages
            ),
            groups=GroupsConfig(rules=self.rules),
        )

    def means(self) -> Means:
        return Means(
            clock=self.clock,
            inventory=cast(Engine, self._look),
            backup=cast(Engine, self._back_up),
            small_night=cast(Engine, self._back_up),
            area=StagingArea(path=str(self.staging)),
            grant=lambda _host, _file, _epoch: b"",
            read_grant=lambda _host: b"",
            observer=self,
        )

    def run(self, *paths: str, **asked: Any) -> RunResult:
        self.clock.seconds += 86_400
        chosen = tuple(map(LogicalPath.parse, paths or ("/",)))
        return run_to_staging(self.config(), Request(paths=chosen, **asked), self.means())

    def record(self) -> RunRecord:
        with Catalog.open(self.staging) as catalog:
            return catalog.run("latest")

    def now(self) -> dict[str, int]:
        """The mailboxes of the newest moment, and their messages."""
        with Catalog.open(self.staging) as catalog:
            at = catalog.resolve_time("latest")
            return {
                f"{mailbox.partition}/{mailbox.group}/{mailbox.user}": mailbox.stored
                for mailbox in catalog.mailboxes_at(at)
            }

    def _look(self, _function: object, tasks: Sequence[Any], _: object) -> Iterator[Outcome[Any, Any]]:
        for task in tasks:
            sizes = self.messages[task.partition.name]
            users = tuple(user for user in sizes if any(path.selects_user(user) for path in task.paths))
            new = [user for user in users if user not in task.known]
            self.measured.update(new)
            measured = tuple(MailboxSize(user=user, messages=sizes[user], size_bytes=1) for user in new)
            yield Outcome(task=task, report=Stock(listed=len(sizes), users=users, measured=measured))

    def _back_up(
        self, _function: object, tasks: Sequence[Any], _: Callable[..., object]
    ) -> Iterator[Outcome[Any, Any]]:
        for task in tasks:
            attempt: BackupTask = task.attempted("", 1)
            self.tasks.append(attempt)
            if task.unit.group in self.broken:
                yield Outcome(task=task, error=StagingError("broken"))
            else:
                yield Outcome(task=task, report=self._report(attempt))

    def _report(self, task: BackupTask) -> UnitReport:
        unit = task.unit
        mailboxes = []
        for user in unit.users:
            before = self.stored.get((unit.partition.name, user), 0)
            count = self.messages[unit.partition.name][user]
            self.stored[unit.partition.name, user] = count
            mailboxes.append(
                MailboxSummary(
                    partition=unit.partition.name,
                    group=unit.group,
                    user=user,
                    folders=1,
                    listed=count,
                    stored=count,
                    skipped=0,
                    size_bytes=count,
                    added=max(0, count - before),
                    vanished=max(0, before - count),
                    changed=count != before,
                )
            )
        places = {(unit.partition.name, unit.group, user) for user in unit.users}
        unchanged = not (
            unit.departed or places - self.places or any(mailbox.changed for mailbox in mailboxes)
        )
        self.places |= places
        name = "" if unchanged else f"{self.staging}/{task.name}"
        if name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        return UnitReport(
            run=unit.run,
            partition=unit.partition.name,
            group=unit.group,
            shard=unit.shard,
            archive=None if unchanged else unit.archive,
            name=name,
            mailboxes=tuple(mailboxes),
            skipped=(),
            departed=unit.departed,
            messages=sum(summary.stored for summary in mailboxes),
            read=sum(mailbox_summary.added for mailbox_summary in mailboxes),
            size_bytes=1,
            new_bytes=1,
            archive_bytes=1,
            seconds=1.0,
            cpu_seconds=1.0,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "staging")


def test_a_run_in_which_nothing_changed(world: World) -> None:
    first = world.run()
    assert (first.state, first.unchanged, world.record().unchanged_units) == ("done", 0, 0)
    world.measured.clear()
    second = world.run()
    assert (second.state, second.unchanged) == ("done", 1)
    assert world.measured == set()  # their sizes are known
    record = world.record()
    assert (record.sealed_units, record.unchanged_units, record.read) == (0, 1, 0)
    assert world.now() == {"one/user/anna": 100, "one/user/ben": 20}
    # Each attempt is told where its mailboxes were stored last.
    assert [sorted(task.parents.mailboxes) for task in world.tasks] == [[], ["anna", "ben"]]


def test_an_archive_that_leaves_the_staging_area_while_it_is_looked_for_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run()
    looked: list[Path] = []

    def look(file: Path, archive: ArchiveId) -> bool:
        if not looked:  # a sweep frees it at this moment
            with Catalog.open(world.staging, write=True) as catalog:
                (record,) = catalog.archives()
                kept = CopyRecord(place="vault", name=record.name, size_bytes=1, state="kept")
                catalog.put_copy(archive, kept)
                excerpt = world.staging / excerpt_name(record.name)
                excerpt.parent.mkdir(parents=True)
                excerpt.touch()
                catalog.free_staged(archive)
                file.unlink()
        looked.append(file)
        return file.exists()

    monkeypatch.setattr("mailhaul.coordinator.run.is_there", look)
    world.messages["one"]["anna"] += 1
    world.run()
    assert len(looked) == 2
    assert world.told == []
    (world.staging / world.tasks[-1].name).unlink()
    world.messages["one"]["anna"] += 1
    world.run()
    assert [alarm.reason for alarm in world.told] == ["archive-missing"]


def test_options_reach_the_workers_and_the_record(world: World) -> None:
    mode = BackupMode(thorough=True, since=0.0)
    world.run("/one/user/anna/Trash", mode=mode, exclude_folders=("Junk",))
    (task,) = world.tasks
    assert task.mode == mode
    assert task.selection.judge("one", "user", "anna", "Trash") is Verdict.TAKEN
    assert task.selection.judge("one", "user", "anna", "Sent") is Verdict.PASSED_OVER
    record = world.record()
    assert record.options == "--since 1970-01-01T00:00:00+00:00 --thorough --exclude-folder Junk"
    assert record.narrowed


def test_a_resumed_run_does_the_same(world: World) -> None:
    world.rules = GroupRules(definitions=parse_definitions("early=a.*\nlate=b.*", "groups"))
    world.run()
    del world.messages["one"]["ben"]
    world.messages["one"]["bo"] = 5
    world.broken = {"late"}
    mode = BackupMode(thorough=True)
    result = world.run(mode=mode, exclude_folders=("Junk",))
    assert result.state == "partial"
    world.broken = set()
    again = resume_run(world.config(), "latest", world.means())
    assert (again.state, again.sealed_before, again.run) == ("done", 1, result.run)
    task = world.tasks[-1]
    assert (task.unit.group, task.unit.users) == ("late", ("bo",))
    assert task.unit.departed == (Departed("ben", "removed"),)
    assert task.mode == mode
    assert task.selection.judge("one", "late", "bo", "Junk") is Verdict.EXCLUDED
    assert world.now() == {"one/early/anna": 100, "one/late/bo": 5}


def test_a_mailbox_that_is_gone_departs(world: World) -> None:
    world.messages["one"] |= {"carl": 1, "dora": 1}
    world.run()
    del world.messages["one"]["ben"]
    result = world.run()
    assert [(report.group, departed) for report, departed in result.departed()] == [
        ("user", Departed("ben", "removed"))
    ]
    assert result.alarms == ()
    assert world.now().keys() == {"one/user/anna", "one/user/carl", "one/user/dora"}
    assert world.run().unchanged == 1  # it is told once


def test_a_run_over_a_part_leaves_the_rest_alone(world: World) -> None:
    world.run()
    del world.messages["one"]["ben"]
    world.messages["one"]["anna"] = 101
    world.run("/one/user/anna")
    assert world.now() == {"one/user/anna": 101, "one/user/ben": 20}


def test_a_user_who_moved_to_another_group(world: World) -> None:
    world.rules = GroupRules(definitions=parse_definitions("early=a.*\nlate=b.*", "groups"))
    world.run()
    world.rules = GroupRules(definitions=parse_definitions("late=.*", "groups"))
    result = world.run()
    assert [(report.group, departed) for report, departed in result.departed()] == [
        ("early", Departed("anna", "left-group", "now in group late"))
    ]
    assert world.now().keys() == {"one/late/anna", "one/late/ben"}
    # What was read under the other group is found again.
    assert world.tasks[-1].parents.mailboxes.keys() | world.tasks[-2].parents.mailboxes.keys() == {
        "anna",
        "ben",
    }


class TestAlarms:
    def test_a_mailbox_that_lost_most_is_held(self, world: World) -> None:
        world.run()
        world.messages["one"]["anna"] = 10
        result = world.run()
        alarm = Alarm(
            path="/one/user/anna",
            reason="mailbox-shrunk",
            detail="it has 10 messages, and had 100",
            held=("/one/user/anna",),
        )
        assert (result.state, list(result.alarms), world.told) == ("done", [alarm], [alarm])
        holds = read_holds(world.staging)
        assert holds.holds_user("one", "user", "anna")
        assert not holds.holds_user("one", "user", "ben")
        (hold,) = holds.all
        assert hold.automatic
        assert hold.reason == f"run {result.run}: it has 10 messages, and had 100"
        with Catalog.open(world.staging) as catalog:
            assert catalog.alarms(result.run) == (Skipped(alarm.path, alarm.reason, alarm.detail),)
        assert world.run().alarms == ()
        assert len(read_holds(world.staging).all) == 1

    def test_most_mailboxes_of_a_partition_are_gone(self, world: World) -> None:
        world.messages["one"] |= {f"user{i}": 1 for i in range(5)}
        world.run()
        world.messages["one"] = {"anna": 100}
        (alarm,) = world.run().alarms
        assert (alarm.path, alarm.reason) == ("/one", "mailboxes-gone")
        holds = read_holds(world.staging)
        assert holds.holds_user("one", "user", "ben")
        assert holds.holds_user("one", "user", "user4")
        assert not holds.holds_user("one", "user", "anna")
        assert world.now().keys() == {"one/user/anna"}

    def test_an_empty_partition_is_refused(self, world: World) -> None:
        world.messages["two"] = {"zoe": 1}
        world.run()
        world.messages["one"] = {}
        result = world.run()
        assert result.state == "partial"
        assert [(failure.what, failure.error.code) for failure in result.failures] == [
            ("one", EmptyStoreError.code)
        ]
        assert "2 are known" in result.failures[0].error.message
        assert world.now().keys() == {"one/user/anna", "one/user/ben", "two/user/zoe"}
        world.messages["two"] = {}
        with pytest.raises(EmptyStoreError, match="--accept-empty"):
            world.run()

    def test_unless_somebody_says_that_it_is(self, world: World) -> None:
        world.run()
        world.messages["one"] = {}
        result = world.run(accept_empty=True)
        assert (result.state, result.alarms) == ("done", ())
        assert [departed.user for _, departed in result.departed()] == ["anna", "ben"]
        assert world.now() == {}
        with pytest.raises(NotFoundError, match="no mailbox to back up"):
            world.run()


def test_what_is_left_out_on_purpose_is_told_and_no_fault(world: World) -> None:
    world.rules = GroupRules(definitions=parse_definitions("early=a.*\nlate=b.*", "groups"))
    config = world.config()
    config = replace(config, groups=replace(config.groups, off=frozenset({"late"})))
    result = run_to_staging(config, Request(), world.means())
    assert result.skipped == (Skipped("/one/late", "group-off", "1 mailbox"),)
    assert result.left_out == ()


def test_partials_that_nobody_goes_on_with_are_removed(world: World) -> None:
    place = world.staging / "one" / "user"
    place.mkdir(parents=True)
    (place / "20200101T000000Z-0000.0.0123456789abcdef.mha.1.partial").touch()
    world.rules = GroupRules(definitions=parse_definitions("late=b.*", "groups"))

    def leave(task: BackupTask) -> UnitReport:
        (world.staging / task.name).parent.mkdir(parents=True, exist_ok=True)
        (world.staging / f"{task.name}.1.partial").touch()
        return report(task)

    report, world._report = world._report, leave  # type: ignore[method-assign]
    world.broken = {"late"}
    assert world.run().state == "partial"
    (kept,) = world.staging.rglob("*.partial")  # for --resume, with that of the unit that failed
    assert not kept.name.startswith("2020")
    world.broken = set()
    assert resume_run(world.config(), "latest", world.means()).state == "done"
    assert list(world.staging.rglob("*.partial")) == []
