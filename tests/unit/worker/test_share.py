"""What a host's workers may have while users wait: the file that says so, and the rests that a worker
takes."""

from __future__ import annotations

import os
import struct
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import BackupError
from mailhaul.proto.records import Folder, MailboxSize
from mailhaul.worker import load
from mailhaul.worker.load import LoadLimits, bounded, resting, shared
from mailhaul.worker.load.breath import MOST_REST_NS, WORK_NS, Breath
from mailhaul.worker.load.budget import Budget
from mailhaul.worker.load.ledger import Ledger
from mailhaul.worker.load.share import (
    LEAST_SHARE,
    LOOK_NS,
    VALID_SECONDS,
    Share,
    drop_share,
    write_share,
)
from mailhaul.worker.stores.memory import MemoryStore, MemoryTarget
from mailhaul.worker.stores.throttled import ThrottledStore

from ...maildirs import message

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000


class Time:
    """A clock that sleeping and working move."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND_NS
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * SECOND_NS)


class Told:
    """A share that the test sets."""

    def __init__(self, share: float) -> None:
        self.share = share

    def at(self, _now_ns: int) -> float:
        return self.share


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the shared files of this test's hosts lie."""
    monkeypatch.setattr(shared, "_PLACES", (tmp_path,))
    return tmp_path / f"mailhaul-{os.geteuid()}"


# The file


def test_a_share_is_what_was_written_and_no_file_is_all(place: Path, clock: Time) -> None:
    seen = Share("mail01", "g")
    assert seen.at(clock.now) == 1.0
    write_share("mail01", "g", 0.25, clock=clock)
    clock.now += LOOK_NS
    assert seen.at(clock.now) == 0.25
    assert Share("mail02", "g").at(clock.now) == Share("mail01", "other").at(clock.now) == 1.0
    assert (place / "mail01.g.share").stat().st_mode & 0o777 == 0o600
    drop_share("mail01", "g")
    drop_share("mail01", "g")
    clock.now += LOOK_NS
    assert seen.at(clock.now) == 1.0
    assert list(place.iterdir()) == []


def test_a_share_that_nobody_renews_is_void(clock: Time) -> None:
    write_share("", "g", 0.1, clock=clock)
    seen = Share("", "g")
    clock.now += round((VALID_SECONDS - 1) * SECOND_NS)
    assert seen.at(clock.now) == 0.1
    clock.now += SECOND_NS + LOOK_NS
    assert seen.at(clock.now) == 1.0


@pytest.mark.parametrize(
    "record",
    [b"", b"short", struct.pack("<16sqd", b"another boot", 1 << 62, 0.1), b"\xff" * 32],
    ids=["empty", "short", "boot", "noise"],
)
def test_what_is_no_share_of_this_boot_means_nothing(place: Path, clock: Time, record: bytes) -> None:
    write_share("", "g", 0.1, clock=clock)
    (place / "localhost.g.share").write_bytes(record)
    assert Share("", "g").at(clock.now) == 1.0


@pytest.mark.parametrize(("written", "seen"), [(0.0, LEAST_SHARE), (-1.0, LEAST_SHARE), (7.0, 1.0)])
def test_a_share_lets_everybody_go_on_and_nobody_go_faster(clock: Time, written: float, seen: float) -> None:
    write_share("", "g", written, clock=clock)
    assert Share("", "g").at(clock.now) == seen


def test_a_file_that_is_open_to_others_or_a_link_is_refused(place: Path, clock: Time) -> None:
    write_share("", "g", 0.1, clock=clock)
    file = place / "localhost.g.share"
    file.chmod(0o666)
    with pytest.raises(BackupError, match="open to others"):
        Share("", "g").at(clock.now)
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(BackupError, match="can't be read"):
        Share("", "g").at(clock.now)


# The rests


def worked(breath: Breath, clock: Time, steps: int, step_ns: int = MILLISECOND_NS) -> int:
    """How long so many steps took in all."""
    began = clock.now
    for _ in range(steps):
        clock.now += step_ns
        breath.take()
    return clock.now - began


