"""The effort, on simulated mail servers: it converges, starves nothing, comes back."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.governing.effort import Effort, Rules, after_blindness, after_look
from mailhaul.coordinator.governing.window import Window

TARGET = 0.2
RULES = Rules(target_seconds=TARGET)

Server = Callable[[float, random.Random], float]
"""What a look takes when so much of the server is in use."""


def queue(busy: float, chance: random.Random) -> float:
    """One that answers the later the less of it is free."""
    return 0.02 / (1 - min(0.98, busy)) * chance.lognormvariate(0, 0.35)


def with_outliers(busy: float, chance: random.Random) -> float:
    """The same, and two looks in a hundred take eight times as long whatever goes on."""
    return 1.5 * queue(0.9 * busy, chance) * (8 if chance.random() < 0.02 else 1)


def straight(busy: float, chance: random.Random) -> float:
    """One that slows down evenly."""
    return (0.02 + 0.3 * busy) * chance.lognormvariate(0, 0.2)


SERVERS = [queue, with_outliers, straight]


def lived_through(
    server: Server, users: Callable[[int], float], seconds: int, seed: int, effort: Effort | None = None
) -> tuple[list[float], list[float]]:
    """The looks and levels of a time; what is decided has an effect two seconds later."""
    chance, effort = random.Random(seed), effort or Effort()
    under_way = deque([effort.level] * 2)
    looks, levels = [], []
    for second in range(seconds):
        under_way.append(effort.level)
        looks.append(server(0.9 * under_way.popleft() + users(second), chance))
        effort = after_look(effort, RULES, looks[-1])
        levels.append(effort.level)
    return looks, levels


def p95(looks: list[float]) -> float:
    return sorted(looks)[math.ceil(len(looks) * 0.95) - 1]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("seed", range(3))
def test_it_settles_where_95_of_100_looks_are_in_time(server: Server, seed: int) -> None:
    looks, levels = lived_through(server, lambda _: 0.05, 1200, seed)
    assert p95(looks[60:]) <= 1.1 * TARGET
    # Not by giving up: what a steady level would be allowed is used for the most part.
    chance = random.Random(seed)
    allowed = max(
        level / 100
        for level in range(5, 101)
        if p95([server(0.9 * level / 100 + 0.05, chance) for _ in range(500)]) <= TARGET
    )
    assert sum(levels[60:]) / len(levels[60:]) >= 0.6 * allowed
    # Nor in swings: nine levels in ten lie within a factor of four.
    middle = sorted(levels[60:])
    assert middle[len(middle) * 95 // 100] <= 4 * middle[len(middle) * 5 // 100]


@pytest.mark.parametrize("server", SERVERS)
def test_it_gives_way_to_users_within_seconds_and_comes_back_when_they_go(server: Server) -> None:
    def users(second: int) -> float:
        return 0.6 if 300 <= second < 600 else 0.0

    _, levels = lived_through(server, users, 900, seed=7)
    assert max(levels[312:600]) < 0.75 * max(levels[200:300])
    assert max(levels[600:720]) > 0.9 * sorted(levels[100:300])[100]


def test_from_the_floor_to_all_of_it_in_ninety_seconds() -> None:
    effort = Effort()
    for _ in range(60):
        effort = after_look(effort, RULES, 9 * TARGET)
    assert effort.level == RULES.floor
    for _ in range(90):
        effort = after_look(effort, RULES, TARGET / 10)
    assert effort.level == 1.0


def test_from_all_of_it_to_the_floor_in_eight_looks() -> None:
    effort = Effort()
    for _ in range(8):
        effort = after_look(effort, RULES, 3 * TARGET)
    assert effort.level == RULES.floor


def test_a_look_that_is_late_for_once_costs_little() -> None:
    effort = after_look(Effort(), RULES, 1.5 * TARGET)
    assert effort.level == pytest.approx(math.exp(-0.25))
    for _ in range(60):
        effort = after_look(effort, RULES, TARGET / 2)
    assert effort.level > 0.99


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=300), st.floats(0.01, 1), st.floats(0, 1))
def test_it_always_lies_between_the_floor_and_all_of_it(
    looks: list[float | None], floor: float, blind: float
) -> None:
    rules = Rules(target_seconds=TARGET, floor=floor, blind=blind)
    effort = Effort()
    for seconds in looks:
        effort = after_blindness(effort, rules) if seconds is None else after_look(effort, rules, seconds)
        assert floor <= effort.level <= 1.0
        assert effort.too_much >= effort.level


@given(st.lists(st.floats(0, 1), max_size=50), st.floats(0, 1), st.floats(0, 1))
def test_a_slower_server_never_gets_more_work(before: list[float], one: float, other: float) -> None:
    effort = Effort()
    for seconds in before:
        effort = after_look(effort, RULES, seconds)
    faster, slower = (after_look(effort, RULES, seconds) for seconds in sorted((one, other)))
    assert slower.level <= faster.level


def test_blind_it_does_no_more_than_it_may_and_forgets_what_it_knew() -> None:
    rules = Rules(target_seconds=TARGET, blind=0.25)
    assert after_blindness(Effort(), rules).level == 0.25
    assert after_blindness(Effort(level=0.1), rules).level == 0.1
    effort = after_blindness(Effort(), rules)
    assert after_look(effort, rules, 0.0).level < 0.26


def test_the_window_forgets_and_takes_95_of_100() -> None:
    window = Window(100.0)
    assert window.p95(0.0) is None
    for second in range(100):
        window.add(second, second / 100)
    assert window.p95(99.0) == 0.94
    assert window.p95(195.0) == 0.99
    assert window.p95(199.0) is None
