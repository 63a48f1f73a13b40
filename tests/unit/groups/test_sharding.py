"""How big groups are split."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import assume, given
from hypothesis import strategies as st

from mailhaul.groups.sharding import shard, weight
from mailhaul.proto.records import MailboxSize

MIB = 2**20
HUGE = 2**50


def sizes(**mib: int) -> list[MailboxSize]:
    return [MailboxSize(user=user, messages=0, size_bytes=size * MIB) for user, size in mib.items()]


def numbered(*mib: int) -> list[MailboxSize]:
    return sizes(**{f"u{number:03}": size for number, size in enumerate(mib)})


def loads(shards: list[tuple[str, ...]], mailboxes: list[MailboxSize]) -> list[int]:
    size_of = {mailbox.user: max(mailbox.size_bytes, 0) for mailbox in mailboxes}
    return [sum(size_of[user] for user in users) for users in shards]


def places(shards: list[tuple[str, ...]]) -> dict[str, int]:
    return {user: place for place, users in enumerate(shards) for user in users}


def moved(shards: list[tuple[str, ...]], previous: Mapping[str, int]) -> set[str]:
    now = places(shards)
    return {user for user in now if user in previous and now[user] != previous[user]}


MAILBOXES = st.dictionaries(
    st.text("abc", min_size=1, max_size=4), st.integers(-1, 200 * MIB) | st.integers(0, 3), max_size=40
).map(lambda known: [MailboxSize(user=user, messages=0, size_bytes=size) for user, size in known.items()])
WORKERS = st.integers(1, 8)
LARGEST = st.integers(10 * MIB, 500 * MIB)


class TestCount:
    def test_nothing_needs_no_shard(self) -> None:
        assert shard([], 4, HUGE) == []

    def test_a_small_group_stays_whole(self) -> None:
        assert shard(numbered(*[1] * 255), 4, HUGE) == [tuple(f"u{number:03}" for number in range(255))]

    def test_one_shard_for_each_worker_from_64_mib_for_each_on(self) -> None:
        assert len(shard(numbered(*[1] * 256), 4, HUGE)) == 4

    def test_no_shard_is_larger_than_wanted_on_the_mean(self) -> None:
        assert len(shard(numbered(*[10] * 10), 1, 30 * MIB)) == 4

    def test_every_worker_has_the_same_number(self) -> None:
        assert len(shard(numbered(*[100] * 40), 4, 900 * MIB)) == 8

    def test_groups_of_unknown_size_are_split_too(self) -> None:
        mailboxes = [MailboxSize(user=f"u{n}", messages=-1, size_bytes=-1) for n in range(8)]
        assert [len(users) for users in shard(mailboxes, 4, HUGE)] == [2, 2, 2, 2]

    def test_never_more_shards_than_mailboxes(self) -> None:
        assert shard(sizes(a=500, b=500), 8, HUGE) == [("a",), ("b",)]

    def test_mailboxes_without_bytes_stay_together(self) -> None:
        assert shard(sizes(a=0, b=0), 8, HUGE) == [("a", "b")]


class TestBalance:
    def test_largest_first_to_the_emptiest(self) -> None:
        assert shard(sizes(a=70, b=60, c=50, d=40), 2, HUGE) == [("a", "d"), ("b", "c")]

    def test_messages_weigh_as_well_as_bytes(self) -> None:
        mailboxes = [*sizes(a=600, b=10, c=10), MailboxSize(user="many", messages=9000, size_bytes=20 * MIB)]
        assert weight(20 * MIB, 9000) > 580 * MIB
        assert shard(mailboxes, 2, HUGE) == [("a",), ("b", "c", "many")]
        assert weight(5, -1) == 5

    def test_unknown_sizes_count_as_the_mean(self) -> None:
        mailboxes = [*sizes(a=100, b=100), MailboxSize(user="c", messages=-1, size_bytes=-1)]
        assert shard(mailboxes, 3, HUGE) == [("a",), ("b",), ("c",)]

    def test_the_order_of_the_input_does_not_count(self) -> None:
        mailboxes = numbered(*range(1, 60))
        assert shard(mailboxes, 4, HUGE) == shard(mailboxes[::-1], 4, HUGE)

    @given(MAILBOXES, WORKERS, LARGEST)
    def test_everybody_is_in_one_shard_and_none_is_empty(
        self, mailboxes: list[MailboxSize], workers: int, largest: int
    ) -> None:
        shards = shard(mailboxes, workers, largest)
        assert sorted(user for users in shards for user in users) == sorted(box.user for box in mailboxes)
        assert all(shards)
        assert all(list(users) == sorted(users) for users in shards)


class TestHistory:
    def test_nobody_moves_while_balance_allows(self) -> None:
        previous = {"a": 0, "b": 0, "c": 1, "d": 1}
        assert shard(sizes(a=60, b=60, c=50, d=30), 2, HUGE, previous) == [("a", "b"), ("c", "d")]

    def test_new_mailboxes_go_to_the_emptiest(self) -> None:
        assert shard(sizes(a=60, b=50, c=20), 2, HUGE, {"a": 0, "b": 1}) == [("a",), ("b", "c")]

    def test_one_mailbox_moves_where_one_is_enough(self) -> None:
        previous = {"a": 0, "b": 0, "c": 0, "d": 1}
        shards = shard(sizes(a=70, b=30, c=10, d=50), 2, HUGE, previous)
        assert moved(shards, previous) == {"b"}

    def test_a_further_shard_takes_only_what_balance_asks_for(self) -> None:
        previous = {f"u{number:03}": number % 3 for number in range(90)}
        mailboxes = numbered(*[10] * 90)
        shards = shard(mailboxes, 1, 225 * MIB, previous)
        assert loads(shards, mailboxes) == [270 * MIB, 270 * MIB, 270 * MIB, 90 * MIB]
        assert len(moved(shards, previous)) == 9

    def test_mailboxes_of_a_shard_that_is_gone_are_spread(self) -> None:
        previous = {"a": 0, "b": 1, "c": 2, "d": 2}
        shards = shard(sizes(a=64, b=64, c=10, d=10), 2, HUGE, previous)
        assert shards == [("a", "c"), ("b", "d")]

    def test_a_giant_keeps_its_shard_and_the_others_leave_it(self) -> None:
        previous = {"giant": 0, "a": 0, "b": 0, "c": 0, "d": 1, "e": 1}
        shards = shard(sizes(giant=500, a=4, b=4, c=4, d=40, e=40), 2, HUGE, previous)
        assert shards == [("giant",), ("a", "b", "c", "d", "e")]

    def test_where_moving_singly_gets_stuck_all_is_split_afresh(self) -> None:
        previous = {"a": 0, "b": 0, "c": 1}
        assert shard(sizes(a=50, b=50, c=40), 2, HUGE, previous) == [("a", "c"), ("b",)]

    def test_nobody_moves_where_moving_does_not_help(self) -> None:
        previous = {"a": 0, "b": 0, "z": 0, "c": 1}
        assert shard(sizes(a=50, b=50, z=0, c=50), 2, HUGE, previous) == [("a", "b", "z"), ("c",)]

    def test_a_shard_whose_users_are_gone_gets_another(self) -> None:
        previous = {f"u{number:03}": number % 9 for number in range(18)}
        shards = shard(numbered(*[50] * 18), 1, 90 * MIB, previous)
        assert [len(users) for users in shards] == [1, 2, 2, 2, 2, 2, 2, 2, 2, 1]

    @given(MAILBOXES, WORKERS, LARGEST, st.randoms(use_true_random=False))
    def test_history_never_costs_more_balance_than_it_may(self, mailboxes, workers, largest, random) -> None:  # type: ignore[no-untyped-def]
        assume(mailboxes)
        previous = {box.user: random.randrange(10) for box in mailboxes if random.random() < 0.9}
        mean = sum(known := [box.size_bytes for box in mailboxes if box.size_bytes >= 0]) // max(
            len(known), 1
        )
        counted = [
            box if box.size_bytes >= 0 else MailboxSize(user=box.user, messages=0, size_bytes=mean)
            for box in mailboxes
        ]
        shards = shard(mailboxes, workers, largest, previous)
        afresh = shard(mailboxes, workers, largest)
        assert all(shards)
        assert len(shards) == len(afresh)
        assert sorted(places(shards)) == sorted(places(afresh))
        total, largest_box = sum(loads(shards, counted)), max(box.size_bytes for box in counted)
        allowed = max(total * 1.2 / len(shards), largest_box, max(loads(afresh, counted)))
        assert max(loads(shards, counted)) <= allowed

    @given(MAILBOXES, WORKERS, LARGEST)
    def test_the_same_mailboxes_again_stay_where_they_are(
        self, mailboxes: list[MailboxSize], workers: int, largest: int
    ) -> None:
        shards = shard(mailboxes, workers, largest)
        counts = loads(shards, mailboxes)
        balanced = sum(counts) * 1.2 >= max(counts, default=0) * len(counts)
        assume(balanced and all(box.size_bytes >= 0 for box in mailboxes))
        assert shard(mailboxes, workers, largest, places(shards)) == shards


def test_a_large_group_is_split_quickly() -> None:
    mailboxes = [MailboxSize(user=f"u{n}", messages=0, size_bytes=n * 1009 % 9973) for n in range(100_000)]
    previous = {f"u{n}": n % 2 for n in range(100_000)}
    shards = shard(mailboxes, 1, 10 * MIB, previous)
    assert max(loads(shards, mailboxes)) * len(shards) <= 1.2 * sum(loads(shards, mailboxes))