@given(st.floats(LEAST_SHARE, 1.0), st.integers(10_000, WORK_NS))  # longer ones meet MOST_REST_NS
def test_a_worker_works_for_its_share_of_the_time(share: float, step_ns: int) -> None:
    clock = Time()
    breath = Breath(Told(share), clock, clock.sleep)
    steps = max(1, 4 * SECOND_NS // step_ns)
    took = worked(breath, clock, steps, step_ns)
    assert steps * step_ns / took == pytest.approx(share, rel=0.02)


def test_with_all_of_it_nobody_ever_sleeps(clock: Time) -> None:
    breath = Breath(Told(1.0), clock, clock.sleep)
    assert worked(breath, clock, 1000) == 1000 * MILLISECOND_NS
    assert clock.slept == []


def test_a_worker_notices_within_a_second_that_it_may_have_more(clock: Time) -> None:
    told = Told(LEAST_SHARE)
    breath = Breath(told, clock, clock.sleep)

    def sleep(seconds: float) -> None:
        told.share = 1.0
        clock.sleep(seconds)

    breath = Breath(told, clock, sleep)
    clock.now += WORK_NS
    began = clock.now
    breath.take()
    assert clock.now - began < SECOND_NS // 2


def test_a_long_work_is_not_followed_by_a_rest_without_end(clock: Time) -> None:
    breath = Breath(Told(LEAST_SHARE), clock, clock.sleep)
    clock.now += 60 * SECOND_NS
    began = clock.now
    breath.take()
    assert clock.now - began == MOST_REST_NS


def test_what_was_overslept_counts_as_rest(clock: Time) -> None:
    def sleep(seconds: float) -> None:
        clock.sleep(seconds + 0.002)

    breath = Breath(Told(0.5), clock, sleep)
    took = worked(breath, clock, 2000)
    assert 2000 * MILLISECOND_NS / took == pytest.approx(0.5, rel=0.02)


def test_the_share_holds_for_configured_rates_too_and_their_waits_are_no_work(
    tmp_path: Path, clock: Time
) -> None:
    limits = LoadLimits(messages_per_second=100, governor="g")
    book = Ledger(tmp_path / "book", clock)
    budget = Budget(limits, book, clock, clock.sleep, shares=Told(0.5))
    began = clock.now
    for _ in range(500):
        clock.now += MILLISECOND_NS
        budget.spend_message()
    assert 500 * SECOND_NS / (clock.now - began) == pytest.approx(50, rel=0.05)


def test_a_governed_store_rests_for_messages_for_bytes_and_for_looking(clock: Time) -> None:
    class Slow(MemoryStore):
        def measure(self, user: str) -> MailboxSize:
            clock.now += WORK_NS
            return super().measure(user)

    mail: dict[str, object] = {}
    with MemoryTarget(mail).open_mailbox("jane") as target:  # type: ignore[arg-type]
        inbox = target.open_folder(Folder(name="INBOX", path=b""))
        for base, content in ((b"1", b"x" * (3 << 20)), (b"2", b"small")):
            inbox.add(message(base, content), [content])
        inbox.finish()
        target.commit()
    store = Slow(mail)  # type: ignore[arg-type]
    budget = Budget(LoadLimits(governor="g"), None, clock, clock.sleep, shares=Told(0.25))
    governed = ThrottledStore(store, budget)
    for _ in range(3):
        governed.measure("jane")
    assert sum(clock.slept) == pytest.approx(2 * 3 * WORK_NS / SECOND_NS)
    pieces: list[bytes] = []
    with governed.open_mailbox("jane") as mailbox:
        (folder,) = mailbox.folders()
        large, small = folder.messages()
        opened = folder.open_message(large)
        pieces.append(opened.read(4 << 20))
        assert type(opened).__name__ == "_Opened"
        opened = folder.open_message(small)
        assert type(opened).__module__.endswith("memory")
        pieces.append(opened.read(10))
    assert pieces == [b"x" * (3 << 20), b"small"]


def test_other_work_rests_too(clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "Budget", partial(Budget, clock=clock, sleep=clock.sleep))
    write_share("", "g", 0.25, clock=clock)
    rest = resting(LoadLimits(messages_per_second=1, governor="g"), "")
    for _ in range(3):
        clock.now += WORK_NS
        rest()
    assert sum(clock.slept) == pytest.approx(3 * 3 * WORK_NS / SECOND_NS)
    clock.slept.clear()
    free = resting(LoadLimits(messages_per_second=1), "")
    clock.now += WORK_NS
    free()
    assert clock.slept == []


def test_nothing_is_wrapped_where_nothing_is_bounded() -> None:
    store = MemoryStore({})
    assert bounded(store, LoadLimits(), "") is store
    assert isinstance(bounded(store, LoadLimits(governor="g"), ""), ThrottledStore)
