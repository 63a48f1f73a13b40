"""The effort, on simulated mail servers: it finds the highest that users bear, holds it, gives way, comes
back, and finds out where giving way is of no use."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.governing.effort import (
    ALLOWANCE,
    LATE,
    RISE,
    Effort,
    Rules,
    after_blindness,
    after_look,
    begun_at,
    first_effort,
    gone_on_with,
)
from mailhaul.coordinator.governing.window import Window

TARGET = 0.2
RULES = Rules(target_seconds=TARGET)
SEEDS = range(3)
EFFECT_LOOKS = 2
"""What is decided has an effect so many looks later."""

CONVERGED_LOOKS = 90
"""It has found its place after so many looks: a minute and a half."""

Server = Callable[[float, float, random.Random], float]
"""How many targets a look takes, by the share of the work that is done, by what users do, and by chance."""


def a_queue(level: float, users: float, chance: random.Random) -> float:
    """One that answers the later the less of it is free: 6 times as late with all of the work."""
    return 0.1 / (1 - min(0.98, 0.9 * level + users)) * chance.lognormvariate(0, 0.35)


def outliers(level: float, users: float, chance: random.Random) -> float:
    """The same, and two looks in a hundred take eight times as long whatever goes on."""
    slow = 8 if chance.random() < 0.02 else 1
    return 0.15 / (1 - min(0.98, 0.8 * level + users)) * chance.lognormvariate(0, 0.35) * slow


def straight(level: float, users: float, chance: random.Random) -> float:
    """One that slows down evenly."""
    return (0.1 + 1.5 * level + users) * chance.lognormvariate(0, 0.2)


def knee(level: float, users: float, chance: random.Random) -> float:
    """One that does not mind, and then does at once: a disk whose queue is full."""
    return (0.4 + 8 * max(0.0, level + users - 0.6)) * chance.lognormvariate(0, 0.25)


def whole_workers(level: float, users: float, chance: random.Random) -> float:
    """One that each further worker hurts, however little it does."""
    workers = math.ceil(4 * level)
    each = 4 * level / workers
    return (0.3 + 0.2 * workers * each * math.sqrt(each) + users) * chance.lognormvariate(0, 0.3)


def just_met(level: float, users: float, chance: random.Random) -> float:
    """One whose p95 is 0.94 of the target with all of the work, and 0.89 with none."""
    return (0.5 + 0.03 * level + users) * chance.lognormvariate(0, 0.35)


def with_margin(level: float, users: float, chance: random.Random) -> float:
    """One whose p95 is 0.71 of the target with all of the work."""
    return (0.3 + 0.1 * level + users) * chance.lognormvariate(0, 0.35)


BOUND = [a_queue, outliers, straight, knee, whole_workers]
"""Servers on which all of the work is too much."""

FREE = [just_met, with_margin]


class Weather:
    """Noise that lasts: what slows one look slows the next, too."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = 0.0

    def next(self) -> float:
        self._now = 0.8 * self._now + 0.6 * self._chance.gauss(0, 1)
        return math.exp(0.25 * self._now)


