"""Deliveries, in simulated time: each receiver gets what it should once, whoever else can't be reached."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.notices import delivery
from mailhaul.coordinator.notices.channels import Letter
from mailhaul.coordinator.notices.delivery import Deliverer, deliver_now, sending
from mailhaul.coordinator.notices.raising import over, raise_notice
from mailhaul.coordinator.notices.records import Event, Notice
from mailhaul.coordinator.notices.settings import CommandReceiver, NoticesConfig
from mailhaul.coordinator.service.notices import ChannelStanding, NoticeRecord
from mailhaul.proto.errors import DeliveryError, LockedError, StagingError

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERYTHING: tuple[Event, ...] = ("failed", "space", "started", "digest")


class SimulatedTime:
    """The port Clock, set by the test."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> float:
        return self.moment.timestamp()

    def monotonic(self) -> float:
        return self.moment.timestamp()


class Box:
    """A receiver. ``fails`` says what becomes of a letter: None, or how it fails."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.attempts: list[tuple[float, str]] = []
        self.fails: Callable[[Letter], DeliveryError | None] = lambda _: None
        self.hold = threading.Event()
        self.hold.set()
        self.now: Callable[[], float] = lambda: 0.0

    def deliver(self, letter: Letter) -> str:
        self.attempts.append((self.now(), letter.saying.notice.cause))
        assert self.hold.wait(20)
        if error := self.fails(letter):
            raise error
        self.letters.append(letter)
        return "taken"

    @property
    def got(self) -> list[tuple[str, str]]:
        return [(letter.saying.kind, letter.saying.notice.cause) for letter in self.letters]


def away(_: Letter) -> DeliveryError:
    return DeliveryError("nobody answers", unreachable=True)


class Site:
    """A staging area with receivers, all of which get everything unless it is said otherwise."""

    def __init__(self, staging: Path, **events: tuple[Event, ...]) -> None:
        self.staging = staging
        self.time = SimulatedTime()
        self.boxes = {name: Box() for name in events or ("anna", "pager")}
        for box in self.boxes.values():
            box.now = self.time.now
        self.receivers = {name: frozenset(events.get(name, EVERYTHING)) for name in self.boxes}
        self.restart()

    def restart(self) -> None:
        """As another process finds it."""
        config = NoticesConfig(
            receivers=tuple(
                CommandReceiver(name=name, command=("true",), events=events)
                for name, events in self.receivers.items()
            )
        )
        self.deliverer = Deliverer(self.staging, config, "backup01", UTC, self.time, self.boxes)

    def raise_(self, cause: str, event: Event = "failed") -> None:
        raise_notice(self.staging, Notice(event=event, cause=cause, subject=cause), self.time.moment)

    def over(self, cause: str) -> None:
        over(self.staging, cause, self.time.moment)

    def deliver(self) -> None:
        """All that can be delivered now."""
        until = time.monotonic() + 20
        while self.deliverer.begin():
            assert time.monotonic() < until
            time.sleep(0.01)

    def wait(self, span: timedelta, step: timedelta = MINUTE) -> None:
        for _ in range(span // step):
            self.time.moment += step
            self.deliver()

    def standing(self, name: str) -> ChannelStanding:
        (found,) = [channel for channel in NoticeRecord(self.staging).channels() if channel.name == name]
        return found


def test_everybody_gets_what_he_asked_for_once(tmp_path: Path) -> None:
    site = Site(tmp_path, anna=("failed", "space"), ben=("space",), cleo=("digest",))
    site.raise_("a")
    site.raise_("b", "space")
    site.deliver()
    site.restart()
    site.raise_("a")
    site.deliver()
    site.over("a")
    site.deliver()
    assert site.boxes["anna"].got == [("new", "a"), ("new", "b"), ("over", "a")]
    assert site.boxes["ben"].got == [("new", "b")]
    assert site.boxes["cleo"].got == []
    assert (site.standing("anna").delivered, site.standing("anna").waiting) == (3, 0)
    assert NoticeRecord(tmp_path).said() == (("failed", "new", 1), ("failed", "over", 1), ("space", "new", 1))


def test_who_can_not_be_reached_is_tried_with_growing_pauses(tmp_path: Path) -> None:
    site = Site(tmp_path)
    anna = site.boxes["anna"]
    anna.fails = away
    site.raise_("a")
    site.raise_("b")
    site.deliver()
    assert site.boxes["pager"].got == [("new", "a"), ("new", "b")]
    standing = site.standing("anna")
    assert (standing.error, standing.failing_since, standing.waiting) == ("nobody answers", NOW, 2)
    site.wait(timedelta(hours=5))
    begun = [round((at - NOW.timestamp()) / 60) for at, _ in anna.attempts]
    assert begun == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert {cause for _, cause in anna.attempts} == {"a"}
    anna.fails = lambda _: None
    site.wait(timedelta(hours=1))
    assert anna.got == [("new", "a"), ("new", "b")]
    standing = site.standing("anna")
    assert (standing.error, standing.failing_since, standing.waiting) == ("", None, 0)
    assert (standing.delivered, standing.failures) == (2, 10)


def test_who_was_away_hears_how_it_is_now_and_not_all_that_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.boxes["anna"].fails = away
    site.raise_("a")
    site.raise_("b")
    site.deliver()
    site.over("a")
    site.deliver()
    site.boxes["anna"].fails = lambda _: None
    site.wait(timedelta(minutes=5))
    assert site.boxes["anna"].got == [("new", "b"), ("over", "a")]
    assert site.boxes["pager"].got == [("new", "a"), ("new", "b"), ("over", "a")]


def test_one_letter_that_is_refused_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "GIVE_UP", timedelta(days=1))
    site = Site(tmp_path)
    anna = site.boxes["anna"]
    anna.fails = lambda letter: DeliveryError("550 no") if letter.saying.notice.cause == "a" else None
    site.raise_("a")
    site.raise_("b")
    site.deliver()
    assert anna.got == [("new", "b")]
    site.raise_("c")
    site.deliver()
    assert anna.got == [("new", "b"), ("new", "c")]
    site.wait(timedelta(days=2), 60 * MINUTE)
    assert anna.got == [("new", "b"), ("new", "c")]
    standing = site.standing("anna")
    assert (standing.waiting, standing.given_up) == (0, 1)
    assert len([cause for _, cause in anna.attempts if cause == "a"]) < 40


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.boxes["anna"].hold.clear()
    site.raise_("a")
    began = time.monotonic()
    site.deliverer.begin()
    site.raise_("b")
    while site.boxes["pager"].got != [("new", "a"), ("new", "b")]:
        assert time.monotonic() - began < 20
        assert site.deliverer.begin()
        time.sleep(0.01)
    assert len(site.boxes["anna"].attempts) == 1
    site.boxes["anna"].hold.set()
    site.deliver()
    assert site.boxes["anna"].got == [("new", "a"), ("new", "b")]


def test_what_was_on_the_way_when_the_process_died_goes_out_again_under_its_key(tmp_path: Path) -> None:
    site = Site(tmp_path)
    anna = site.boxes["anna"]
    anna.hold.clear()
    site.raise_("a")
    site.deliverer.begin()
    while not anna.attempts:
        time.sleep(0.01)
    site.restart()  # the thread of before is as good as dead: its record is not written before the next
    anna.hold.set()
    site.deliver()
    assert len({letter.key for letter in anna.letters}) == 1
    assert site.standing("anna").waiting == 0
    site.restart()
    site.wait(timedelta(hours=2), 30 * MINUTE)
    assert len(anna.letters) <= 2


def test_what_no_record_can_be_made_of_is_not_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, anna=EVERYTHING)
    site.raise_("a")

    def full(*_: object, **__: object) -> None:
        raise StagingError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(NoticeRecord, "delivered", full)
        for _ in range(50):
            site.deliver()
        site.wait(timedelta(minutes=10))
    assert site.boxes["anna"].got == [("new", "a")]
    site.wait(timedelta(minutes=2))
    assert (site.standing("anna").waiting, site.boxes["anna"].got) == (0, [("new", "a")])


def test_an_error_of_our_own_is_a_failure_like_others(tmp_path: Path) -> None:
    site = Site(tmp_path, anna=EVERYTHING)

    def broken(_: Letter) -> DeliveryError:
        raise RuntimeError("a bug")

    site.boxes["anna"].fails = broken
    site.raise_("a")
    site.deliver()
    assert site.standing("anna").error == "RuntimeError: a bug"


def test_receivers_that_are_gone_get_nothing_and_new_ones_what_comes(tmp_path: Path) -> None:
    site = Site(tmp_path, anna=EVERYTHING)
    site.boxes["anna"].fails = away
    site.raise_("a")
    site.deliver()
    site.boxes = {"ben": Box()}
    site.receivers = {"ben": frozenset(EVERYTHING)}
    site.restart()
    site.raise_("b")
    site.deliver()
    assert site.boxes["ben"].got == [("new", "b")]
    assert [channel.name for channel in NoticeRecord(tmp_path).channels()] == ["ben"]


def test_one_process_delivers_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, anna=EVERYTHING)
    site.raise_("a")
    monkeypatch.setattr("mailhaul.coordinator.notices.delivery._PATIENCE_SECONDS", 0.1)
    with sending(tmp_path):
        with pytest.raises(LockedError), sending(tmp_path):
            pass
        deliver_now(site.deliverer, tmp_path, 5)
        assert site.boxes["anna"].got == []
    deliver_now(site.deliverer, tmp_path, 5)
    assert site.boxes["anna"].got == [("new", "a")]


def test_what_was_said_long_ago_is_forgotten_but_not_what_waits_or_lasts(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.raise_("lasts")
    site.raise_("over")
    site.over("over")
    site.deliver()
    site.boxes["anna"].fails = away
    site.raise_("waits", "started")
    site.deliver()
    record = NoticeRecord(tmp_path)
    record.forget(NOW + timedelta(days=100))
    assert [standing.notice.cause for standing in record.lasting()] == ["lasts"]
    assert record.past(9) == ()
    assert [saying.notice.cause for saying in record.sayings(9)] == ["waits"]
    assert sum(times for _, _, times in record.said()) == 4
