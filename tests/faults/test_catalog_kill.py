"""kill -9 of the process that writes the catalog: what it had committed is there, and nothing by half."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.tests.catalogs import run_id

MAILBOXES = 40

# Begins a run, then commits units until it is killed; prints the shard of each commit that has returned.
WRITER = f"""
import sys
from itertools import count
from pathlib import Path
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.clock import SystemClock, utc
from mailhaul.coordinator.run_ids import new_run_id
from mailhaul.proto.records import ArchiveId, MailboxSummary, Partition, Skipped, Unit, UnitReport

now = utc(SystemClock().now())
catalog = Catalog.open(Path(sys.argv[1]), write=True)
run = new_run_id(now.timestamp(), catalog.newest_run())
catalog.begin_run(run, now)
partition = Partition(name="primary", format="maildir", path="/srv/mail")
for shard in count():
    users = [f"u{{i}}-{{shard}}" for i in range({MAILBOXES})]
    catalog.plan_units([Unit(run=run, partition=partition, group="user", shard=shard, users=tuple(users))])
    catalog.commit_unit(UnitReport(
        run=run, partition="primary", group="user", shard=shard,
        archive=ArchiveId(f"{{run[9:15]}}{{run[-4:]}}{{shard:06d}}".encode()), name=f"{{run}}.{{shard}}.mha",
        mailboxes=tuple(MailboxSummary(partition="primary", group="user", user=user, folders=1, listed=2,
            stored=1, skipped=1, size_bytes=1) for user in users),
        skipped=tuple(Skipped(user, "vanished") for user in users),
        messages=0, size_bytes=0, new_bytes=0, archive_bytes=0, seconds=0, cpu_seconds=0,
    ), sealed=now)
    print(shard, flush=True)
"""


def test_killed_writer_leaves_whole_units(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(4)
    for _ in range(max(1, rounds // 5)):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline())]
            killer = threading.Timer(chance.uniform(0, 0.1), writer.kill)
            killer.start()
            told += map(int, writer.stdout)
            killer.join()
        with Catalog.open(tmp_path) as catalog:
            run = catalog.newest_run()
            assert run is not None
            units = catalog.units(run)
            sealed = [unit.shard for unit in units if unit.state == "sealed"]
            assert sealed[: len(told)] == told
            assert len(units) - len(told) <= 2
            stored = [version.shard for version in catalog.mailboxes_at(run) if version.run == run]
            assert sorted(stored) == sorted(sealed * MAILBOXES)
            assert len(list(catalog.skipped(run))) == MAILBOXES * len(sealed)
            assert [archive.shard for archive in catalog.archives(run)] == sealed
        with closing(sqlite3.connect(tmp_path / ".mailhaul" / "catalog.sqlite")) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
    with Catalog.open(tmp_path) as catalog:
        assert {record.state for record in catalog.runs()[1:]} <= {"interrupted"}, "whose program was killed"


# Commits runs, then drops old ones as a purge does, until it is killed; prints each run that is committed.
PURGER = f"""
import sys
from itertools import count
from pathlib import Path
from mailhaul.coordinator.catalog import Catalog
from mailhaul.tests.catalogs import archive_id, commit, run_id, unit

users = tuple(f"user{{i}}" for i in range({MAILBOXES}))
catalog = Catalog.open(Path(sys.argv[1]), write=True)
first = len(catalog.runs())
for day in count(first):
    commit(catalog, day, unit(day, users=users))
    print(day, flush=True)
    catalog.forget("primary", "user", [run_id(day - 1)], lambda user: user == "user0")
    needed = catalog.needed().users
    for record in list(catalog.archives()):
        if record.archive not in needed:
            catalog.remove_archives([record.archive])
        elif needed[record.archive] == {{"user0"}} and not record.generation:
            catalog.replace_archive(
                record.archive, file=record.file + ".g1", size_bytes=1, generation=1, holes=[(0, 1), (5, 5)],
                references=[archive_id(unit(day))])
"""


def test_killed_purger_leaves_every_moment_whole(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(5)
    for _ in range(max(1, rounds // 10)):
        with subprocess.Popen(
            [sys.executable, "-c", PURGER, tmp_path], stdout=subprocess.PIPE, text=True
        ) as purger:
            assert purger.stdout is not None
            told = [int(purger.stdout.readline())]
            killer = threading.Timer(chance.uniform(0, 0.2), purger.kill)
            killer.start()
            told += map(int, purger.stdout)
            killer.join()
        with Catalog.open(tmp_path) as catalog:
            moments = catalog.moments("primary", "user")
            assert moments[-1].run >= run_id(told[-1])
            for moment in moments:
                assert {mailbox.run for mailbox in catalog.mailboxes_at(moment.run)} == {moment.run}
                assert len(list(catalog.mailboxes_at(moment.run))) == MAILBOXES
            kept = {record.archive for record in catalog.archives()}
            assert kept >= {history.archive for history in catalog.histories()}
            assert len(catalog.history("primary", "user0")) == len(kept)
            for archive in catalog.archives():
                assert len(archive.holes) == (2 if archive.generation else 0)
        with closing(sqlite3.connect(tmp_path / ".mailhaul" / "catalog.sqlite")) as plain:
            assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
