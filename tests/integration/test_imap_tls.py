"""A password goes to a mail server that can prove who it is, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.errors import EXIT_FAILED, AccessError
from mailhaul.proto.records import ServerAccess
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.certificates import Authority
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.servers.programs import both_servers
from mailhaul.tests.integration.servers.settings import FAR
from mailhaul.worker.stores.imap.target import ImapTarget

JANE = "jane@example.org"
NAMES = f"DNS:localhost,IP:{FAR}"

StartDovecot = Callable[..., Dovecot]


@pytest.fixture
def authority(require_tool: Callable[[str], Path], tmp_path: Path) -> Authority:
    place = tmp_path / "ca"
    place.mkdir()
    return Authority(require_tool, place)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def backed_up(server: Dovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> Path:
    server.deliver(mails[:3], JANE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    return config


def messages(server: Dovecot) -> list[str]:
    return [message.digest for _, message in sorted(server.view(JANE).folders["INBOX"].messages.items())]


@both_servers
def test_a_server_that_proves_who_it_is(
    start_dovecot: StartDovecot,
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    password: Path,
    authority: Authority,
) -> None:
    old, new = start_dovecot(), start_dovecot(certificate=authority.certify(NAMES))
    config = backed_up(old, mailhaul, mails)
    to = ("--password-file", password, "--ca-file", authority.file)
    tls = ("--to", f"imaps://localhost:{new.ports.imaps}", *to)
    assert mailhaul.run(config, "restore", "/", *tls, "--verify")["restored"] == 3
    assert messages(new) == messages(old)
    # Here the server says LOGINDISABLED until the connection is encrypted.
    starttls = ("--to", f"imap://{FAR}:{new.ports.imap}", *to)
    assert mailhaul.run(config, "restore", "/", *starttls)["present"] == 3


def test_a_server_that_does_not(
    start_dovecot: StartDovecot, password: Path, authority: Authority, tmp_path: Path
) -> None:
    new = start_dovecot(certificate=authority.certify(NAMES))
    expired = start_dovecot(certificate=authority.certify(NAMES, days=-1))
    refusals = (
        (f"imaps://127.0.0.1:{new.ports.imaps}", authority.file, "mismatch"),
        (f"imap://{FAR}:{new.ports.imap}", "", "unable to get local issuer certificate"),
        (f"imaps://localhost:{expired.ports.imaps}", authority.file, "certificate has expired"),
        (f"imap://{FAR}:{expired.ports.imap}", authority.file, "certificate has expired"),
    )
    for address, believed, words in refusals:
        access = ServerAccess(password_file=str(password), ca_file=str(believed))
        with (
            pytest.raises(AccessError, match=rf"{words}.*the password was not sent"),
            ImapTarget(address, access).open_mailbox(JANE),
        ):
            pass
    for file in (password, tmp_path / "nowhere"):
        access = ServerAccess(password_file=str(password), ca_file=str(file))
        with pytest.raises(AccessError, match=r"holds no certificate|No such file"):
            ImapTarget(address, access)


def test_the_command_says_so(
    start_dovecot: StartDovecot,
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    password: Path,
    authority: Authority,
) -> None:
    old, new = start_dovecot(), start_dovecot(certificate=authority.certify(NAMES))
    config = backed_up(old, mailhaul, mails)
    to = ("--to", f"imaps://localhost:{new.ports.imaps}", "--password-file", password)
    (told,) = mailhaul.run(config, "restore", "/", *to, status=EXIT_FAILED)["skipped"]
    assert "unable to get local issuer certificate" in told["detail"]
    assert (told["reason"], "--ca-file" in told["remedy"]) == ("untrusted", True)
