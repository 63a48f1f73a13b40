"""Recipients that come later open what is there already: wherever the copies lie, after purges and losses;
and no file that is put in the place of their keys does any harm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.proto.archive.sidecars import decode_sidecar, encode_sidecar
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.structs import replace
from mailhaul.worker.keepsake import mailhaul_restore

from ..maildirs import Maildir
from .inside import InsideSite
from .test_encryption import JANE, SUBJECT

SWEPT = '[sweep]\ncopies = ["vault"]\nlook_again = "0s"\nkeep_staged = "0s"\nkeep_newest = false\n'


class Later(InsideSite):
    """A site that is backed up for ops; later there is a recipient ``board``."""

    def __init__(self, tmp: Path) -> None:
        super().__init__(tmp)
        self.encrypt()
        self.run("backup")
        make_recipient(self.laptop, "board", Kem.HYBRID, [None])
        self.board = Path(shutil.copy(self.laptop / "board.pub", tmp / "etc"))
        self.later = ("--identity", str(self.laptop / "board.secret"))

    def both(self) -> None:
        self.configure(f'recipients = ["{self.public}", "{self.board}"]')

    def add(self, status: int = 0) -> dict[str, object]:
        words = ("keys", "recipient", "add", str(self.board), *self.with_key, "--json")
        done: dict[str, object] = json.loads(self.run(*words, status=status).stdout)
        return done

    def sidecars(self, place: Path | None = None) -> list[Path]:
        return sorted((place or self.staging).glob("_keys/*/*.mhk"))

    def mail_in(self, target: Path) -> set[bytes]:
        return {file.read_bytes() for file in target.rglob("cur/*")}

    @property
    def wanted(self) -> set[bytes]:
        return {file.read_bytes() for file in self.store.glob("*/cur/*")}

    def night(self, number: int) -> None:
        Maildir(self.store / "jane").message(f"{number}.jane:2,", self.mail("jane", number))
        self.run("backup")


@pytest.fixture
def site(tmp_path: Path) -> Later:
    return Later(tmp_path)


def test_what_was_there_opens_for_who_came_later(site: Later) -> None:
    site.night(7)
    site.both()
    assert site.restored(*site.later, status=1) != []
    assert site.add() == {
        "recipients": ["board"],
        "not_configured": [],
        "encrypted_archives": 2,
        "written": 2,
        "opened_before": 0,
        "failed": [],
    }
    assert site.restored(*site.later) == []
    assert site.restored(*site.with_key) == []
    assert site.run("find", JANE, "--subject", SUBJECT.lower(), *site.later).stdout.count(JANE) == 7
    assert "board: opens 2 of 2" in site.run("keys", "recipient", "check", *site.later).stdout
    assert site.add()["written"] == 0
    assert site.add()["opened_before"] == 2
    # Search terms that come along in the archives of later nights open for it, too.
    (site.store / "jane" / "cur" / "1.jane:2,S").rename(site.store / "jane" / "cur" / "1.jane:2,FS")
    site.night(8)
    found = json.loads(site.run("keys", "recipient", "list", "--json").stdout)
    assert {recipient["name"]: recipient["opens"] for recipient in found["recipients"]} == {
        "ops": 3,
        "board": 3,
    }
    site.run("verify")


def test_copies_without_a_staging_area_open_too(site: Later, tmp_path: Path) -> None:
    site.both()
    site.add()
    site.run("sweep")
    assert len(site.sidecars(site.vault)) == 1
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    files = [word for file in sorted(site.vault.rglob("*.mha")) for word in ("-f", str(file))]
    target = tmp_path / "blank"
    site.run("restore", "/", "--to", f"maildir:{target}/{{user}}", *files, *site.later)
    assert site.mail_in(target) == site.wanted
    reader = [str(site.vault), "--identity", str(site.laptop / "board.secret")]
    assert mailhaul_restore.main([*reader, "--to", str(tmp_path / "alone")]) == 0
    assert site.mail_in(tmp_path / "alone") == site.wanted
    # Carried away by hand: the archive and its sidecar in one directory.
    lone = tmp_path / "lone"
    lone.mkdir()
    for file in (*site.vault.rglob("*.mha"), *site.sidecars(site.vault)):
        shutil.copy(file, lone)
    (archive,) = lone.glob("*.mha")
    again = tmp_path / "again"
    site.run("restore", "/", "--to", f"maildir:{again}/{{user}}", "-f", str(archive), *site.later)
    assert site.mail_in(again) == site.wanted
    assert mailhaul_restore.main([str(archive), *reader[1:], "--to", str(tmp_path / "byname")]) == 0
    assert site.mail_in(tmp_path / "byname") == site.wanted


def test_what_has_left_the_staging_area(site: Later) -> None:
    site.both()
    site.config.write_text(
        site.config.read_text().replace('[sweep]\ncopies = ["vault"]\nlook_again = "0s"\n', SWEPT)
    )
    site.run("sweep")
    assert site.archives() == []
    assert site.add()["written"] == 1
    assert site.restored(*site.later) == []
    site.night(7)
    assert site.restored(*site.later) == []


class Erasable(Later):
    """The same, where mailboxes have secrets of their own."""

    def configure(self, *encryption: str) -> None:
        super().configure(*encryption, "erasable = true")


def test_where_mailboxes_are_erasable(tmp_path: Path) -> None:
    site = Erasable(tmp_path)
    site.both()
    site.add()
    assert "board: opens 1 of 1" in site.run("keys", "recipient", "check", *site.later).stdout
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    site.run("catalog", "rebuild", "--from", "vault", *site.later)
    assert site.restored(*site.later) == []
    reader = [str(site.vault), "--identity", str(site.laptop / "board.secret")]
    assert mailhaul_restore.main([*reader, "--to", str(tmp_path / "alone")]) == 0
    assert site.mail_in(tmp_path / "alone") == site.wanted


def test_a_purge_takes_them_away_everywhere_and_new_generations_open_for_all(site: Later) -> None:
    site.add()
    site.both()
    for number in range(5):
        (site.store / "jane" / "cur" / f"{number}.jane:2,S").unlink()
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("purge", "--last", "1")
    assert [archive.name for archive in site.archives() if ".g1." in archive.name], "it was written anew"
    assert site.restored(*site.later) == []
    # Without the sidecar: what was wrapped in it is in the archive now.
    for sidecar in site.sidecars():
        sidecar.rename(sidecar.with_suffix(".aside"))
    assert site.restored(*site.later) == []
    for path in site.staging.glob("_keys/*/*.aside"):
        path.rename(path.with_suffix(".mhk"))
    site.run("backup", "--self-contained")
    site.run("sweep")
    assert len(site.sidecars(site.vault)) == 1
    site.run("purge", "--last", "1")
    assert site.sidecars() == []
    site.run("sweep")
    assert site.sidecars(site.vault) == []
    assert site.restored(*site.later) == []
    assert site.restored(*site.with_key) == []


def test_a_sidecar_that_somebody_else_wrote(site: Later) -> None:
    """Who has the public keys and an archive, and no structure key, puts keys of his own in its place."""
    site.both()
    site.add()
    (sidecar,) = site.sidecars()
    found = decode_sidecar(sidecar.read_bytes(), "")
    (wrap,) = found.slots[0].wraps
    forged = replace(found.slots[0], wraps=(replace(wrap, sealed=bytes(len(wrap.sealed))),))
    sidecar.write_bytes(encode_sidecar(found.archive, [forged], bytes(32)))
    done = site.run("verify", status=4)
    assert str(sidecar.relative_to(site.staging)) in done.stdout + done.stderr
    assert site.restored(*site.with_key) == []
    site.run("show", f"{JANE}/INBOX/1", *site.later, status=1)
    # It is made again, under another name, and what is of no use goes.
    assert site.add()["written"] == 1
    assert site.sidecars() != [sidecar]
    site.run("verify")
    assert site.restored(*site.later) == []


def test_a_sidecar_that_hides_behind_a_key_of_its_own(site: Later) -> None:
    """Its last slot names a structure key that nobody has, so that nobody could compare it; and no greater
    number is left."""
    site.both()
    site.add()
    (sidecar,) = site.sidecars()
    found = decode_sidecar(sidecar.read_bytes(), "")
    (slot,) = found.slots
    forged = replace(slot, wraps=(replace(slot.wraps[0], sealed=bytes(len(slot.wraps[0].sealed))),))
    hiding = replace(forged, number=slot.number + 1, structure=bytes(16))
    sidecar.unlink()
    last = sidecar.with_name(sidecar.name.replace(".1.", ".999999999."))
    last.write_bytes(encode_sidecar(found.archive, [forged, hiding], bytes(32)))
    assert str(last.relative_to(site.staging)) in site.run("verify", status=4).stdout
    assert site.add()["written"] == 1
    assert site.restored(*site.later) == []


def test_a_sidecar_that_was_replaced_at_a_destination(site: Later) -> None:
    site.both()
    site.add()
    site.run("sweep")
    site.run("verify", "--from", "vault")
    (there,) = site.sidecars(site.vault)
    written = there.read_bytes()
    for replaced in (b"nothing", written[:-1] + bytes([written[-1] ^ 1]), written[: len(written) // 2]):
        there.chmod(0o600)
        there.write_bytes(replaced)
        done = site.run("verify", "--from", "vault", status=4)
        assert "the next sweep puts it again" in done.stdout + done.stderr
        assert not there.exists()
        site.run("sweep")
        assert there.read_bytes() == written
    site.run("verify", "--from", "vault")


def test_the_reader_leaves_out_what_is_no_sidecar(
    site: Later, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.both()
    site.add()
    (sidecar,) = site.sidecars()
    data = bytearray(sidecar.read_bytes())
    data[len(data) // 2] ^= 1
    sidecar.write_bytes(data)
    ops = ["--identity", str(site.identity), "--passphrase-file", str(site.passphrase)]
    assert mailhaul_restore.main([str(site.staging), *ops, "--to", str(tmp_path / "ops")]) == 0
    assert "keys that were added later are left out" in capsys.readouterr().err
    assert site.mail_in(tmp_path / "ops") == site.wanted
    board = ["--identity", str(site.laptop / "board.secret")]
    assert mailhaul_restore.main([str(site.staging), *board, "--to", str(tmp_path / "board")]) != 0
    assert not (tmp_path / "board").exists()


def test_a_key_that_opens_nothing_adds_nothing(site: Later) -> None:
    make_recipient(site.laptop, "stranger", Kem.X25519, [None])
    words = ("keys", "recipient", "add", str(site.board))
    told = site.run(*words, "--identity", str(site.laptop / "stranger.secret"), status=1).stderr
    assert "wrapped for ops" in told
    assert site.sidecars() == []
    assert "--identity" in site.run(*words, status=2).stderr
    done = site.run(*words, *site.with_key)
    assert "board: 1 of 1 encrypted archive can be opened now" in done.stdout
    assert "not in the list of [encryption] recipients" in done.stderr


KILLED = """
import os, signal, sys
from mailhaul.coordinator import adding_recipients
from mailhaul.coordinator.cli.main import main
left = [{after}]
whole = adding_recipients.replace_durably
def killed(path, data):
    if left[0] == 0:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.with_name(path.name + ".new").write_bytes(data[:{part}])
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    whole(path, data)
adding_recipients.replace_durably = killed
main(sys.argv[1:])
"""


def test_killed_at_any_moment_it_goes_on(site: Later) -> None:
    for number in range(7, 10):
        site.night(number)
    site.both()
    words = ["--config", str(site.config), "keys", "recipient", "add", str(site.board), *site.with_key]
    for after, part in ((0, 10), (1, 0), (1, 300)):
        code = KILLED.format(after=after, part=part)
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *words], capture_output=True, timeout=60, check=False
        )
        assert done.returncode == -9, done.stderr
        assert len(site.sidecars()) == after + (part == 300)
        site.run("verify")
        assert site.restored(*site.with_key) == []
    assert site.add()["written"] == 2
    assert len(site.sidecars()) == 4
    assert site.restored(*site.later) == []
