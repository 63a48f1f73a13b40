"""Mail is delivered to a real Dovecot over LMTP: as new mail, if the danger is named, each message once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mailhaul.proto.errors import EXIT_SKIPPED, EXIT_USAGE
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.programs import both_servers

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


def contents(server: Dovecot) -> list[bytes]:
    """The messages of the INBOX without what the server has put before them."""
    with server.login(ALICE) as client:
        client.open("INBOX", readonly=True)
        answers = client._ask("UID", "FETCH", "1:*", "(BODY.PEEK[])")
    whole = [answer[1] for answer in answers if isinstance(answer, tuple)]
    return sorted(one[one.index(b"X-Number:") :] for one in whole)


def numbered(count: int) -> list[bytes]:
    return [
        b"X-Number: %03d\r\nSubject: caf\xe9 %d\r\n\r\n.\r\n..dots\r\nFrom here\r\n%s\r\n"
        % (number, number, b"x" * 900 * (number % 3))
        for number in range(count)
    ]


@both_servers
def test_as_new_mail(start_dovecot: StartDovecot, mailhaul: Mailhaul, tmp_path: Path) -> None:
    old, new = start_dovecot(), start_dovecot()
    mails = numbered(8)
    with old.login(ALICE) as client:
        client.make_folder("Archive")
        for number, mail in enumerate(mails):
            client.save(("INBOX", "Archive")[number % 2], mail, ["\\Seen", "NonJunk"])
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    to = ("/", "--to", f"lmtp://127.0.0.1:{new.ports.lmtp}", "--delivered", tmp_path / "delivered")

    refused = mailhaul.run(config, "restore", *to, status=EXIT_USAGE)
    assert "vacation answers, forwards and notifications" in refused["error"]["message"]
    asked = (*to, "--sieve-runs-again")
    (told,) = mailhaul.run(config, "restore", *asked, "--dry-run")["unreached"]
    assert "as new mail, without flags, keywords, date and folder" in told["error"]
    assert new.view(ALICE).folders["INBOX"].messages == {}

    report = mailhaul.run(config, "restore", *asked, status=EXIT_SKIPPED)
    assert report["restored"] == 8
    losses = {skip["path"]: skip for skip in report["skipped"] if skip["reason"] == "delivered"}
    assert losses.keys() == {f"/primary/user/{ALICE}/INBOX", f"/primary/user/{ALICE}/Archive"}
    detail = losses[f"/primary/user/{ALICE}/INBOX"]["detail"]
    assert detail.startswith("4 messages were delivered as new mail, without flags")
    assert contents(new) == mails
    after = new.view(ALICE)
    assert all(not message.flags for message in after.folders["INBOX"].messages.values())

    again = mailhaul.run(config, "restore", *asked, status=(0, EXIT_SKIPPED))
    assert (again["restored"], again["present"]) == (0, 8)
    assert new.view(ALICE) == after


def test_killed_and_resumed(start_dovecot: StartDovecot, mailhaul: Mailhaul, tmp_path: Path) -> None:
    old, new = start_dovecot(), start_dovecot()
    mails = numbered(120)
    with old.login(ALICE) as client:
        for mail in mails:
            client.save("INBOX", mail)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    record = tmp_path / "delivered"
    to = ("/", "--to", f"lmtp://127.0.0.1:{new.ports.lmtp}", "--sieve-runs-again", "--delivered", str(record))
    program = Path(sys.executable).with_name("mailhaul")
    running = subprocess.Popen(
        [program, "--config", config, "restore", *to],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while (
        sum(path.read_bytes().count(b"done") for path in record.glob("*")) < 20 and time.monotonic() < until
    ):
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(1)  # its workers see that it is gone
    there = len(contents(new))
    report = mailhaul.run(config, "restore", *to, status=EXIT_SKIPPED)
    unanswered = [skip["path"] for skip in report["skipped"] if skip["reason"] == "unanswered"]
    assert 20 <= there < 120
    assert len(unanswered) <= 1
    found = contents(new)
    assert len(found) == len(set(found)) >= 120 - len(unanswered)
