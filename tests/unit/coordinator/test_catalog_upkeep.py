"""What purges and repairs write into the catalog: exactly that goes, and nothing that a kept moment needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.catalog import Catalog
from mailhaul.proto.errors import NotFoundError, UsageError
from mailhaul.proto.records import STAGING, ArchiveId, Departed, Location, Losses, RunId, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import START, archive_id, begin, commit, report, run_id, unchanged, unit

USERS = ("anna", "bob", "carla")
STRANGER = ArchiveId(b"never seen here!")

State = dict[str, RunId]
"""The users that are there at a run, and the run that stored them last."""


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """To be copied into memory."""
    with Catalog.open(tmp_path_factory.mktemp("empty"), write=True) as opened:
        yield opened


def nobody(_user: str) -> bool:
    return False


def state(catalog: Catalog, day: int) -> State:
    return {mailbox.user: mailbox.run for mailbox in catalog.mailboxes_at(run_id(day), group="user")}


# Forgetting, against a model


@st.composite
def nights(draw: st.DrawFn) -> list[State | None]:
    """What each run finds: who is there; None for one that finds nothing changed. A run over a part finds
    some only, and nobody else is gone for that."""
    days: list[State | None] = []
    there: set[str] = set()
    for day in range(draw(st.integers(1, 8))):
        if draw(st.integers(0, 3)) == 0:
            days.append(None)
            continue
        stored = draw(st.sets(st.sampled_from(USERS)))
        gone = draw(st.sets(st.sampled_from(USERS))) & (there - stored)
        there = (there | stored) - gone
        days.append({**dict.fromkeys(stored, run_id(day)), **dict.fromkeys(gone, RunId(""))})
    return days


def record(catalog: Catalog, found: Sequence[State | None], first: int = 0) -> list[State]:
    """Runs that find this; returns what is there as of each."""
    there: State = {}
    states = []
    for day, state in enumerate(found):
        if day >= first:
            users = tuple(user for user, run in (state or {}).items() if run)
            departed = tuple(user for user, run in (state or {}).items() if not run)
            one = unit(day, users=users, departed=departed)
            begin(catalog, day, one)
            told = unchanged(one) if state is None else report(one)
            catalog.commit_unit(told, sealed=START + timedelta(days=day))
        there = {user: run for user, run in {**there, **(state or {})}.items() if run}
        states.append(there)
    return states


@given(found=nights(), data=st.data())
def test_kept_moments_stay_as_they_were_and_nothing_else(
    empty: Catalog, found: list[State | None], data: st.DataObject
) -> None:
    with empty.scratch() as catalog:
        purges = sorted(data.draw(st.sets(st.integers(1, len(found)), max_size=3)) | {len(found)})
        kept: set[int] = set()
        done = 0
        for until in purges:
            states = record(catalog, found[:until], done)
            kept = data.draw(st.sets(st.sampled_from(sorted({*kept, *range(done, until)}))))
            done = until
            versions = sum(1 for _ in catalog.histories())
            dropped = catalog.forget("primary", "user", [run_id(day) for day in kept], nobody)
            kept |= {until - 1}  # the newest: how things are
            assert sum(1 for _ in catalog.histories()) == versions - dropped
            for day in range(until):
                if day in kept:
                    assert state(catalog, day) == states[day], day
                else:
                    with pytest.raises(NotFoundError, match="purged"):
                        state(catalog, day)
            assert [moment.run for moment in catalog.moments("primary", "user")] == [
                run_id(day) for day in sorted(kept)
            ]
            assert set(catalog.known_users("primary", "user")) == set(states[-1])
            assert catalog.forget("primary", "user", [run_id(day) for day in kept], nobody) == 0
        # Every version that is left holds at a kept moment.
        visible = {(user, run) for day in kept for user, run in states[day].items()}
        left = list(catalog.histories())
        assert {(version.user, version.run) for version in left if not version.departed} == visible
        # A departure stays while there are archives from before it: they may hold the mailbox.
        archives = [archive.run for archive in catalog.archives()]
        assert all(any(run < one.run for run in archives) for one in left if one.departed)
        # Who has departed stays so for runs to come.
        record_after = run_id(len(found))
        assert {mailbox.user for mailbox in catalog.mailboxes_at(record_after, group="user")} == set(
            states[-1]
        )


@given(found=nights(), data=st.data())
def test_a_held_mailbox_keeps_every_version(
    empty: Catalog, found: list[State | None], data: st.DataObject
) -> None:
    with empty.scratch() as catalog:
        record(catalog, found)
        before = catalog.history("primary", "anna")
        kept = data.draw(st.sets(st.sampled_from(range(len(found)))))
        catalog.forget("primary", "user", [run_id(day) for day in kept], lambda user: user == "anna")
        assert [one for one in catalog.history("primary", "anna") if not one.departed] == [
            one for one in before if not one.departed
        ]
        for one in before:
            if not one.departed:
                (version,) = catalog.mailboxes_at(one.run, user="anna")
                assert version.run == one.run


def test_what_is_needed_for_what_is_left(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", "bob")), unit(0, "a", users=("anna",)))
    commit(catalog, 1, unit(1, users=("anna",), departed=("bob",)))
    last = unit(2, users=("anna",))
    begin(catalog, 2, last)
    catalog.commit_unit(report(last, references=(archive_id(unit(1)), STRANGER)), sealed=START)

    everything = catalog.needed()
    assert everything.users == {
        archive_id(unit(0)): {"anna", "bob"},
        archive_id(unit(0, "a")): {"anna"},
        archive_id(unit(1)): {"anna"},
        archive_id(last): {"anna"},
    }
    assert everything.references[archive_id(last)] == (archive_id(unit(1)), STRANGER)

    catalog.forget("primary", "user", [run_id(0)], nobody)
    assert catalog.needed().users == {
        archive_id(unit(0)): {"anna", "bob"},
        archive_id(unit(0, "a")): {"anna"},
        archive_id(unit(1)): frozenset(),  # it tells that bob has departed
        archive_id(last): {"anna"},
    }
    catalog.forget("primary", "user", [], nobody)
    left = {archive_id(unit(0, "a")): {"anna"}, archive_id(last): {"anna"}}
    assert catalog.needed().users == {**left, archive_id(unit(1)): frozenset()}
    catalog.remove_archives([archive_id(unit(0))])
    catalog.forget("primary", "user", [], nobody)  # no archive from before the departure is left
    assert catalog.needed().users == left
    assert catalog.history("primary", "bob") == []


def test_a_rehearsal_changes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    commit(catalog, 0, unit(0, users=("anna",)))
    commit(catalog, 1, unit(1, users=("anna",)))
    with catalog.scratch() as copy:
        assert copy.forget("primary", "user", [], nobody) == 1
        copy.remove_archives([archive_id(unit(0))])
        assert [archive.run for archive in copy.archives()] == [run_id(1)]
    with Catalog.open(tmp_path) as reader, reader.scratch() as copy:
        assert copy.forget("primary", "user", [], nobody) == 1
        assert len(list(reader.archives())) == len(list(copy.archives())) == 2
    assert state(catalog, 0) == {"anna": run_id(0)}


# Archives


def test_an_archive_that_was_written_anew(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna",)))
    last = unit(1, users=("anna",))
    begin(catalog, 1, last)
    catalog.commit_unit(report(last, references=(archive_id(unit(0)), STRANGER)), sealed=START)
    catalog.set_missing(archive_id(last))
    catalog.mark_lost(archive_id(last), Losses((Stretch(0, 1),), (Stretch(7, 1),)))
    assert catalog.archive(archive_id(last)).missing

    catalog.replace_archive(
        archive_id(last),
        name="new\udcff.g1.mha",
        size_bytes=77,
        generation=1,
        holes=[Stretch(500, 2), Stretch(0, 100)],
        references=[archive_id(unit(0))],
        lost=Losses((Stretch(500, 2),), (Stretch(3 << 32, 1 << 32),)),
    )
    now = catalog.archive(archive_id(last))
    assert (now.name, now.size_bytes, now.generation, now.missing) == ("new\udcff.g1.mha", 77, 1, False)
    assert (now.holes, now.lost) == (
        (Stretch(0, 100), Stretch(500, 2)),
        Losses((Stretch(500, 2),), (Stretch(3 << 32, 1 << 32),)),
    )
    assert (now.run, now.sealed) == (run_id(1), START)
    assert catalog.references([now.archive]) == {now.archive: (archive_id(unit(0)),)}
    assert catalog.missing() == {}  # nobody refers to the stranger any more
    assert catalog.locations()[now.archive] == (Location(STAGING, "new\udcff.g1.mha"),)
    catalog.mark_lost(now.archive, Losses())
    assert catalog.archive(now.archive).lost == Losses()
    with pytest.raises(NotFoundError):
        catalog.set_missing(STRANGER)
    with pytest.raises(NotFoundError):
        catalog.mark_lost(STRANGER, Losses())


def test_archives_go_unless_a_version_needs_them(catalog: Catalog) -> None:
    for day in range(3):
        one = unit(day, users=("anna",))
        begin(catalog, day, one)
        others = tuple(archive_id(unit(before)) for before in range(day))
        catalog.commit_unit(report(one, references=others), sealed=START)
    with pytest.raises(UsageError, match="need its metadata"):
        catalog.remove_archives([archive_id(unit(0)), archive_id(unit(1))])
    assert len(list(catalog.archives())) == 3
    catalog.forget("primary", "user", [], nobody)
    for _ in range(2):
        catalog.remove_archives([archive_id(unit(0)), archive_id(unit(1))])
    assert [archive.archive for archive in catalog.archives()] == [archive_id(unit(2))]
    assert catalog.references([archive_id(unit(2))]) == {archive_id(unit(2)): ()}
    assert catalog.run(run_id(0)).archive_bytes == 300  # what it did stays on record


@pytest.mark.parametrize(("reason", "where"), [("left-group", "primary"), ("moved", "second")])
def test_the_last_version_of_who_went_elsewhere_stays_until_it_is_stored_there(
    catalog: Catalog, reason: str, where: str
) -> None:
    """A purge must not take the only one that there is: where the mailbox is now may have failed so far."""
    commit(catalog, 0, unit(0, users=("anna", "jane")))
    commit(catalog, 1, unit(1, users=("anna", "jane")))
    commit(catalog, 2, replace(unit(2, users=("anna",)), departed=(Departed("jane", reason),)))

    def purged() -> list[RunId]:
        catalog.forget("primary", "user", (), lambda _: False)
        return [version.run for version in catalog.history("primary", "jane", "user") if not version.departed]

    assert purged() == [run_id(1)]
    other = {"primary": "second", "second": "primary"}[where]
    commit(catalog, 3, unit(3, "third", users=("jane",), partition=other))
    assert purged() == [run_id(1)], "another mailbox of this name"
    commit(catalog, 4, unit(4, "sales", users=("jane",), partition=where))
    assert purged() == []


def test_a_version_of_who_was_removed_goes_with_its_moments(catalog: Catalog) -> None:
    commit(catalog, 0, unit(0, users=("anna", "jane")))
    commit(catalog, 1, unit(1, users=("anna",), departed=("jane",)))
    catalog.forget("primary", "user", (), lambda _: False)
    assert [version.departed for version in catalog.history("primary", "jane") if not version.departed] == []
