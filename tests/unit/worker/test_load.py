"""What workers on a host share of its attention: the ledger, budgets over it, and stores that spend them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import BackupError, StoreError
from mailhaul.proto.records import FileStat, Folder, Listed, Ownership
from mailhaul.worker.load import LoadLimits, bounded, bounded_target, shared
from mailhaul.worker.load.budget import BATCH_SECONDS, Budget, Ramp
from mailhaul.worker.load.ledger import BURST_NS, Ledger, host_ledger
from mailhaul.worker.stores.memory import MemoryStore, MemoryTarget
from mailhaul.worker.stores.throttled import ThrottledStore
from mailhaul.worker.stores.throttled_target import ThrottledTarget

from ...maildirs import file, message

SECOND_NS = 1_000_000_000


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND_NS
        self.slept = 0.0

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += round(seconds * SECOND_NS)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store01.load"


def budget(path: Path, clock: Time, bytes_per_second: int = 0, messages_per_second: int = 0) -> Budget:
    limits = LoadLimits(bytes_per_second=bytes_per_second, messages_per_second=messages_per_second)
    return Budget(limits, Ledger(path, clock), clock, clock.sleep)


# The ledger


def test_bookings_follow_each_other_and_allowances_do_not_mix(path: Path, clock: Time) -> None:
    ledger, other = Ledger(path, clock), Ledger(path, clock)
    begin = ledger.book(0, 5)
    assert [other.book(0, 7), ledger.book(0, 1), ledger.book(1, 9), other.book(1, 0)] == [
        begin + 5, begin + 12, begin, begin + 9
    ]  # fmt: skip


def test_time_that_nobody_used_is_lost_but_for_a_little(path: Path, clock: Time) -> None:
    book = Ledger(path, clock)
    book.book(0, SECOND_NS)
    clock.now += 10 * SECOND_NS
    assert book.book(0, 1) == clock.now - BURST_NS
    assert book.book(0, 1) == clock.now - BURST_NS + 1


@given(st.lists(st.tuples(st.integers(0, 2 * BURST_NS), st.integers(1, 2 * BURST_NS)), max_size=30))
def test_bookings_never_overlap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    clock = Time()
    shared = tmp_path_factory.getbasetemp() / "shared.load"
    shared.unlink(missing_ok=True)
    begun = free = Ledger(shared, clock).book(0, 0)
    booked = 0
    for pause, length in steps:
        clock.now += pause
        begins = Ledger(shared, clock).book(0, length)
        assert begins == max(free, clock.now - BURST_NS)
        free, booked = begins + length, booked + length
        assert booked <= free - begun


@pytest.mark.parametrize("rest", [b"", b"short", b"x" * 16 + struct.pack("<2q", 1 << 62, 1 << 62)])
def test_what_another_boot_left_means_nothing(path: Path, clock: Time, rest: bytes) -> None:
    path.write_bytes(rest)
    assert Ledger(path, clock).book(0, 1) == clock.now


def test_the_ledger_goes_on_where_another_process_left_it(path: Path, clock: Time) -> None:
    begin = Ledger(path, clock).book(0, 3 * SECOND_NS)
    assert Ledger(path, clock).book(0, 1) == begin + 3 * SECOND_NS
    assert path.stat().st_mode & 0o777 == 0o600


# Where it lies


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """What stands for /run and /tmp."""
    found = tmp_path / "run", tmp_path / "tmp"
    monkeypatch.setattr(shared, "_PLACES", found)
    found[1].mkdir()
    return found


def ours(place: Path) -> Path:
    return place / f"mailhaul-{os.geteuid()}"


def test_run_is_preferred(places: tuple[Path, Path]) -> None:
    host_ledger("store01")
    assert [one.name for one in ours(places[1]).iterdir()] == ["store01.load"]
    places[0].mkdir()
    host_ledger("")
    host_ledger("..%/x")
    assert sorted(one.name for one in ours(places[0]).iterdir()) == ["..%25%2Fx.load", "localhost.load"]
    assert ours(places[0]).stat().st_mode & 0o777 == 0o700


def test_the_same_host_is_the_same_ledger_and_another_is_not(places: tuple[Path, Path]) -> None:
    begin = host_ledger("store01").book(0, 1000 * SECOND_NS)
    assert host_ledger("store01").book(0, 1) == begin + 1000 * SECOND_NS
    assert host_ledger("store02").book(0, 1) < begin + 1000 * SECOND_NS


def test_a_directory_that_is_open_to_others_is_refused(places: tuple[Path, Path]) -> None:
    ours(places[1]).mkdir()
    ours(places[1]).chmod(0o777)
    with pytest.raises(BackupError, match=r"mailhaul-\d+ is somebody else's, or open to others.*remove it"):
        host_ledger("store01")


def test_links_are_refused(places: tuple[Path, Path], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    ours(places[1]).symlink_to(elsewhere)
    with pytest.raises(BackupError, match="somebody else's"):
        host_ledger("store01")
    ours(places[1]).unlink()
    host_ledger("store01")
    victim = tmp_path / "victim"
    victim.write_text("kept")
    place = ours(places[1]) / "store01.load"
    place.unlink()
    place.symlink_to(victim)
    with pytest.raises(BackupError, match="can't be bounded"):
        host_ledger("store01")
    assert victim.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_belongs_to_others_is_refused(places: tuple[Path, Path]) -> None:
    host_ledger("store01")
    for place in (ours(places[1]) / "store01.load", ours(places[1])):
        os.chown(place, 12345, -1)
        with pytest.raises(BackupError, match="somebody else's"):
            host_ledger("store01")
        os.chown(place, 0, -1)
    host_ledger("store01")


def test_a_file_in_the_way_is_told(places: tuple[Path, Path]) -> None:
    ours(places[1]).write_text("")
    with pytest.raises(BackupError, match="somebody else's"):
        host_ledger("store01")
    ours(places[1]).unlink()
    places[1].rmdir()
    with pytest.raises(BackupError, match="can't be bounded: No such file"):
        host_ledger("store01")


# Budgets


def test_bytes_and_messages_take_the_time_they_should(path: Path, clock: Time) -> None:
    one = budget(path, clock, bytes_per_second=1_000_000, messages_per_second=50)
    for _ in range(200):
        one.spend_message()
        one.spend_bytes(10_000)
    assert clock.slept == pytest.approx(4, abs=2 * BATCH_SECONDS)
    for _ in range(100):
        one.spend_message()
        one.spend_bytes(100_000)
    assert clock.slept == pytest.approx(14, abs=0.2)


def test_no_more_is_given_out_than_the_rate_and_a_batch(path: Path, clock: Time) -> None:
    begun = clock.now
    workers = [budget(path, clock, bytes_per_second=1_000_000) for _ in range(3)]
    spent = 0
    for turn in range(300):
        workers[turn % 3].spend_bytes(turn * 100)
        spent += turn * 100
        assert spent <= (clock.now - begun) / 1000 + 3 * workers[0].piece_bytes
    assert spent == pytest.approx((clock.now - begun) / 1000, rel=0.05)


@pytest.mark.parametrize("count", [1, 7, 12])
def test_a_limit_below_one_message_makes_progress(path: Path, clock: Time, count: int) -> None:
    one = budget(path, clock, bytes_per_second=3)
    one.spend_bytes(count)
    assert clock.slept == pytest.approx((count - 1) / 3, abs=0.01)


def test_what_is_not_limited_asks_nobody(clock: Time) -> None:
    class Nobody:
        def book(self, allowance: int, length_ns: int) -> int:
            raise AssertionError("asked")

    free = Budget(LoadLimits(nice=5), Nobody(), clock, clock.sleep)
    free.spend_message()
    free.spend_bytes(1 << 40)
    assert (free.piece_bytes, clock.slept) == (0, 0.0)


def test_bookings_are_few(path: Path, clock: Time) -> None:
    booked = []

    class Counted(Ledger):
        def book(self, allowance: int, length_ns: int) -> int:
            booked.append(length_ns)
            return super().book(allowance, length_ns)

    one = Budget(LoadLimits(messages_per_second=10_000), Counted(path, clock), clock, clock.sleep)
    booked.clear()
    for _ in range(10_000):
        one.spend_message()
    assert len(booked) == 1 / BATCH_SECONDS
    assert sum(booked) == SECOND_NS


# Ramps


def test_a_ramp_begins_with_a_tenth_and_ends_with_all(path: Path, clock: Time) -> None:
    ramp = Ramp(clock.now, 10)
    shares = [ramp.share(clock.now + second * SECOND_NS) for second in (-1, 0, 5, 10, 99)]
    assert shares == pytest.approx([0.1, 0.1, 0.55, 1, 1])
    limits = LoadLimits(messages_per_second=100)
    one = Budget(limits, Ledger(path, clock), clock, clock.sleep, ramp)
    for _ in range(550):  # in ten seconds as many as in five and a half without a ramp
        one.spend_message()
    assert clock.slept == pytest.approx(10, abs=0.5)
    for _ in range(100):
        one.spend_message()
    assert clock.slept == pytest.approx(11, abs=0.6)


def test_who_joins_later_is_as_far_on_the_ramp(path: Path, clock: Time) -> None:
    late = Ramp(clock.now - 5 * SECOND_NS, 10)
    one = Budget(LoadLimits(bytes_per_second=1000), Ledger(path, clock), clock, clock.sleep, late)
    one.spend_bytes(775)
    assert clock.slept == pytest.approx(1.29, abs=0.2)


# Stores


class Spending:
    """Notes what is spent, beside what is done meanwhile."""

    def __init__(self, piece_bytes: int) -> None:
        self.piece_bytes = piece_bytes
        self.small_bytes = 0
        self.notes: list[object] = []

    def spend_message(self) -> None:
        self.notes.append("message")

    def spend_bytes(self, count: int) -> None:
        self.notes.append(count)

    def rest(self) -> None:
        pass


@pytest.fixture
def store() -> MemoryStore:
    mail: dict[str, object] = {}
    with MemoryTarget(mail).open_mailbox("jane") as mailbox:  # type: ignore[arg-type]
        folder = mailbox.open_folder(Folder(name="INBOX", path=b""))
        for base, size in ((b"1", 100), (b"2", 10_000)):
            content = bytes(size)
            folder.add(message(base, content), [content])
        folder.finish()
        mailbox.add_file(file(b"notes", b"abc"), [b"abc"])
        mailbox.commit()
    return MemoryStore(mail)  # type: ignore[arg-type]


def read_all(store: ThrottledStore) -> Iterator[int]:
    """Read as backups do; the sizes."""
    with store.open_mailbox("jane") as mailbox:
        for folder in mailbox.folders():
            for listed in folder.messages():
                opened = folder.open_message(listed)
                yield len(opened.read(opened.stat.size + 1))
                opened.close()
        for other in mailbox.files():
            yield len(mailbox.open_file(other).read(1 << 20))


def test_each_message_and_file_costs_one_and_its_bytes(store: MemoryStore) -> None:
    spending = Spending(4096)
    assert list(read_all(ThrottledStore(store, spending))) == [100, 10_000, 3]
    assert spending.notes == [
        "message", 100, "message", 4096, 4096, 1808, "message", 3
    ]  # fmt: skip


def test_without_a_limit_of_bytes_messages_are_not_wrapped(store: MemoryStore) -> None:
    spending = Spending(0)
    assert list(read_all(ThrottledStore(store, spending))) == [100, 10_000, 3]
    assert spending.notes == ["message"] * 3


def test_errors_pass_through(store: MemoryStore) -> None:
    with pytest.raises(StoreError), ThrottledStore(store, Spending(1)).open_mailbox("nobody"):
        pass


def test_a_store_without_limits_stays_as_it_is(store: MemoryStore, places: tuple[Path, Path]) -> None:
    assert bounded(store, LoadLimits(nice=3, ionice="idle"), "store01") is store
    assert list(places[1].iterdir()) == []
    assert isinstance(bounded(store, LoadLimits(messages_per_second=1), "store01"), ThrottledStore)
    assert ours(places[1]).is_dir()


def test_records_do_not_change_on_the_way(store: MemoryStore) -> None:
    with ThrottledStore(store, Spending(1)).open_mailbox("jane") as mailbox:
        folder = next(iter(mailbox.folders()))
        listed, _ = folder.messages()
        opened = folder.open_message(listed)
        assert (len(folder), mailbox.place, mailbox.skipped()) == (2, b"", ())
        assert isinstance(opened.stat, FileStat)
        assert isinstance(opened.stat.owner, Ownership)
        assert opened.listed is None or isinstance(opened.listed, Listed)


# Targets


def test_what_is_written_costs_messages_and_bytes() -> None:
    spending = Spending(4096)
    mail: dict[str, object] = {}
    target = ThrottledTarget(MemoryTarget(mail), spending)  # type: ignore[arg-type]
    with target.open_mailbox("jane") as mailbox:
        folder = mailbox.open_folder(Folder(name="INBOX", path=b""))
        for again in (True, False):
            assert folder.add(message(b"1", bytes(9000)), [bytes(8000), bytes(1000)]) is again
        folder.finish()
        mailbox.add_file(file(b"notes", b"abc"), [b"abc"])
        assert spending.notes == ["message", 4096, 3904, 1000, "message", "message", 3]
        mailbox.commit()
    assert MemoryStore(mail).measure("jane").messages == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [LoadLimits(), LoadLimits(nice=3, ramp_seconds=9)])
def test_without_rates_a_target_is_itself(limits: LoadLimits) -> None:
    target = MemoryTarget({})
    assert bounded_target(target, limits, "nowhere", 0.0) is target
