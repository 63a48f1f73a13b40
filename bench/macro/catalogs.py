"""A large catalog, made up: many mailboxes, more than a year of nights, as runs would have left it.

    python -m mailhaul.bench.macro.catalogs STAGING [--mailboxes 100000] [--nights 400] [--groups 40]

Writes only the records that lie below STAGING/.mailhaul (catalog, service, holds, last sweeps): there are no
archives. Each night is a full list of versions, as a real run leaves it: of every mailbox of a unit that
wrote an archive, also of those that had not changed. The same shape gives the same records.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.catalog import database as files
from mailhaul.coordinator.catalog.journal import encode_unplanned
from mailhaul.coordinator.catalog.values import iso, run_number
from mailhaul.coordinator.history import Unplanned
from mailhaul.coordinator.holds import Hold, add_holds
from mailhaul.coordinator.notices.space import Sample
from mailhaul.coordinator.service.database import opened
from mailhaul.coordinator.service.space import SpaceRecord
from mailhaul.coordinator.service.values import stamp
from mailhaul.coordinator.sweeping.record import note_sweep
from mailhaul.coordinator.sweeping.report import DestinationReport
from mailhaul.proto.records import RunId

NEWEST = datetime(2026, 11, 29, 2, 0, tzinfo=UTC)
"""When the last night begins, unless it is said."""

PARTITION = "primary"
DESTINATIONS = ("vault", "mirror")
SHARDS = 2
_REFERENCES = 12
_FIRST_NAMES = ("anna", "bjorn", "carla", "dmitri", "eva", "farid", "grace", "hugo", "ines", "jonas", "kofi")
_LAST_NAMES = ("almeida", "berg", "cohen", "diaz", "egger", "fischer", "garcia", "haas", "ito", "jensen")
_REASONS = ("permission", "unreadable", "changed", "too-large")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """So many mailboxes in so many groups, backed up in so many nights; archives of the last ``staged``
    nights still lie in the staging area."""

    mailboxes: int = 100_000
    groups: int = 40
    nights: int = 400
    staged: int = 30
    newest: datetime = NEWEST


SMALL = Shape(mailboxes=300, groups=5, nights=40, staged=7)
"""For tests: the same in a second."""


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a shape, counted from 0."""

    number: int
    started: datetime
    run: RunId
    state: str
    share: float

    @property
    def ended(self) -> datetime | None:
        """None of one that was interrupted."""
        if self.state == "interrupted":
            return None
        return self.started + timedelta(minutes=35 + 400 * self.share, seconds=self.number % 60)


def make(staging: Path, shape: Shape) -> None:
    """Write all records of a staging area that has none."""
    staging.mkdir(parents=True, exist_ok=True)
    nights = list(nights_of(shape))
    with closing(files.open_writer(files.place(staging))) as catalog:
        catalog.execute("PRAGMA journal_mode = OFF")  # who makes it makes it again, if that fails
        catalog.execute("PRAGMA synchronous = OFF")
        catalog.execute("PRAGMA cache_size = -200000")
        with files.transaction(catalog):
            _runs(catalog, shape, nights)
            _groups(catalog, shape)
            _units(catalog, shape, nights)
            _archives(catalog, shape, nights)
            _versions(catalog, shape)
            _skipped(catalog, shape, nights)
            _present(catalog, nights)
        catalog.execute("PRAGMA journal_mode = WAL")
    _service(staging, shape, nights)
    _space(staging, shape)
    _holds(staging, shape, nights)
    for name in DESTINATIONS:
        done = DestinationReport(name=name, copied=SHARDS * shape.groups, waiting=0)
        note_sweep(staging, done, nights[-1].started + timedelta(hours=4))


