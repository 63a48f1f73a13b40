"""The rules of what is said when: every new cause at once, none too often, none forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.notices import policy
from mailhaul.coordinator.notices.records import Kind, Notice, Standing
from mailhaul.proto.structs import replace

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAILED = Notice(event="failed", cause="backup /", subject="the backup of / failed")
STARTED = Notice(event="started", cause="run 1", subject="the backup of / has begun")

MOST_A_DAY = 12
"""How often a cause may be heard of in a day: on and off, with pauses of 1, 1, 2, 4, 8 hours and a rest."""


class Told:
    """A cause as people hear of it, hour by hour."""

    def __init__(self) -> None:
        self.now = NOW
        self.standing: Standing | None = None
        self.heard: list[tuple[datetime, Kind]] = []

    def take(self, decision: policy.Decision) -> None:
        self.standing, saying = decision
        if saying is not None:
            self.heard.append((self.now, saying.kind))

    def is_so(self, notice: Notice = FAILED) -> None:
        self.take(policy.raised(self.standing, notice, self.now))

    def is_over(self) -> None:
        self.take(policy.over(self.standing, self.now))

    def acknowledge(self) -> None:
        if self.standing is not None:
            self.standing = policy.acknowledged(self.standing, "anna", self.now)

    def wait(self, hours: float) -> None:
        """With a look every half an hour, as the service has it every second."""
        until = self.now + hours * HOUR
        while self.now < until:
            self.now += HOUR / 2
            if self.standing is not None:
                self.take(policy.reminded(self.standing, self.now))

    @property
    def kinds(self) -> list[Kind]:
        return [kind for _, kind in self.heard]


def test_what_lasts_is_said_at_once_then_daily_and_its_end_once() -> None:
    told = Told()
    for _ in range(50):
        told.is_so()
        told.wait(1)
    assert told.kinds == ["new", "again", "again"]
    assert told.standing is not None
    assert told.standing.times == 50
    told.is_over()
    told.is_over()
    told.wait(100)
    assert told.kinds == ["new", "again", "again", "over"]


def test_what_passes_is_said_once_however_often_it_is_raised() -> None:
    told = Told()
    for _ in range(3):
        told.is_so(STARTED)
        told.wait(40)
        told.is_over()
    assert told.kinds == ["new"]


def test_after_it_was_acknowledged_only_its_end_is_said() -> None:
    told = Told()
    told.is_so()
    told.acknowledge()
    for _ in range(4):
        told.is_so()
        told.wait(24)
    assert told.kinds == ["new"]
    told.is_over()
    assert told.kinds == ["new", "over"]
    told.wait(48)
    told.is_so()
    assert told.kinds == ["new", "over", "new"]
    assert told.standing is not None
    assert (told.standing.acknowledged, told.standing.times) == (None, 1)


def test_what_comes_and_goes_is_said_less_and_less_and_not_forgotten() -> None:
    told = Told()
    for _ in range(48):
        told.is_so()
        told.is_over()
        told.wait(0.5)
    assert 5 <= len(told.kinds) <= MOST_A_DAY
    told.is_so()
    told.wait(24)
    assert told.kinds[-1] == "again"


def test_a_clock_that_was_far_ahead_silences_nothing() -> None:
    told = Told()
    told.now += timedelta(days=3650)
    told.is_so()
    told.now = NOW
    told.wait(1)
    assert told.kinds == ["new", "again"]


STEPS = st.lists(
    st.one_of(
        st.just("so"), st.just("over"), st.just("acknowledge"), st.floats(0.1, 60), st.floats(0.01, 0.4)
    ),
    max_size=60,
)


@given(STEPS)
def test_neither_storm_nor_silence(steps: list[str | float]) -> None:
    told = Told()
    raised = False
    for step in steps:
        match step:
            case "so":
                told.is_so()
                raised = True
            case "over":
                told.is_over()
            case "acknowledge":
                told.acknowledge()
            case float() as hours:
                told.wait(hours)
        assert bool(told.heard) == raised
    heard = told.heard
    for before, after in zip(told.kinds, told.kinds[1:], strict=False):
        assert not (before == "over" == after), "the end was said twice"
        assert not (before in ("new", "again") and after == "new"), "it was new twice"
    for when, _ in heard:
        within = [moment for moment, _ in heard if when <= moment < when + timedelta(days=1)]
        assert len(within) <= MOST_A_DAY
    if told.standing is not None and told.standing.over is None and told.standing.acknowledged is None:
        told.wait(24)
        when, kind = told.heard[-1]
        assert kind != "over"
        assert told.now - when <= timedelta(days=1)


@given(STEPS)
def test_what_is_known_of_a_cause_adds_up(steps: list[str | float]) -> None:
    told = Told()
    for step in steps:
        before = told.standing
        match step:
            case "so":
                told.is_so()
                assert told.standing is not None
                assert told.standing.over is None
            case "over":
                told.is_over()
                assert before is None or (told.standing is not None and told.standing.over is not None)
            case "acknowledge":
                told.acknowledge()
            case float() as hours:
                told.wait(hours)
        if told.standing is not None:
            assert told.standing.first <= told.standing.last <= told.now
            assert told.standing == replace(told.standing, notice=FAILED)
