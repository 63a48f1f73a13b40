"""Real servers and clients for the tests of this folder; each starts in a fraction of a second."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.tests.conftest import IN_CI
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.certificates import Certificate
from mailhaul.tests.integration.servers.cyrus import Cyrus, excuse, missing, program
from mailhaul.tests.integration.servers.dovecot import Dovecot, Ports, ensure_owner, free_ports
from mailhaul.tests.integration.servers.mbsync import Mbsync
from mailhaul.tests.integration.servers.programs import Programs, in_debian_13, installed

StartDovecot = Callable[..., Dovecot]


@pytest.fixture
def programs(request: pytest.FixtureRequest, require_tool: Callable[[str], Path], root: Path) -> Programs:
    """The Dovecot that ``start_dovecot`` starts: the installed one, or what ``both_servers`` says."""
    if getattr(request, "param", "installed") == "installed":
        return installed(require_tool)
    return in_debian_13(root, required=os.environ.get("CI") == "true")


@pytest.fixture
def start_dovecot(programs: Programs) -> Iterator[StartDovecot]:
    """``start_dovecot("fs", ports=None)``: a new, empty server. At the end of the test it is stopped and
    must have had nothing to complain of."""
    if reason := ensure_owner():
        pytest.skip(reason)
    started: list[Dovecot] = []

    def start(
        layout: str = "maildir++",
        *,
        ports: Ports | None = None,
        certificate: Certificate | None = None,
        more: str = "",
    ) -> Dovecot:
        # Not tmp_path: its name is too long for sockets, and other users may not enter it.
        place = Path(tempfile.mkdtemp(prefix="mh-"))
        place.chmod(0o755)
        server = Dovecot(programs, place, layout, ports or free_ports(), certificate=certificate, more=more)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
    complaints = [line for server in started for line in server.complaints()]
    for server in started:
        shutil.rmtree(server.place)
    assert complaints == []


@pytest.fixture
def start_cyrus(root: Path) -> Iterator[Callable[..., Cyrus]]:
    """``start_cyrus("jane")``: a new server with empty mailboxes for these users."""
    if reason := missing(root):
        pytest.fail(reason) if IN_CI and not excuse(root) else pytest.skip(reason)
    started: list[Cyrus] = []

    def start(*users: str) -> Cyrus:
        place = Path(tempfile.mkdtemp(prefix="mh-"))
        place.chmod(0o755)
        started.append(Cyrus(program(root), place, users))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()
        shutil.rmtree(server.place)


@pytest.fixture
def make_mbsync(require_tool: Callable[[str], Path], tmp_path: Path) -> Callable[[int, str], Mbsync]:
    """``make_mbsync(port, user)``: a client that has not yet seen anything of the account."""
    program = require_tool("mbsync")
    return lambda port, user: Mbsync(program, tmp_path / f"mbsync-{user}", port, user)


@pytest.fixture
def mailhaul(tmp_path: Path) -> Mailhaul:
    """The command, with a staging area of its own."""
    place = tmp_path / "mailhaul"
    place.mkdir()
    return Mailhaul(place)


@pytest.fixture(scope="session")
def mails(root: Path) -> tuple[bytes, ...]:
    """The sample messages of the demo."""
    return tuple(file.read_bytes() for file in sorted((root / "deploy" / "demo" / "mail").glob("*.eml")))
