"""The clients of the receiver."""

from __future__ import annotations

from mailhaul.proto.wire.envelopes import VERSION, Hello
from mailhaul.worker.staging.clients import Clients


def test_only_who_has_greeted_is_known() -> None:
    clients = Clients(30.0)
    assert not clients.heard(b"a", 0.0)
    assert clients.greeted(b"a", "store01", Hello(VERSION, "store01"), 0.0) == ""
    assert clients.heard(b"a", 1.0)


def test_a_name_that_is_not_that_of_the_key() -> None:
    clients = Clients(30.0)
    assert "store01" in clients.greeted(b"a", "store01", Hello(VERSION, "store02"), 0.0)
    assert "version" in clients.greeted(b"a", "store01", Hello(VERSION + 1, "store01"), 0.0)
    assert not clients.heard(b"a", 1.0)


def test_who_is_silent_for_a_lease_is_gone() -> None:
    clients = Clients(30.0)
    for client in (b"a", b"b"):
        clients.greeted(client, "store01", Hello(VERSION, "store01"), 0.0)
    clients.heard(b"b", 20.0)
    assert clients.forget_silent(30.0) == []
    assert clients.forget_silent(31.0) == [b"a"]
    assert not clients.heard(b"a", 32.0)
    assert clients.heard(b"b", 49.0)
    assert clients.forget_silent(79.0) == []


def test_who_watches() -> None:
    clients = Clients(30.0)
    for client in (b"a", b"b"):
        clients.greeted(client, "store01", Hello(VERSION, "store01"), 0.0)
    clients.watch(b"b")
    clients.greeted(b"b", "store01", Hello(VERSION, "store01"), 5.0)
    assert list(clients.watchers()) == [b"b"]
    clients.forget_silent(50.0)
    assert list(clients.watchers()) == []
