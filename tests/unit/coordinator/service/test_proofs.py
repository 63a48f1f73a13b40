"""Proofs on record: the newest result of each mailbox, when it was proven last, and numbers by group."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.service.database import writing
from mailhaul.coordinator.service.proofs import MOST_LACKS, Drill, Outcome, PartProof, Proof, Proofs
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import RunId, Skipped
from mailhaul.proto.structs import replace

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
RUN = RunId("20260301T010000Z-0000")
DAY = timedelta(days=1)


def proof(drill: Drill, user: str, outcome: Outcome = "proven", when: datetime = NOW) -> Proof:
    return Proof(
        partition="primary",
        group="staff",
        user=user,
        drill=drill.id,
        tried=when,
        outcome=outcome,
        proven=when if outcome == "proven" else None,
        run=RUN,
        place="depot",
        messages=10,
        size_bytes=1000,
    )


def test_a_proof_is_found_as_it_was_noted_and_counted(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(7, NOW)
    lacks = (Skipped("/primary/staff/jane/INBOX/17", "damaged", "a block"),)
    jane = replace(proof(drill, "jane", "failed"), lacks=lacks, lacking=1, largest=NOW)
    nameless = proof(drill, b"caf\xe9".decode(errors="surrogateescape"))
    away = replace(proof(drill, "tom", "untried"), messages=0, size_bytes=0, error="depot: not there")
    for one in (jane, nameless, away):
        proofs.note(one)
    assert Proofs(tmp_path).all() == tuple(sorted((jane, nameless, away), key=lambda one: one.user))
    assert proofs.of(nameless.mailbox) == nameless
    assert proofs.of(("primary", "staff", "nobody")) is None
    ended = proofs.end(drill.id, "done", NOW + DAY)
    assert (ended.seed, ended.proven, ended.failed, ended.untried) == (7, 1, 1, 1)
    assert (ended.messages, ended.size_bytes, ended.state, ended.ended) == (20, 2000, "done", NOW + DAY)
    assert proofs.drills(5) == (ended,)
    with pytest.raises(NotFoundError):
        proofs.end(99, "done", NOW)


def test_when_a_mailbox_was_proven_outlasts_later_failures(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    first = proofs.begin(1, NOW)
    proofs.note(replace(proof(first, "jane"), largest=NOW))
    second = proofs.begin(2, NOW + DAY)
    assert [drill.state for drill in proofs.drills(5)] == ["running", "interrupted"]
    proofs.note(proof(second, "jane", "failed", NOW + DAY))
    found = proofs.of(("primary", "staff", "jane"))
    assert found is not None
    assert (found.outcome, found.tried, found.proven, found.largest) == ("failed", NOW + DAY, NOW, NOW)
    assert proofs.failures() == 1
    proofs.note(proof(proofs.begin(3, NOW + 2 * DAY), "jane", "untried", NOW + 2 * DAY))
    assert proofs.of(found.mailbox) == found  # what it lacks is not forgotten since its place is away
    assert proofs.drills(5, before=second.id) == proofs.drills(5)[2:]


def test_who_a_drill_was_at_when_it_ended_by_force_is_counted(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    jane, tom = ("primary", "staff", "jane"), ("primary", "staff", "tom")
    drill = proofs.begin(1, NOW)
    lacks = (Skipped("/primary/staff/tom/INBOX/17", "damaged", "a block"),)
    proofs.note(replace(proof(drill, "tom", "failed"), lacks=lacks, lacking=1))
    for times in (1, 2):
        for mailbox in (jane, tom):
            proofs.begin_trial(mailbox, drill.id, RUN, NOW + times * DAY)
            proofs.bury()
            proofs.bury()
        assert [one.mailbox for one in proofs.deadly(times)] == [jane, tom]
    found = {one.user: one for one in proofs.all()}
    assert (found["jane"].outcome, found["jane"].place, found["jane"].proven) == ("untried", "", None)
    assert (found["tom"].outcome, found["tom"].place, found["tom"].lacks) == ("failed", "depot", lacks)
    assert {one.tried for one in found.values()} == {NOW + 2 * DAY}
    assert proofs.drills(1)[0].untried == 4
    proofs.note(proof(drill, "jane", "untried"))
    assert len(proofs.deadly(2)) == 2, "a place that is away says nothing of what would happen"
    proofs.begin_trial(jane, drill.id, RUN, NOW)
    proofs.note(proof(drill, "jane"))
    proofs.begin_trial(tom, drill.id, RUN, NOW)
    proofs.end(drill.id, "interrupted", NOW)
    proofs.bury()
    assert [(one.user, one.deaths) for one in proofs.deadly(1)] == [("tom", 2)]


def test_records_of_the_version_before_are_brought_up_to_date(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    before = proof(proofs.begin(1, NOW), "jane", "failed")
    proofs.note(before)
    with writing(tmp_path) as database:
        for table in ("begun", "parts", "audit_end"):
            database.execute(f"DROP TABLE {table}")
        for column in ("deaths", "parts", "parts_proven"):
            database.execute(f"ALTER TABLE proofs DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 1")
    assert proofs.all() == (before,)
    proofs.begin_trial(before.mailbox, before.drill, RUN, NOW + DAY)
    proofs.bury()
    assert [one.deaths for one in proofs.all()] == [1]


def test_numbers_of_a_group_and_pages_of_what_failed(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW)
    proofs.note(proof(drill, "a", when=NOW - 40 * DAY))
    proofs.note(proof(drill, "b", when=NOW - 3 * DAY))
    proofs.note(proof(drill, "c"))
    for user in ("c", "d", "e"):
        proofs.note(proof(drill, user, "failed"))
    (counts,) = proofs.counts(NOW - 30 * DAY)
    assert (counts.proven, counts.failed, counts.ever, counts.oldest) == (1, 3, 3, NOW - 40 * DAY)
    first = proofs.not_whole(2)
    assert [one.user for one in first] == ["c", "d"]
    assert [one.user for one in proofs.not_whole(2, after=first[-1].mailbox)] == ["e"]
    assert len(proofs.of_drill(drill.id, 9)) == 5
    proofs.forget([one.mailbox for one in first])
    assert [one.user for one in proofs.not_whole(9)] == ["e"]


def test_why_nothing_of_a_group_could_be_tried(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW)
    proofs.note(proof(drill, "ann"))
    for user, error in (("jane", "no key"), ("joe", "it was away"), ("kim", "no key")):
        proofs.note(replace(proof(drill, user, "untried"), error=error))
    proofs.note(replace(proof(drill, "tom", "untried"), group="guests", error="it was away"))
    found = [(one.partition, one.group, one.error, one.mailboxes) for one in proofs.untried()]
    assert found == [
        ("primary", "guests", "it was away", 1),
        ("primary", "staff", "it was away", 1),
        ("primary", "staff", "no key", 2),
    ]


def test_the_lines_of_what_is_lacking_are_bounded_and_counted(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW)
    lacks = tuple(Skipped(f"/primary/staff/jane/INBOX/{uid}", "damaged") for uid in range(MOST_LACKS + 5))
    proofs.note(replace(proof(drill, "jane", "failed"), lacks=lacks))
    found = proofs.of(("primary", "staff", "jane"))
    assert found is not None
    assert (len(found.lacks), found.lacking) == (MOST_LACKS, MOST_LACKS + 5)


def test_the_parts_of_a_mailbox_are_on_record_with_it(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW)
    lack = Skipped("/primary/staff/jane/Letters of tom/17", "damaged", "a block")
    parts = (
        PartProof(folder="", tried=NOW, outcome="proven", proven=NOW, place="depot"),
        PartProof(folder="INBOX", uidvalidity=7, messages=5, size_bytes=500),
        PartProof(
            folder="INBOX", first=b"0000000006", uidvalidity=7, tried=NOW, outcome="failed", lacks=(lack,)
        ),
        PartProof(folder="Letters of tom", uidvalidity=8),
    )
    jane = replace(proof(drill, "jane", "failed"), lacks=(lack,), lacking=1, parts=4, parts_proven=1)
    proofs.note(jane, parts)
    assert proofs.all() == (jane,)
    assert proofs.parts(jane.mailbox) == parts
    proofs.note(replace(proof(drill, "jane", "untried"), parts=4), None)
    assert proofs.parts(jane.mailbox) == parts
    proofs.forget_named(lambda told: "Letters of tom" in str(told))
    assert proofs.parts(jane.mailbox) == parts[:2]
    assert b"tom" not in (tmp_path / ".mailhaul" / "service.sqlite").read_bytes()
    proofs.note(proof(drill, "jane"), parts[:2])
    proofs.note(proof(drill, "jane"))
    assert proofs.parts(jane.mailbox) == (), "it is proven as a whole again"
    proofs.note(proof(drill, "jane"), parts)
    proofs.forget([jane.mailbox])
    assert proofs.parts(jane.mailbox) == ()


def test_who_is_erased_is_named_no_more(tmp_path: Path) -> None:
    proofs = Proofs(tmp_path)
    drill = proofs.begin(1, NOW)
    for user in ("jane", "joe"):
        proofs.note(proof(drill, user))
    proofs.note(replace(proof(drill, "ann", "untried"), error="/primary/staff/jane is in the way"))
    proofs.end(drill.id, "failed", NOW, "/primary/staff/jane: no")
    proofs.begin_trial(("primary", "staff", "jane"), drill.id, RUN, NOW)
    proofs.forget_named(lambda told: "/primary/staff/jane" in str(told))
    assert [one.user for one in proofs.all()] == ["joe"]
    assert proofs.drills(1)[0].error == ""
    for file in (tmp_path / ".mailhaul").glob("service.sqlite*"):
        assert b"jane" not in file.read_bytes()
