"""The catalog: what is committed is there, what is not is not, and damage is named."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.catalog import Catalog, FoundArchive, rebuild, schema
from mailhaul.coordinator.catalog import database as files
from mailhaul.coordinator.history import MailboxVersion, ResumedRun, UnitPlan, Unplanned
from mailhaul.proto.errors import (
    BackupError,
    DamagedError,
    NotFoundError,
    StagingError,
    UnsupportedError,
    UsageError,
)
from mailhaul.proto.records import ArchiveId, Departed, RunId, Skipped
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import (
    ODD,
    START,
    archive_id,
    begin,
    commit,
    facts,
    report,
    run_id,
    unchanged,
    unit,
)


def database(staging: Path) -> Path:
    return staging / ".mailhaul" / "catalog.sqlite"


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as opened:
        yield opened


# Runs and units


def test_a_run_from_beginning_to_end(catalog: Catalog) -> None:
    first, second = unit(0, users=("anna", ODD)), unit(0, shard=1, users=("bob",))
    begin(catalog, 0, first, second)
    assert catalog.run("latest").state == "running"
    assert catalog.run("latest").ended is None
    gone = Skipped(f"/primary/user/{ODD}/INBOX", "permission", "\udcfe denied")
    catalog.commit_unit(report(first, skipped=(gone,)), sealed=START, attempts=2)
    catalog.fail_unit(second, "worker 7 was killed by SIGKILL", attempts=3)
    assert catalog.end_run(run_id(0), START + timedelta(hours=1)) == "partial"

    run = catalog.run(run_id(0))
    assert (run.started, run.ended, run.state) == (START, START + timedelta(hours=1), "partial")
    assert (run.paths, run.options, run.error) == ("/", "--full", "")
    assert (run.planned_units, run.sealed_units, run.failed_units) == (2, 1, 1)
    assert (run.mailboxes, run.skipped, run.messages, run.size_bytes) == (2, 1, 18, 18_000)
    assert (run.new_bytes, run.archive_bytes) == (500, 300)
    sealed, failed = catalog.units(run_id(0))
    assert (sealed.state, sealed.attempts, sealed.peak_memory_bytes) == ("sealed", 2, 1 << 20)
    assert (failed.state, failed.attempts, failed.error) == ("failed", 3, "worker 7 was killed by SIGKILL")
    assert list(catalog.skipped(run_id(0))) == [gone]
    (archive,) = catalog.archives()
    assert archive == catalog.archive(archive.archive)
    assert (archive.name, archive.size_bytes, archive.sealed) == (report(first).name, 300, START)


def test_how_a_run_ends_is_counted_not_claimed(catalog: Catalog) -> None:
    begin(catalog, 0)
    assert catalog.end_run(run_id(0), START) == "done"
    begin(catalog, 1, unit(1))
    assert catalog.end_run(run_id(1), START) == "failed"
    begin(catalog, 2, unit(2))
    catalog.commit_unit(report(unit(2)), sealed=START)
    assert catalog.end_run(run_id(2), START, error="interrupted") == "partial"
    assert catalog.end_run(run_id(2), START) == "done"
    begin(catalog, 3)
    assert catalog.end_run(run_id(3), START, error="store lists empty", interrupted=True) == "interrupted"
    assert catalog.end_run(run_id(3), START, error="store lists empty") == "failed"
    assert [(run.run, run.error) for run in catalog.runs()][:2] == [
        (run_id(3), "store lists empty"),
        (run_id(2), ""),
    ]


def test_a_run_whose_program_died_is_ended_by_the_next(catalog: Catalog) -> None:
    begin(catalog, 0, unit(0, users=("anna",)), unit(0, shard=1))
    catalog.commit_unit(report(unit(0, users=("anna",))), sealed=START)
    begin(catalog, 1)
    old = catalog.run(run_id(0))
    assert (old.state, old.ended) == ("interrupted", None)
    assert old.error.startswith("the program ended before the run did")
    assert [version.user for version in catalog.mailboxes_at(run_id(1))] == ["anna"]


def test_what_was_not_announced_is_refused(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no run"):
        catalog.plan_units([unit(0)])
    begin(catalog, 1)
    with pytest.raises(NotFoundError, match=r"no unit primary/user\.0"):
        catalog.commit_unit(report(unit(1)), sealed=START)
    with pytest.raises(NotFoundError):
        catalog.fail_unit(unit(1), "why", attempts=1)
    with pytest.raises(NotFoundError):
        catalog.end_run(run_id(0), START)
    with pytest.raises(NotFoundError):
        catalog.archive(ArchiveId(bytes(16)))
    with pytest.raises(ValueError, match="does not sort behind"):
        catalog.begin_run(run_id(0), START)
    with pytest.raises(ValueError, match="no run id"):
        catalog.begin_run(RunId("tomorrow"), START)
    with pytest.raises(ValueError, match="offset"):
        catalog.begin_run(run_id(2), datetime(2026, 11, 21))


def test_planning_and_committing_can_be_repeated(catalog: Catalog) -> None:
    mine = unit(0, users=("anna", "bob"))
    begin(catalog, 0, mine)
    catalog.commit_unit(report(mine), sealed=START)
    catalog.plan_units([mine])
    catalog.fail_unit(mine, "late", attempts=2)
    catalog.commit_unit(report(mine), sealed=START)
    assert [record.state for record in catalog.units(run_id(0))] == ["sealed"]

    again = replace(report(unit(0, users=("carla",)), stored=5), archive=ArchiveId(b"another attempt."))
    catalog.commit_unit(again, sealed=START)
    assert [(mailbox.user, mailbox.archive) for mailbox in catalog.mailboxes_at(run_id(0))] == [
        ("carla", again.archive)
    ]
    assert [archive.archive for archive in catalog.archives()] == [again.archive]


def test_a_run_goes_on_from_its_journal(catalog: Catalog, tmp_path: Path) -> None:
    done = unit(0, users=("anna",))
    gone = (Departed("dora", "moved", "now in partition second"), Departed(ODD + "2", "removed"))
    failed = replace(unit(0, shard=1, users=("bob", ODD)), size_bytes=70, messages=7, departed=gone)
    left = unit(0, "sales", users=("carla",))
    begin(catalog, 0, done, failed, left)
    catalog.commit_unit(report(done), sealed=START)
    catalog.fail_unit(failed, "host lost", attempts=3)
    catalog.close()  # as a program that is killed leaves it: the run is "running"
    with Catalog.open(tmp_path, write=True) as again:
        for resumed in (1, 2):
            assert again.resume_run(run_id(0)) == ResumedRun(
                started=START,
                resumed=resumed,
                sealed=1,
                units=(
                    UnitPlan(
                        partition="primary",
                        group="user",
                        shard=1,
                        users=("bob", ODD),
                        archive=failed.archive,
                        departed=gone,
                        size_bytes=70,
                        messages=7,
                    ),
                    UnitPlan(
                        partition="primary",
                        group="sales",
                        shard=0,
                        users=("carla",),
                        archive=left.archive,
                        size_bytes=0,
                        messages=0,
                    ),
                ),
                unplanned=Unplanned(),
                mode='{"full": 1}',
            )
            assert again.run("latest").state == "running"
            assert sorted(record.state for record in again.units(run_id(0))) == [
                "planned",
                "planned",
                "sealed",
            ]
        for one in (failed, left):
            again.commit_unit(report(one), sealed=START)
        assert again.end_run(run_id(0), START) == "done"
        with pytest.raises(UsageError, match="nothing is left to do"):
            again.resume_run(run_id(0))
        with pytest.raises(NotFoundError):
            again.resume_run(run_id(5))


def test_what_was_never_planned_is_told_again(catalog: Catalog) -> None:
    unplanned = Unplanned(
        failed=(("second", "store", "not mounted"),), left_out=(Skipped(f"/primary/user/{ODD}", "no-group"),)
    )
    catalog.begin_run(run_id(0), START, unplanned=unplanned)
    catalog.plan_units([unit(0, users=("anna",))])
    for _ in range(2):
        assert catalog.resume_run(run_id(0)).unplanned == unplanned


def test_a_run_does_not_go_on_behind_a_later_one(catalog: Catalog) -> None:
    begin(catalog, 0, unit(0, users=("anna",)))
    begin(catalog, 1, unit(1, users=("anna",)))
    assert catalog.run(run_id(0)).state == "interrupted"
    assert catalog.resume_run(run_id(0)).sealed == 0  # the later one has stored nothing
    assert catalog.run(run_id(1)).state == "interrupted"
    catalog.commit_unit(report(unit(1, users=("anna",))), sealed=START)
    with pytest.raises(UsageError, match=r"the later run .* has stored something"):
        catalog.resume_run(run_id(0))


@pytest.mark.parametrize("plan", ["", "[]", "{}", '{"users": 3, "size_bytes": 0, "messages": 0}', "{"])
def test_a_damaged_plan_is_named(catalog: Catalog, tmp_path: Path, plan: str) -> None:
    begin(catalog, 0, unit(0, users=("anna",)))
    catalog.close()
    with closing(sqlite3.connect(database(tmp_path))) as raw, raw:
        raw.execute("UPDATE units SET plan = ?", (plan,))
    with (
        Catalog.open(tmp_path, write=True) as again,
        pytest.raises(DamagedError, match="a plan that is none"),
    ):
        again.resume_run(run_id(0))


def test_half_a_commit_is_none(catalog: Catalog, tmp_path: Path) -> None:
    mine = unit(0, users=("anna", "bob", "anna"))
    begin(catalog, 0, mine)
    with pytest.raises(BackupError, match="contradicts"):
        catalog.commit_unit(report(mine), sealed=START)
    with pytest.raises(UnicodeEncodeError):
        catalog.commit_unit(report(unit(0, users=("anna", "\ud800"))), sealed=START)
    with Catalog.open(tmp_path) as reader:
        for seen in (catalog, reader):
            assert [record.state for record in seen.units(run_id(0))] == ["planned"]
            assert not list(seen.mailboxes_at(run_id(0)))
            assert not list(seen.archives())
    with pytest.raises(ValueError, match="without an archive"):
        catalog.commit_unit(unchanged(unit(0, users=("anna",), departed=("bob",))), sealed=START)
    catalog.commit_unit(report(unit(0, users=("anna",))), sealed=START)
    assert len(list(catalog.mailboxes_at(run_id(0)))) == 1


# Times and versions


def test_times(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError):
        catalog.resolve_time("latest")
    for day in (0, 1, 5):
        begin(catalog, day)
    for text, day in (
        ("latest", 5),
        (run_id(1), 1),
        ("2026-11-21", 0),
        ("20261122", 1),
        ("2026-11-25", 1),
        ("2026-11-26T03:14:59", 1),
        ("2026-11-26T03:15", 5),
        ("2026-11-26T04:14:59.5+01:00", 1),
        ("2026-11-26T04:15:00+01:00", 5),
        ("20261122T031500Z", 1),
    ):
        assert catalog.resolve_time(text) == run_id(day), text
    for text in ("2026-11-20", "2026-11-21T03:14:59Z", run_id(2)):
        with pytest.raises(NotFoundError):
            catalog.resolve_time(text)
    for text in ("", "yesterday", "2026-13-01", "LATEST", "20261122T031500Z-XXXX"):
        with pytest.raises(UsageError, match="expected latest"):
            catalog.resolve_time(text)


def test_newest_version_of_each_mailbox_survives_runs_over_less(catalog: Catalog) -> None:
    commit(
        catalog,
        0,
        unit(0, "user", 0, ("anna", ODD)),
        unit(0, "user", 1, ("bob",)),
        unit(0, "a", 0, ("anna",)),
    )
    commit(catalog, 1, unit(1, "user", 0, ("bob",)), stored=20)

    def seen(
        day: int, *, partition: str | None = None, group: str | None = None, user: str | None = None
    ) -> list[tuple[str, str, RunId, int]]:
        found = catalog.mailboxes_at(run_id(day), partition=partition, group=group, user=user)
        return [(version.group, version.user, version.run, version.shard) for version in found]

    assert seen(1) == [
        ("a", "anna", run_id(0), 0),
        ("user", "anna", run_id(0), 0),
        ("user", "bob", run_id(1), 0),
        ("user", ODD, run_id(0), 0),
    ]
    assert seen(0, user="bob") == [("user", "bob", run_id(0), 1)]
    assert seen(1, user=ODD, group="user", partition="primary") == [("user", ODD, run_id(0), 0)]
    assert seen(1, partition="other") == seen(1, group="b") == seen(-1) == []
    (bob,) = catalog.mailboxes_at(run_id(1), user="bob")
    assert bob == MailboxVersion(
        partition="primary",
        group="user",
        user="bob",
        run=run_id(1),
        shard=0,
        archive=archive_id(unit(1)),
        folders=3,
        listed=21,
        stored=20,
        skipped=1,
        size_bytes=20_000,
    )
    assert {
        user: mailbox_version.size_bytes
        for user, mailbox_version in catalog.known_users("primary", "user").items()
    } == {
        "anna": 9000,
        "bob": 20_000,
        ODD: 9000,
    }


def test_users_are_found_by_their_names(catalog: Catalog) -> None:
    others = unit(0, "staff", users=("ann",))
    commit(catalog, 0, unit(0, users=("anna", "hanna", "Annabel", ODD, "bob")), others)
    commit(catalog, 1, unit(1, users=("bob",), departed=("anna",)))

    def found(text: str, most: int = 10, groups: set[str] | None = None) -> list[str]:
        return [mailbox.user for mailbox in catalog.users_like(text, most, groups)]

    assert found("ann") == ["ann", "anna", "Annabel", "hanna"]
    assert found("ANN") == ["Annabel", "ann", "anna", "hanna"]
    assert found("ann", 2) == ["ann", "anna"]
    assert found("ann", groups={"staff"}) == ["ann"]
    assert found("ann", groups=set()) == []
    assert found(ODD[:2]) == [ODD]
    assert found("%") == found("nobody") == []
    (anna,) = catalog.users_like("anna", 1)
    assert (anna.gone, anna.run, anna.group) == (True, run_id(1), "user")


def test_users_that_are_there(catalog: Catalog) -> None:
    assert catalog.known_users("primary", "user") == {}
    commit(catalog, 0, unit(0, users=("anna", ODD)), unit(0, "a", users=("anna",)))
    begin(catalog, 1, unit(1, users=("anna",)))
    assert set(catalog.known_users("primary", "user")) == {"anna", ODD}
    assert catalog.known_users("other", "user") == {}


def test_a_reader_sees_commits_and_no_open_transaction(catalog: Catalog, tmp_path: Path) -> None:
    commit(catalog, 0, unit(0, users=("anna",)))
    with Catalog.open(tmp_path) as reader:
        versions = reader.mailboxes_at(run_id(9))
        assert next(versions).run == run_id(0)
        commit(catalog, 1, unit(1, users=("anna", "bob")))
        assert [mailbox.user for mailbox in reader.mailboxes_at(run_id(9))] == ["anna", "bob"]


# The file, in any state


def crash(staging: Path, statements: str) -> None:
    """Run statements of this module over a catalog in a process that does not close it."""
    code = f"""
