"""What people hear of nights: from real runs, with and without a service, also when processes die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.tests.integration.servers.mail_sink import MailSink, mail_sink
from mailhaul.tests.integration.servers.web_sink import WebSink, web_sink

MESSAGE = b"Subject: x\n\ntext of message %d\n"


class Site:
    """A store of two mailboxes, a configuration, and the command as a timer calls it."""

    def __init__(self, place: Path, notices: str) -> None:
        self.place = place
        self.staging = place / "staging"
        for user in ("jane", "joe"):
            self.fill(user, range(20))
        self.config = place / "mailhaul.toml"
        self.config.write_text(
            f'[staging]\npath = "staging"\nreserve = "1 MB"\nsame_device = true\n'
            f'[[partition]]\nformat = "maildir"\npath = "{place}/mail/{{user}}"\n'
            f"[dispatch]\nworkers_per_host = 1\n{notices}"
        )

    def fill(self, user: str, numbers: range) -> None:
        for sub in ("cur", "new", "tmp"):
            (self.place / "mail" / user / sub).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            name = self.place / "mail" / user / "cur" / f"{number}.M1P1.host:2,S"
            name.write_bytes(MESSAGE % number)

    def command(self, *words: str) -> list[str]:
        program = Path(sys.executable).with_name("mailhaul")
        return [str(program), "--config", str(self.config), *words]

    def run(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            self.command(*words), cwd=self.place, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def served(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command("serve"), cwd=self.place, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        while "serving" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=60)


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def by_mail(sink: MailSink, events: str = '["all"]') -> str:
    return (
        f'[notices]\nsite = "backup01"\nsender = "m@example.org"\nserver = "127.0.0.1:{sink.port}"\n'
        f'tls = "none"\ndigest = "off"\n[[notices.to]]\nmail = ["jane@example.org"]\nevents = {events}\n'
    )


def by_webhook(place: Path, sink: WebSink) -> str:
    url = place / "url"
    url.write_text(f"http://127.0.0.1:{sink.port}/x\n")
    url.chmod(0o600)
    return f'[notices]\ndigest = "off"\n[[notices.to]]\nname = "chat"\nwebhook = "{url}"\nevents = ["all"]\n'


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with mail_sink() as sink:
        yield sink


def subjects(sink: MailSink) -> list[str]:
    return [str(mail["Subject"]).removesuffix(" [backup01]") for mail in sink.mails]


def test_runs_without_a_service_tell_of_themselves(tmp_path: Path, sink: MailSink) -> None:
    site = Site(tmp_path, by_mail(sink))
    site.run("backup")
    assert [subject for subject in subjects(sink) if "has begun" not in subject] == ["Backup of / is done"]
    sink.raw.clear()
    # The store is gone, as if it were not mounted.
    (tmp_path / "mail").rename(tmp_path / "away")
    (tmp_path / "mail").mkdir()
    site.run("backup", status=1)
    site.run("backup", status=1)
    assert [one for one in subjects(sink) if "has begun" not in one] == ["Backup of / failed"]
    (failed,) = [mail for mail in sink.mails if "failed" in str(mail["Subject"])]
    text = failed.get_content()
    assert "accept-empty" in text or "lists no mailbox" in text
    assert "mailhaul notify acknowledge 'failed:backup /'" in text
    assert "failed:backup /" in site.run("notify", "list")
    sink.raw.clear()
    (tmp_path / "mail").rmdir()
    (tmp_path / "away").rename(tmp_path / "mail")
    site.run("backup")
    assert "Over: Backup of / failed" in subjects(sink)
    assert "nothing lasts" in site.run("notify", "list")


def test_what_looks_like_a_loss_and_what_was_left_out(tmp_path: Path, sink: MailSink) -> None:
    site = Site(tmp_path, by_mail(sink, '["alarm", "skipped"]'))
    site.run("backup")
    for message in (tmp_path / "mail" / "jane" / "cur").iterdir():
        message.unlink()
    (tmp_path / "mail" / "joe" / "cur" / "99.M1P1.host:2,S").mkdir()
    site.run("backup", status=3)
    alarm = next(mail for mail in sink.mails if str(mail["Subject"]).startswith("ALARM"))
    assert alarm["Subject"] == "ALARM: /primary/user/jane: mailbox-emptied [backup01]"
    assert "it is empty, and had 20 messages" in alarm.get_content()
    listed = json.loads(site.run("notify", "list", "--json"))["notices"]
    (standing,) = [one for one in listed if one["notice"]["event"] == "alarm"]
    site.run("notify", "acknowledge", standing["notice"]["cause"])
    assert "acknowledged by cli:" in site.run("notify", "list")
    site.run("backup", status=0)
    assert "acknowledged by cli:" in site.run("notify", "list")
    site.run("release", "/primary/user/jane")
    site.run("backup")
    assert "Over: ALARM: /primary/user/jane: mailbox-emptied" in subjects(sink)
    assert "nothing lasts" in site.run("notify", "list")


def test_a_test_reaches_everybody_or_says_who_was_not(tmp_path: Path, sink: MailSink) -> None:
    program = tmp_path / "page"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    more = f'[[notices.to]]\nname = "pager"\ncommand = ["{program}"]\nevents = ["alarm"]\n'
    site = Site(tmp_path, by_mail(sink, '["failed"]') + more)
    told = site.run("notify", "test", status=1)
    assert "jane@example.org: taken: taken by 127.0.0.1" in told
    assert "pager: FAILED: " in told
    assert "ended with 3" in told
    assert subjects(sink) == ["Test of notices: test"]
    site.run("notify", "test", "--event", "failed")
    assert "nobody receives this" in site.run("notify", "test", "--event", "digest")
    assert not (site.staging / ".mailhaul" / "service.sqlite").exists()


def test_a_mail_server_that_is_away_spoils_no_run_and_hears_of_it(tmp_path: Path, sink: MailSink) -> None:
    site = Site(tmp_path, by_mail(sink, '["finished"]'))
    sink.recipient = lambda _: "421 not now"
    site.run("backup")
    assert subjects(sink) == []
    assert "421 not now" in site.run("notify", "list")
    sink.recipient = lambda _: "250 fine"
    database = site.staging / ".mailhaul" / "service.sqlite"
    assert database.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(database) as changed:  # as if a minute had passed
        changed.execute("UPDATE channels SET retry = NULL")
    changed.close()
    with site.served():
        eventually(lambda: subjects(sink) == ["Backup of / is done"])
    site.run("backup")
    assert len(sink.raw) == 2


def test_a_service_delivers_what_runs_have_put_on_record_also_after_it_was_killed(tmp_path: Path) -> None:
    with web_sink() as sink:
        site = Site(tmp_path, by_webhook(tmp_path, sink))
        sink.hold.clear()
        with site.served() as service:
            site.run("backup")
            eventually(lambda: len(sink.requests) == 1)
            os.kill(service.pid, signal.SIGKILL)
            service.wait(20)
        sink.hold.set()
        with site.served():
            eventually(lambda: "finished" in events(sink))
        assert events(sink).count("finished") == 1
        keys = [headers["webhook-id"] for _, _, headers, _ in sink.requests]
        # What was on the way came again, under the same key; all else came once.
        assert len(keys) - len(set(keys)) <= 1
        assert keys[0] == keys[1] or len(keys) == len(set(keys))


def events(sink: WebSink) -> list[str]:
    return [json.loads(body)["event"] for _, _, _, body in list(sink.requests)]


def test_operations_that_fail_are_heard_of_once(tmp_path: Path) -> None:
    with web_sink() as sink:
        site = Site(tmp_path, by_webhook(tmp_path, sink))
        site.run("backup")
        sink.requests.clear()
        with site.served():
            site.run("operations", "add", "verify", "/nothing")
            eventually(lambda: "failed" in events(sink))
        (failed,) = [json.loads(body) for _, _, _, body in sink.requests if b'"failed"' in body]
        assert failed["subject"].startswith("Verify failed: /nothing [")
        assert failed["cause"] == "failed:verify /nothing"


def test_a_digest_by_a_timer_without_a_service(tmp_path: Path, sink: MailSink) -> None:
    switch = f'[notices.switch]\nfile = "{tmp_path}/good-night"\n'
    site = Site(tmp_path, by_mail(sink, '["digest"]').replace('digest = "off"\n', "") + switch)
    assert "no backup" in site.run("digest")
    site.run("backup")
    assert site.run("digest").startswith("All is well.\n\nLast night (")
    told = json.loads(site.run("digest", "--json"))
    assert (told["good"], told["problems"]) == (True, [])
    assert told["digest"]["groups"][0]["mailboxes"] == 2
    assert not (tmp_path / "good-night").exists()
    assert subjects(sink) == []
    for _ in range(2):
        site.run("digest", "--send")
    assert subjects(sink) == ["Backups: all is well"]
    assert sink.mails[0].get_content().replace("\r\n", "\n").startswith("All is well.\n\nLast night (")
    assert (tmp_path / "good-night").read_text().startswith("20")


def test_who_is_erased_is_in_no_notice_any_more(tmp_path: Path, sink: MailSink) -> None:
    site = Site(tmp_path, by_mail(sink, '["alarm"]'))
    site.run("backup")
    sink.recipient = lambda _: "421 not now"
    for user in ("jane", "joe"):
        for message in (tmp_path / "mail" / user / "cur").iterdir():
            message.unlink()
        site.run("backup", status=3)
    assert len(json.loads(site.run("notify", "list", "--json"))["notices"]) == 2
    site.run("release", "/primary/user/jane")
    site.run("erase", "/primary/user/jane", "--reason", "asked for", "--yes")
    (left,) = json.loads(site.run("notify", "list", "--json"))["notices"]
    assert "joe" in left["notice"]["subject"]
    for file in (site.staging / ".mailhaul").glob("service.sqlite*"):
        assert b"/jane" not in file.read_bytes()


def test_a_restore_that_brought_back_less_is_said_until_the_same_has_brought_back_all(
    tmp_path: Path, sink: MailSink
) -> None:
    site = Site(tmp_path, by_mail(sink, '["failed"]'))
    site.run("backup")
    for user in ("jane", "joe"):
        shutil.rmtree(tmp_path / "mail" / user)
    # What stands in the way of a mailbox is no directory.
    (tmp_path / "mail" / "jane").symlink_to(tmp_path / "staging")
    site.run("restore", "/primary/user", status=3)
    assert subjects(sink) == ["Restore of /primary/user did not bring back all"]
    text = sink.mails[0].get_content()
    assert "/primary/user/jane" in text
    assert "--retry" in text
    (tmp_path / "mail" / "jane").unlink()
    site.run("restore", "--retry", "latest")
    assert len(sink.mails) == 1  # one that went well waits for no mail server
    site.run("backup")
    assert subjects(sink)[1:] == ["Over: Restore of /primary/user did not bring back all"]
    for user in ("jane", "joe"):
        found = sorted(path.read_bytes() for path in (tmp_path / "mail" / user).glob("[cn]*/*.host*"))
        assert found == sorted(MESSAGE % number for number in range(20))
    # Of one that is an operation, `serve` says it.
    sink.raw.clear()
    shutil.rmtree(tmp_path / "mail" / "jane")
    (tmp_path / "mail" / "jane").symlink_to(tmp_path / "staging")
    with site.served():
        site.run("operations", "add", "restore", "/primary/user/jane")
        eventually(lambda: len(sink.mails) == 1)
    assert subjects(sink) == ["Restore of /primary/user/jane failed"]