def users(shape: Shape) -> Iterator[tuple[int, str]]:
    """(scope, user) of each mailbox, by its number."""
    for number in range(shape.mailboxes):
        first, last = _FIRST_NAMES[number % 11], _LAST_NAMES[number // 11 % 10]
        yield number % shape.groups + 1, f"{first}.{last}.{number:06}@example.org"


def group_name(number: int) -> str:
    """The name of a group, from 1."""
    return f"group-{number:02}"


def nights_of(shape: Shape) -> Iterator[Night]:
    """Its nights, oldest first; of some the host was down."""
    rng = random.Random("nights")
    for number in range(shape.nights):
        back = shape.nights - 1 - number
        started = shape.newest - timedelta(days=back)
        if back % 90 == 50:  # the host was down
            continue
        weekend = started.weekday() >= 5
        share = (0.02 if weekend else 0.05) * rng.uniform(0.7, 1.4)
        state = "done"
        if back % 61 == 9:
            state = "partial"
        elif back % 173 == 30:
            state = "interrupted"
        elif back % 199 == 70:
            state = "failed"
        run = RunId(f"{started:%Y%m%dT%H%M%SZ}-{number:04x}")
        yield Night(number, started, run, state, share)


def _runs(catalog: files.Connection, shape: Shape, nights: Sequence[Night]) -> None:
    stores = json.dumps([[PARTITION, "maildir", "/srv/mail/{user}/Maildir", ["mail1", "mail2"]]])
    nothing, _, _ = encode_unplanned(Unplanned())
    names = list(users(shape))
    for night in nights:
        alarms = []
        if night.number % 37 == 11:
            scope, user = names[night.number * 131 % len(names)]
            path = f"/{PARTITION}/{group_name(scope)}/{user}"
            alarms = [[path, "mailbox-emptied", "it is empty, and had 4,711 messages"]]
        error = "the mail store does not answer" if night.state == "failed" else ""
        catalog.execute(
            "INSERT INTO runs (number, run, started, ended, state, paths, options, narrowed, mode, stores,"
            " error, alarms, unplanned) VALUES (?, ?, ?, ?, ?, '/', '', 0, '', ?, ?, ?, ?)",
            (
                *(run_number(night.run), night.run, iso(night.started), night.ended and iso(night.ended)),
                *(night.state, stores, error, json.dumps(alarms), nothing),
            ),
        )


def _groups(catalog: files.Connection, shape: Shape) -> None:
    catalog.executemany(
        "INSERT INTO scopes (number, partition, grp) VALUES (?, ?, ?)",
        ((number, PARTITION, group_name(number)) for number in range(1, shape.groups + 1)),
    )
    catalog.executemany("INSERT INTO mailboxes (scope, user) VALUES (?, ?)", users(shape))
    catalog.execute(
        "CREATE TEMP TABLE nights (number INTEGER PRIMARY KEY, run INTEGER, first INTEGER, share REAL)"
    )


def _units(catalog: files.Connection, shape: Shape, nights: Sequence[Night]) -> None:
    """``SHARDS`` of each group, each night: unit numbers go up by night, scope, shard."""
    rng = random.Random("units")
    mailboxes = Counter(
        (scope, number // shape.groups % SHARDS) for number, (scope, _) in enumerate(users(shape), start=1)
    )
    number = 1
    for night in nights:
        catalog.execute(
            "INSERT INTO nights VALUES (?, ?, ?, ?)",
            (night.number, run_number(night.run), number, night.share),
        )
        for scope in range(1, shape.groups + 1):
            for shard in range(SHARDS):
                per_unit = mailboxes[scope, shard]
                new = round(per_unit * night.share * 180_000 * rng.uniform(0.5, 1.6))
                messages = per_unit * (2_000 + 3 * night.number)
                failed = night.state == "failed" or (
                    night.state in ("partial", "interrupted") and scope % 7 == 3
                )
                catalog.execute(
                    "INSERT INTO units (number, run, scope, shard, state, attempts, error, mailboxes,"
                    " skipped, messages, read, added, vanished, size_bytes, new_bytes, archive_bytes,"
                    " seconds, cpu_seconds, peak_memory_bytes, ended)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(number, run_number(night.run), scope, shard),
                        *(
                            ("failed", 3, "the store does not answer", *[0] * 9, 0.0, 0.0, 0, None)
                            if failed
                            else (
                                *("sealed", 1, "", per_unit, 0, messages, new // 60_000),
                                *(new // 62_000, new // 190_000, messages * 60_000, new, round(new * 0.42)),
                                *(rng.uniform(20, 200), rng.uniform(10, 90), 60_000_000),
                                iso(night.started + timedelta(seconds=rng.uniform(60, 2000))),
                            )
                        ),
                    ),
                )
                number += 1


def _archives(catalog: files.Connection, shape: Shape, nights: Sequence[Night]) -> None:
    catalog.execute(
        "INSERT INTO archives (number, archive, unit, name, size_bytes, sealed, encrypted)"
        " SELECT u.number, CAST(printf('%016d', u.number) AS BLOB), u.number,"
        " s.partition || '/' || s.grp || '/' || r.run || '.' || u.shard || '.mha',"
        " u.archive_bytes, u.ended, 0"
        " FROM units u JOIN runs r ON r.number = u.run JOIN scopes s ON s.number = u.scope"
        " WHERE u.state = 'sealed'"
    )
    first_staged = run_number(nights[-min(shape.staged, len(nights))].run)
    for place, since in (*((name, 0) for name in DESTINATIONS), ("staging", first_staged)):
        last = run_number(nights[-1].run) if place == DESTINATIONS[1] else 1 << 62  # not swept there yet
        all_but = 500 if place == DESTINATIONS[1] else 0  # one of so many was lost there
        catalog.execute(
            "INSERT INTO locations (archive, place, version, name, generation, size_bytes, checksum, state,"
            " copied, verified, checked)"
            " SELECT a.number, ?1, '', a.name, 0, a.size_bytes, zeroblob(32), 'kept', a.sealed,"
            " strftime('%Y-%m-%dT%H:%M:%S+00:00', a.sealed, '+1 day'),"
            " iif(a.number % 5 = 0, NULL, strftime('%Y-%m-%dT%H:%M:%S+00:00', a.sealed, '+7 days'))"
            " FROM archives a JOIN units u ON u.number = a.unit"
            " WHERE u.run >= ?2 AND u.run < ?3 AND (?4 = 0 OR a.number % ?4 <> 3)",
            (place, since, last, all_but),
        )
    night = shape.groups * SHARDS
    catalog.execute(
        "WITH RECURSIVE back (nights) AS (SELECT 1 UNION ALL SELECT nights + 1 FROM back WHERE nights < ?1)"
        " INSERT INTO refs (archive, other) SELECT a.number, o.number"
        " FROM archives a CROSS JOIN back JOIN archives o ON o.number = a.number - nights * ?2",
        (_REFERENCES, night),
    )


def _versions(catalog: files.Connection, shape: Shape) -> None:
    """In the order of their table; the index is made after it."""
    (index,) = catalog.execute("SELECT sql FROM sqlite_master WHERE name = 'versions_of_unit'").fetchone()
    catalog.execute("DROP INDEX versions_of_unit")
    catalog.execute(
        "INSERT INTO versions (mailbox, run, unit, folders, listed, stored, skipped, size_bytes, added,"
        " vanished, changed)"
        " SELECT mailbox, run, unit, 6 + mailbox % 9, listed, listed, 0, listed * 60000, 3 * came, came, came"
        " FROM (SELECT m.number AS mailbox, n.run AS run,"
        "  n.first + (m.scope - 1) * ?1 + m.number / ?2 % ?1 AS unit,"
        "  500 + m.number % 3000 + 2 * n.number AS listed,"
        "  (m.number * 7919 + n.number * 104729) % 1000 < n.share * 1000 AS came"
        "  FROM mailboxes m CROSS JOIN nights n) AS each"
        " WHERE EXISTS (SELECT 1 FROM archives a WHERE a.unit = each.unit)",
        (SHARDS, shape.groups),
    )
    catalog.execute(index)


def _skipped(catalog: files.Connection, shape: Shape, nights: Sequence[Night]) -> None:
    rng = random.Random("skipped")
    names = list(users(shape))
    for night in nights:
        many = 900 if night.number % 97 == 60 else rng.choice((0, 0, 0, 0, 1, 2, 12))
        sealed = [
            tuple(row)
            for row in catalog.execute(
                "SELECT number, scope FROM units WHERE run = ? AND state = 'sealed'", (run_number(night.run),)
            )
        ]
        for _ in range(many if sealed else 0):
            unit, scope = rng.choice(sealed)
            user = names[rng.randrange(len(names) // shape.groups) * shape.groups + scope - 1][1]
            path = f"/{PARTITION}/{group_name(scope)}/{user}/INBOX/{rng.randrange(9000)}"
            catalog.execute(
                "INSERT INTO skipped (unit, path, reason, detail) VALUES (?, ?, ?, 'permission denied')",
                (unit, path, rng.choice(_REASONS)),
            )
    catalog.execute(
        "UPDATE units SET skipped = ("
        " SELECT count(*) FROM skipped k WHERE k.unit = units.number AND k.reason <> 'changed')"
        " WHERE number IN (SELECT unit FROM skipped)"
    )


def _present(catalog: files.Connection, nights: Sequence[Night]) -> None:
    whole = [night for night in nights if night.state == "done"]
    catalog.execute(
        "INSERT INTO present (scope, user, since, good, reason, detail) SELECT scope, user, ?1,"
        " iif(number % 9973 = 0, NULL, iif(number % 499 = 7, ?2, ?3)),"
        " iif(number % 499 = 7, 'permission', ''), iif(number % 499 = 7, 'permission denied', '')"
        " FROM mailboxes",
        (run_number(nights[0].run), run_number(whole[-3].run), run_number(whole[-1].run)),
    )


def _service(staging: Path, shape: Shape, nights: Sequence[Night]) -> None:
    """Each night a drill of so many mailboxes that all have their turn within five weeks."""
    rng = random.Random("drills")
    names = list(users(shape))
    per_night = max(1, round(len(names) / 35))
    order = rng.sample(range(len(names)), len(names))
    with closing(opened(staging)) as service, files.transaction(service):
        for number, night in enumerate(nights, start=1):
            began = night.started + timedelta(hours=5)
            failed = int(number % 23 == 0)
            service.execute(
                "INSERT INTO drills (id, seed, started, ended, state, proven, failed, messages, size_bytes)"
                " VALUES (?, ?, ?, ?, 'done', ?, ?, ?, ?)",
                (
                    *(number, number, stamp(began), stamp(began + timedelta(minutes=50))),
                    *(per_night - failed, failed, per_night * 900, per_night * 50_000_000),
                ),
            )
            taken = [names[order[(number * per_night + at) % len(order)]] for at in range(per_night)]
            service.executemany(
                "INSERT INTO proofs (partition, grp, user, drill, tried, outcome, proven, run, place,"
                " messages, size_bytes, lacks, lacking)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'vault', 900, 50000000, ?9, ?10)"
                " ON CONFLICT DO UPDATE SET drill = ?4, tried = ?5, outcome = ?6,"
                " proven = coalesce(?7, proven), run = ?8, lacks = ?9, lacking = ?10",
                (
                    (
                        *(PARTITION, group_name(scope), user, number, stamp(began)),
                        *(("failed", None) if at < failed else ("proven", stamp(began))),
                        night.run,
                        *((json.dumps([[f"INBOX/{at}", "damaged", ""]]), 1) if at < failed else ("[]", 0)),
                    )
                    for at, (scope, user) in enumerate(taken)
                ),
            )


def _space(staging: Path, shape: Shape) -> None:
    """Two disks that fill up, the staging area does not."""
    today = shape.newest.date()
    SpaceRecord(staging).note(
        Sample(
            place=place,
            day=today - timedelta(days=back),
            used_bytes=17_000_000_000_000 - a_day * back,
            free_bytes=3_000_000_000_000 + a_day * back,
        )
        for place, a_day in (("staging", 0), *((name, 40_000_000_000) for name in DESTINATIONS))
        for back in range(min(60, shape.nights))
    )


def _holds(staging: Path, shape: Shape, nights: Sequence[Night]) -> None:
    names = list(users(shape))
    since = nights[-1].started

    def holds() -> Iterator[Hold]:
        for number in range(0, len(names), 50):
            path = f"/{PARTITION}/user/{names[number][1]}"
            yield Hold(
                path=path, reason="mailboxes-gone: 2,000 mailboxes are gone", since=since, automatic=True
            )
        yield Hold(run=nights[-10].run, reason="case 42", since=since)

    add_holds(staging, holds())


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a catalog, and print how long that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("staging", type=Path)
    parser.add_argument("--mailboxes", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--nights", type=int, default=400)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    make(options.staging, Shape(mailboxes=options.mailboxes, groups=options.groups, nights=options.nights))
    size = files.place(options.staging).stat().st_size
    print(f"{size / 1e9:.2f} GB in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
