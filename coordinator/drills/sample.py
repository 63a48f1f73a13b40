"""Which mailboxes a drill takes, in which order. Pure: chance comes from a seed that is handed in, and so the
same facts give the same sample.

Of ``mailboxes`` places one goes to a mailbox that is proven in parts, or else to one of the largest when that
is due, a share to random ones, and the
others to those that have been unproven for longest; half of these at most to mailboxes that failed, which are
tried again before all others. So, as long as its limits suffice, a drill proves ``places_in_line`` mailboxes
at least of those that wait, and ``drills_for_all`` drills prove everybody. The first of all is always the
mailbox that has waited for longest: it meets limits that nothing was taken of yet; or, by chance, the one of
which a part is taken, as one of both may use up the time.

Those that are too large for one drill take turns, and a drill takes one of them that it can try: else a few
of them, with many parts each, would keep all others out.

A mailbox at which a drill ended by force is taken in its turn only, whatever else is to be said for it: it
may end the next one, too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, zip_longest
from typing import Literal

from ...proto.records import RunId
from ...proto.structs import Record
from ..service.proofs import Mailbox, Proof
from .settings import SampleRules

Reason = Literal["unproven", "failed", "largest", "random", "part"]

_NEVER = datetime.min.replace(tzinfo=UTC)
_LARGE_SHARE = 0.01
_LEAST_LARGE = 10
_HALF = 0.5


class Candidate(Record, kw_only=True):
    """A mailbox as it was kept by its newest ``run``."""

    partition: str
    group: str
    user: str
    run: RunId
    messages: int
    size_bytes: int

    @property
    def mailbox(self) -> Mailbox:
        """Its key."""
        return self.partition, self.group, self.user


class Pick(Record, kw_only=True):
    """A mailbox that is to be proven, and why it is taken; ``earlier``: as it was at an earlier moment, if
    there is one."""

    candidate: Candidate
    why: Reason
    earlier: bool = False


def places_in_line(rules: SampleRules) -> int:
    """How many mailboxes of those that wait a drill takes at least, if none has failed."""
    return max(1, rules.mailboxes - _random_places(rules) - 1)


def drills_for_all(rules: SampleRules, mailboxes: int) -> int:
    """So many drills prove every one of so many mailboxes, if none has failed."""
    return math.ceil(mailboxes / places_in_line(rules))


def line(
    candidates: Iterable[Candidate],
    proofs: Mapping[Mailbox, Proof],
    rules: SampleRules,
    largest_bytes: int,
    now: datetime,
    seed: int,
) -> Iterator[Pick]:
    """The mailboxes in the order in which a drill takes them: first its sample, then, for what of that can't
    be tried, all others that wait. Of mailboxes above ``largest_bytes`` it takes the first that it can."""
    rng = random.Random(seed)  # noqa: S311 (no secret; it is on record)
    everybody = list(candidates)
    rng.shuffle(everybody)
    waiting = [candidate for candidate in everybody if candidate.size_bytes <= largest_bytes]
    in_parts = _in_parts(everybody, proofs, largest_bytes)
    waiting.sort(key=lambda candidate: _last_turn(proofs.get(candidate.mailbox)))
    failed = sorted(
        (one for one in waiting if _has_failed(proofs.get(one.mailbox))),
        key=lambda one: proofs[one.mailbox].tried,
    )
    large = [] if in_parts else _due_large(waiting, proofs, rules, now)
    rest = max(1, rules.mailboxes - bool(large or in_parts) - _random_places(rules))
    again = failed[: rest // 2]
    queue = _without(waiting, (*failed, *large))
    first = queue[: rest - len(again)]
    others = [
        one for one in _without(waiting, (*failed, *large, *first)) if not _is_deadly(proofs.get(one.mailbox))
    ]
    chance = rng.sample(others, min(_random_places(rules), len(others)))
    opening = [
        *(Pick(candidate=candidate, why="unproven") for candidate in first[:1]),
        *(Pick(candidate=candidate, why="part") for candidate in in_parts),
    ]
    if in_parts and rng.random() < _HALF:
        opening = [*opening[len(first[:1]) :], *opening[: len(first[:1])]]
    return _each_once(
        chain(
            opening,
            (Pick(candidate=one, why="failed") for one in again),
            (Pick(candidate=one, why="largest") for one in large),
            _alternating(
                [Pick(candidate=one, why="unproven") for one in first[1:]],
                [_by_chance(one, proofs, rules, rng) for one in chance],
            ),
            (Pick(candidate=one, why="unproven") for one in queue[len(first) :]),
            (Pick(candidate=one, why="failed") for one in failed[len(again) :]),
        )
    )


def _without(some: Sequence[Candidate], left_out: Iterable[Candidate]) -> list[Candidate]:
    names = {candidate.mailbox for candidate in left_out}
    return [one for one in some if one.mailbox not in names]


def _random_places(rules: SampleRules) -> int:
    """A place at least is left for who waits."""
    return min(round(rules.mailboxes * rules.random), rules.mailboxes - 1)


def _last_turn(proof: Proof | None) -> datetime:
    """When a mailbox was proven. It has had its turn, too, where it could not be tried and no place was to
    blame, or the drill ended by force: else mailboxes that no drill can do would be the first each time."""
    if proof is None:
        return _NEVER
    proven = _NEVER if proof.proven is None else proof.proven
    in_vain = proof.outcome == "untried" and not proof.place
    return max(proven, proof.tried) if in_vain or proof.deaths else proven


def _has_failed(proof: Proof | None) -> bool:
    return proof is not None and proof.outcome == "failed" and not proof.deaths


def _is_deadly(proof: Proof | None) -> bool:
    return proof is not None and proof.deaths > 0


def _in_parts(
    some: Iterable[Candidate], proofs: Mapping[Mailbox, Proof], largest_bytes: int
) -> list[Candidate]:
    """The mailboxes that are too large, those first whose turn was longest ago."""

    def turn(candidate: Candidate) -> datetime:
        proof = proofs.get(candidate.mailbox)
        return proof.tried if proof is not None else _NEVER

    return sorted((candidate for candidate in some if candidate.size_bytes > largest_bytes), key=turn)


def _due_large(
    waiting: Sequence[Candidate],
    proofs: Mapping[Mailbox, Proof],
    rules: SampleRules,
    now: datetime,
) -> list[Candidate]:
    """One of the largest mailboxes, if that is due: the one whose turn was longest ago."""
    turns = [one.largest for one in proofs.values() if one.largest is not None]
    if rules.mailboxes < 2 or (turns and now - max(turns) < timedelta(seconds=rules.largest_every_seconds)):
        return []
    fitting = sorted(
        (candidate for candidate in waiting if not _is_deadly(proofs.get(candidate.mailbox))),
        key=lambda one: -one.size_bytes,
    )
    large = fitting[: max(_LEAST_LARGE, round(len(fitting) * _LARGE_SHARE))]

    def turn(candidate: Candidate) -> datetime:
        proof = proofs.get(candidate.mailbox)
        return proof.largest if proof is not None and proof.largest is not None else _NEVER

    return sorted(large, key=turn)[:1]


def _by_chance(
    candidate: Candidate, proofs: Mapping[Mailbox, Proof], rules: SampleRules, rng: random.Random
) -> Pick:
    """A random mailbox; as it was earlier only if its newest moment was proven, and nothing of it failed."""
    proof = proofs.get(candidate.mailbox)
    is_proven = proof is not None and proof.outcome == "proven" and proof.proven is not None
    return Pick(candidate=candidate, why="random", earlier=rng.random() < rules.older and is_proven)


def _alternating(one: Sequence[Pick], other: Sequence[Pick]) -> Iterator[Pick]:
    """Limits that do not suffice take away from both."""
    return (pick for pair in zip_longest(one, other) for pick in pair if pick is not None)


def _each_once(picks: Iterable[Pick]) -> Iterator[Pick]:
    seen: set[Mailbox] = set()
    for pick in picks:
        if pick.candidate.mailbox not in seen:
            seen.add(pick.candidate.mailbox)
            yield pick
