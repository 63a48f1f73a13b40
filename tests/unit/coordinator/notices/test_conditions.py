"""What lasts by itself: found by each look, said once, over when a look does not find it any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.drills.settings import DrillConfig
from mailhaul.coordinator.drills.shares import Share
from mailhaul.coordinator.holds import Hold, add_holds
from mailhaul.coordinator.key_checks import CheckedRecipient
from mailhaul.coordinator.notices import conditions
from mailhaul.coordinator.notices.command_notices import tell_of_command
from mailhaul.coordinator.notices.conditions import keys, proofs, reconcile, released, taken_out, volumes
from mailhaul.coordinator.notices.operation_notices import OperationNotices
from mailhaul.coordinator.notices.raising import acknowledge, raise_notice
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.notices.settings import NoticesConfig, SwitchConfig
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Operation, Request, State
from mailhaul.coordinator.serving.queue import QueueObserver
from mailhaul.coordinator.settings import Config, StagingConfig, own_directory
from mailhaul.proto.errors import (
    EXIT_DAMAGED,
    EXIT_FAILED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_SKIPPED,
    EXIT_USAGE,
)
from mailhaul.proto.records import RunId
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import DirectoryDestination
from mailhaul.worker.destinations.tape.inventory import Inventory, Wanted

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def said(staging: Path) -> list[tuple[str, str]]:
    return [(saying.kind, saying.notice.subject) for saying in reversed(NoticeRecord(staging).sayings(99))]


def test_volumes_that_are_wanted(tmp_path: Path) -> None:
    inventory = Inventory(str(own_directory(tmp_path, "robot")))
    inventory.want(
        Wanted(pool="default", why="a restore reads it", since=NOW.isoformat(), volume="v7", label="T7")
    )
    inventory.want(Wanted(pool="offsite", why="the last one is full", since=NOW.isoformat()))
    for hour in range(5):
        reconcile(tmp_path, "tape-wanted", volumes(tmp_path), NOW + hour * HOUR)
    assert said(tmp_path) == [
        ("new", "Tape wanted in robot: T7"),
        ("new", "Tape wanted in robot: pool offsite"),
    ]
    inventory.came("default", "v7")
    reconcile(tmp_path, "tape-wanted", volumes(tmp_path), NOW + 6 * HOUR)
    assert said(tmp_path)[2:] == [("over", "Tape wanted in robot: T7")]
    assert [standing.notice.facts["pool"] for standing in NoticeRecord(tmp_path).lasting()] == ["offsite"]


def test_keys_that_nobody_has_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = [
        CheckedRecipient(name="ops", fingerprint="aa", checked=None, overdue=True),
        CheckedRecipient(name="legal", fingerprint="bb", checked=NOW, overdue=False),
    ]
    monkeypatch.setattr(conditions, "known_recipients", lambda _: ((), {}))
    monkeypatch.setattr(conditions, "checked_recipients", lambda *_: checked)
    reconcile(tmp_path, "key-overdue", keys(tmp_path, NOW, 86400.0), NOW)
    assert said(tmp_path) == [("new", "The private key ops was not tried for too long")]
    checked.clear()
    reconcile(tmp_path, "key-overdue", keys(tmp_path, NOW, 86400.0), NOW)
    assert said(tmp_path)[1:] == [("over", "The private key ops was not tried for too long")]


def test_a_look_at_one_event_ends_nothing_of_another(tmp_path: Path) -> None:
    raise_notice(tmp_path, Notice(event="failed", cause="x", subject="x"), NOW)
    reconcile(tmp_path, "tape-wanted", (), NOW)
    assert len(NoticeRecord(tmp_path).lasting()) == 1


def test_alarms_end_when_the_last_of_what_they_held_is_released(tmp_path: Path) -> None:
    for run, held in (("r1", 1), ("r2", 0)):
        facts = {"run": run, "held": held}
        raise_notice(tmp_path, Notice(event="alarm", cause=f"alarm:{run}", subject=run, facts=facts), NOW)
    hold = Hold(path="/primary/user/jane", reason="run r1: it is empty", since=NOW, automatic=True)
    add_holds(tmp_path, [hold])
    released(tmp_path, NOW)
    assert [kind for kind, _ in said(tmp_path)] == ["new", "new"]
    (tmp_path / ".mailhaul" / "holds.json").unlink()
    released(tmp_path, NOW)
    assert said(tmp_path)[2:] == [("over", "r1")]
    acknowledge(tmp_path, "alarm:r2", "cli:root", NOW)
    released(tmp_path, NOW)
    assert NoticeRecord(tmp_path).lasting() == ()


def test_groups_of_which_nothing_is_proven(tmp_path: Path) -> None:
    def share(group: str, mailboxes: int, proven: int) -> Share:
        return Share(
            partition="p",
            group=group,
            mailboxes=mailboxes,
            proven=proven,
            failed=0,
            ever=proven,
            never=0,
            share=proven / max(1, mailboxes),
            oldest=None,
        )

    groups = [share("a", 10, 0), share("b", 10, 1), share("empty", 0, 0)]
    assert [proof.cause for proof in proofs(groups)] == ["proof-old:/p/a"]


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (EXIT_FAILED, ["Sweep failed"]),
        (EXIT_LOCKED, ["Sweep did not begin"]),
        (EXIT_SKIPPED, ["Sweep left something undone"]),
        (EXIT_DAMAGED, ["Sweep found damaged data"]),
        (EXIT_OK, []),
    ],
)
def test_commands_tell_of_their_end_and_a_good_one_ends_it(
    tmp_path: Path, status: int, kinds: list[str]
) -> None:
    for _ in range(3):
        tell_of_command(tmp_path, "sweep", (), status, "no room", NOW)
    tell_of_command(tmp_path, "sweep", ("--to", "vault"), EXIT_OK, "", NOW)
    assert [subject for _, subject in said(tmp_path)] == kinds
    tell_of_command(tmp_path, "sweep", (), EXIT_OK, "", NOW)
    assert said(tmp_path)[len(kinds) :] == [("over", kind) for kind in kinds]
    assert NoticeRecord(tmp_path).lasting() == ()


def test_one_that_failed_after_it_had_left_something_undone_ends_nothing(tmp_path: Path) -> None:
    tell_of_command(tmp_path, "sweep", (), EXIT_SKIPPED, "", NOW)
    tell_of_command(tmp_path, "sweep", (), EXIT_FAILED, "", NOW)
    assert len(NoticeRecord(tmp_path).lasting()) == 2
    tell_of_command(tmp_path, "sweep", (), EXIT_SKIPPED, "", NOW)
    assert [standing.notice.event for standing in NoticeRecord(tmp_path).lasting()] == ["skipped"]


def test_a_purge_that_left_only_what_is_being_read_has_begun_and_done_the_rest(tmp_path: Path) -> None:
    tell_of_command(tmp_path, "purge", (), EXIT_FAILED, "no room", NOW)
    tell_of_command(tmp_path, "purge", (), EXIT_LOCKED, "", NOW)
    assert said(tmp_path) == [
        ("new", "Purge failed"),
        ("over", "Purge failed"),
        ("new", "Purge could not delete what is being read"),
    ]
    (lasting,) = NoticeRecord(tmp_path).lasting()
    assert lasting.notice.event == "skipped"
    assert "the next purge does it" in lasting.notice.lines[0]
    tell_of_command(tmp_path, "purge", (), EXIT_LOCKED, "`mailhaul backup` holds the lock", NOW + 24 * HOUR)
    assert said(tmp_path)[3:] == [("new", "Purge did not begin")]
    tell_of_command(tmp_path, "purge", (), EXIT_OK, "", NOW + 25 * HOUR)
    assert NoticeRecord(tmp_path).lasting() == ()


def configured(staging: Path, *destinations: str, drill: DrillConfig | None = None) -> Config:
    return Config(
        staging=StagingConfig(path=staging, reserve_bytes=0),
        partitions=(),
        destinations=tuple(
            DirectoryDestination(name=destination, path=f"/srv/{destination}") for destination in destinations
        ),
        drill=drill or DrillConfig(),
    )


def test_what_is_said_of_a_place_is_over_when_it_is_no_destination_any_more(tmp_path: Path) -> None:
    def away(place: str) -> Notice:
        cause = f"drill-failed:place:{place}"
        return Notice(event="drill-failed", cause=cause, subject=place, facts={"place": place})

    damaged = Notice(
        event="drill-failed",
        cause="drill-failed:/p/g/jane",
        subject="jane",
        facts={"place": "old", "path": "/p/g/jane"},
    )
    for notice in (away("vault"), away("old"), damaged):
        raise_notice(tmp_path, notice, NOW)
    taken_out(configured(tmp_path, "vault", "old"), NOW)
    assert len(NoticeRecord(tmp_path).lasting()) == 3
    taken_out(configured(tmp_path, "vault"), NOW)
    assert [standing.notice.subject for standing in NoticeRecord(tmp_path).lasting()] == ["jane", "vault"]
    others = configured(tmp_path, "vault", "ceph", drill=DrillConfig(places=("ceph",)))
    taken_out(others, NOW + HOUR)  # somebody may have asked for a drill from there by hand
    assert len(NoticeRecord(tmp_path).lasting()) == 2
    taken_out(others, NOW + 25 * HOUR)
    assert [one.notice.subject for one in NoticeRecord(tmp_path).lasting()] == ["jane"]


def test_what_is_said_of_a_switch_is_over_when_there_is_none_any_more(tmp_path: Path) -> None:
    raise_notice(tmp_path, Notice(event="switch-failed", cause="switch-failed", subject="x"), NOW)
    config = configured(tmp_path)
    there = replace(config, notices=NoticesConfig(switch=SwitchConfig(file=tmp_path / "switch")))
    taken_out(there, NOW)
    assert len(NoticeRecord(tmp_path).lasting()) == 1
    taken_out(config, NOW)
    assert said(tmp_path)[1:] == [("over", "x")]


def test_a_drill_tells_of_what_it_finds_itself(tmp_path: Path) -> None:
    tell_of_command(tmp_path, "drill", (), EXIT_DAMAGED, "", NOW)
    assert said(tmp_path) == []
    tell_of_command(tmp_path, "drill", (), EXIT_FAILED, "no scratch directory", NOW)
    assert said(tmp_path) == [("new", "Drill failed")]


class TestOperations:
    @staticmethod
    def ended(staging: Path, state: State, status: int, carries: str = "") -> Operation:
        queue = Operations(staging)
        number = queue.add(Request(kind="backup", arguments=("/primary",), asked_by="schedule:"), NOW).id
        queue.begin(number, 7, NOW)
        if carries:
            queue.carries(number, carries)
        queue.end(number, state, NOW, exit_status=status, error="the disk is gone")
        return queue.get(number)

    def test_what_failed_before_a_run_began_and_not_what_the_run_tells(self, tmp_path: Path) -> None:
        told: list[str] = []
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), told.append)
        notices.ended(self.ended(tmp_path, "failed", EXIT_FAILED, "20260301T020000Z-0001"))
        assert said(tmp_path) == []
        for _ in range(2):
            notices.ended(self.ended(tmp_path, "failed", EXIT_FAILED))
        assert said(tmp_path) == [("new", "Backup failed: /primary")]
        notices.ended(self.ended(tmp_path, "stopped", 143))
        assert len(said(tmp_path)) == 1
        assert told == []

    def test_one_whose_configuration_or_words_are_wrong(self, tmp_path: Path) -> None:
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), lambda _: None)
        notices.ended(self.ended(tmp_path, "failed", EXIT_USAGE))
        assert said(tmp_path) == [("new", "Backup failed: /primary")]

    def test_that_one_could_not_begin_is_over_when_the_next_has_begun(self, tmp_path: Path) -> None:
        run, told = RunId("20260301T020000Z-0001"), list[str]()
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), told.append)
        notices.ended(self.ended(tmp_path, "failed", EXIT_LOCKED))
        with Catalog.open(tmp_path, write=True) as catalog:
            catalog.begin_run(run, NOW, paths="/primary/staff")
        notices.ended(self.ended(tmp_path, "partial", EXIT_SKIPPED, run))
        assert said(tmp_path)[1:] == [("over", "Backup did not begin: /primary")]
        assert told == []

    def test_that_one_died_is_over_when_the_next_has_left_something_out(self, tmp_path: Path) -> None:
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), lambda _: None)
        notices.died(self.ended(tmp_path, "failed", EXIT_FAILED), "failed")
        notices.ended(self.ended(tmp_path, "partial", EXIT_SKIPPED, "20260301T020000Z-0002"))
        assert NoticeRecord(tmp_path).lasting() == ()

    def test_those_whose_process_died(self, tmp_path: Path) -> None:
        notices = OperationNotices(tmp_path, lambda: NOW, QueueObserver(), lambda _: None)
        operation = self.ended(tmp_path, "failed", EXIT_FAILED)
        notices.died(operation, "waiting")
        notices.died(operation, "waiting")
        assert said(tmp_path) == [("new", "The process of backup /primary died, and it goes on")]
        notices.died(operation, "failed")
        notices.ended(self.ended(tmp_path, "done", EXIT_OK, "20260301T020000Z-0002"))
        assert said(tmp_path)[1:] == [
            ("new", "The process of backup /primary died"),
            ("over", "The process of backup /primary died"),
        ]
