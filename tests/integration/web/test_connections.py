"""Connections of strangers: those that say nothing, and too many; and a certificate that is renewed."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mailhaul.coordinator.web import listening, server
from mailhaul.coordinator.web.app import make_app
from mailhaul.coordinator.web.doors import Door, opened, ways
from mailhaul.coordinator.web.settings import PageConfig
from mailhaul.tests.integration.servers.certificates import Authority, Certificate
from mailhaul.tests.integration.serving import wait_until
from mailhaul.tests.pages import make_site

PATIENCE_SECONDS = 30.0


@contextmanager
def served(place: Path, page: PageConfig, reported: list[Exception]) -> Iterator[Sequence[Door]]:
    """The page in a thread, with a port for browsers of this host."""
    stop = threading.Event()
    with opened(page, place, loopback=True) as doors:
        app = make_app(make_site(place, ways=ways(page, doors[-1])))
        thread = threading.Thread(target=server.serve, args=(app, page, doors, stop, reported.append))
        thread.start()
        try:
            yield doors
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def certificate(tmp_path: Path, require_tool: Callable[[str], Path]) -> Certificate:
    return Authority(require_tool, tmp_path).certify("IP:127.0.0.1")


def with_tls(certificate: Certificate) -> PageConfig:
    return PageConfig(listen="127.0.0.1:0", tls_cert=certificate.cert, tls_key=certificate.key)


def connected(door: Door) -> socket.socket:
    return socket.create_connection(door.socket.getsockname()[:2], timeout=PATIENCE_SECONDS)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, which is waited for."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def say_slowly(connection: socket.socket) -> None:
    """A byte of the head of a request now and then."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        connection.sendall(b"G")
        time.sleep(0.02)


def test_who_says_nothing_or_says_it_slowly_is_not_waited_for(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_HANDSHAKE_SECONDS", "_HEAD_SECONDS", "_BODY_SECONDS"):
        monkeypatch.setattr(server, name, 0.5)
    with served(tmp_path, with_tls(certificate), []) as (_, encrypted, plain), ExitStack() as stack:
        for door in (encrypted, plain):
            assert is_closed(stack.enter_context(connected(door)))  # no handshake, or no head
        slow = stack.enter_context(connected(plain))
        with pytest.raises(ConnectionError):
            say_slowly(slow)
        begun = stack.enter_context(connected(plain))
        begun.sendall(b"POST /log-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nname")
        assert is_closed(begun)
        # A second request on the same connection has no more time than the first.
        kept = stack.enter_context(connected(plain))
        kept.sendall(b"HEAD /log-in HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in kept.recv(65_536)
        kept.sendall(b"HEAD /log-in HTTP/1.1\r\n")
        assert is_closed(kept)


def test_one_address_has_so_many_connections_and_leaves_room_for_others(
    tmp_path: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MOST_OF_EACH", 3)
    monkeypatch.setattr(listening, "MOST", 5)
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with served(tmp_path, with_tls(certificate), []) as (_, encrypted, _plain), ExitStack() as stack:
        idle = [stack.enter_context(connected(encrypted)) for _ in range(3)]
        assert is_closed(stack.enter_context(connected(encrypted)))
        other = stack.enter_context(socket.socket())
        other.settimeout(PATIENCE_SECONDS)
        other.bind(("127.0.0.2", 0))
        other.connect(encrypted.socket.getsockname())
        with trusting.wrap_socket(other) as tls:
            tls.sendall(b"HEAD /log-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 " in tls.recv(65_536)
        idle[0].close()

        def is_taken() -> bool:
            try:
                trusting.wrap_socket(connected(encrypted)).close()
            except OSError:
                return False
            return True

        wait_until(is_taken, PATIENCE_SECONDS)


def test_addresses_of_a_network_of_ipv6_are_one_and_a_proxy_has_all() -> None:
    with listening.BoundedSocket(socket.AF_INET, socket.SOCK_STREAM, 0, ("192.0.2.1",)) as bounded:
        bounded.most_of_each, bounded.most = 1, 3
        first, second, third = (socket.socket() for _ in range(3))
        with first, second, third:
            bounded._taken[first] = listening._network("2001:db8:0:1::1%eth0")
            assert not bounded._has_room_for(listening._network("2001:db8:0:1::2"), "2001:db8:0:1::2")
            assert bounded._has_room_for(listening._network("2001:db8:0:2::1"), "2001:db8:0:2::1")
            bounded._taken[second] = "192.0.2.1"
            assert bounded._has_room_for("192.0.2.1", "192.0.2.1")
            bounded._taken[third] = "192.0.2.1"
            assert not bounded._has_room_for("192.0.2.1", "192.0.2.1")
        assert bounded._has_room_for("2001:db8:0:1::/64", "2001:db8:0:1::2")  # all are closed


def test_a_renewed_certificate_is_used_without_a_restart(
    tmp_path: Path, require_tool: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CERTIFICATE_SECONDS", 0.05)
    monkeypatch.setattr(server, "_CERTIFICATE_PATIENCE", 3)
    authority = Authority(require_tool, tmp_path)
    old, new = authority.certify("IP:127.0.0.1"), authority.certify("IP:127.0.0.1", days=3)
    used = Certificate(tmp_path / "page.pem", tmp_path / "page.key")
    shutil.copy(old.cert, used.cert)
    shutil.copy(old.key, used.key)
    trusted = ssl.create_default_context(cafile=str(authority.file))
    reported: list[Exception] = []
    with served(tmp_path, with_tls(used), reported) as (_, encrypted, _plain), ExitStack() as stack:

        def shown(name: str = "127.0.0.1") -> bytes | None:
            with trusted.wrap_socket(connected(encrypted), server_hostname=name) as tls:
                return tls.getpeercert(binary_form=True)

        def der(certificate: Certificate) -> bytes:
            return ssl.PEM_cert_to_DER_cert(certificate.cert.read_text())

        lasting = stack.enter_context(trusted.wrap_socket(connected(encrypted), server_hostname="127.0.0.1"))
        assert shown() == der(old)
        # One file after the other, as whoever renews them does: in between the old pair is used.
        shutil.copy(new.key, used.key)
        wait_until(lambda: reported, PATIENCE_SECONDS)
        assert "expected a certificate with its key" in str(reported[0])
        assert shown() == der(old)
        shutil.copy(new.cert, used.cert)
        wait_until(lambda: shown() == der(new), PATIENCE_SECONDS)
        lasting.sendall(b"HEAD /log-in HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 " in lasting.recv(65_536)
        used.cert.unlink()  # gone altogether: what was read last is used
        wait_until(lambda: len(reported) == 2, PATIENCE_SECONDS)
        assert shown() == der(new)
