"""A look at a mail server as one of its users: what it takes, what it leaves alone, what can't hurt it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mailhaul.coordinator.governing.effort import Rules
from mailhaul.coordinator.governing.probing import Blind, Late, Looked, look_once
from mailhaul.coordinator.governing.settings import HostRules, ProbeAccount
from mailhaul.tests.integration.servers.certificates import Authority
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.servers.settings import FAR
from mailhaul.tests.integration.slow_imap import SlowImap
from mailhaul.worker.stores.imap.probe import MOST_BYTES

JANE = "jane@example.org"
NAMES = f"DNS:localhost,IP:{FAR}"

StartDovecot = Callable[..., Dovecot]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def rules(server: str, password: Path, ca_file: Path | str = "", target_seconds: float = 10.0) -> HostRules:
    return HostRules(
        host="mail01",
        probe=ProbeAccount(server=server, user=JANE, password_file=str(password), ca_file=str(ca_file)),
        rules=Rules(target_seconds=target_seconds),
    )


def test_it_looks_and_leaves_everything_as_it_was(
    start_dovecot: StartDovecot,
    require_tool: Callable[[str], Path],
    tmp_path: Path,
    mails: tuple[bytes, ...],
    password: Path,
) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(require_tool, tmp_path / "ca")
    server = start_dovecot(certificate=authority.certify(NAMES))
    ways = (
        rules(f"imap://127.0.0.1:{server.ports.imap}", password),
        rules(f"imaps://localhost:{server.ports.imaps}", password, authority.file),
        rules(f"imap://{FAR}:{server.ports.imap}", password, authority.file),  # STARTTLS
    )
    for way in ways:
        found = look_once(way)
        assert isinstance(found, Looked), found
        assert found.look.fetch_seconds is None
        assert 0 < found.look.seconds < 10
    server.deliver(mails[:3], JANE)
    before = server.view(JANE)
    for way in ways:
        found = look_once(way)
        assert isinstance(found, Looked), found
        assert found.look.fetch_seconds is not None
        assert found.look.seconds == pytest.approx(sum(step or 0 for step in found.look.steps.values()))
    assert server.view(JANE) == before


def test_who_can_not_be_trusted_or_does_not_want_us_is_said(
    start_dovecot: StartDovecot, require_tool: Callable[[str], Path], tmp_path: Path, password: Path
) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(require_tool, tmp_path / "ca")
    server = start_dovecot(certificate=authority.certify(NAMES))
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    wrong.chmod(0o600)
    local = f"imap://127.0.0.1:{server.ports.imap}"
    open_file = tmp_path / "open"
    open_file.write_text(PASSWORD)
    open_file.chmod(0o644)
    for way, why in (
        (rules(local, wrong), "refuses AUTHENTICATE: [AUTHENTICATIONFAILED]"),
        (rules(local, open_file), "can be read by others"),
        (rules(local, tmp_path / "none"), "No such file"),
        (rules(f"imaps://127.0.0.1:{server.ports.imaps}", password, authority.file), "the password was not"),
        (rules(f"imaps://localhost:{server.ports.imaps}", password), "can't prove to be that"),
        (rules("imap://127.0.0.1:1", password), "Connection refused"),
    ):
        found = look_once(way)
        assert isinstance(found, Blind), found
        assert why in found.why
        assert "not the password" not in found.why
        assert PASSWORD not in found.why


def test_a_server_that_never_answers_is_late_and_no_more(password: Path) -> None:
    with SlowImap() as server:
        way = rules(f"imap://127.0.0.1:{server.port}", password, target_seconds=0.1)
        assert isinstance(look_once(way), Looked)
        server.hangs = True
        began = time.monotonic()
        found = look_once(way)
        assert isinstance(found, Late)
        assert found.seconds == 2.0
        assert 2.0 <= time.monotonic() - began < 10


@contextmanager
def saying(words: bytes, pause_seconds: float = 0.0) -> Iterator[int]:
    """A port at which a server says this again and again, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                channel, _ = server.accept()
                with channel:
                    channel.sendall(b"* OK ready\r\n")
                    while True:
                        channel.sendall(words)
                        time.sleep(pause_seconds)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "pause", "kind", "why"),
    [
        (b"* noise " + b"x" * 1000 + b"\r\n", 0.0, Blind, "says more than a mail server would"),
        (b"* " + b"x" * MOST_BYTES, 0.0, Blind, "says more than a mail server would"),
        (b"* FETCH {9999999999}\r\n", 0.0, Blind, "says more than a mail server would"),
        (b"* BYE \x1b[2J go away\r\n", 0.0, Blind, "ends the connection: %1B[2J go away"),
        (b"P1 BAD \r\n", 0.0, Blind, "refuses CAPABILITY"),
        (b"*", 0.01, Late, ""),
    ],
    ids=["noise", "line", "literal", "bye", "bad", "drop"],
)
def test_no_server_can_hold_it_or_fill_it(
    password: Path, words: bytes, pause: float, kind: type, why: str
) -> None:
    with saying(words, pause) as port:
        began = time.monotonic()
        found = look_once(rules(f"imap://127.0.0.1:{port}", password, target_seconds=0.1))
        assert time.monotonic() - began < 10
        assert isinstance(found, kind), found
        assert why in getattr(found, "why", "")
