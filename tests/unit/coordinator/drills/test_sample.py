"""Which mailboxes a drill takes: who waits longest, who failed, the largest in turn, others by chance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

from mailhaul.coordinator.drills.sample import Candidate, Pick, drills_for_all, line, places_in_line
from mailhaul.coordinator.drills.settings import SampleRules
from mailhaul.coordinator.service.proofs import Mailbox, Outcome, Proof
from mailhaul.proto.records import RunId
from mailhaul.proto.structs import replace

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RUN = RunId("20260301T010000Z-0000")
RULES = SampleRules(mailboxes=10, random=0.2, older=1.0, largest_every_seconds=7 * 86_400.0)
ROOM = 10**12


def candidates(count: int, size_bytes: int = 1000) -> list[Candidate]:
    return [
        Candidate(
            partition="p",
            group="g",
            user=f"u{number:04}",
            run=RUN,
            messages=1,
            size_bytes=size_bytes + number,
        )
        for number in range(count)
    ]


def proven(some: Iterable[Candidate], when: datetime, outcome: Outcome = "proven") -> dict[Mailbox, Proof]:
    return {
        candidate.mailbox: Proof(
            partition=candidate.partition,
            group=candidate.group,
            user=candidate.user,
            drill=1,
            tried=when,
            outcome=outcome,
            proven=when,
            run=RUN,
            place="depot",
        )
        for candidate in some
    }


def sample(
    some: list[Candidate], proofs: dict[Mailbox, Proof], rules: SampleRules = RULES, seed: int = 1
) -> list[Pick]:
    return list(islice(line(some, proofs, rules, ROOM, NOW, seed), rules.mailboxes))


def users(picks: Iterable[Pick], why: str) -> list[str]:
    return [pick.candidate.user for pick in picks if pick.why == why]


def test_who_was_never_proven_comes_first_then_who_was_long_ago() -> None:
    some = candidates(100)
    known = proven(some[7:], NOW - DAY) | proven(some[50:52], NOW - 90 * DAY)
    picks = sample(some, known)
    assert len(picks) == RULES.mailboxes
    assert picks[0].why == "unproven"
    assert set(users(picks, "unproven")) == {candidate.user for candidate in some[:7]}
    assert (len(users(picks, "random")), len(users(picks, "largest"))) == (2, 1)
    later = sample(some, known | proven(some[:7], NOW))
    assert {some[50].user, some[51].user} <= set(users(later, "unproven"))


def test_the_same_seed_gives_the_same_sample_and_another_another() -> None:
    some = candidates(1000)
    assert sample(some, {}) == sample(list(some), {})
    assert sample(some, {}, seed=2) != sample(some, {})


def test_who_failed_is_tried_again_but_does_not_keep_all_others_out() -> None:
    some = candidates(100)
    known = proven(some, NOW - DAY) | proven(some[10:12], NOW - 2 * DAY, "failed")
    assert set(users(sample(some, known), "failed")) == {some[10].user, some[11].user}
    many = known | proven(some[:60], NOW - 2 * DAY, "failed")
    picks = sample(some, many)
    assert len(users(picks, "failed")) == 3
    assert len(users(picks, "unproven")) == 4
    assert picks[0].why == "unproven", "it meets limits that nothing was taken of"


def test_each_of_the_largest_has_its_turn_once_a_week() -> None:
    some = [*candidates(90), *(replace(one, user=f"big{one.user}") for one in candidates(10, 10**9))]
    known = proven(some, NOW - DAY)
    turns = []
    for week in range(10):
        now = NOW + week * 7 * DAY
        (name,) = users(line(some, known, RULES, ROOM, now, week), "largest")
        turns.append(name)
        (candidate,) = [one for one in some if one.user == name]
        known[candidate.mailbox] = replace(known[candidate.mailbox], largest=now, proven=now)
        assert not users(line(some, known, RULES, ROOM, now + 6 * DAY, week), "largest")
    assert sorted(turns) == sorted(one.user for one in some[90:])


def test_those_that_are_too_large_take_turns_one_in_a_drill_in_the_place_of_the_largest() -> None:
    some = candidates(30)
    assert users(line(some, {}, RULES, ROOM, NOW, 1), "largest") != []
    known, taken, at = proven(some, NOW - DAY), [], []
    for night in range(10):
        picks = list(line(some, known, RULES, 1024, NOW, night))
        assert users(picks, "largest") == []
        user, *later = users(picks, "part")
        assert set(later) == {candidate.user for candidate in some[25:]} - {user}, "if that can't be tried"
        at.append([one.why for one in picks].index("part"))
        taken.append(user)
        known |= proven([one for one in some if one.user == user], NOW + night * DAY, "failed")
        assert len(picks) == 30
    assert set(taken[:5]) == set(taken[5:]) == {one.user for one in some[25:]}
    assert set(at) == {0, 1}, "by chance it, or who has waited for longest, finds all of the limits"


def test_only_who_is_proven_is_restored_as_it_was_earlier() -> None:
    some = candidates(40)
    known = proven(some[20:], NOW - DAY)
    picks = [pick for seed in range(20) for pick in sample(some, known, seed=seed)]
    earlier = {one.candidate.user for one in picks if one.earlier}
    assert earlier
    assert earlier <= {candidate.user for candidate in some[20:]}
    assert all(one.why == "random" for one in picks if one.earlier)


def test_a_place_that_is_away_leaves_room_for_all_others() -> None:
    some = candidates(25)
    every = [pick.candidate.user for pick in line(some, {}, RULES, ROOM, NOW, 1)]
    assert sorted(every) == [candidate.user for candidate in some]


def test_numbers() -> None:
    assert places_in_line(RULES) == 7
    assert drills_for_all(RULES, 70) == 10
    assert drills_for_all(SampleRules(mailboxes=1), 5) == 5
