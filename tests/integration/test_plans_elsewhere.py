"""A dry run looks at a mail server, or at files of other formats, tells what the restore then does, and
changes nothing there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def plan_of(mailhaul: Mailhaul, config: Path, *arguments: str | Path) -> tuple[Any, dict[str, int]]:
    """What a dry run found of its one target, and the messages that it expects to be new and present."""
    plan = mailhaul.run(config, "restore", *arguments, "--dry-run")
    assert plan["unreached"] == []
    (target,) = plan["targets"]
    return target, target["folders"]


LIMITS = """
mail_plugins = quota acl
protocol imap {
  mail_plugins = $mail_plugins imap_quota imap_acl
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=4K
  acl = vfile
}
"""
"""Of a Dovecot 2.3, which tells them as RFCs 2087 and 4314 say."""


def test_a_server(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], password: Path
) -> None:
    old, new = start_dovecot(), start_dovecot(more=LIMITS)
    fill(old, ALICE, mails)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    to = ("/", "--to", f"imap://127.0.0.1:{new.ports.imap}", "--password-file", password)
    before = new.view(ALICE)

    target, folders = plan_of(mailhaul, config, *to)
    assert new.view(ALICE) == before
    assert target["server"]["logged_in"] == target["quotas_asked"] == 1
    assert (folders["present"], folders["kept"], folders["existing"]) == (0, 0, 1)
    (over,) = target["over_quota"]
    assert (over["user"], over["kind"], over["limit"]) == (ALICE, "storage", 4096)

    # What can be restored is what the plan calls new; afterwards it is present.
    other = start_dovecot()
    to = ("/", "--to", f"imap://127.0.0.1:{other.ports.imap}", "--password-file", password)
    report = mailhaul.run(config, "restore", *to, status=3)
    assert report["restored"] == folders["renumbered"]
    before = other.view(ALICE)
    target, folders = plan_of(mailhaul, config, *to)
    assert (folders["renumbered"], folders["present"]) == (0, report["restored"])
    assert other.view(ALICE) == before


def test_a_server_that_lets_nobody_in(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], password: Path
) -> None:
    old = start_dovecot()
    old.deliver(mails[:2], ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    password.write_text("wrong\n")
    to = ("/", "--to", f"imap://127.0.0.1:{old.ports.imap}", "--password-file", password)
    target, _ = plan_of(mailhaul, config, *to)
    assert target["server"]["logged_in"] == 0
    (trouble,) = target["troubles"]
    assert f"does not let {ALICE} in: [AUTHENTICATIONFAILED]" in trouble


@pytest.mark.parametrize("format_", ["mbox", "eml"])
def test_files(
    start_dovecot: StartDovecot,
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    tmp_path: Path,
    format_: str,
) -> None:
    old = start_dovecot()
    old.deliver([*mails[:5], mails[0]], ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    place = tmp_path / "out"
    to = ("/", "--to", f"{format_}:{place}")
    target, folders = plan_of(mailhaul, config, *to)
    assert not place.exists()
    assert (folders["recreated"], folders["existing"], folders["added"]) == (1, 0, 6)
    (trial,) = target["trials"]
    assert (trial["path"], trial["error"]) == (str(tmp_path), "")

    assert mailhaul.run(config, "restore", f"{to[0]}primary/user/{ALICE}/INBOX/2", *to[1:])["restored"] == 1
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    _, folders = plan_of(mailhaul, config, *to)
    assert (folders["existing"], folders["added"], folders["present"]) == (1, 5, 1)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    report = mailhaul.run(config, "restore", *to)
    assert (report["restored"], report["present"]) == (5, 1)
    assert plan_of(mailhaul, config, *to)[1]["present"] == 6


def test_room_for_an_archive(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], tmp_path: Path
) -> None:
    old = start_dovecot()
    old.deliver(mails[:5], ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    plan = mailhaul.run(config, "restore", "/", "--to", f"tar:{tmp_path}/mail.tar", "--dry-run")
    (room,) = plan["rooms"]
    assert room["most_bytes"] == plan["size_bytes"] + 5 * 2048
    assert room["free_bytes"] > 0
    assert json.dumps(plan["unreached"]) == "[]"
    assert not (tmp_path / "mail.tar").exists()
