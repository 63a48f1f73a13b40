"""Whatever there is, and however it came to be: a drill takes each mailbox at most once, no more than it may,
and within the drills that the numbers say everybody was proven."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.drills.sample import Candidate, Pick, drills_for_all, line
from mailhaul.coordinator.drills.settings import SampleRules
from mailhaul.coordinator.service.proofs import Mailbox, Outcome, Proof
from mailhaul.proto.records import RunId

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
RUN = RunId("20260301T010000Z-0000")

rules = st.builds(
    SampleRules,
    mailboxes=st.integers(1, 12),
    random=st.floats(0, 1),
    older=st.floats(0, 1),
    largest_every_seconds=st.sampled_from([0.0, 86_400.0, 7 * 86_400.0]),
)
sizes = st.lists(st.integers(0, 10**9), min_size=1, max_size=60)


def candidates(sizes: list[int]) -> list[Candidate]:
    return [
        Candidate(partition="p", group="g", user=f"u{n}", run=RUN, messages=1, size_bytes=size)
        for n, size in enumerate(sizes)
    ]


def shown(pick: Pick, now: datetime, outcome: Outcome, before: Proof | None) -> Proof:
    """What is on record of a mailbox after a drill has taken it: see ``Proofs.note``."""
    candidate = pick.candidate
    proven = now if outcome == "proven" and not pick.earlier else before.proven if before else None
    largest = now if pick.why == "largest" else before.largest if before else None
    return Proof(
        partition=candidate.partition,
        group=candidate.group,
        user=candidate.user,
        drill=1,
        tried=now,
        outcome=outcome,
        proven=proven,
        run=RUN,
        place="vault",
        largest=largest,
    )


def nights(
    some: list[Candidate], rules: SampleRules, seed: int, broken: frozenset[str] = frozenset()
) -> Iterator[tuple[list[Pick], dict[Mailbox, Proof]]]:
    """The sample of each night, and what is on record after it."""
    known: dict[Mailbox, Proof] = {}
    for night in range(10_000):
        now = NOW + night * DAY
        picks = list(islice(line(some, known, rules, 10**9, now, seed + night), rules.mailboxes))
        for pick in picks:
            mailbox = pick.candidate.mailbox
            outcome: Outcome = "failed" if pick.candidate.user in broken else "proven"
            known[mailbox] = shown(pick, now, outcome, known.get(mailbox))
        yield picks, known


@given(sizes, rules, st.integers(0, 2**40))
def test_everybody_is_proven_within_the_bound(sizes: list[int], rules: SampleRules, seed: int) -> None:
    some = candidates(sizes)
    bound = drills_for_all(rules, len(some))
    for number, (picks, known) in enumerate(islice(nights(some, rules, seed), 2 * bound)):
        assert len(picks) == min(rules.mailboxes, len(some))
        assert len({pick.candidate.mailbox for pick in picks}) == len(picks)
        if number + 1 >= bound:
            # Not only the first time: nobody is without a proof for longer than that, ever.
            oldest = NOW + (number + 1 - bound) * DAY
            assert all(known[candidate.mailbox].proven is not None for candidate in some)
            assert all((known[one.mailbox].proven or NOW) >= oldest for one in some)


@given(sizes, rules, st.integers(0, 2**40), st.data())
def test_who_fails_keeps_nobody_out_and_is_tried_again(
    sizes: list[int], rules: SampleRules, seed: int, data: st.DataObject
) -> None:
    some = candidates(sizes)
    broken = frozenset(data.draw(st.sets(st.sampled_from([one.user for one in some]))))
    # Half of the places are left for all others, at worst.
    bound = 2 * drills_for_all(rules, len(some)) + 1
    *_, (_, known) = islice(nights(some, rules, seed, broken), bound)
    for candidate in some:
        expected: Outcome = "failed" if candidate.user in broken else "proven"
        assert known[candidate.mailbox].outcome == expected
