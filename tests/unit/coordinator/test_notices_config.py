"""``[notices]`` of mailhaul.toml: what it gives, and how wrong values are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator import config
from mailhaul.coordinator.notices.records import EVENTS
from mailhaul.coordinator.notices.settings import (
    USUAL,
    CommandReceiver,
    MailReceiver,
    MailServer,
    NoticesConfig,
    SwitchConfig,
    WebhookReceiver,
)
from mailhaul.tests.unit.coordinator.test_config import MINIMAL, refusal, write


def test_nobody_hears_of_anything_unless_that_is_said(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, MINIMAL)).notices
    assert loaded == NoticesConfig()
    assert loaded.receivers == ()
    assert not loaded.switch.is_there


def test_every_key(tmp_path: Path) -> None:
    text = """
        [notices]
        site = "backup01"
        sender = "mailhaul@example.org"
        server = "[::1]:587"
        tls = "starttls"
        ca_file = "ca.pem"
        user = "mailhaul"
        password_file = "/etc/mailhaul/mail.password"
        digest = "06:30"
        space_days = 10
        [[notices.to]]
        mail = ["jane@example.org", "joe+backup@example.org"]
        [[notices.to]]
        name = "pager"
        command = ["/usr/local/bin/page", "--urgent"]
        limit = "10s"
        events = ["alarm", "failed"]
        [[notices.to]]
        name = "chat"
        webhook = "chat.url"
        secret_file = "chat.secret"
        ca_file = "chat.pem"
        limit = "1m"
        events = ["all"]
        [notices.switch]
        url_file = "switch.url"
        method = "POST"
        ca_file = "switch.pem"
        file = "/run/mailhaul/good-night"
        limit = "5s"
    """
    server = MailServer(
        sender="mailhaul@example.org",
        host="::1",
        port=587,
        tls="starttls",
        ca_file=tmp_path / "ca.pem",
        user="mailhaul",
        password_file=Path("/etc/mailhaul/mail.password"),
    )
    assert config.load(write(tmp_path, MINIMAL + text)).notices == NoticesConfig(
        site="backup01",
        receivers=(
            MailReceiver(name="jane@example.org", server=server, events=USUAL),
            MailReceiver(name="joe+backup@example.org", server=server, events=USUAL),
            CommandReceiver(
                name="pager",
                command=("/usr/local/bin/page", "--urgent"),
                limit_seconds=10.0,
                events=frozenset(("alarm", "failed")),
            ),
            WebhookReceiver(
                name="chat",
                url_file=tmp_path / "chat.url",
                secret_file=tmp_path / "chat.secret",
                ca_file=tmp_path / "chat.pem",
                limit_seconds=60.0,
                events=frozenset(EVENTS),
            ),
        ),
        digest_at=390,
        space_days=10,
        switch=SwitchConfig(
            url_file=tmp_path / "switch.url",
            method="POST",
            ca_file=tmp_path / "switch.pem",
            file=Path("/run/mailhaul/good-night"),
            limit_seconds=5.0,
        ),
    )


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("", "localhost", 25),
        ('server = "mx"', "mx", 25),
        ('server = "mx:2525"', "mx", 2525),
        ('server = "mx"\ntls = "implicit"', "mx", 465),
        ('tls = "none"', "localhost", 25),
    ],
)
def test_the_mail_server(tmp_path: Path, server: str, host: str, port: int) -> None:
    text = f'[notices]\nsender = "m@example.org"\n{server}\n[[notices.to]]\nmail = ["a@example.org"]\n'
    (receiver,) = config.load(write(tmp_path, MINIMAL + text)).notices.receivers
    assert isinstance(receiver, MailReceiver)
    assert (receiver.server.host, receiver.server.port) == (host, port)


def test_the_digest_can_be_left_out(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, MINIMAL + '[notices]\ndigest = "off"\n'))
    assert loaded.notices.digest_at is None


TO = "[[notices.to]]\n"
SENDER = '[notices]\nsender = "m@example.org"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TO + 'mail = ["a@example.org"]\n', "notices.sender is missing: expected a mail address"),
        (SENDER + TO + 'mail = ["a@example.org\\nBcc: b@example.org"]\n', "notices.to[0].mail[0] = "),
        (SENDER + TO + 'mail = ["a@b@example.org"]\n', "notices.to[0].mail[0] = "),
        (SENDER + TO + "mail = []\n", "notices.to[0].mail = "),
        (TO, "notices.to[0] expected one of mail, command, webhook"),
        (TO + 'name = "x"\ncommand = ["a"]\nwebhook = "b"\n', "command, webhook, not several"),
        (TO + 'command = ["a"]\n', "notices.to[0].name is missing"),
        (
            TO + 'name = "x"\ncommand = ["a"]\nsecret_file = "s"\n',
            "notices.to[0].secret_file not beside command",
        ),
        (TO + 'name = "x"\ncommand = "a b"\n', "notices.to[0].command = 'a b'"),
        (TO + 'name = "x"\ncommand = ["a"]\nevents = ["storm"]\n', "notices.to[0].events"),
        (TO + 'name = "x"\ncommand = ["a"]\n' + TO + 'name = "x"\nwebhook = "b"\n', "notices.to[1] = 'x'"),
        ('[notices]\ndigest = "7:00"\n', "notices.digest = '7:00'"),
        ('[notices]\nserver = "mx:0"\n', "notices.server = 'mx:0'"),
        (SENDER + 'user = "u"\n', "notices.user and notices.password_file belong together"),
        (SENDER + 'tls = "none"\nserver = "mx"\nuser = "u"\npassword_file = "p"\n', "a password is sent"),
        ("[notices.switch]\nmethod = 'PUT'\n", "notices.switch.method = 'PUT'"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, MINIMAL + text)