import importlib.util, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("told", {__file__!r})
told = importlib.util.module_from_spec(spec)
spec.loader.exec_module(told)
catalog = told.Catalog.open(Path({str(staging)!r}), write=True)
exec({statements!r}, {{**vars(told), "catalog": catalog}})
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rebuild_does_not_meet_the_log_of_the_old_one(tmp_path: Path) -> None:
    # A writer that died has left its log: applied to the new database, it would ruin that.
    crash(tmp_path, "commit(catalog, 0, *(unit(0, shard=i, users=(f'u{i}',)) for i in range(50)))")
    assert (tmp_path / ".mailhaul" / "catalog.sqlite-wal").stat().st_size > 0
    rebuild(tmp_path, [FoundArchive(facts=facts(report(unit(7, users=("anna",))), 7))])
    with Catalog.open(tmp_path) as catalog:
        assert [mailbox.user for mailbox in catalog.mailboxes_at(run_id(9))] == ["anna"]
    with closing(sqlite3.connect(database(tmp_path))) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_catalog_yet(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="catalog rebuild"):
        Catalog.open(tmp_path)
    database(tmp_path).parent.mkdir()
    database(tmp_path).write_bytes(b"")
    with pytest.raises(NotFoundError, match="empty"):
        Catalog.open(tmp_path)
    with Catalog.open(tmp_path, write=True) as catalog:
        assert catalog.runs() == []
        catalog.close()


