"""Restores in the queue that are given files of the host, or bring mail back over IMAP and LMTP."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.restores.record import directory_of, read_order
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Operation
from mailhaul.coordinator.serving.files import place
from mailhaul.coordinator.serving.given_files import all_given

from ..maildirs import Maildir
from .accounts import fill
from .command import Mailhaul
from .servers.dovecot import Dovecot
from .servers.imap import PASSWORD
from .serving import PROGRAM, Served
from .test_restore_over_imap import in_any_order
from .test_restore_over_lmtp import contents, numbered

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


def carried_out(staging: Path, config: Path, number: int) -> Operation:
    """An operation, when the process that `mailhaul serve` would start for it has ended."""
    subprocess.run(
        [PROGRAM, "--config", config, "operations", "run", str(number)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    return Operations(staging).get(number)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A store of two mailboxes, which are backed up."""
    made = Served(tmp_path)
    for user in ("anna", "bert"):
        for number in range(3):
            Maildir(made.store / user).message(
                f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number + b"mail" * 99
            )
    made.run("backup")
    return made


def mail(root: Path) -> dict[str, bytes]:
    """The messages below a directory, by their places."""
    files = (one for one in root.rglob("*") if one.parent.name in ("cur", "new") and one.is_file())
    return {str(one.relative_to(root)): one.read_bytes() for one in files}


def test_a_map_is_as_it_was_when_the_restore_was_asked_for(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "map"
    file.write_text("anna = anne\n")
    back = tmp_path / "back"
    words = ("restore", "/primary/user/anna", "--map", str(file), "--to", f"maildir:{back}/{{user}}")
    number = served.add(*words)
    ((kept,),) = all_given(served.staging).values()
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (b"anna = anne\n", 0o600)
    file.write_text("anna = somebody.else\n")
    one = carried_out(served.staging, served.config, number)
    assert (one.state, one.request.arguments) == ("done", words[1:])
    assert {name.replace("anne", "anna") for name in mail(back)} == {
        name for name in mail(served.store) if "anna" in name
    }
    assert sorted(mail(back).values()) == sorted(mail(served.store / "anna").values())
    assert all_given(served.staging) == {}
    # By hand it is gone on with, or taken back, by the file that was named.
    order = read_order(directory_of(served.staging, one.carries))
    assert order.arguments[: len(words) - 1] == words[1:]
    refused = served.run("restore", "--undo", one.carries, status=2)
    assert "the map is not as it was" in refused["error"]["message"]
    file.write_text("anna = anne\n")
    served.run("restore", "--undo", one.carries)
    assert mail(back) == {}


def test_a_report_of_damage_is_as_it_was(served: Served, tmp_path: Path) -> None:
    before = mail(served.store)
    (damaged,) = (served.store / "anna").rglob("0.M1P1*")
    os.truncate(damaged, 20)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(served.run("check", status=4)))
    number = served.add("restore", "--only-damaged", str(report))
    report.unlink()
    one = carried_out(served.staging, served.config, number)
    assert one.state == "done", one
    assert mail(served.store) == before
    # What is no file is a path of the backup.
    os.truncate(damaged, 20)
    number = served.add("restore", "--only-damaged", "/primary/user/anna")
    assert all_given(served.staging) == {}
    assert carried_out(served.staging, served.config, number).state == "done"
    assert mail(served.store) == before


def test_what_can_not_be_given_is_refused_with_the_reason(served: Served, tmp_path: Path) -> None:
    open_to_all = tmp_path / "password"
    open_to_all.write_text("secret\n")
    open_to_all.chmod(0o644)
    to = ("--to", "imap://127.0.0.1:1", "--password-file")
    for words, why in (
        (("/", "--doveadm", "doveadm"), "its programs are those of the configuration"),
        (("/", "-f", "x.mha"), "it restores from the staging area"),
        (("--first", "anna"), "that is said to a restore that goes on"),
        (("/", "--map", "map"), "by its whole path"),
        (("/", "--map", str(tmp_path / "nowhere")), "No such file"),
        (("/", *to, "password"), "by its whole path"),
        (("/", *to, str(open_to_all)), "nobody else can read"),
        (("/", *to, str(tmp_path / "nowhere")), "No such file"),
        (("/", "--to", "tar:back.tar"), "by its whole path"),
    ):
        done = subprocess.run(
            served.words("operations", "add", "restore", *words), capture_output=True, text=True, check=False
        )
        assert (done.returncode, why in done.stderr) == (2, True), (words, done.stderr)
    assert Operations(served.staging).newest(1) == ()
    assert not place(served.staging).exists()


def test_over_imap_and_lmtp(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], tmp_path: Path
) -> None:
    old, new, delivered = start_dovecot(), start_dovecot(), start_dovecot()
    fill(old, ALICE, mails)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)

    def add(*words: str | Path) -> int:
        asked = mailhaul.run(config, "operations add", "restore", f"/primary/user/{ALICE}", *words)
        return int(asked["operation"]["id"])

    over_imap = add("--to", f"imap://127.0.0.1:{new.ports.imap}", "--password-file", password, "--verify")
    one = carried_out(mailhaul.staging, config, over_imap)
    assert (one.state, one.exit_status) == ("partial", 3), one  # the sieve script is no mail
    assert in_any_order(new.view(ALICE)) == in_any_order(old.view(ALICE))
    for path in (mailhaul.staging / ".mailhaul").rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path

    with old.login(ALICE) as client:
        client.make_folder("Numbered")
        for number in numbered(4):
            client.save("Numbered", number, [])
    mailhaul.run(config, "backup")
    over_lmtp = mailhaul.run(
        config, "operations add", "restore", f"/primary/user/{ALICE}/Numbered",
        "--to", f"lmtp://127.0.0.1:{delivered.ports.lmtp}", "--sieve-runs-again",
        "--delivered", tmp_path / "delivered",
    )  # fmt: skip
    one = carried_out(mailhaul.staging, config, int(over_lmtp["operation"]["id"]))
    assert one.state == "partial", one  # flags, keywords, dates and folders are lost
    assert contents(delivered) == numbered(4)
