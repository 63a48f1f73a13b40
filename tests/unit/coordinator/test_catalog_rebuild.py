"""The catalog made again from archives: it tells the same, and what is not there is named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.catalog import Catalog, FoundArchive, PurgedMoments, rebuild
from mailhaul.proto.errors import DamagedError, NotFoundError
from mailhaul.proto.records import (
    STAGING,
    ArchiveFacts,
    ArchiveId,
    Departed,
    Location,
    Losses,
    Referred,
    RunId,
    Skipped,
    Stretch,
)
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
from mailhaul.worker.archives.holdings import EXCERPTS
from mailhaul.worker.archives.names import archive_name

STRANGER = ArchiveId(b"never seen here!")


def found(facts: ArchiveFacts) -> FoundArchive:
    return FoundArchive(facts=facts)


def database(staging: Path) -> Path:
    return staging / ".mailhaul" / "catalog.sqlite"


def seen(
    catalog: Catalog, day: int, group: str | None = None, user: str | None = None
) -> list[tuple[str, RunId]]:
    found = catalog.mailboxes_at(run_id(day), group=group, user=user)
    return [(version.user, version.run) for version in found]


def test_rebuilt_catalog_tells_the_same(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        made = commit(catalog, 0, unit(0, users=("anna", ODD)), unit(0, shard=1, users=("bob",)))
        later = commit(catalog, 1, unit(1, users=("anna",)))
        versions, archives = list(catalog.mailboxes_at(run_id(1))), list(catalog.archives())
    database(tmp_path).write_bytes(b"not a database at all")
    entries = [facts(later[0], 1), *(facts(unit_report, 0) for unit_report in made)]
    done = rebuild(tmp_path, map(found, entries))
    assert (done.archives, done.refused, done.superseded, done.missing) == (3, (), (), ())
    assert os.listdir(tmp_path / ".mailhaul") == ["catalog.sqlite"]
    with Catalog.open(tmp_path, write=True) as catalog:
        assert (list(catalog.mailboxes_at(run_id(1))), list(catalog.archives())) == (versions, archives)
        assert [(run.state, run.started) for run in catalog.runs()] == [
            ("partial", START + timedelta(days=1)),
            ("partial", START),
        ]
        commit(catalog, 2, unit(2, users=("anna",)))


def test_rebuild_leaves_out_what_contradicts_and_says_so(tmp_path: Path) -> None:
    good = facts(report(unit(0, users=("anna",))), 0)
    bad = [
        replace(good, name="copy.mha"),
        replace(good, name="other.mha", archive=ArchiveId(b"other of the run")),
        replace(good, name="same-user.mha", archive=ArchiveId(b"x" * 16), shard=1),
        replace(good, name="run.mha", archive=ArchiveId(b"y" * 16), run=RunId("../../etc")),
        replace(good, name="naive.mha", run=run_id(3), started=datetime(2026, 1, 1)),
        replace(good, name="huge.mha", run=run_id(4), shard=1 << 70),
        replace(good, name="name.mha", run=run_id(5), partition="\ud800"),
        replace(good, name="newer.mha", shard=2, generation=1),
    ]
    done = rebuild(tmp_path, map(found, [good, *bad]))
    assert [(skip.path, skip.reason) for skip in done.refused] == [
        (archive_facts.name, "contradicts") for archive_facts in bad
    ]
    assert done.archives == 1
    with Catalog.open(tmp_path) as catalog:
        assert [archive.name for archive in catalog.archives()] == [good.name]
        assert [(run.run, run.planned_units) for run in catalog.runs()] == [(run_id(0), 1)]


def test_rebuild_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("anna",)))

    def broken() -> Iterator[FoundArchive]:
        yield found(facts(report(unit(1, users=("bob",))), 1))
        raise DamagedError("the next archive is damaged")

    with pytest.raises(DamagedError):
        rebuild(tmp_path, broken())
    assert not list((tmp_path / ".mailhaul").glob("*.new*"))
    with Catalog.open(tmp_path) as reader:
        assert [mailbox.user for mailbox in reader.mailboxes_at(run_id(9))] == ["anna"]


# What time has made of the archives


def test_departures_come_back(tmp_path: Path) -> None:
    first, second = unit(0, users=("anna", ODD)), unit(1, users=("anna",), departed=(ODD,))
    rebuild(tmp_path, [found(facts(report(second), 1)), found(facts(report(first), 0))])
    with Catalog.open(tmp_path) as catalog:
        assert seen(catalog, 0) == [("anna", run_id(0)), (ODD, run_id(0))]
        assert seen(catalog, 1) == [("anna", run_id(1))]
        assert [version.departed for version in catalog.history("primary", ODD)] == ["", "removed"]
        assert [moment.whole for moment in catalog.moments("primary", "user")] == [True, True]


@pytest.mark.parametrize("newest_first", [True, False])
def test_of_two_generations_the_greater_one_counts(tmp_path: Path, newest_first: bool) -> None:
    old = facts(report(unit(0, users=("anna", "bob"))), 0)
    new = replace(
        old,
        name="new.g1.mha",
        generation=1,
        size_bytes=50,
        mailboxes=old.mailboxes[:1],
        holes=(Stretch(10, 5),),
    )
    later = facts(report(unit(1, users=("anna",)), references=(old.archive,)), 1)
    order = [new, later, old] if newest_first else [later, old, new]
    done = rebuild(tmp_path, map(found, order))
    assert (done.archives, done.refused, done.superseded, done.missing) == (2, (), (old.name,), ())
    with Catalog.open(tmp_path) as catalog:
        record = catalog.archive(old.archive)
        assert (record.name, record.generation, record.size_bytes) == ("new.g1.mha", 1, 50)
        assert (record.holes, record.lost) == (new.holes, Losses())
        assert seen(catalog, 0) == [("anna", run_id(0))]
        assert catalog.references([later.archive]) == {later.archive: (old.archive,)}


def test_what_an_archive_says_to_be_lost(tmp_path: Path) -> None:
    lost = Losses((Stretch(10, 5),), (Stretch(2, 1),))
    holed = replace(facts(report(unit(0, users=("anna",))), 0), holes=(Stretch(10, 5),), lost=lost)
    rebuild(tmp_path, [FoundArchive(facts=holed)])
    with Catalog.open(tmp_path) as catalog:
        assert catalog.parents("primary", "user", ["anna"]).lost == {holed.archive: lost}


def test_archives_that_are_not_there_are_named(tmp_path: Path) -> None:
    later = facts(report(unit(1, users=("anna",)), references=(STRANGER,)), 1)
    done = rebuild(tmp_path, [found(later)], (), lambda _file, _users: [STRANGER])
    assert done.missing == (Skipped(STRANGER.hex(), "missing", f"referred to by {later.name}"),)
    with Catalog.open(tmp_path) as catalog:
        assert catalog.missing() == {STRANGER: ""}
        assert seen(catalog, 1) == [("anna", run_id(1))]
        assert catalog.parents("primary", "user", ["anna"]).locations == {
            later.archive: (Location(STAGING, later.name), Location(EXCERPTS, later.name))
        }


def test_what_only_purged_versions_referred_to_is_not_missed(tmp_path: Path) -> None:
    """An archive that was not written anew names all that it ever referred to."""
    old = facts(report(unit(0, users=("anna", "bob")), references=(STRANGER,)), 0)
    new = facts(report(unit(1, users=("anna",))), 1)
    asked: list[tuple[str, frozenset[str]]] = []

    def references(file: str, users: frozenset[str]) -> Iterable[ArchiveId]:
        asked.append((file, users))
        return [STRANGER] if "anna" in users else []

    purged = PurgedMoments(partition="primary", group="user", forgotten=(run_id(0),))
    done = rebuild(tmp_path, map(found, [old, new]), [purged], references)
    assert asked == [(old.name, frozenset({"bob"}))]
    assert done.missing == ()
    with Catalog.open(tmp_path) as catalog:
        assert catalog.missing() == {}


def test_a_run_whose_archive_has_no_metadata_left_was_purged(tmp_path: Path) -> None:
    data_only = replace(facts(report(unit(0)), 0), generation=2)
    later = facts(report(unit(1, users=("anna",))), 1)
    rebuild(tmp_path, map(found, [data_only, later]))
    with Catalog.open(tmp_path) as catalog:
        assert [moment.run for moment in catalog.moments("primary", "user")] == [run_id(1)]
        with pytest.raises(NotFoundError, match="purged"):
            catalog.resolve_time(run_id(0))


def test_held_mailboxes_keep_their_versions(tmp_path: Path) -> None:
    all_runs = [facts(report(unit(day, users=("anna", "bob"))), day) for day in range(3)]
    purged = PurgedMoments(
        partition="primary",
        group="user",
        forgotten=(run_id(0), run_id(1)),
        held=lambda user: user == "bob",
    )
    rebuild(tmp_path, map(found, all_runs), [purged])
    with Catalog.open(tmp_path) as catalog:
        assert [(history.user, history.run) for history in catalog.histories()] == [
            ("anna", run_id(2)),
            *(("bob", run_id(day)) for day in range(3)),
        ]
        assert seen(catalog, 1, user="bob") == [("bob", run_id(1))]


def test_a_purged_run_is_refused_though_another_group_knows_it(tmp_path: Path) -> None:
    kept = [facts(report(unit(day, users=("anna",))), day) for day in (0, 2)]
    other = facts(report(unit(1, "a", users=("zoe",))), 1)
    purged = PurgedMoments(partition="primary", group="user", forgotten=(run_id(1),))
    rebuild(tmp_path, map(found, [*kept, other]), [purged])
    with Catalog.open(tmp_path) as catalog:
        assert seen(catalog, 1, group="a") == [("zoe", run_id(1))]
        with pytest.raises(NotFoundError, match="purged"):
            catalog.mailboxes_at(run_id(1), group="user")


USERS = ("anna", "bob", "carla")


@given(data=st.data())
def test_a_rebuilt_catalog_tells_of_kept_moments_what_the_old_one_did(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any nights, any purges; of archives that stay, metadata that is not needed may be dropped. Those that
    nobody needs may be there still, unless mailboxes have departed: purges keep a record of these."""
    staging = tmp_path_factory.mktemp("any")
    anybody_departed = False
    entries: dict[ArchiveId, ArchiveFacts] = {}
    with Catalog.open(staging, write=True) as file, file.scratch() as catalog:
        there: set[str] = set()
        days = data.draw(st.integers(2, 6))
        for day in range(days):
            users = data.draw(st.sets(st.sampled_from(USERS)))
            changed = bool(users) and data.draw(st.booleans())
            gone = there - users if changed and data.draw(st.booleans()) else set[str]()
            one = unit(day, users=tuple(sorted(users)), departed=tuple(sorted(gone)))
            begin(catalog, day, one)
            catalog.commit_unit(report(one) if changed else unchanged(one), sealed=START)
            if changed:
                there = (there | users) - gone
                anybody_departed = anybody_departed or bool(gone)
                entries[archive_id(one)] = facts(report(one), day)
            if data.draw(st.booleans()):
                kept = [
                    moment.run for moment in catalog.moments("primary", "user") if data.draw(st.booleans())
                ]
                catalog.forget("primary", "user", kept, lambda _user: False)
        moments = catalog.moments("primary", "user")
        before = {one.run: list(catalog.mailboxes_at(one.run)) for one in moments}
        purged = PurgedMoments(
            partition="primary",
            group="user",
            forgotten=tuple(catalog.forgotten("primary", "user")),
            unchanged=tuple(one.run for one in moments if one.unchanged),
        )
        needed = catalog.needed().users
    left = [
        replace(
            entry,
            generation=1,
            mailboxes=tuple(box for box in entry.mailboxes if box.user in needed.get(entry.archive, ())),
        )
        if data.draw(st.booleans())
        else entry
        for entry in entries.values()
        if entry.archive in needed or (not anybody_departed and data.draw(st.booleans()))
    ]
    done = rebuild(staging, map(found, data.draw(st.permutations(left))), [purged])
    assert (done.refused, done.superseded, done.missing) == ((), (), ())
    with Catalog.open(staging) as catalog:
        assert [one.run for one in catalog.moments("primary", "user")] == [one.run for one in moments]
        for run, versions in before.items():
            assert list(catalog.mailboxes_at(run)) == versions
        for run in purged.forgotten:
            with pytest.raises(NotFoundError, match="purged"):
                catalog.mailboxes_at(run)