def test_newer_and_foreign_databases_are_left_alone(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True):
        pass
    for version, told in (
        (schema.VERSION + 1, "newer version"),
        (min(schema.UPGRADES) - 1, "earlier version"),
    ):
        with closing(sqlite3.connect(database(tmp_path))) as plain:
            plain.execute(f"PRAGMA user_version = {version}")
        for write in (True, False):
            with pytest.raises(UnsupportedError, match=told):
                Catalog.open(tmp_path, write=write)
    database(tmp_path).unlink()
    with closing(sqlite3.connect(database(tmp_path))) as plain:
        plain.execute("CREATE TABLE accounts (name)")
    for write in (True, False):
        with pytest.raises(DamagedError, match="no catalog of mailhaul"):
            Catalog.open(tmp_path, write=write)


@pytest.mark.parametrize("write", [True, False])
def test_a_catalog_of_schema_6_is_read_and_does_not_say_which_archives_are_encrypted(
    tmp_path: Path, write: bool
) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("anna",)))
        (archive,) = catalog.archives()
    with closing(sqlite3.connect(database(tmp_path))) as plain:
        plain.execute("ALTER TABLE archives DROP COLUMN encrypted")
        plain.execute("PRAGMA user_version = 6")
    with Catalog.open(tmp_path, write=write) as catalog:
        assert list(catalog.archives()) == [replace(archive, encrypted=None)]
        assert catalog.encrypted() == frozenset()
        if write:
            commit(catalog, 1, unit(1, users=("jane",)), encrypted=True)
            assert catalog.encrypted() == {archive_id(unit(1))}
    with closing(sqlite3.connect(database(tmp_path))) as plain:
        assert plain.execute("PRAGMA user_version").fetchone() == (schema.VERSION if write else 6,)