class Life(list[float]):
    """What looks took, in targets; ``levels`` beside them, and the effort in the end."""

    levels: list[float]
    effort: Effort

    def p95(self, since: int = 0) -> float:
        return p95(self[since:])

    def work(self, since: int = 0) -> float:
        return mean(self.levels[since:])

    def swing(self, since: int = 0) -> float:
        """By how much nine levels in ten differ at most, as a factor."""
        levels = sorted(self.levels[since:])
        return levels[len(levels) * 95 // 100] / levels[len(levels) * 5 // 100]


def p95(looks: list[float]) -> float:
    return sorted(looks)[math.ceil(len(looks) * 0.95) - 1]


def lived_through(
    server: Server,
    looks: int,
    seed: int,
    users: Callable[[int], float] = lambda _: 0.0,
    *,
    weather: bool = False,
    rules: Rules = RULES,
) -> Life:
    chance, effort = random.Random(seed), first_effort(rules)
    noise = Weather(chance)
    under_way = deque([effort.level] * EFFECT_LOOKS)
    life = Life()
    life.levels = []
    for number in range(looks):
        under_way.append(effort.level)
        took = server(under_way.popleft(), users(number), chance) * (noise.next() if weather else 1)
        effort = after_look(effort, rules, took * rules.target_seconds)
        life.append(took)
        life.levels.append(effort.level)
    life.effort = effort
    return life


def highest(server: Server, targets: float) -> float:
    """The highest level at which 95 of 100 looks take no longer than so many targets."""
    chance = random.Random(1)
    levels = [fiftieths / 50 for fiftieths in range(3, 51)]
    return max(level for level in levels if p95([server(level, 0.0, chance) for _ in range(1000)]) <= targets)


# Near the highest speed


@pytest.mark.parametrize("server", BOUND)
def test_users_wait_no_longer_than_they_may_at_nearly_the_highest_speed_that_allows_it(
    server: Server,
) -> None:
    allowed = highest(server, ALLOWANCE)
    for seed in SEEDS:
        life = lived_through(server, 1500, seed)
        assert life.p95(CONVERGED_LOOKS) <= 1.15
        assert life.work(CONVERGED_LOOKS) >= 0.8 * allowed
        assert life.swing(CONVERGED_LOOKS) <= 2.2
        # It was there already when it should be.
        assert mean(life.levels[60:CONVERGED_LOOKS]) >= 0.6 * allowed


@pytest.mark.parametrize("server", BOUND)
def test_the_same_where_what_is_slow_stays_so_for_a_while(server: Server) -> None:
    lives = [lived_through(server, 1500, seed, weather=True) for seed in SEEDS]
    assert max(life.p95(CONVERGED_LOOKS) for life in lives) <= 1.2
    assert mean(life.p95(CONVERGED_LOOKS) for life in lives) <= 1.15
    assert max(life.swing(CONVERGED_LOOKS) for life in lives) <= 3.5


@pytest.mark.parametrize("server", FREE)
def test_where_users_do_not_wait_too_long_nothing_is_slowed(server: Server) -> None:
    for seed in SEEDS:
        life = lived_through(server, 1500, seed)
        assert life.work(60) >= 0.98
        assert life.swing(60) <= 1.1


def test_chance_alone_neither_slows_nor_speeds_up() -> None:
    # What looks in time bring is what the late ones cost, with those that come soon after another.
    chance = random.Random(1)
    ends = []
    for _ in range(300):
        effort = begun_at(0.4, Rules(target_seconds=TARGET, floor=0.02))
        for _ in range(50):
            effort = after_look(effort, RULES, 2 * TARGET if chance.random() < LATE else 0.0)
        ends.append(math.log(effort.level))
    assert mean(ends) == pytest.approx(math.log(0.4), abs=0.12)


# Users come and go


@pytest.mark.parametrize("server", [*BOUND, *FREE])
def test_bursts_of_users_are_given_way_to_and_it_comes_back_after_each(server: Server) -> None:
    def users(look: int) -> float:
        return 0.6 if look >= 300 and look % 300 < 30 else 0.0

    halves, most = [], []
    for seed in SEEDS:
        life = lived_through(server, 1800, seed, users)
        usual = median(life.levels[200:300])
        for burst in range(300, 1800, 300):
            after = life.levels[burst + 30 : burst + 300]
            halves.append(first(after, 0.5 * usual))
            most.append(first(after, 0.8 * usual))
        assert life.p95(CONVERGED_LOOKS) <= 1.3  # in the bursts, too
    assert (median(halves), max(halves)) <= (45, 120)
    assert median(most) <= 80


def first(levels: list[float], least: float) -> int:
    """After how many looks it is back at a level."""
    return next((number for number, level in enumerate(levels) if level >= least), len(levels))


@pytest.mark.parametrize("server", BOUND)
def test_it_gives_way_within_seconds(server: Server) -> None:
    life = lived_through(server, 330, 7, lambda look: 5.0 if look >= 300 else 0.0)
    assert max(life.levels[310:]) <= 0.1


def test_from_the_floor_to_all_of_it_in_ninety_looks() -> None:
    effort = Effort()
    for _ in range(60):
        effort = after_look(effort, RULES, 9 * TARGET)
    assert effort.level == RULES.floor
    for _ in range(90):
        effort = after_look(effort, RULES, TARGET / 10)
    assert effort.level == 1.0


def test_from_all_of_it_with_all_credit_to_the_floor_in_eight_looks() -> None:
    effort = Effort()
    for _ in range(100):
        effort = after_look(effort, RULES, TARGET / 10)
    for _ in range(8):
        effort = after_look(effort, RULES, 3 * TARGET)
    assert effort.level == RULES.floor


def test_a_look_that_is_late_for_once_costs_little_and_nothing_where_there_is_a_margin() -> None:
    effort = after_look(Effort(), RULES, 1.5 * TARGET)
    assert effort.level == pytest.approx(math.exp(-0.15))
    for _ in range(60):
        effort = after_look(effort, RULES, TARGET)
    assert effort.level == 1.0
    assert after_look(effort, RULES, 9 * TARGET).level == 1.0


# Others are the cause


def others(level: float, users: float, chance: random.Random) -> float:
    """One that is slow whatever the work does."""
    return (1.5 + 0.02 * level + users) * chance.lognormvariate(0, 0.35)


def failing(level: float, _users: float, chance: random.Random) -> float:
    """One that is fast, but for one look in eight, whatever the work does."""
    return (0.5 + 0.02 * level) * chance.lognormvariate(0, 0.3) * (6 if chance.random() < 0.12 else 1)


def overloaded(level: float, users: float, chance: random.Random) -> float:
    """One for which also the least of the work is too much, and more is worse."""
    return (1.0 + 2 * level + users) * chance.lognormvariate(0, 0.35)


def stalling(level: float, _users: float, chance: random.Random) -> float:
    """One where the work makes some looks stall, and the others no slower."""
    return 0.5 * chance.lognormvariate(0, 0.3) * (6 if chance.random() < 0.05 + level else 1)


@pytest.mark.parametrize("server", [others, failing])
def test_where_giving_way_is_of_no_use_the_night_goes_on(server: Server) -> None:
    lives = [lived_through(server, 3000, seed) for seed in range(6)]
    assert mean(life.work(CONVERGED_LOOKS) for life in lives) >= 0.6 * RULES.blind
    # It is asked within five minutes whether it helps, and again later.
    assert sum(RULES.blind in life.levels[60:300] for life in lives) >= 4


@pytest.mark.parametrize("server", [overloaded, stalling])
def test_where_giving_way_helps_it_stays_at_the_floor(server: Server) -> None:
    assert mean(lived_through(server, 3000, seed).work(CONVERGED_LOOKS) for seed in range(6)) <= 0.1


def test_when_the_others_have_gone_it_goes_on_with_all_of_it() -> None:
    def users(look: int) -> float:
        return 1.5 if look < 600 else 0.0

    for seed in SEEDS:
        assert lived_through(with_margin, 900, seed, users).work(750) >= 0.95


# Always


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), max_size=300), st.floats(0.01, 1), st.floats(0, 1))
def test_it_always_lies_between_the_floor_and_all_of_it(
    looks: list[float | None], floor: float, blind: float
) -> None:
    rules = Rules(target_seconds=TARGET, floor=floor, blind=blind)
    effort = begun_at(1.0, rules)
    for seconds in looks:
        effort = after_blindness(effort, rules) if seconds is None else after_look(effort, rules, seconds)
        assert floor <= effort.level <= 1.0
        assert effort.too_much >= effort.level
        assert not effort.credit or effort.level == 1.0


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
    effort = after_blindness(Effort(credit=0.5), rules)
    assert after_look(effort, rules, 0.0).level == pytest.approx(0.25 * math.exp(RISE))


@given(st.lists(st.floats(0, 3), max_size=300), st.floats(0.01, 1))
def test_a_run_goes_on_with_what_another_has_found_within_its_own_rules(
    looks: list[float], floor: float
) -> None:
    effort = first_effort(RULES)
    for targets in looks:
        effort = after_look(effort, RULES, targets * TARGET)
    found = gone_on_with(effort, Rules(target_seconds=TARGET, floor=floor))
    assert found.level == max(floor, effort.level)
    assert found.too_much >= found.level
    assert found.trial is None
    assert not found.credit or found.level == 1.0


def test_the_window_forgets_and_takes_95_of_100() -> None:
    window = Window(100.0)
    assert window.p95(0.0) is None
    for second in range(100):
        window.add(second, second / 100)
    assert window.p95(99.0) == 0.94
    assert window.p95(195.0) == 0.99
    assert window.p95(199.0) is None
