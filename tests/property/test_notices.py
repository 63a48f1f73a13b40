"""Whatever happens, in simulated time: everybody who can be reached knows how things are, nobody hears of it
too often, and nothing comes twice."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mailhaul.coordinator.notices.raising import acknowledge, raise_notice, remind
from mailhaul.coordinator.notices.records import Notice
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.proto.errors import DeliveryError, NotFoundError
from mailhaul.tests.unit.coordinator.notices.test_delivery import Site
from mailhaul.tests.unit.coordinator.notices.test_policy import MOST_A_DAY

CAUSES = ("disk", "tape")
RECEIVERS = ("anna", "pager")
HOUR = timedelta(hours=1)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("so", "over", "acknowledge")), st.sampled_from(CAUSES)),
        st.tuples(st.sampled_from(("away", "refuses", "back")), st.sampled_from(RECEIVERS)),
        st.tuples(st.just("wait"), st.sampled_from(("1", "5", "20", "90", "1500"))),
        st.tuples(st.just("restart"), st.just("")),
    ),
    max_size=25,
)


class World:
    """A site, and what is true."""

    def __init__(self, place: Path) -> None:
        self.site = Site(place)
        self.true: dict[str, bool] = {}
        self.known: set[str] = set()

    def step(self, what: str, whom: str) -> None:
        site = self.site
        match what:
            case "so":
                site.raise_(whom)
                if not self.true.get(whom):
                    self.known.discard(whom)
                self.true[whom] = True
            case "over":
                site.over(whom)
                if whom in self.true:
                    self.true[whom] = False
                self.known.discard(whom)
            case "acknowledge":
                try:
                    acknowledge(site.staging, whom, "anna", site.time.moment)
                except NotFoundError:
                    assert not self.true.get(whom)
                else:
                    self.known.add(whom)
            case "away":
                site.boxes[whom].fails = lambda _: DeliveryError("nobody answers", unreachable=True)
            case "refuses":
                site.boxes[whom].fails = lambda letter: (
                    DeliveryError("550 no") if letter.saying.notice.cause == CAUSES[0] else None
                )
            case "back":
                site.boxes[whom].fails = lambda _: None
            case "wait":
                self.wait(timedelta(minutes=int(whom)))
            case "restart":
                site.restart()
        site.deliver()

    def wait(self, span: timedelta) -> None:
        step = max(span / 20, timedelta(minutes=1))
        until = self.site.time.moment + span
        while self.site.time.moment < until:
            self.site.time.moment += step
            remind(self.site.staging, self.site.time.moment)
            self.site.deliver()


@settings(max_examples=25)
@given(STEPS)
def test_people_know_how_things_are_and_are_left_in_peace(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        world = World(Path(place))
        for what, whom in steps:
            world.step(what, whom)
        for name in RECEIVERS:
            world.step("back", name)
        world.wait(25 * HOUR)
        for name in RECEIVERS:
            check(world, name)


def check(world: World, name: str) -> None:
    letters = world.site.boxes[name].letters
    assert [key for key, many in Counter(letter.key for letter in letters).items() if many > 1] == []
    assert world.site.standing(name).waiting == 0 if world.true else True
    for cause in CAUSES:
        of_cause = [one.saying for one in letters if one.saying.notice.cause == cause]
        if cause in world.true and not (cause in world.known and world.true[cause]):
            assert of_cause, f"{name} never heard of {cause}"
            assert (of_cause[-1].kind == "over") == (not world.true[cause])
        for saying in of_cause:
            day = [
                other for other in of_cause if timedelta(0) <= other.made - saying.made < timedelta(days=1)
            ]
            assert len(day) <= MOST_A_DAY
        ids = [one.id for one in of_cause]
        assert ids == sorted(ids), "an older word came after a newer"


def test_the_model_raises_what_it_says(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.step("so", "disk")
    assert [standing.notice.cause for standing in NoticeRecord(tmp_path).lasting()] == ["disk"]
    raise_notice(tmp_path, Notice(event="failed", cause="disk", subject="disk"), world.site.time.moment)
    assert world.site.boxes["anna"].got == [("new", "disk")]
