"""The metrics: what records become, that labels stay few, and the two ways out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.clock import utc
from mailhaul.coordinator.governing.state import GovernorState
from mailhaul.coordinator.inventory import Failure
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.monitoring.catalog_metrics import CatalogCollector
from mailhaul.coordinator.monitoring.course import Course
from mailhaul.coordinator.monitoring.exposition import make_registry, serve_metrics, write_textfile
from mailhaul.coordinator.monitoring.metrics import (
    GovernorCollector,
    ReceiverCollector,
    RunCollector,
    SpaceCollector,
    staging_collectors,
)
from mailhaul.coordinator.monitoring.schedule_metrics import ScheduleCollector
from mailhaul.coordinator.monitoring.status import status_file
from mailhaul.coordinator.scheduling.settings import ScheduleConfig
from mailhaul.coordinator.scheduling.timings import parse
from mailhaul.coordinator.service.handled import HandledMoments
from mailhaul.coordinator.service.records import Handled
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.coordinator.snapshots import write_snapshot
from mailhaul.proto.errors import BackupError, HostLostError, StoreError, UsageError
from mailhaul.proto.records import ArchiveId, Partition, RunId
from mailhaul.proto.structs import replace
from mailhaul.worker.staging.receiver_status import StreamStatus, write_status
from mailhaul.worker.staging.space import Space

from ....watched import (
    RUN,
    START,
    FakeClock,
    make_plan,
    make_progress,
    make_receiver_status,
    make_report,
    make_unit,
)

PARTITION = Partition(name="primary", format="maildir", path="/srv/mail")


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample by its name and labels, as a scrape sees them."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def run_course() -> Course:
    """A run in the middle: one unit sealed, one running, one failed, one that waits."""
    clock = FakeClock()
    course = Course(clock, 1)
    course.begun(RUN)
    sealed, running, failed, waiting = (make_unit(shard=shard) for shard in range(4))
    course.planned(make_plan(sealed, running, failed, waiting, left_out=2))
    course.attempted(running, "store01", 1)
    course.progress(make_progress(running, 500))
    course.sealed(sealed, make_report(sealed, skipped=("changed",)))
    course.failed(Failure(what=failed.label, error=StoreError("gone")))
    course.host_changed("store02", HostLostError("gone"))
    clock.seconds += 30
    return course


def test_a_run() -> None:
    found = samples(make_registry(RunCollector(run_course().status)))
    group = "group=user,partition=primary"
    assert {name: value for name, value in found.items() if not name.startswith("mailhaul_run_started")} == {
        f"mailhaul_run_messages{{{group}}}": 150,
        f"mailhaul_run_size_bytes{{{group}}}": 1500,
        f"mailhaul_run_new_bytes{{{group}}}": 900,
        f"mailhaul_run_archive_bytes{{{group}}}": 450,
        f"mailhaul_units{{{group},state=planned}}": 1,
        f"mailhaul_units{{{group},state=running}}": 1,
        f"mailhaul_units{{{group},state=sealed}}": 1,
        f"mailhaul_units{{{group},state=failed}}": 1,
        "mailhaul_run_left_out{kind=skipped,reason=changed}": 1,
        "mailhaul_run_left_out{kind=skipped,reason=no-group}": 2,
        "mailhaul_run_failures{code=store}": 1,
        "mailhaul_run_duration_seconds": 30,
        "mailhaul_run_expected_bytes": 1500 + 500 + 1000,
        "mailhaul_run_waiting": 0,
        "mailhaul_run_hosts_lost": 1,
    }
    assert found["mailhaul_run_started_timestamp_seconds"] == START


def test_no_run_and_no_receiver_tell_nothing() -> None:
    def unreadable() -> None:
        raise BackupError("gone")

    for take in (lambda: None, unreadable):
        assert samples(make_registry(RunCollector(take))) == {}
    assert samples(make_registry(ReceiverCollector(lambda: None, FakeClock().now))) == {}


def test_hosts_whose_users_are_minded() -> None:
    now = utc(START)
    slow = GovernorState(
        host="mail01",
        pid=1,
        since=now,
        written=now,
        target_seconds=0.15,
        window_seconds=60.0,
        p95_seconds=0.2,
        steps={"login": 0.12, "fetch": 0.08},
        level=0.4,
        workers=3,
        slowed_seconds=12.0,
        looks=60,
        late=5,
    )
    unseen = replace(slow, host="mail02", p95_seconds=None, steps={}, blind="wrong password", looks=0, late=0)
    found = samples(make_registry(GovernorCollector(lambda: (slow, unseen))))
    of_slow = {name: value for name, value in found.items() if "mail01" in name}
    assert of_slow == {
        "mailhaul_probe_seconds{host=mail01,step=all}": 0.2,
        "mailhaul_probe_seconds{host=mail01,step=login}": 0.12,
        "mailhaul_probe_seconds{host=mail01,step=fetch}": 0.08,
        "mailhaul_governor_target_seconds{host=mail01}": 0.15,
        "mailhaul_governor_share{host=mail01}": 0.4,
        "mailhaul_governor_workers{host=mail01}": 3,
        "mailhaul_governor_slowed_seconds{host=mail01}": 12,
        "mailhaul_governor_blind{host=mail01}": 0,
    }
    assert found["mailhaul_governor_blind{host=mail02}"] == 1
    assert "mailhaul_probe_seconds{host=mail02,step=all}" not in found
    assert samples(make_registry(GovernorCollector(tuple))) == {}


def test_the_receiver() -> None:
    stream = StreamStatus(file="f", host="h", epoch=1, written_bytes=1, waiting="full", since=START)
    status = make_receiver_status(streams=(stream, replace(stream, waiting="")))
    clock = FakeClock()
    registry = make_registry(ReceiverCollector(lambda: status, clock.now))
    assert samples(registry) == {
        "mailhaul_receiver_up": 1,
        "mailhaul_receiver_streams": 2,
        "mailhaul_receiver_waiting_streams": 1,
        "mailhaul_receiver_connections": 1,
        "mailhaul_receiver_start_time_seconds": START - 60,
        "mailhaul_receiver_received_bytes_total": 3,
        "mailhaul_receiver_sent_bytes_total": 4,
        "mailhaul_receiver_sealed_total": 5,
        "mailhaul_receiver_credit_stalls_total": 6,
        "mailhaul_receiver_credit_stall_seconds_total": 0.5,
        "mailhaul_receiver_refused_total": 7,
        "mailhaul_receiver_fenced_total": 8,
        "mailhaul_receiver_malformed_total": 9,
        "mailhaul_receiver_strangers_total": 10,
    }
    clock.seconds += 60
    assert samples(registry)["mailhaul_receiver_up"] == 0


LATER = RunId("20261122T220000Z-4f3a")


def test_backups_that_the_catalog_knows(tmp_path: Path) -> None:
    registry = make_registry(CatalogCollector(tmp_path, {("primary", "user"), ("primary", "sales")}))
    assert samples(registry) == {"mailhaul_catalog_readable": 1}
    user, sales, old = make_unit(), make_unit(group="sales"), make_unit(group="dissolved")
    with Catalog.open(tmp_path, write=True) as catalog:
        catalog.begin_run(RUN, utc(START), paths="/")
        catalog.plan_units([user, sales, old])
        catalog.commit_unit(
            make_report(user, skipped=("changed", "excluded", "excluded", "vanished")), sealed=utc(START + 60)
        )
        found = samples(registry)
        # Nobody holds the lock.
        assert found["mailhaul_last_run_state{state=interrupted}"] == 1
        assert found["mailhaul_last_run_units{state=left}"] == 2
        assert found["mailhaul_last_run_ended_timestamp_seconds"] == 0
        catalog.fail_unit(sales, "gone", attempts=3)
        catalog.end_run(RUN, utc(START + 90))
    user_of, sales_of = "group=user,partition=primary", "group=sales,partition=primary"
    expected = {
        "mailhaul_catalog_readable": 1,
        # One of its two mailboxes lacks a message.
        f"mailhaul_last_good_backup_timestamp_seconds{{{user_of}}}": 0,
        f"mailhaul_newest_good_backup_timestamp_seconds{{{user_of}}}": START + 60,
        f"mailhaul_mailboxes{{{user_of}}}": 2,
        f"mailhaul_mailboxes_behind{{{user_of}}}": 1,
        f"mailhaul_mailboxes_never_stored{{{user_of}}}": 1,
        f"mailhaul_last_good_backup_timestamp_seconds{{{sales_of}}}": 0,
        f"mailhaul_newest_good_backup_timestamp_seconds{{{sales_of}}}": 0,
        f"mailhaul_mailboxes{{{sales_of}}}": 2,
        f"mailhaul_mailboxes_behind{{{sales_of}}}": 2,
        f"mailhaul_mailboxes_never_stored{{{sales_of}}}": 2,
        "mailhaul_last_run_state{state=running}": 0,
        "mailhaul_last_run_state{state=interrupted}": 0,
        "mailhaul_last_run_state{state=done}": 0,
        "mailhaul_last_run_state{state=partial}": 1,
        "mailhaul_last_run_state{state=failed}": 0,
        "mailhaul_last_run_units{state=sealed}": 1,
        "mailhaul_last_run_units{state=unchanged}": 0,
        "mailhaul_last_run_units{state=failed}": 1,
        "mailhaul_last_run_units{state=left}": 1,
        "mailhaul_last_run_started_timestamp_seconds": START,
        "mailhaul_last_run_ended_timestamp_seconds": START + 90,
        "mailhaul_last_run_skipped": 1,
        "mailhaul_last_run_excluded": 2,
        "mailhaul_last_run_alarms": 0,
        "mailhaul_last_run_left_out{kind=skipped,reason=changed}": 1,
        "mailhaul_last_run_left_out{kind=excluded,reason=excluded}": 2,
        "mailhaul_last_run_left_out{kind=vanished,reason=vanished}": 1,
        f"mailhaul_processed_messages_total{{{user_of}}}": 100,
        f"mailhaul_processed_bytes_total{{{user_of}}}": 1000,
        f"mailhaul_read_messages_total{{{user_of}}}": 0,
        f"mailhaul_stored_bytes_total{{{user_of}}}": 600,
        f"mailhaul_archive_bytes_total{{{user_of}}}": 300,
        f"mailhaul_deduplicated_bytes_total{{{user_of}}}": 400,
    }
    found = samples(registry)
    assert {name: value for name, value in found.items() if not name.endswith("}") or value} == {
        name: value for name, value in expected.items() if not name.endswith("}") or value
    }
    assert expected.keys() <= found.keys()
    with Catalog.open(tmp_path, write=True) as catalog:
        catalog.begin_run(LATER, utc(START + 1000), paths="/")
        catalog.plan_units([replace(user, run=LATER, users=("ola",))], {("primary", "user")})
        report = make_report(replace(user, run=LATER, users=("ola",)))
        catalog.commit_unit(replace(report, archive=ArchiveId(bytes(16))), sealed=utc(START + 1060))
        catalog.end_run(LATER, utc(START + 1090))
    later = samples(registry)
    # Jane has gone, so the group is as good as its last mailbox is; what the first run did still counts.
    assert later[f"mailhaul_last_good_backup_timestamp_seconds{{{user_of}}}"] == START + 1060
    assert later[f"mailhaul_mailboxes_behind{{{user_of}}}"] == 0
    assert later[f"mailhaul_processed_messages_total{{{user_of}}}"] == 200
    assert later["mailhaul_last_run_skipped"] == 0
    everything = samples(make_registry(CatalogCollector(tmp_path)))
    assert "mailhaul_last_good_backup_timestamp_seconds{group=dissolved,partition=primary}" in everything
    (tmp_path / ".mailhaul" / "catalog.sqlite").write_bytes(b"no database" * 1000)
    assert samples(registry) == {"mailhaul_catalog_readable": 0}


def test_the_room(tmp_path: Path) -> None:
    found = samples(make_registry(SpaceCollector(Space(tmp_path, 5000))))
    assert found["mailhaul_staging_reserve_bytes"] == 5000
    assert 0 < found["mailhaul_staging_free_bytes"] < found["mailhaul_staging_size_bytes"]
    assert samples(make_registry(SpaceCollector(Space(tmp_path / "none")))) == {}


def test_all_metrics_are_as_prometheus_wants_them(
    tmp_path: Path, require_tool: Callable[[str], Path]
) -> None:
    promtool = require_tool("promtool")
    with Catalog.open(tmp_path, write=True) as catalog:
        catalog.begin_run(RUN, utc(START), paths="/")
        catalog.plan_units([make_unit()])
    write_status(tmp_path, make_receiver_status())
    config = Config(staging=StagingConfig(path=tmp_path), partitions=(PARTITION,))
    registry = make_registry(*staging_collectors(config, FakeClock(), run_course().status))
    path = tmp_path / "mailhaul.prom"
    write_textfile(registry, path)
    text = path.read_text()
    for prefix in ("read", "receiver", "last_good", "staging"):
        assert f"\nmailhaul_{prefix}_" in text
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_any_program_on_the_staging_host_can_tell_of_all(tmp_path: Path) -> None:
    config = Config(staging=StagingConfig(path=tmp_path), partitions=(PARTITION,))
    registry = make_registry(*staging_collectors(config, FakeClock()))
    write_status(tmp_path, make_receiver_status())
    course = Course(FakeClock(), os.getpid())
    course.begun(RUN)
    course.planned(make_plan(make_unit()))
    with RunLock(tmp_path):
        write_snapshot(status_file(tmp_path), course.status())
        during = samples(registry)
    after = samples(registry)
    units = "mailhaul_units{group=user,partition=primary,state=planned}"
    assert (during[units], during["mailhaul_receiver_up"]) == (1, 1)
    assert units not in after
    assert after["mailhaul_receiver_up"] == 1


def test_no_label_holds_a_user_or_a_run(tmp_path: Path) -> None:
    config = Config(staging=StagingConfig(path=tmp_path), partitions=(PARTITION,))
    text = generate_latest(make_registry(*staging_collectors(config, FakeClock(), run_course().status)))
    assert b"jane" not in text
    assert RUN.encode() not in text


def test_a_textfile_is_whole_and_for_everybody(tmp_path: Path) -> None:
    registry = make_registry(RunCollector(run_course().status))
    path = tmp_path / "mailhaul.prom"
    write_textfile(registry, path)
    write_textfile(registry, path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_bytes() == generate_latest(registry)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(BackupError, match=r"can't write metrics to .*: No such file"):
        write_textfile(registry, tmp_path / "none" / "mailhaul.prom")
    (tmp_path / "directory.prom").mkdir()
    with pytest.raises(BackupError, match="Is a directory"):
        write_textfile(registry, tmp_path / "directory.prom")
    assert {one.name for one in tmp_path.iterdir()} == {"mailhaul.prom", "directory.prom"}


@pytest.mark.parametrize("address", ["", "9410", ":9410", "host", "host:", "host:port", "host:70000", "h:-1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"is no ADDRESS:PORT such as 127\.0\.0\.1:9410"):
        serve_metrics(CollectorRegistry(), address)


def test_since_when_backups_are_wanted_by_the_schedule(tmp_path: Path) -> None:
    schedule = ScheduleConfig(backup=(parse("02:00"),))
    config = Config(staging=StagingConfig(path=tmp_path), partitions=(PARTITION,), schedule=schedule)
    registry = make_registry(ScheduleCollector(config, UTC, FakeClock()))
    assert samples(registry) == {}  # nobody sees to the schedule
    now = utc(FakeClock().now())
    begun = now - timedelta(days=9)
    HandledMoments(tmp_path).begin({"backup": Handled(moment=begun, full=begun)}, ())
    (wanted,) = samples(registry).values()
    due = datetime.fromtimestamp(wanted, UTC)
    assert (due.hour, due.minute) == (2, 0)
    assert timedelta(hours=6) <= now - due < timedelta(hours=30)
    HandledMoments(tmp_path).begin({"backup": Handled(moment=now, full=now)}, ())
    assert list(samples(registry).values()) == [0]
