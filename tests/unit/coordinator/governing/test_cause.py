"""The trial that finds out whether giving way helps."""

from __future__ import annotations

import random

import pytest

from mailhaul.coordinator.governing.cause import HIGH, SETTLING_LOOKS, TURN_LOOKS, Trial


def tried(low: float, high: float, seed: int, noise: float = 0.35, drift: float = 0.0) -> Trial:
    """A trial to its end, on a server where looks take so many targets with little and with more."""
    chance, trial = random.Random(seed), Trial()
    while trial.helps is None:
        wait = (high if trial.is_high else low) * chance.lognormvariate(0, noise)
        trial = trial.after(wait * (1 + drift * trial.looks))
    return trial


@pytest.mark.parametrize(("high", "helps"), [(1.5, False), (3.0, True)])
@pytest.mark.parametrize("seed", range(5))
def test_what_makes_users_wait_is_found(high: float, helps: bool, seed: int) -> None:
    assert tried(1.5, high, seed).helps is helps


def test_what_clearly_hurts_is_over_after_half_of_it() -> None:
    assert tried(1.5, 3.0, 1).looks == len(HIGH) * TURN_LOOKS // 2
    assert tried(1.5, 1.5, 1, noise=0.1).looks == len(HIGH) * TURN_LOOKS


def test_users_who_come_or_go_meanwhile_are_not_taken_for_the_work() -> None:
    assert tried(1.0, 1.0, 1, noise=0.05, drift=0.02).helps is False
    assert tried(1.0, 1.0, 1, noise=0.05, drift=-0.005).helps is False


def test_looks_that_hang_by_chance_decide_nothing() -> None:
    trial = Trial()
    for look in range(len(HIGH) * TURN_LOOKS):
        hangs = trial.is_high and look % TURN_LOOKS == SETTLING_LOOKS and look < 2 * TURN_LOOKS
        trial = trial.after(1e6 if hangs else 1.5)
    assert trial.helps is False
