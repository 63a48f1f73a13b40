"""The catalog over time: unchanged units, mailboxes that depart, parents, moments that were purged."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog, queries
from mailhaul.coordinator.history import Moment
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import STAGING, ArchiveId, Location, Losses, RunId, Skipped, Stretch, Unit
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import (
    ODD,
    START,
    archive_id,
    begin,
    commit,
    report,
    run_id,
    summary,
    unchanged,
    unit,
)
from mailhaul.worker.archives.holdings import EXCERPTS


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as opened:
        yield opened


def seen(
    catalog: Catalog, day: int, *, group: str | None = None, user: str | None = None, nearest: bool = False
) -> list[tuple[str, str, RunId]]:
    found = catalog.mailboxes_at(run_id(day), group=group, user=user, nearest=nearest)
    return [(version.group, version.user, version.run) for version in found]


def find_nothing_changed(catalog: Catalog, day: int, *units: Unit) -> None:
    """A whole run in which nothing had changed."""
    begin(catalog, day, *units)
    for one in units:
        catalog.commit_unit(unchanged(one), sealed=START + timedelta(days=day, hours=1))
    catalog.end_run(run_id(day), START + timedelta(days=day, hours=2))


# Units in which nothing had changed


def test_an_unchanged_unit_is_good_and_the_earlier_version_stands(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", "bob")))
    find_nothing_changed(catalog, 1, unit(1, users=("anna", "bob")))
    run = catalog.run("latest")
    assert (run.state, run.sealed_units, run.unchanged_units) == ("done", 0, 1)
    assert (run.mailboxes, run.messages, run.read, run.archive_bytes) == (2, 18, 0, 0)
    (only,) = catalog.units(run_id(1))
    assert only.state == "unchanged"
    assert list(catalog.archives(run_id(1))) == []
    assert seen(catalog, 1) == [("user", "anna", run_id(0)), ("user", "bob", run_id(0))]
    (good,) = catalog.last_good()
    assert (good.run, good.sealed) == (run_id(1), START + timedelta(days=1, hours=1))
    assert catalog.moments("primary", "user") == [
        Moment(run=run_id(0), started=START, whole=True),
        Moment(run=run_id(1), started=START + timedelta(days=1), whole=True, unchanged=True),
    ]


def test_a_run_does_not_go_on_behind_one_that_found_nothing_changed(catalog: Catalog) -> None:
    begin(catalog, 0, unit(0, users=("anna",)))
    find_nothing_changed(catalog, 1, unit(1, users=("anna",)))
    with pytest.raises(Exception, match=r"the later run .* has stored something"):
        catalog.resume_run(run_id(0))


def test_a_unit_that_was_unchanged_is_not_done_again(catalog: Catalog) -> None:
    begin(catalog, 0, unit(0, users=("anna",)), unit(0, shard=1, users=("bob",)))
    catalog.commit_unit(unchanged(unit(0, users=("anna",))), sealed=START)
    catalog.fail_unit(unit(0, users=("anna",)), "late", attempts=2)
    resumed = catalog.resume_run(run_id(0))
    assert ([plan.users for plan in resumed.units], resumed.sealed) == ([("bob",)], 1)


# Mailboxes that depart


def test_a_mailbox_that_departed_is_not_there_from_that_run_on(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", ODD)))
    commit(catalog, 2, unit(2, users=("anna",), departed=(ODD,)))
    find_nothing_changed(catalog, 3, unit(3, users=("anna",)))
    assert [user for _, user, _ in seen(catalog, 1)] == ["anna", ODD]
    for day in (2, 3):
        assert seen(catalog, day) == [("user", "anna", run_id(2))]
        assert seen(catalog, day, user=ODD) == []
    assert set(catalog.known_users("primary", "user")) == {"anna"}
    assert catalog.run(run_id(2)).departed == 1
    stored, gone = catalog.history("primary", ODD)
    assert (stored.run, stored.archive, stored.stored) == (run_id(0), archive_id(unit(0)), 9)
    assert (stored.departed, stored.changed, stored.started) == ("", True, START)
    assert (gone.run, gone.archive, gone.departed) == (run_id(2), None, "removed")

    commit(catalog, 4, unit(4, users=("anna", ODD)))
    assert [user for _, user, _ in seen(catalog, 4)] == ["anna", ODD]
    assert len(catalog.history("primary", ODD, "user")) == 3


def test_histories_are_by_scope_and_user(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", "bob")), unit(0, "a", users=("anna",)))
    commit(catalog, 1, unit(1, users=("anna",)), unit(1, users=("anna",), partition="second"))
    assert [
        (history.partition, history.group, history.user, history.run) for history in catalog.histories()
    ] == [
        ("primary", "a", "anna", run_id(0)),
        ("primary", "user", "anna", run_id(0)),
        ("primary", "user", "anna", run_id(1)),
        ("primary", "user", "bob", run_id(0)),
        ("second", "user", "anna", run_id(1)),
    ]
    assert [version.run for version in catalog.histories("primary", "user", "anna")] == [run_id(0), run_id(1)]
    assert [one.run for one in catalog.history("primary", "anna")] == [run_id(0), run_id(0), run_id(1)]
    assert catalog.scopes() == [("primary", "a"), ("primary", "user"), ("second", "user")]


def test_what_came_and_went_is_counted(catalog: Catalog) -> None:
    one = unit(0, users=("anna",))
    begin(catalog, 0, one)
    counted = replace(summary("anna"), added=3, vanished=2, changed=False)
    catalog.commit_unit(replace(report(one), mailboxes=(counted,)), sealed=START)
    (version,) = catalog.mailboxes_at(run_id(0))
    assert (version.added, version.vanished, version.changed) == (3, 2, False)
    run, (done,) = catalog.run("latest"), catalog.units(run_id(0))
    assert (run.added, run.vanished, run.read) == (done.added, done.vanished, done.read) == (3, 2, 9)


def test_alarms_are_noted_once(catalog: Catalog) -> None:
    begin(catalog, 0)
    first, second = Skipped(f"/primary/user/{ODD}", "mailbox-emptied", "9 messages"), Skipped("/p", "gone")
    catalog.note_alarms(run_id(0), [first])
    catalog.note_alarms(run_id(0), [first, second])
    assert catalog.alarms(run_id(0)) == (first, second)
    assert catalog.run("latest").alarms == 2
    assert catalog.alarms(run_id(1)) == ()
    with pytest.raises(NotFoundError):
        catalog.note_alarms(run_id(1), [first])


# What a run starts from


def test_parents_are_the_newest_versions_of_the_own_group(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", ODD)), unit(0, shard=1, users=("bob",)))
    commit(catalog, 1, unit(1, users=("anna",)), unit(1, "a", users=("anna", "bob")))
    parents = catalog.parents("primary", "user", ["anna", ODD, "bob", "nobody"])
    assert parents.mailboxes == {
        "anna": archive_id(unit(1)),
        ODD: archive_id(unit(0)),
        "bob": archive_id(unit(0, shard=1)),
    }
    assert parents.locations == {
        archive_id(one): _staged_and_excerpt(report(one).name) for one in (unit(0), unit(0, shard=1), unit(1))
    }
    assert parents.lost == {}
    assert catalog.parents("primary", "user", []).locations == {}


def _staged_and_excerpt(name: str) -> tuple[Location, Location]:
    return Location(STAGING, name), Location(EXCERPTS, name)


def test_who_is_new_to_a_group_is_known_from_elsewhere(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", "bob", "carla")))
    commit(catalog, 1, unit(1, users=("bob",), departed=("carla",)))
    commit(catalog, 2, *(unit(2, users=("anna", "dora"), partition=name) for name in ("second", "third")))
    new = catalog.parents("primary", "b", ["anna", "bob", "carla", "dora"])
    assert new.mailboxes == {
        "anna": archive_id(unit(0)),  # of another partition there is a newer version
        "bob": archive_id(unit(1)),
        "carla": archive_id(unit(0)),  # it has departed, and may come back
        "dora": archive_id(unit(2, partition="third")),
    }
    assert catalog.parents("primary", "user", ["carla"]).mailboxes == {"carla": archive_id(unit(0))}


def test_parents_bring_what_they_refer_to_and_what_of_it_is_lost(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna",)))
    commit(catalog, 1, unit(1, users=("anna",)))
    last = unit(2, users=("anna",))
    begin(catalog, 2, last)
    stranger = ArchiveId(b"s" * 16)
    others = (archive_id(unit(0)), archive_id(unit(1)), stranger)
    catalog.commit_unit(report(last, references=others), sealed=START)
    catalog.mark_lost(archive_id(unit(0)), Losses((Stretch(8, 2), Stretch(0, 4)), (Stretch(1, 1),)))
    catalog.set_missing(archive_id(unit(1)))
    parents = catalog.parents("primary", "user", ["anna"])
    assert parents.locations == {
        archive_id(one): _staged_and_excerpt(report(one).name) for one in (unit(0), last)
    }
    assert parents.lost == {archive_id(unit(0)): Losses((Stretch(0, 4), Stretch(8, 2)), (Stretch(1, 1),))}
    assert catalog.missing() == {archive_id(unit(1)): report(unit(1)).name, stranger: ""}
    assert catalog.references([archive_id(last)]) == {archive_id(last): others}

    catalog.set_missing(archive_id(last))
    assert catalog.parents("primary", "user", ["anna"]).mailboxes == {"anna": archive_id(unit(0))}
    assert seen(catalog, 2) == [("user", "anna", run_id(2))]  # what is missing is known, and told


# Moments


def test_which_runs_are_moments_and_which_of_them_are_whole(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna",)), unit(0, "a", users=("anna",)))
    for day, paths, narrowed in (
        (1, "/primary/user/anna", False),
        (2, "/", True),
        (3, "/primary/user", False),
    ):
        catalog.begin_run(run_id(day), START + timedelta(days=day), paths=paths, narrowed=narrowed)
        catalog.plan_units([unit(day, users=("anna",))])
        catalog.commit_unit(report(unit(day, users=("anna",))), sealed=START)
    commit(catalog, 4, unit(4, "a", users=("anna",)))
    begin(catalog, 5, unit(5, users=("anna",)), unit(5, shard=1, users=("bob",)))
    catalog.commit_unit(report(unit(5, users=("anna",))), sealed=START)
    begin(catalog, 6, unit(6, users=("anna",)))
    assert [(moment.run, moment.whole) for moment in catalog.moments("primary", "user")] == [
        (run_id(0), True),
        (run_id(1), False),
        (run_id(2), False),
        (run_id(3), True),
        (run_id(5), False),
    ]
    # Bob was to be stored by run 5, and was not.
    assert [(backup.group, backup.run, backup.mailboxes, backup.never) for backup in catalog.last_good()] == [
        ("a", run_id(4), 1, 0),
        ("user", None, 2, 1),
    ]


@pytest.fixture
def purged(catalog: Catalog) -> Catalog:
    """Six runs over one group, of which 0, 3 and 5 are kept; another group has runs 1 and 4, both kept."""
    for day in range(6):
        others = [unit(day, "a", users=("zoe",))] if day in (1, 4) else []
        mine = unit(day, users=("anna",) if day else ("anna", "bob"))
        commit(catalog, day, mine, *others, stored=day + 1)
    catalog.forget("primary", "user", [run_id(0), run_id(3)], lambda _user: False)
    return catalog


def test_a_purged_moment_is_refused(purged: Catalog) -> None:
    assert purged.forgotten("primary", "user") == [run_id(1), run_id(2), run_id(4)]
    assert purged.forgotten("primary", "a") == []
    assert [moment.run for moment in purged.moments("primary", "user")] == [run_id(0), run_id(3), run_id(5)]
    for day in (1, 2, 4):
        with pytest.raises(NotFoundError, match="purged"):
            purged.mailboxes_at(run_id(day))
        with pytest.raises(NotFoundError, match="purged"):
            purged.mailboxes_at(run_id(day), partition="primary", user="anna")
    assert seen(purged, 4, group="a") == [("a", "zoe", run_id(4))]
    assert seen(purged, 4, user="zoe") == [("a", "zoe", run_id(4))]
    assert seen(purged, 3) == [
        ("a", "zoe", run_id(1)),
        ("user", "anna", run_id(3)),
        ("user", "bob", run_id(0)),
    ]


def test_the_nearest_moment_is_taken_where_that_is_asked_for(purged: Catalog) -> None:
    assert seen(purged, 2, nearest=True) == [
        ("a", "zoe", run_id(1)),
        ("user", "anna", run_id(0)),
        ("user", "bob", run_id(0)),
    ]
    assert seen(purged, 4, nearest=True) == [
        ("a", "zoe", run_id(4)),
        ("user", "anna", run_id(3)),
        ("user", "bob", run_id(0)),
    ]
    assert seen(purged, 2, nearest=True, user="anna") == [("user", "anna", run_id(0))]


def test_times_mean_runs_of_which_something_is_kept(purged: Catalog) -> None:
    for day in (0, 1, 3, 4, 5):
        assert purged.resolve_time(run_id(day)) == run_id(day)
    with pytest.raises(NotFoundError, match="was purged"):
        purged.resolve_time(run_id(2))
    with pytest.raises(NotFoundError, match="no run of 2026-11-20 or before is kept"):
        purged.resolve_time("2026-11-20")
    with pytest.raises(NotFoundError, match="no run 20261120T000000Z-0000"):
        purged.resolve_time("20261120T000000Z-0000")
    for text, day in (("2026-11-23", 1), ("2026-11-24", 3), ("2026-11-25", 4), ("latest", 5)):
        assert purged.resolve_time(text) == run_id(day), text
    assert [run.purged for run in purged.runs()] == [False, False, False, True, False, False]
    assert purged.run(run_id(2)).purged
    assert [(record.group, record.purged) for record in purged.units(run_id(4))] == [
        ("a", False),
        ("user", True),
    ]


def test_a_time_of_which_nothing_is_kept(catalog: Catalog) -> None:
    for day in range(3):
        commit(catalog, day, unit(day, users=("anna",)))
    catalog.forget("primary", "user", [], lambda _user: False)
    with pytest.raises(NotFoundError, match="all runs up to 2026-11-22 were purged"):
        catalog.resolve_time("2026-11-22")


def test_a_run_that_is_still_needed_by_a_later_one_can_tell_of_it(catalog: Catalog) -> None:
    """What a purged run stored, and a kept one found unchanged: the mailbox is had as of both."""
    commit(catalog, 0, unit(0, users=("anna", "bob")), stored=1)
    commit(catalog, 1, unit(1, users=("anna",)), stored=2)
    find_nothing_changed(catalog, 2, unit(2, users=("anna",)))
    commit(catalog, 3, unit(3, users=("anna", "bob")), stored=4)
    catalog.forget("primary", "user", [run_id(2), run_id(3)], lambda _user: False)
    assert seen(catalog, 2) == [("user", "anna", run_id(1)), ("user", "bob", run_id(0))]
    assert seen(catalog, 1, user="anna") == [("user", "anna", run_id(1))]
    with pytest.raises(NotFoundError, match="purged"):
        catalog.mailboxes_at(run_id(1), user="bob")
    with pytest.raises(NotFoundError, match="purged"):
        catalog.mailboxes_at(run_id(1))


# Many mailboxes, many runs


def test_questions_are_answered_along_indexes(catalog: Catalog, tmp_path: Path) -> None:
    commit(catalog, 0, unit(0, users=("anna",)))
    for query, values in (
        (queries.VERSIONS_OF_ALL, (1, 1 << 60)),
        (queries.HISTORY_OF_ALL, (1,)),
        (queries.STATE_AT, (1, 1 << 60)),
        (queries.KEPT_AT, (1, 1 << 60)),
        (queries.STORED, (1,)),
    ):
        with closing(sqlite3.connect(tmp_path / ".mailhaul" / "catalog.sqlite")) as plain:
            told = " ".join(row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {query}", values))
        assert "SCAN" not in told, told
        assert "TEMP B-TREE" not in told, told


def test_parents_of_a_unit_are_found_at_once(catalog: Catalog) -> None:
    users = tuple(f"user{number:05d}@example.org" for number in range(5000))
    for day in range(3):
        commit(
            catalog,
            day,
            unit(day, users=users),
            unit(day, shard=1, users=tuple(f"{user}.uk" for user in users)),
        )
    for group, most in (("user", 0.05), ("new", 0.1)):
        began = time.process_time()
        parents = catalog.parents("primary", group, users)
        # Several times as much as on a machine with nothing else to do.
        assert time.process_time() - began < 4 * most
        assert set(parents.mailboxes.values()) == {archive_id(unit(2))}
        assert len(parents.mailboxes) == 5000


def test_when_moments_began_is_told_at_once_for_many_groups(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, "a", users=("ann",)), unit(0, "b", users=("bob",)))
    commit(catalog, 1, unit(1, "a", users=("ann",)))
    begin(catalog, 2, unit(2, "a", users=("ann",)))
    catalog.forget("primary", "a", [run_id(1)], lambda _user: False)
    assert catalog.moment_starts() == {run_id(day): START + timedelta(days=day) for day in (0, 1)}
    assert list(catalog.moment_starts("primary", "a")) == [run_id(1)]
    assert list(catalog.moment_starts("primary", "b")) == [run_id(0)]
    assert catalog.moment_starts("other") == {}
