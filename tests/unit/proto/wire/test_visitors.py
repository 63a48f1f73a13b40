"""Visitors: lists of what a monitor tells, and who has been turned away in the end."""

from __future__ import annotations

from mailhaul.proto.wire.visitors import Visitors

HERE, THERE = "192.0.2.1", "192.0.2.2"


def visitors() -> Visitors:
    times = iter(range(1_000))
    return Visitors(lambda: float(next(times)))


def told(some: Visitors) -> list[tuple[str, str]]:
    return [(stranger.address, stranger.reason) for stranger in some.last()]


def test_a_client_comes_and_goes() -> None:
    some = visitors()
    some.accepted(7, HERE)
    assert some.connections == 0
    some.admitted(HERE)
    assert some.connections == 1
    some.closed(7)
    assert (some.connections, some.refused, told(some)) == (0, 0, [])


def test_a_key_that_is_refused_counts_once() -> None:
    some = visitors()
    some.accepted(7, HERE)
    some.turned_away(HERE, "the key is not allowed")
    some.closed(7)
    assert (some.refused, told(some)) == (1, [(HERE, "the key is not allowed")])


def test_a_handshake_that_fails() -> None:
    some = visitors()
    some.accepted(7, HERE)
    some.accepted(8, THERE)
    some.failed("broken off")
    some.closed(8)
    some.closed(7)
    assert told(some) == [(THERE, "broken off"), (HERE, "left without a handshake")]


def test_a_client_is_not_taken_for_a_stranger_of_another_address() -> None:
    some = visitors()
    for descriptor, address in ((7, HERE), (8, THERE), (9, HERE)):
        some.accepted(descriptor, address)
    some.admitted(THERE)
    some.admitted(HERE)
    assert some.connections == 2
    for descriptor in (7, 8, 9):
        some.closed(descriptor)
    assert (some.connections, some.refused, told(some)) == (0, 1, [(HERE, "left without a handshake")])


def test_a_client_whose_handshake_breaks_off_after_its_key_was_shown() -> None:
    some = visitors()
    some.accepted(7, HERE)
    some.admitted(HERE)
    some.failed("broken off")
    some.closed(7)
    some.accepted(8, HERE)
    some.closed(8)
    assert told(some) == [(HERE, "left without a handshake")]


def test_a_descriptor_is_used_again() -> None:
    some = visitors()
    some.accepted(7, HERE)
    some.admitted(HERE)
    some.accepted(7, THERE)
    assert some.connections == 0
    some.closed(7)
    assert told(some) == [(THERE, "left without a handshake")]


def test_only_the_last_ones_are_remembered_and_all_are_counted() -> None:
    some = visitors()
    for number in range(100):
        some.accepted(number, HERE)
        some.closed(number)
    assert some.refused == 100
    assert [stranger.time for stranger in some.last()] == [float(number) for number in range(80, 100)]