def test_a_catalog_of_an_earlier_schema_is_read_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert schema.VIEWS.keys() == schema.UPGRADES.keys()
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("anna",)))
    with closing(sqlite3.connect(database(tmp_path))) as plain:
        plain.execute("ALTER TABLE archives DROP COLUMN encrypted")
        plain.execute("PRAGMA user_version = 6")
    with monkeypatch.context() as patch:
        patch.delattr(files, "copied")  # it may have gigabytes
        reader = Catalog.open(tmp_path)
    with reader:
        before = list(reader.archives())
        with reader.scratch() as scratch:
            commit(scratch, 1, unit(1, users=("jane",)), encrypted=True)
            assert scratch.encrypted() == {archive_id(unit(1))}
        assert list(reader.archives()) == before
        with Catalog.open(tmp_path, write=True) as catalog:  # which brings it up to date meanwhile
            commit(catalog, 2, unit(2, users=("joe",)), encrypted=True)
        assert len(list(reader.archives())) == 2
        assert reader.encrypted() == {archive_id(unit(2))}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed catalog of some pages."""
    place = tmp_path_factory.mktemp("sound")
    with Catalog.open(place, write=True) as catalog:
        for day in range(3):
            commit(catalog, day, *(unit(day, shard=i, users=(f"u{i}", f"v{i}")) for i in range(30)))
    return database(place).read_bytes()


def read_all(catalog: Catalog) -> None:
    for run in catalog.runs():
        catalog.units(run.run)
        list(catalog.skipped(run.run))
        catalog.alarms(run.run)
    list(catalog.archives())
    list(catalog.mailboxes_at(run_id(9)))
    for partition, group in catalog.scopes():
        catalog.moments(partition, group)
        catalog.parents(partition, group, ["u1"])
        catalog.known_users(partition, group)
    list(catalog.histories())
    catalog.needed()
    catalog.missing()


@given(data=st.data())
def test_damage_ends_in_no_other_error(
    data: st.DataObject, sound: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    staging = tmp_path_factory.mktemp("damaged")
    database(staging).parent.mkdir()
    place = data.draw(st.integers(0, len(sound) - 1))
    if data.draw(st.booleans()):
        changed = sound[:place]
    else:
        noise = data.draw(st.binary(min_size=1, max_size=200))
        changed = sound[:place] + noise + sound[place + len(noise) :]
    database(staging).write_bytes(changed)
    with suppress(DamagedError, UnsupportedError, NotFoundError), Catalog.open(staging) as catalog:
        read_all(catalog)
    shutil.rmtree(staging)


def test_damage_says_what_to_do(catalog: Catalog, tmp_path: Path) -> None:
    commit(catalog, 0, unit(0))
    catalog.close()
    whole = database(tmp_path).read_bytes()
    for content in (b"garbage" * 1000, whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        database(tmp_path).write_bytes(content)
        for write in (True, False):
            with (
                pytest.raises(DamagedError, match="catalog rebuild"),
                Catalog.open(tmp_path, write=write) as read,
            ):
                read_all(read)


def as_nobody(staging: Path) -> subprocess.CompletedProcess[str]:
    """Read a catalog as a user who may write nothing."""
    code = """