def test_what_an_archive_tells_of_others_names_them_and_leads_nowhere_else(tmp_path: Path) -> None:
    told = Referred(archive=STRANGER, partition="primary", group="user", run=run_id(0), size_bytes=70)
    later = replace(facts(report(unit(1, users=("anna",)), references=(STRANGER,)), 1), referred=(told,))
    for referred, file in (
        (told, archive_name("primary", "user", run_id(0), 0, STRANGER)),
        (replace(told, partition="../.."), ""),
        (replace(told, run="", shard=7), ""),
    ):
        entry = found(replace(later, referred=(referred,)))
        rebuild(tmp_path, [entry], needed_references=lambda _file, _users: (STRANGER,))
        with Catalog.open(tmp_path) as catalog:
            assert catalog.missing() == {STRANGER: file}
            assert catalog.names().get(STRANGER) == ((file, 70) if file else None)


# A mailbox that is in no group of its partition any more


def moved_and_removed() -> tuple[ArchiveFacts, ArchiveFacts, ArchiveFacts, ArchiveFacts]:
    """A mailbox of one group that went to another one and was removed from the store: stored, left, stored
    there, removed there."""
    left = replace(unit(1), departed=(Departed("jane", "left-group", "now in group sales"),))
    return (
        facts(report(unit(0, users=("jane", "ola"))), 0),
        facts(report(left), 1),
        facts(report(unit(1, "sales", users=("jane",))), 1),
        facts(report(unit(2, "sales", departed=("jane",))), 2),
    )


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_who_left_the_partition_has_left_every_group(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Also where the archive is lost that told that the mailbox had left the first group."""
    first, _, there, last = moved_and_removed()
    entered = [found((first, there, last)[number]) for number in order]
    rebuild(tmp_path, entered)
    with Catalog.open(tmp_path, write=True) as catalog:
        assert seen(catalog, 0) == [("jane", run_id(0)), ("ola", run_id(0))]
        assert {user for user, _ in seen(catalog, 2)} == {"ola"}
        assert set(catalog.known_users("primary", "user")) == {"ola"}
        (gone,) = catalog.carried("primary", "user")[0]
        assert gone == Departed("jane", "removed", "", run_id(2))
        commit(catalog, 3, unit(3, "sales", users=("jane",)))  # and came back
        assert {user for user, _ in seen(catalog, 3, group="sales")} == {"jane"}


def test_who_left_a_group_only_is_there_still(tmp_path: Path) -> None:
    first, left, there, _ = moved_and_removed()
    rebuild(tmp_path, map(found, (there, left, first)))
    with Catalog.open(tmp_path) as catalog:
        assert seen(catalog, 1, group="user") == [("ola", run_id(0))]
        assert seen(catalog, 1, group="sales") == [("jane", run_id(1))]


def test_a_run_records_it_as_a_rebuild_does(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("jane", "ola")), unit(0, "sales", users=("jane",)))
        commit(catalog, 1, unit(1, "sales", departed=("jane",)))
        known = [
            (version.group, version.run, version.departed) for version in catalog.history("primary", "jane")
        ]
        assert known == [
            ("sales", run_id(0), ""),
            ("user", run_id(0), ""),
            ("sales", run_id(1), "removed"),
            ("user", run_id(1), "removed"),
        ]
        entries = [
            facts(report(unit(1, "sales", departed=("jane",))), 1),
            facts(report(unit(0, users=("jane", "ola"))), 0),
            facts(report(unit(0, "sales", users=("jane",))), 0),
        ]
        rebuild(tmp_path, map(found, entries))
    with Catalog.open(tmp_path) as catalog:
        assert [(one.group, one.run, one.departed) for one in catalog.history("primary", "jane")] == known


@pytest.mark.parametrize("clear_first", [True, False])
def test_no_generation_in_clear_takes_the_place_of_an_encrypted_archive(
    tmp_path: Path, clear_first: bool
) -> None:
    """Be it the greatest, and be it found first: whoever can write to a destination can make it."""
    sealed = replace(facts(report(unit(0, users=("anna",))), 0), encrypted=True)
    clear = replace(sealed, generation=9, name=f"{sealed.name}.g9", mailboxes=(), encrypted=False)
    told = rebuild(tmp_path, map(found, (clear, sealed) if clear_first else (sealed, clear)))
    assert told.superseded == ((clear.name,) if clear_first else ())
    assert [skip.path for skip in told.refused] == ([] if clear_first else [clear.name])
    with Catalog.open(tmp_path) as catalog:
        (record,) = catalog.archives()
        assert (record.name, record.generation, record.encrypted) == (sealed.name, 0, True)
        assert seen(catalog, 0) == [("anna", run_id(0))]
        assert catalog.encrypted() == {record.archive}


def test_of_two_encrypted_generations_the_greater_one_counts(tmp_path: Path) -> None:
    first = replace(facts(report(unit(0, users=("anna",))), 0), encrypted=True)
    second = replace(first, generation=1, name=f"{first.name}.g1")
    for order in permutations((first, second)):
        assert rebuild(tmp_path, map(found, order)).superseded == (first.name,)
        with Catalog.open(tmp_path) as catalog:
            assert [archive.generation for archive in catalog.archives()] == [1]
