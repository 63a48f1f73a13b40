"""Drills over real mail of a real Dovecot: proven from a directory and from object storage, as its files and
as a Dovecot shows them; damage that nobody was told of is found; a killed drill leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli.main import EXIT_TERMINATED
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.proofs import Proofs
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED, EXIT_USAGE
from mailhaul.proto.records import StoredFile
from mailhaul.tests.integration.accounts import write_sieve
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.object_storage import moto
from mailhaul.tests.integration.servers.programs import both_servers_with
from mailhaul.worker.stores.maildir_writer import MaildirWriter

from ..archives import frames_of
from ..verifying import command
from .sites import Site
from .test_encryption import Site as EncryptedSite

ALICE, BOB = "alice@example.org", "bob@example.org"
FOLDER = "Arbeit &- Entw&APw-rfe/Alt"
CONFIG = """\
[staging]
path = {staging}
same_device = true
reserve = "1 MB"

[[partition]]
format = "maildir"
path = {store}
doveadm = {doveadm}

[[destination]]
name = "vault"
kind = "directory"
path = {vault}

[sweep]
copies = ["vault"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false

[drill]
scratch = {scratch}
{listed}
reserve = "1 MB"
"""


class House:
    """A Dovecot with the mail of two users, backed up and swept, and nothing in the staging area."""

    def __init__(self, server: Dovecot, doveadm: tuple[str, ...], mails: tuple[bytes, ...]) -> None:
        self.server = server
        self.place = server.place / "backup"
        self.place.mkdir(mode=0o755)
        self.staging = self.place / "staging"
        self.scratch = self.place / "scratch"
        self.vault = self.place / "vault"
        self.config = self.place / "mailhaul.toml"
        facts = {
            "staging": self.staging,
            "store": server.template,
            "vault": self.vault,
            "scratch": self.scratch,
        }
        words = {name: json.dumps(str(one)) for name, one in facts.items()}
        listed = f"doveadm = {json.dumps(doveadm)}" if doveadm else ""
        words |= {"doveadm": json.dumps(server.doveadm), "listed": listed}
        self.config.write_text(CONFIG.format(**words))
        for user in (ALICE, BOB):
            server.deliver(mails, user)
            write_sieve(server.home(user))
            with server.login(user) as client:
                client.make_folder(FOLDER)
                client.save(FOLDER, mails[0], ("\\Seen", "$Forwarded", "projectX"))
                client.save(FOLDER, b"Subject: lf\n\nline\nends\n\0 and a NUL\n", ())
                client.open("INBOX")
                client.flag("1:2", "+", "\\Seen", "\\Flagged")
        self.run("destination check", "vault")
        self.night()

    def run(self, words: str, *arguments: object, status: tuple[int, ...] = (0,)) -> Any:
        return command(f"--config {self.config} {words}", *arguments, status=status)

    def night(self) -> None:
        # Without HIGHESTMODSEQ of mailboxes that were never opened.
        self.run("backup", status=(EXIT_OK, EXIT_SKIPPED))
        self.run("sweep")
        assert not list(self.staging.glob("primary/**/*.mha"))

    def archives(self) -> list[Path]:
        return sorted(self.vault.glob("primary/**/*.mha"))


Make = Callable[..., House]


@pytest.fixture
def make_house(start_dovecot: Callable[..., Dovecot], mails: tuple[bytes, ...]) -> Make:
    def make(layout: str = "maildir++", *, listed: bool = True) -> House:
        server = start_dovecot(layout)
        return House(server, server.doveadm[:-2] if listed else (), mails)

    return make


def test_filters_and_subscriptions_that_come_back_otherwise_are_told(
    make_house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restore would do that writes them wrongly: what is in archives is whole."""
    house = make_house(listed=False)
    add_file = MaildirWriter.add_file

    def spoiled(writer: MaildirWriter, file: StoredFile, content: Iterable[bytes]) -> bool:
        wrong = file.path in (b"subscriptions", b"sieve/main.sieve")
        return add_file(writer, file, (one.swapcase() for one in content) if wrong else content)

    monkeypatch.setattr(MaildirWriter, "add_file", spoiled)
    done = house.run("drill", status=(EXIT_DAMAGED,))
    lacks = {(lack["path"], lack["reason"]) for proof in done["proofs"] for lack in proof["lacks"]}
    names = ("subscriptions", "sieve/main.sieve")
    assert lacks == {(f"/primary/user/{user}/{name}", "file") for user in (ALICE, BOB) for name in names}
    monkeypatch.undo()
    house.run("drill")


@both_servers_with(("maildir++", "fs", "utf-8"), ("maildir++",))
def test_real_mailboxes_are_proven_as_a_server_shows_them(make_house: Make, layout: str) -> None:
    house = make_house(layout)
    done = house.run("drill")
    proofs = {proof["user"]: proof for proof in done["proofs"]}
    assert [one["outcome"] for one in proofs.values()] == ["proven", "proven"]
    assert {one["error"] for one in proofs.values()} == {""}, "each was looked at over IMAP"
    assert proofs[ALICE]["place"] == "vault"
    assert proofs[ALICE]["alive"] == proofs[ALICE]["messages"] > 3
    assert list(house.scratch.iterdir()) == []


def test_a_mailbox_that_is_too_large_is_proven_in_parts_as_a_server_shows_them(make_house: Make) -> None:
    house = make_house()
    (whole,) = house.run("drill", f"/primary/user/{ALICE}")["proofs"]
    kilobytes = whole["size_bytes"] // 3000
    house.config.write_text(house.config.read_text() + f'bytes = "{2 * kilobytes} kB"\n')
    nights: list[dict[str, Any]] = []
    while not nights or nights[-1]["parts_proven"] < nights[-1]["parts"]:
        (proof,) = house.run("drill", f"/primary/user/{ALICE}")["proofs"]
        assert (proof["outcome"], proof["error"], proof["lacks"]) == ("proven", "", [])
        assert proof["size_bytes"] <= kilobytes * 1000
        assert proof["alive"] == proof["messages"]
        nights.append(proof)
        assert len(nights) < 20
    assert len(nights) > 2
    assert sum(one["messages"] for one in nights) >= whole["messages"]
    listed = house.run("proof", f"/primary/user/{ALICE}")["mailboxes"][0]
    parts = listed["parts"]
    assert listed["proof"]["proven"] == min(one["proven"] for one in parts)
    assert sum(one["messages"] for one in parts) == whole["messages"]
    assert {one["folder"] for one in parts} >= {"", "INBOX", "Arbeit & Entwürfe/Alt"}
    assert list(house.scratch.iterdir()) == []


def test_what_was_done_since_is_no_failure(make_house: Make) -> None:
    house = make_house(listed=False)
    with house.server.login(ALICE) as client:
        client.open("INBOX")
        client.flag("1", "+", "\\Answered")
        client.expunge([3])
    house.server.deliver([b"Subject: new\n\nnew\n"], ALICE)
    done = house.run("drill", f"/primary/user/{ALICE}")
    (proof,) = done["proofs"]
    assert (proof["outcome"], proof["gone"], proof["altered"]) == ("proven", 1, 1)
    assert proof["alive"] == proof["messages"] - 1


def test_bytes_that_the_live_store_has_otherwise_are_told(make_house: Make) -> None:
    house = make_house(listed=False)
    message = min((house.server.maildir(BOB) / "cur").iterdir())
    data = bytearray(message.read_bytes())
    data[-3] ^= 1
    status = message.stat()
    message.write_bytes(data)
    os.utime(message, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = house.run("drill", status=(EXIT_DAMAGED,))
    (lack,) = [lack for proof in done["proofs"] for lack in proof["lacks"]]
    assert (lack["reason"], lack["path"].startswith(f"/primary/user/{BOB}/INBOX/")) == ("live", True)


def test_silent_damage_at_the_destination_is_found_told_and_mended(make_house: Make) -> None:
    house = make_house(listed=False)
    (archive,) = house.archives()
    whole = archive.read_bytes()
    spoiled = bytearray(whole)
    for frame in frames_of(whole, FrameType.BLOCK):
        spoiled[frame.at + 60] ^= 1
    times = archive.stat()
    archive.write_bytes(spoiled)
    os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = house.run("drill", status=(EXIT_DAMAGED,))
    assert {proof["outcome"] for proof in done["proofs"]} == {"failed"}
    assert all(lack["path"].startswith("/primary/user/") for one in done["proofs"] for lack in one["lacks"])
    told = {standing.notice.cause: standing.notice for standing in NoticeRecord(house.staging).lasting()}
    notice = told[f"drill-failed:/primary/user/{ALICE}"]
    assert f"/primary/user/{ALICE}/INBOX/" in "\n".join(notice.lines)
    found = house.run("proof", "--failed", status=(EXIT_DAMAGED,))
    assert {mailbox["path"] for mailbox in found["mailboxes"]} == {
        f"/primary/user/{one}" for one in (ALICE, BOB)
    }
    archive.write_bytes(whole)
    house.run("drill")
    assert house.run("proof")["groups"][0]["share"] == 1.0
    assert not [one for one in NoticeRecord(house.staging).lasting() if "drill" in one.notice.cause]


def test_of_who_is_erased_no_drill_tells_any_more(make_house: Make) -> None:
    house = make_house(listed=False)
    house.run("drill")
    house.run(
        "erase", f"/primary/user/{ALICE}", "--reason", "asked for", "--yes", status=(EXIT_OK, EXIT_SKIPPED)
    )
    assert [proof.user for proof in Proofs(house.staging).all()] == [BOB]
    for file in (house.staging / ".mailhaul").glob("service.sqlite*"):
        assert ALICE.encode() not in file.read_bytes()


def test_a_destination_that_is_away_is_no_damage(make_house: Make) -> None:
    house = make_house(listed=False)
    house.vault.rename(house.place / "away")
    done = house.run("drill", status=(EXIT_SKIPPED,))
    assert list(done["away"]) == ["vault"]
    assert done["drill"]["failed"] == 0
    (house.place / "away").rename(house.vault)
    house.run("drill")


def test_a_doveadm_that_does_not_work_proves_nothing_and_says_why(make_house: Make) -> None:
    house = make_house()
    text = house.config.read_text()
    house.config.write_text(text.replace("scratch = ", "# scratch = "))
    told = house.run("drill", status=(EXIT_USAGE,))
    assert "drill.scratch is missing" in told["error"]["message"]
    head, _, _ = text.rpartition("doveadm = ")
    house.config.write_text(f'{head}doveadm = "false"\nreserve = "1 MB"\n')
    done = house.run("drill", status=(EXIT_SKIPPED,))
    assert done["drill"]["untried"] == 2
    assert "does not begin to speak IMAP" in done["proofs"][0]["error"]


@pytest.fixture
def many(make_house: Make) -> House:
    """A house with mailboxes enough to be killed in between."""
    house = make_house(listed=False)
    for number in range(12):
        shutil.copytree(
            house.server.maildir(BOB).parent, house.server.maildir(f"u{number}@example.org").parent
        )
    house.night()
    return house


def ended_by(house: House, number: signal.Signals) -> int:
    """Begin a drill of nine mailboxes, and end it when two are done; its exit status."""
    program = [sys.executable, "-P", "-m", "mailhaul", "--config", str(house.config)]
    words = [*program, "drill", "--mailboxes", "9"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while len(Proofs(house.staging).all()) < 2 and time.monotonic() < until:
            assert process.poll() is None
            for left in house.scratch.glob("mailhaul-drill.*"):
                with suppress(FileNotFoundError):
                    assert left.stat().st_mode & 0o077 == 0
            time.sleep(0.01)
    finally:
        process.send_signal(number)
        status = process.wait(60)
    return status


def test_a_drill_that_is_killed_is_gone_on_with(many: House) -> None:
    assert ended_by(many, signal.SIGKILL) == -signal.SIGKILL
    before = {proof.user: proof.tried for proof in Proofs(many.staging).all()}
    assert 2 <= len(before) < 9
    done = many.run("drill", "--mailboxes", "9")
    again = {one["user"] for one in done["proofs"]}
    assert len(again) == 9 - len(before)
    assert not again & before.keys()
    assert list(many.scratch.iterdir()) == []
    newest, killed = Proofs(many.staging).drills(9)
    assert (newest.state, killed.state, killed.proven) == ("done", "interrupted", len(before))


DEADLY = """
import os, signal, sys
from mailhaul.coordinator.cli import drill
from mailhaul.coordinator.cli.main import main
real = drill.try_mailbox
def deadly(sources, bench, path, *rest):
    if path.user == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(sources, bench, path, *rest)
drill.try_mailbox = deadly
sys.exit(main(sys.argv[2:]))
"""


def test_a_mailbox_at_which_drills_are_killed_is_told_and_proven_when_it_does_not_any_more(
    make_house: Make,
) -> None:
    house = make_house(listed=False)

    def ends() -> int:
        words = [sys.executable, "-P", "-c", DEADLY, ALICE, "--config", str(house.config), "drill"]
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode

    killed = 0
    for _ in range(6):
        killed += ends() == -signal.SIGKILL
        if killed == 2:
            break
    assert killed == 2
    assert ends() in (EXIT_OK, -signal.SIGKILL)
    proofs = {proof.user: proof for proof in Proofs(house.staging).all()}
    assert (proofs[ALICE].outcome, proofs[BOB].outcome) == ("untried", "proven")
    told = {standing.notice.cause for standing in NoticeRecord(house.staging).lasting()}
    assert told == {f"drill-failed:ends:/primary/user/{ALICE}"}
    assert house.run("drill", f"/primary/user/{ALICE}")["drill"]["proven"] == 1
    assert NoticeRecord(house.staging).lasting() == ()
    assert list(house.scratch.iterdir()) == []


def test_a_drill_that_is_stopped_leaves_in_order(many: House) -> None:
    assert ended_by(many, signal.SIGTERM) == EXIT_TERMINATED
    assert list(many.scratch.iterdir()) == []
    (stopped,) = Proofs(many.staging).drills(9)
    assert stopped.state == "interrupted"
    assert stopped.ended is not None
    assert stopped.proven == len(Proofs(many.staging).all())


def test_an_encrypted_backup_is_proven_with_the_private_key_and_not_without(tmp_path: Path) -> None:
    site = EncryptedSite(tmp_path)
    site.encrypt()
    site.run("destination", "check", "vault")
    site.run("backup")
    site.run("sweep")
    told = site.run("drill", "--json", status=EXIT_SKIPPED)
    done = json.loads(told.stdout)
    assert (done["drill"]["proven"], done["drill"]["failed"], done["drill"]["untried"]) == (0, 0, 2)
    assert "for ops" in done["proofs"][0]["error"]
    notices = {standing.notice.cause: standing.notice for standing in NoticeRecord(site.staging).lasting()}
    assert "for ops" in "\n".join(notices["drill-failed:nothing"].lines)
    done = json.loads(site.run("drill", "--json", *site.with_key).stdout)
    assert {proof["outcome"] for proof in done["proofs"]} == {"proven"}
    notices = {one.notice.cause: one.notice for one in NoticeRecord(site.staging).lasting()}
    assert "drill-failed:nothing" not in notices
    keys = f'identities = ["{site.identity}"]\npassphrase_files = ["{site.passphrase}"]\n'
    site.config.write_text(site.config.read_text() + f"[drill]\n{keys}")
    assert json.loads(site.run("drill", "--json").stdout)["drill"]["proven"] == 2


@pytest.mark.xdist_group("object storage")
def test_copies_in_object_storage_are_proven_and_damage_there_is_found(tmp_path: Path, root: Path) -> None:
    site = Site(tmp_path, moto(), ("ceph",))
    site.make_store(root / "deploy/demo/make_store.py")
    site.night()
    site.run("sweep")
    site.config.write_text(site.config.read_text() + '\n[drill]\nreserve = "1 MB"\n')
    done = site.run("drill")
    assert {(proof["outcome"], proof["place"]) for proof in done["proofs"]} == {("proven", "ceph")}
    client = site.server.client()
    for one in client.list_objects_v2(Bucket=site.bucket, Prefix="site1/primary/")["Contents"]:
        data = bytearray(client.get_object(Bucket=site.bucket, Key=one["Key"])["Body"].read())
        for frame in frames_of(bytes(data), FrameType.MAILBOX):
            data[frame.at + 40] ^= 1
        client.put_object(Bucket=site.bucket, Key=one["Key"], Body=bytes(data))
    done = site.run("drill", status=(EXIT_DAMAGED,))
    assert {lack["reason"] for one in done["proofs"] for lack in one["lacks"]} == {"metadata"}


@pytest.mark.xdist_group("object storage")
def test_damage_is_mended_from_a_tape_and_a_volume_that_is_away_is_no_damage(
    tmp_path: Path, root: Path
) -> None:
    site = Site(tmp_path, moto(), ("vault", "drive"))
    site.make_store(root / "deploy/demo/make_store.py")
    site.night()
    site.run("sweep")
    site.config.write_text(site.config.read_text() + '\n[drill]\nreserve = "1 MB"\nmailboxes = 2\n')
    assert {proof["place"] for proof in site.run("drill", "--place", "drive")["proofs"]} == {"drive"}
    (tmp_path / "tapes").rename(tmp_path / "shelf")
    (tmp_path / "tapes").mkdir()
    done = site.run("drill", "--place", "drive", status=(EXIT_SKIPPED,))
    assert (done["drill"]["failed"], list(done["away"])) == (0, ["drive"])
    (tmp_path / "tapes").rmdir()
    (tmp_path / "shelf").rename(tmp_path / "tapes")
    for archive in (tmp_path / "vault").glob("primary/**/*.mha"):
        data = bytearray(archive.read_bytes())
        for frame in frames_of(bytes(data), FrameType.BLOCK):
            data[frame.at + 50] ^= 1
        archive.write_bytes(data)
    done = site.run("drill", "--place", "vault", status=(EXIT_DAMAGED,))
    (failed, *_) = done["proofs"]
    # As it is told: the damaged copies are found, and others put in their place.
    site.run("verify", "--from", "vault", status=(EXIT_DAMAGED,))
    site.run("sweep")
    done = site.run("drill", f"/primary/{failed['group']}/{failed['user']}", "--place", "vault")
    assert [(one["outcome"], one["place"]) for one in done["proofs"]] == [("proven", "vault")]