import os, sys
from pathlib import Path
from mailhaul.coordinator.catalog import Catalog
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Catalog.open(Path(sys.argv[1])) as catalog:
    newest = catalog.resolve_time("latest")
    print(*sorted(version.user for version in catalog.mailboxes_at(newest)))
"""
    return subprocess.run(
        [sys.executable, "-c", code, staging], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def shared_staging() -> Iterator[Path]:
    """A staging area that others can reach (pytest's own directories are closed to them, by each pytest that
    is started)."""
    with tempfile.TemporaryDirectory(prefix="mh-") as place:
        Path(place).chmod(0o755)
        yield Path(place, "staging")


@pytest.mark.parametrize("left", ["nothing", "log", "log and shm"])
def test_read_only_staging_area(shared_staging: Path, left: str) -> None:
    crash(shared_staging, "commit(catalog, 0, unit(0, users=('anna',)))")
    if left == "nothing":
        with Catalog.open(shared_staging, write=True):
            pass
    if left == "log":
        (shared_staging / ".mailhaul" / "catalog.sqlite-shm").unlink()
    files = sorted(shared_staging.rglob("*"))
    assert len(files) == {"nothing": 2, "log": 3, "log and shm": 4}[left]
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    shared_staging.chmod(0o555)
    try:
        done = as_nobody(shared_staging)
        assert (done.returncode, done.stdout) == (0, "anna\n"), done.stderr
        assert sorted(shared_staging.rglob("*")) == files
    finally:
        for file in (shared_staging, *files):
            file.chmod(0o755)


def test_reading_beside_a_writer_as_somebody_else(shared_staging: Path) -> None:
    with Catalog.open(shared_staging, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("anna", "bob")))
        assert "Permission denied" in as_nobody(shared_staging).stderr
        for path in (shared_staging, *shared_staging.rglob("*")):
            path.chmod(0o755)  # the administrator wants it so
        done = as_nobody(shared_staging)
        assert (done.returncode, done.stdout) == (0, "anna bob\n"), done.stderr
        database(shared_staging).chmod(0)
        done = as_nobody(shared_staging)
        assert "StagingError" in done.stderr


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StagingError):
        Catalog.open(tmp_path / "file", write=True)
    with pytest.raises(StagingError):
        rebuild(tmp_path / "file", [])
