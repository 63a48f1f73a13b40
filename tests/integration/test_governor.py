"""Backups and restores that mind the users of the mail server: a server that becomes slow, as a test wants
it, slows them down, and what they do is right all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.governing.settings import governor_name
from mailhaul.coordinator.governing.state import GovernorState, read_state
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.slow_imap import SlowImap
from mailhaul.worker.load.shared import shared_file

from ..maildirs import Maildir

MAILHAUL = str(Path(sys.executable).with_name("mailhaul"))
PATIENCE_SECONDS = 60.0
USERS = ("anna", "ben", "cara", "dora")
MESSAGES = 80


@pytest.fixture
def server() -> Iterator[SlowImap]:
    with SlowImap() as slow:
        yield slow


@pytest.fixture
def place(tmp_path: Path, server: SlowImap) -> Path:
    """A store of four mailboxes and a configuration whose users wait for ``server``; it takes 50 messages a
    second."""
    for user in USERS:
        mailbox = Maildir(tmp_path / "mail" / user)
        for number in range(MESSAGES):
            text = f"Subject: {number}\n\n{user} {number}\n".encode() + bytes(range(32, 127)) * (number % 40)
            mailbox.message(f"{number}.M{number}P1.host:2,S", text)
    password = tmp_path / "probe.password"
    password.touch(mode=0o600)
    password.write_text("secret\n")
    (tmp_path / "groups.conf").write_text("".join(f"{user}={user}\n" for user in USERS))
    (tmp_path / "mailhaul.toml").write_text(
        f"""
        [staging]
        path = "staging"
        reserve = "1 MB"
        [[partition]]
        format = "maildir"
        path = {json.dumps(f"{tmp_path}/mail/{{user}}")}
        [groups]
        file = "groups.conf"
        [dispatch]
        workers_per_host = 2
        [load]
        messages_per_second = 50
        ramp = "1s"
        [governor]
        target = "100ms"
        floor = 0.3
        blind = 1.0
        user = "probe"
        password_file = "probe.password"
        [governor.host.localhost]
        server = "imap://127.0.0.1:{server.port}"
        """
    )
    return tmp_path


Eventually = Callable[[Callable[[GovernorState], bool]], GovernorState]


def begun(place: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [MAILHAUL, *map(str, words), "--json"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def eventually(
    place: Path, run: subprocess.Popen[str], look: Callable[[GovernorState], bool]
) -> GovernorState:
    """The state of the governor when it is so for the first time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state = read_state(place / "staging", "localhost")
        if state is not None and state.pid == run.pid and look(state):
            return state
        assert run.poll() is None, (run.communicate(), state)
        assert time.monotonic() < deadline, state
        time.sleep(0.05)


def ended(run: subprocess.Popen[str]) -> tuple[Any, str]:
    out, err = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, (out, err)
    return json.loads(out), err


def mail_of(root: Path) -> dict[str, bytes]:
    found = {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.parent.name == "cur"
    }
    assert len(found) == len(USERS) * MESSAGES
    return found


def test_users_who_wait_slow_a_backup_down_and_it_is_whole(place: Path, server: SlowImap) -> None:
    run = begun(place, "backup")
    eventually(place, run, lambda state: state.looks >= 1 and state.level > 0.5)
    server.delay_seconds = 0.4
    slow = eventually(place, run, lambda state: state.level == 0.3)
    assert slow.why
    assert slow.p95_seconds is not None
    assert slow.p95_seconds >= 0.4
    share = shared_file("", f"{governor_name(place / 'staging')}.share")
    assert share.exists()
    server.delay_seconds = 0.0
    faster = eventually(place, run, lambda state: state.level > 0.3)
    assert faster.slowed_seconds >= 1.0
    ended(run)
    assert not share.exists()
    document, _ = ended(
        begun(place, "restore", "/", "--to", f"maildir:{place}/back/{{user}}", "--full-speed")
    )
    assert document["restored"] == len(USERS) * MESSAGES
    assert mail_of(place / "back") == mail_of(place / "mail")


def test_a_wrong_password_is_said_and_the_work_goes_on_with_care(place: Path, server: SlowImap) -> None:
    server.refuses = True
    text = (place / "mailhaul.toml").read_text().replace("blind = 1.0", "blind = 0.5")
    (place / "mailhaul.toml").write_text(
        text.replace("messages_per_second = 50", "messages_per_second = 150")
    )
    run = begun(place, "backup")
    state = eventually(place, run, lambda state: bool(state.blind))
    assert state.looks == 0
    assert 0.3 <= state.level <= 0.5  # less where it was waited for long to be refused
    _, err = ended(run)
    assert err.count("can't be minded") == 1
    assert "AUTHENTICATIONFAILED" in err
    assert "secret" not in err
    restore = begun(place, "restore", "/", "--to", f"maildir:{place}/back/{{user}}")
    assert 0.3 <= eventually(place, restore, lambda state: bool(state.blind)).level <= 0.5
    ended(restore)
    assert mail_of(place / "back") == mail_of(place / "mail")


def test_the_users_of_a_real_server_are_minded(
    start_dovecot: Callable[..., Dovecot], mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    server = start_dovecot()
    server.deliver(mails[:4], "jane@example.org", "probe@example.org")
    password = mailhaul.place / "probe.password"
    password.touch(mode=0o600)
    password.write_text(f"{PASSWORD}\n")
    config = mailhaul.configure(server)
    with config.open("a") as file:
        file.write(
            f"""
            [load]
            messages_per_second = 4
            [governor]
            target = "30s"
            blind = 1.0
            user = "probe@example.org"
            password_file = "probe.password"
            [governor.host.localhost]
            server = "imap://127.0.0.1:{server.ports.imap}"
            """
        )
    before = server.view("probe@example.org")
    mailhaul.run(config, "backup")
    state = read_state(mailhaul.staging, "localhost")
    assert state is not None
    assert (state.blind, state.level, state.late) == ("", 1.0, 0)
    assert state.looks >= 1
    assert sorted(state.steps) == ["connect", "fetch", "login", "select"]
    assert server.view("probe@example.org") == before
    back = mailhaul.place / "back"
    mailhaul.run(config, "restore", "/", "--to", f"maildir:{back}/{{user}}", "--full-speed")
    assert len([path for path in back.rglob("*") if path.parent.name in ("cur", "new")]) == 8


def test_without_a_governed_host_nobody_looks(place: Path, server: SlowImap) -> None:
    text = (place / "mailhaul.toml").read_text().partition("[governor]")[0]
    (place / "mailhaul.toml").write_text(text.replace("messages_per_second = 50", ""))
    ended(begun(place, "backup"))
    assert server.sessions == 0
    assert not (place / "staging" / ".mailhaul" / "governor").exists()
