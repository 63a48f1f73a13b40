"""How notices get to people: over real SMTP, HTTP and to programs, and what is said of servers that fail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.notices.addresses import read_address
from mailhaul.coordinator.notices.channels import Channel, Letter
from mailhaul.coordinator.notices.mail import MailChannel
from mailhaul.coordinator.notices.program import ProgramChannel
from mailhaul.coordinator.notices.records import Notice, Saying, tidy
from mailhaul.coordinator.notices.settings import (
    CommandReceiver,
    MailReceiver,
    MailServer,
    Tls,
    WebhookReceiver,
)
from mailhaul.coordinator.notices.webhook import WebhookChannel
from mailhaul.coordinator.notices.wording import letter
from mailhaul.proto.errors import AccessError, DeliveryError
from mailhaul.tests.integration.servers.certificates import Authority
from mailhaul.tests.integration.servers.mail_sink import bad_server, mail_sink
from mailhaul.tests.integration.servers.web_sink import web_sink

NOW = datetime(2026, 3, 1, 6, 5, tzinfo=UTC)
JANE = "jane@example.org"
SENDER = "mailhaul@backup.example.org"
HOSTILE = "eve\r\nBcc: all@example.org\r\n\r\nhello\x00\x1b[2J\u202e\udcff" + "ß" * 300
PASSWORD = "correct horse"


def a_letter(user: str = "jane", event: str = "failed") -> Letter:
    notice = tidy(
        Notice(
            event=event,  # type: ignore[arg-type]
            cause=f"failed:/primary/staff/{user}",
            subject=f"Backup of /primary/staff/{user} failed",
            lines=(f"{user}: the disk is gone", "ünïcode, as names are"),
            facts={"user": user},
        )
    )
    saying = Saying(id=7, kind="new", notice=notice, made=NOW, first=NOW, times=1)
    return letter(saying, JANE, "backup01", UTC)


@pytest.fixture
def authority(require_tool: Callable[[str], Path], tmp_path: Path) -> Authority:
    place = tmp_path / "ca"
    place.mkdir()
    return Authority(require_tool, place)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    made = authority.certify("DNS:localhost,IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)
    return context


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def by_mail(
    port: int,
    tls: Tls = "none",
    ca_file: Path | None = None,
    password_file: Path | None = None,
    limit_seconds: float = 20.0,
) -> Channel:
    server = MailServer(
        sender=SENDER,
        host="127.0.0.1",
        port=port,
        tls=tls,
        ca_file=ca_file,
        user="mailhaul" if password_file else "",
        password_file=password_file,
        limit_seconds=limit_seconds,
    )
    return MailChannel(MailReceiver(name=JANE, server=server), "backup01.example.org")


def failure(channel: Channel, letter: Letter | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(letter or a_letter())
    return caught.value


class TestMail:
    def test_a_mail_as_somebody_gets_it(self) -> None:
        with mail_sink() as sink:
            by_mail(sink.port).deliver(a_letter())
        (mail,) = sink.mails
        assert sink.envelopes == [(SENDER, JANE)]
        assert mail["From"] == f"mailhaul on backup01 <{SENDER}>"
        assert mail["To"] == JANE
        assert mail["Subject"] == "Backup of /primary/staff/jane failed [backup01]"
        assert mail["Date"] == "Sun, 01 Mar 2026 06:05:00 +0000"
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Message-ID"].startswith("<mailhaul.7.19ca80006e0.")
        assert mail["Message-ID"].endswith("@backup.example.org>")
        assert mail.get_content_type() == "text/plain"
        text = mail.get_content().replace("\r\n", "\n")
        assert text.splitlines()[:4] == [
            "Backup of /primary/staff/jane failed.",
            "",
            "jane: the disk is gone",
            "ünïcode, as names are",
        ]
        assert "  mailhaul notify acknowledge failed:/primary/staff/jane\n" in text

    def test_names_are_no_headers_and_no_lines(self) -> None:
        with mail_sink() as sink:
            by_mail(sink.port).deliver(a_letter(HOSTILE))
        (mail,) = sink.mails
        assert {name.lower() for name in mail} == {
            "from", "to", "subject", "date", "message-id", "references", "auto-submitted",
            "x-mailhaul-event", "mime-version", "content-type", "content-transfer-encoding",
        }  # fmt: skip
        assert all(len(line) <= 998 for line in sink.raw[0].splitlines())
        assert "Bcc: all@example.org" not in mail.get_content().splitlines()
        assert mail["Subject"].startswith("Backup of /primary/staff/eve%0D%0ABcc: all@example.org%0D%0A")
        assert mail["Subject"].isprintable()

    @pytest.mark.parametrize("tls", ["starttls", "implicit"])
    def test_tls_with_a_certificate_that_is_checked_and_a_password(
        self, tls: Tls, context: ssl.SSLContext, authority: Authority, tmp_path: Path
    ) -> None:
        right = private(tmp_path / "password", f"{PASSWORD}\n")
        wrong = private(tmp_path / "wrong", "hunter2\n")
        with mail_sink(context, implicit=tls == "implicit", password=PASSWORD) as sink:
            by_mail(sink.port, tls, authority.file, right).deliver(a_letter())
            assert (sink.logged_in, sink.over_tls) == (["mailhaul"], [True])
            refused = failure(by_mail(sink.port, tls, authority.file, wrong))
            assert "535" in refused.message
            assert "hunter2" not in refused.message
            assert refused.unreachable
            assert "530 5.7.0" in failure(by_mail(sink.port, tls, authority.file)).message
            unknown = failure(by_mail(sink.port, tls, None, right))
            assert "certificate" in unknown.message
            right.chmod(0o644)
            assert "chmod 600" in failure(by_mail(sink.port, tls, authority.file, right)).message
        assert len(sink.raw) == 1

    def test_a_server_without_tls_gets_nothing_where_tls_is_wanted(self, tmp_path: Path) -> None:
        password = private(tmp_path / "password", PASSWORD)
        with mail_sink() as sink:
            assert "STARTTLS" in failure(by_mail(sink.port, "starttls", None, password)).message
        assert sink.raw == []

    def test_what_is_refused_is_told_apart_from_who_is_away(self) -> None:
        with mail_sink() as sink:
            sink.recipient = lambda _: "550 5.1.1 no such\tuser"
            error = failure(by_mail(sink.port))
            assert error.message == f"127.0.0.1:{sink.port} refuses {JANE}: 550 5.1.1 no such user"
            assert not error.unreachable
            sink.recipient = lambda _: "250 fine"
            sink.content = lambda _: "554 looks like spam"
            assert not failure(by_mail(sink.port)).unreachable
            sink.content = lambda _: "drop"
            assert failure(by_mail(sink.port)).unreachable
        assert failure(by_mail(sink.port)).message.endswith(": Connection refused")

    @pytest.mark.parametrize("pause", [0.0, 0.2])
    def test_a_server_that_hangs_keeps_nobody_waiting(self, pause: float) -> None:
        with bad_server(b"2", pause) as port:
            began = time.monotonic()
            error = failure(by_mail(port, limit_seconds=1.0))
            assert time.monotonic() - began < 15
        assert error.message == f"127.0.0.1:{port} did not answer within 1 s"
        assert error.unreachable


class TestWebhook:
    @staticmethod
    def channel(
        place: Path, url: str, *, secret: str = "", ca_file: Path | None = None, limit: float = 20.0
    ) -> Channel:
        receiver = WebhookReceiver(
            name="chat",
            url_file=private(place / "url", url),
            secret_file=private(place / "secret", secret) if secret else None,
            ca_file=ca_file,
            limit_seconds=limit,
        )
        return WebhookChannel(receiver, lambda: 1_772_345_100.0)

    def test_json_that_is_signed(self, tmp_path: Path) -> None:
        key = b"0123456789abcdef0123456789abcdef"
        with web_sink() as sink:
            url = f"http://127.0.0.1:{sink.port}/hooks/T0/x?a=b\nAuthorization: Bearer abc\n"
            secret = f"whsec_{base64.b64encode(key).decode()}"
            self.channel(tmp_path, url, secret=secret).deliver(a_letter(HOSTILE))
        ((method, target, headers, body),) = sink.requests
        assert (method, target, headers["authorization"]) == ("POST", "/hooks/T0/x?a=b", "Bearer abc")
        told = json.loads(body)
        assert (told["event"], told["kind"], told["site"]) == ("failed", "new", "backup01")
        assert told["facts"] == {"user": HOSTILE}
        assert told["cause"].isprintable()
        assert headers["webhook-id"] == told["key"]
        signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        made = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{made}"

    def test_over_tls_only_to_who_can_prove_who_he_is(
        self, context: ssl.SSLContext, authority: Authority, tmp_path: Path
    ) -> None:
        with web_sink(context) as sink:
            url = f"https://localhost:{sink.port}/x"
            self.channel(tmp_path, url, ca_file=authority.file).deliver(a_letter())
            assert "certificate" in failure(self.channel(tmp_path, url)).message
        assert len(sink.requests) == 1

    @pytest.mark.parametrize(
        ("status", "unreachable"),
        [(302, True), (400, False), (404, False), (429, True), (500, True), (503, True)],
    )
    def test_answers_that_are_no_yes(self, tmp_path: Path, status: int, unreachable: bool) -> None:
        with web_sink() as sink:
            sink.answers = [(status, {"Location": f"http://127.0.0.1:{sink.port}/elsewhere"})]
            error = failure(self.channel(tmp_path, f"http://127.0.0.1:{sink.port}/SECRET"))
        assert str(status) in error.message
        assert "SECRET" not in error.message
        assert error.unreachable == unreachable
        assert [target for _, target, _, _ in sink.requests] == ["/SECRET"]

    def test_a_server_that_hangs_keeps_nobody_waiting(self, tmp_path: Path) -> None:
        with bad_server(b"H", 0.2) as port:
            error = failure(self.channel(tmp_path, f"http://127.0.0.1:{port}/x", limit=1.0))
        assert error.message == f"127.0.0.1:{port} did not answer within 1 s"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "ftp://example.org/x",
            "http://example.org/x",
            "https://",
            "https://user:pw@example.org/x",
            "https://example.org/a b",
            "https://example.org:99999/",
            "https://example.org/x\nNo header",
            "https://example.org/x\nA: b\x01",
        ],
    )
    def test_what_is_no_address_is_refused_without_telling_it(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(AccessError) as caught:
            read_address(private(tmp_path / "url", text))
        assert "example.org" not in caught.value.message


class TestProgram:
    @staticmethod
    def channel(place: Path, code: str, limit: float = 20.0) -> Channel:
        program = place / "program"
        program.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{code}\n")
        program.chmod(0o755)
        receiver = CommandReceiver(name="pager", command=(str(program), "a b; $(x)"), limit_seconds=limit)
        return ProgramChannel(receiver, {"PATH": "/usr/bin"})

    def test_it_gets_what_a_webhook_gets(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        code = f"open({str(out)!r}, 'w').write(json.dumps([sys.argv[1:], json.load(sys.stdin)]))"
        self.channel(tmp_path, code).deliver(a_letter(HOSTILE))
        arguments, told = json.loads(out.read_text())
        assert arguments == ["a b; $(x)"]
        assert told["facts"] == {"user": HOSTILE}

    def test_one_that_fails_or_hangs(self, tmp_path: Path) -> None:
        error = failure(self.channel(tmp_path, "print('no\\x1b[2Jroom'); sys.exit(3)"))
        assert error.message.endswith("program ended with 3: no%1B[2Jroom")
        assert not error.unreachable
        error = failure(self.channel(tmp_path, "time.sleep(60)", limit=1.0))
        assert "was ended after 1 s" in error.message
        assert error.unreachable
        missing = CommandReceiver(name="pager", command=(str(tmp_path / "nothing"),))
        assert failure(ProgramChannel(missing, {})).unreachable
