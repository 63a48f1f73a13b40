"""Encrypted backups, on the command line: made, gone on with, browsed, verified, restored with a private key;
and what of all that the keys can be found in afterwards."""

from __future__ import annotations

import gzip
import json
import secrets
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.coordinator.cli.identities import opened_identity
from mailhaul.coordinator.structure_keys import read_structure_keys
from mailhaul.coordinator.unlocking import unlocking
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType, checksum, pack_header
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.keys.derivation import wrap_info
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.recipients import recipient, write_recipient
from mailhaul.proto.keys.records import Kem, Keyring, Slot
from mailhaul.proto.keys.secret_files import ScryptCost, Secret, write_secret
from mailhaul.proto.keys.wrapping import public_of, unwrap
from mailhaul.worker.archives.opened import beginning_of

from ..archives import frames_of
from ..maildirs import Maildir
from ..plain_bytes import files_with, plain_file

PROGRAM = [sys.executable, "-P", "-m", "mailhaul"]
JANE = "/primary/user/jane"
SUBJECT = "Rhabarberkuchen"
PASSPHRASE = "correct horse"


class Site:
    """A store of two mailboxes, a configuration, and a recipient with a private key elsewhere."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.staging, self.keys, self.laptop = tmp / "staging", tmp / "keys", tmp / "laptop"
        self.vault = tmp / "vault"
        self.store = tmp / "mail"
        for directory in (self.laptop, self.vault, tmp / "etc"):
            directory.mkdir()
        self.config = tmp / "etc" / "mailhaul.toml"
        for user in ("jane", "joe"):
            mailbox = Maildir(self.store / user)
            for number in range(6):
                mailbox.message(f"{number}.{user}:2,S", self.mail(user, number))
            mailbox.uidlist(*(f"{number + 1} :{number}.{user}" for number in range(6)))
        self.private = secrets.token_bytes(32)
        ops = recipient("ops", Kem.X25519, public_of(Kem.X25519, self.private))
        self.public = write_recipient(tmp / "etc", ops)
        self.identity = self.laptop / "ops.secret"
        secret = Secret(name="ops", kem=Kem.X25519, recipient=ops.id, private=self.private)
        write_secret(self.identity, secret, PASSPHRASE, ScryptCost(n=2, r=1))
        self.passphrase = self.laptop / "passphrase"
        self.passphrase.write_text(f"{PASSPHRASE}\n")
        self.passphrase.chmod(0o600)
        self.with_key = ("--identity", str(self.identity), "--passphrase-file", str(self.passphrase))

    @staticmethod
    def mail(user: str, number: int) -> bytes:
        return f"From: {user}@example.org\nSubject: {SUBJECT} {number}\n\n{user} {number} ".encode() * 40

    def configure(self, *encryption: str) -> None:
        self.config.write_text(
            f'[staging]\npath = "{self.staging}"\nkeys = "{self.keys}"\nreserve = "1 MB"\n'
            "same_device = true\n"
            f'[[partition]]\nformat = "maildir"\npath = "{self.store}/{{user}}"\n'
            f'[[destination]]\nname = "vault"\nkind = "directory"\npath = "{self.vault}"\n'
            '[sweep]\ncopies = ["vault"]\nlook_again = "0s"\n'
            + "\n".join(("[encryption]", *encryption))
            + "\n"
        )

    def encrypt(self) -> None:
        self.configure(f'recipients = ["{self.public}"]')

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "--config", str(self.config), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("primary/*/*.mha"))

    def restored(self, *words: str, status: int = 0) -> list[str]:
        """Restore all; how it differs from the store."""
        target = self.tmp / f"restored{secrets.token_hex(4)}"
        self.run("restore", "/", "--to", f"maildir:{target}/{{user}}", *words, status=status)
        wanted = {f.name: f.read_bytes() for f in self.store.glob("*/cur/*")}
        found = {f.read_bytes() for f in target.glob("*/cur/*")} if target.exists() else set()
        return [name for name, content in wanted.items() if content not in found]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nights_browsing_and_a_restore_with_the_private_key(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    site.run("backup")
    assert len(site.archives()) == 2, "the third night has nothing to write"
    for file in (path for path in site.staging.rglob("*.mh?") if path.is_file()):
        data = file.read_bytes()
        assert SUBJECT.encode() not in data, file
        assert b"jane" not in data, file
    assert "jane" in site.run("ls", "/primary/user").stdout
    site.run("ls", f"{JANE}/INBOX")
    site.run("verify")
    told = site.run("show", f"{JANE}/INBOX/1", status=1)
    assert "for ops" in told.stderr
    assert "--identity" in told.stderr
    told = site.run("restore", "/", "--to", f"maildir:{site.tmp}/none/{{user}}", status=1)
    assert "for ops" in told.stderr
    assert "--identity" in told.stderr
    assert not (site.tmp / "none").exists(), "it is refused before anything is done"
    assert SUBJECT in site.run("show", f"{JANE}/INBOX/1", *site.with_key).stdout
    assert site.run("find", JANE, "--subject", SUBJECT.lower(), *site.with_key).stdout.count(JANE) == 7
    assert site.restored(*site.with_key) == []


def test_of_a_lost_house_a_destination_and_a_private_key_are_enough(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    files = [word for file in sorted(site.vault.rglob("*.mha")) for word in ("-f", str(file))]
    target = site.tmp / "blank"
    site.run("restore", "/", "--to", f"maildir:{target}/{{user}}", *files, *site.with_key)
    wanted = {file.read_bytes() for file in site.store.glob("*/cur/*")}
    assert {file.read_bytes() for file in target.glob("*/cur/*")} == wanted


def test_a_file_that_has_lost_its_keys_is_read_with_those_of_a_copy(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("sweep")
    first, second = site.archives()
    (copy,) = site.vault.rglob(first.name)
    without = bytearray(first.read_bytes())
    for frame in frames_of(first.read_bytes()):
        if frame.at == 0 or frame.header.type is FrameType.KEYS:
            end = frame.at + HEADER_BYTES + frame.header.stored_bytes
            without[frame.at : end] = bytes(end - frame.at)
    everything = site.tmp / "all.mha"
    everything.write_bytes(bytes(without) + second.read_bytes())
    files = ("-f", str(everything), "-f", str(copy))
    target = site.tmp / "blank"
    site.run("restore", "/", "--to", f"maildir:{target}/{{user}}", *files, *site.with_key)
    wanted = {file.read_bytes() for file in site.store.glob("*/cur/*")}
    assert {file.read_bytes() for file in target.glob("*/cur/*")} == wanted


def test_a_staging_area_may_hold_both(site: Site) -> None:
    site.configure()
    first = site.run("backup")
    assert "archives are not encrypted" in first.stderr
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    assert "not encrypted" not in site.run("backup").stderr, "it is said once"
    site.encrypt()
    Maildir(site.store / "joe").message("8.joe:2,", site.mail("joe", 8))
    site.run("backup")
    assert site.restored(*site.with_key) == []
    site.run("backup", "--full")
    sealed = [bool(_slots(file)) for file in site.archives()]
    assert sealed == [False, False, True, True]
    assert site.restored(*site.with_key) == []
    site.run("verify")


def test_without_recipients_any_more_all_is_stored_anew_and_said(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.configure()
    assert "for ops" in site.run("backup").stderr
    assert "for ops" not in site.run("backup").stderr
    encrypted, clear = site.archives()
    assert (bool(_slots(encrypted)), bool(_slots(clear))) == (True, False)
    (site.store / "joe" / "cur" / "0.joe:2,S").unlink()
    site.run("backup")
    site.run("purge", "--last", "1")
    for file in site.archives():
        assert not _slots(file), "none that is encrypted is needed any more"
    assert site.restored() == [], "nothing in it refers to the encrypted archive"


def test_what_is_encrypted_stays_so_when_it_is_written_anew_without_recipients(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    for number in range(5):
        (site.store / "jane" / "cur" / f"{number}.jane:2,S").unlink()
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.configure()
    site.run("backup", "--full")
    site.run("purge", "--last", "2")
    (anew,) = (archive for archive in site.archives() if ".g1." in archive.name)
    assert _slots(anew)
    site.run("verify")
    run = sorted(path.name.split(".")[0] for path in site.archives())[1]
    assert site.restored("--at", run, *site.with_key) == []


def test_a_restore_of_a_changed_mailbox_and_taking_it_back(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    before = {file.name: file.read_bytes() for file in site.store.glob("*/cur/*")}
    lost = sorted(before)[:4]
    for name in lost:
        next(site.store.glob(f"*/cur/{name}")).unlink()
    site.run("restore", "/", *site.with_key)
    assert {file.read_bytes() for file in site.store.glob("*/cur/*")} == set(before.values())
    site.run("restore", "--undo", "latest", *site.with_key)
    assert len(list(site.store.glob("*/cur/*"))) == len(before) - len(lost)
    site.run("restore", "/", "--exact", *site.with_key)
    assert {file.read_bytes() for file in site.store.glob("*/cur/*")} == set(before.values())


def test_a_purge_writes_archives_anew_without_the_private_key(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    for number in range(5):
        (site.store / "jane" / "cur" / f"{number}.jane:2,S").unlink()
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("purge", "--last", "1")
    assert [archive.name for archive in site.archives() if ".g1." in archive.name], "it was written anew"
    site.run("verify")
    assert site.restored(*site.with_key) == []


def test_a_verification_without_the_private_key_finds_what_is_damaged(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    site.run("sweep")
    (archive,), (copy,) = site.archives(), site.vault.rglob("*.mha")
    whole = archive.read_bytes()
    block = frames_of(whole, FrameType.BLOCK)[0]
    mailbox = frames_of(whole, FrameType.MAILBOX)[0]
    end = mailbox.at + HEADER_BYTES + mailbox.header.stored_bytes
    forged = whole[mailbox.at + HEADER_BYTES : end - 1] + bytes([whole[end - 1] ^ 1])
    header = pack_header(mailbox.header._replace(checksum=checksum(forged)))
    at = block.at + HEADER_BYTES
    for data in (
        whole[: at + 9] + bytes([whole[at + 9] ^ 1]) + whole[at + 10 :],
        whole[: mailbox.at] + header + forged + whole[end:],  # with a right checksum
    ):
        for file in (archive, copy):
            file.chmod(0o600)
            file.write_bytes(data)
        told = site.run("verify", status=4).stdout
        assert "1 damaged" in told, told
    # Of a catalog that is made anew nobody knows the checksums of copies.
    for file in (site.staging / ".mailhaul").glob("catalog.sqlite*"):
        file.unlink()
    for file in (archive, copy):
        file.write_bytes(whole)
    site.run("catalog", "rebuild")
    site.run("verify", "--from", "vault")
    copy.write_bytes(data)
    site.run("verify", "--from", "vault", status=4)
    assert site.restored(*site.with_key) == []


def test_a_stream_is_encrypted_too(site: Site) -> None:
    site.encrypt()
    stream = site.tmp / "stream.mha"
    assert "not encrypted" not in site.run("backup", "-f", str(stream)).stderr
    assert SUBJECT.encode() not in stream.read_bytes()
    target = site.tmp / "blank"
    shutil.rmtree(site.keys)
    site.run("restore", "/", "--to", f"maildir:{target}/{{user}}", "-f", str(stream), *site.with_key)
    wanted = {file.read_bytes() for file in site.store.glob("*/cur/*")}
    assert {file.read_bytes() for file in target.glob("*/cur/*")} == wanted


def test_a_stream_in_clear_is_announced_as_such(site: Site) -> None:
    site.configure()
    for number in range(2):
        done = site.run("backup", "-f", str(site.tmp / f"stream{number}.mha"))
        assert "this stream is not encrypted" in done.stderr


def test_what_is_required_is_refused_without_recipients(site: Site) -> None:
    site.configure("required = true")
    assert "encryption.recipients" in site.run("backup", status=2).stderr
    assert not site.staging.exists()


def test_no_key_lies_in_any_file_but_its_own(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup", "--json")
    site.run("sweep")
    assert site.restored(*site.with_key) == []
    needles = [site.private]
    own = sorted(site.keys.glob("*.structure"))
    for file in own:
        assert file.stat().st_mode & 0o777 == 0o600
        needles += [key.secret for key in read_structure_keys(file)]
    for file in site.archives():
        for slot in _slots(file):
            (wrap,) = slot.wraps
            info = wrap_info(slot.archive, slot.salt, wrap.recipient)
            needles.append(unwrap(wrap.kem, site.private, wrap.sealed, info)[:32])
    for file in (path for path in site.tmp.rglob("*") if path.is_file() and path not in own):
        data = file.read_bytes()
        for needle in needles:
            assert not any(form in data for form in (needle, needle.hex().encode())), file


def test_a_key_that_is_gone_ends_the_run(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    (own,) = site.keys.glob("*.structure")
    kept = own.read_bytes()
    own.unlink()
    assert "structure key" in site.run("backup", status=1).stderr
    assert not own.exists(), "nothing takes its place"
    own.write_bytes(kept)
    own.chmod(0o600)
    site.run("backup")


def beside(place: Path) -> tuple[list[str], list[str]]:
    """The snapshots and tables that are sealed, and those in clear."""
    names = sorted(path.name for path in (place / "_catalog").iterdir())
    sealed = [name for name in names if name.endswith(".sealed")]
    return sealed, [one for one in names if one not in sealed]


def test_catalogs_beside_archives_are_sealed_and_those_in_clear_go(site: Site) -> None:
    site.configure()
    site.run("backup")
    site.run("sweep")
    assert len(beside(site.vault)[1]) == 2
    site.encrypt()
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("sweep")
    for place in (site.staging, site.vault):
        sealed, clear = beside(place)
        assert (len(sealed) >= 2, clear) == (True, []), place
        assert all(b"jane" not in (place / "_catalog" / one).read_bytes() for one in sealed)
    for file in (site.staging / ".mailhaul").glob("catalog.sqlite*"):
        file.unlink()
    assert "starting from _catalog/" in site.run("catalog", "rebuild").stdout, "the snapshot is used"
    assert site.restored(*site.with_key) == []
    reader = next(site.vault.glob("mailhaul-restore-*.py"))
    table = next((site.vault / "_catalog").glob("*.names.tsv.gz.sealed"))
    key = ("--identity", str(site.identity), "--passphrase-file", str(site.passphrase))
    command = [sys.executable, "-I", str(reader), str(site.vault), "--open", str(table)]
    opened = subprocess.run([*command, *key], capture_output=True, timeout=60, check=True)
    assert b"mailbox\tprimary\tuser\tjane\t" in gzip.decompress(opened.stdout)
    refused = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"for ops" in refused.stderr


def test_without_the_structure_key_no_catalog_in_clear_takes_its_place(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    (own,) = site.keys.glob("*.structure")
    kept = own.read_bytes()
    own.unlink()
    assert "structure key" in site.run("sweep", status=1).stderr
    assert len(list(site.vault.glob("primary/user/*.mha"))) == 1, "archives are carried away"
    assert beside(site.staging)[1] == beside(site.vault)[1] == []
    own.write_bytes(kept)
    own.chmod(0o600)
    site.run("sweep")


def _slots(file: Path) -> tuple[Slot, ...]:
    opened = LocalFile(str(file))
    try:
        assert beginning_of(opened)
        return read_slots(opened)
    finally:
        opened.close()


def test_commands_take_a_private_key_where_one_is_needed(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    # What was deleted comes back.
    for number in (1, 2):
        (site.store / "jane" / "cur" / f"{number}.jane:2,S").unlink()
    site.run("backup")
    for words in (("--list",), ("--to", f"maildir:{site.tmp}/undeleted/{{user}}")):
        told = site.run("undelete", JANE, *words, status=1).stderr
        assert "for ops" in told
        assert "--identity" in told
    assert not (site.tmp / "undeleted").exists()
    assert "2 messages" in site.run("undelete", JANE, "--list", *site.with_key).stdout
    site.run("undelete", JANE, "--to", f"maildir:{site.tmp}/undeleted/{{user}}", *site.with_key)
    back = {file.read_bytes() for file in (site.tmp / "undeleted").rglob("cur/*")}
    assert back == {site.mail("jane", 1), site.mail("jane", 2)}
    # Without a key what is stored is checked, and that is said; with it all is read.
    assert "as they are stored, encrypted" in site.run("verify").stdout
    told = site.run("verify", "--data", status=1).stderr
    assert "for ops" in told
    assert "encrypted" not in site.run("verify", *site.with_key).stdout
    assert "12 different contents" in site.run("verify", "--data", *site.with_key).stdout
    make_recipient(site.laptop, "other", Kem.X25519, [None])
    done = site.run("verify", "--identity", str(site.laptop / "other.secret"), status=1)
    assert "for ops; the private key that was given (other) does not open it" in done.stderr
    assert "whole" not in done.stdout
    shutil.rmtree(site.keys)
    files = [word for file in site.archives() for word in ("-f", str(file))]
    for command in ("ls " + JANE, "verify --data", "verify --sample 50%"):
        told = site.run(*command.split(), *files, status=1).stderr
        assert "for ops" in told, command
        site.run(*command.split(), *files, *site.with_key)
    assert (
        "for ops"
        in site.run("verify", *files, "--identity", str(site.laptop / "other.secret"), status=1).stderr
    )
    done = site.run("verify", *files)
    assert "2 archives, the checksums of" in done.stdout
    assert "no more could be compared" in done.stderr
    assert "no such file" in site.run("verify", *files, "-f", str(site.tmp / "gone"), status=1).stderr
    assert json.loads(site.run("verify", *files, "--json").stdout)["as_stored"]
    with site.archives()[0].open("r+b") as archive:
        archive.seek(-2000, 2)
        changed = bytes([archive.read(1)[0] ^ 1])
        archive.seek(-2000, 2)
        archive.write(changed)
    assert "1 place damaged" in site.run("verify", *files, status=4).stdout


def test_a_purge_with_the_private_key_leaves_no_mail_that_nobody_needs(site: Site) -> None:
    """All mail of the group lies in one block: as it is stored it can only stay or go as a whole."""
    site.encrypt()
    site.run("backup")
    for number in range(5):
        for user in ("jane", "joe"):
            (site.store / user / "cur" / f"{number}.{user}:2,S").unlink()
    site.run("backup")
    (old, _) = site.archives()
    site.run("purge", "--last", "1", *site.with_key)
    (new,) = (archive for archive in site.archives() if ".g1." in archive.name)
    assert site.restored(*site.with_key) == []
    site.run("verify", "--data", *site.with_key)
    assert not old.exists()
    keys = unlocking(opened_identity([site.identity], [site.passphrase]))
    with closing(LocalFile(str(new))) as file:
        reader = open_sealed(file, keys=keys(read_slots(file)))
        blocks = b"".join(reader.block(number) for number in range(len(reader.directory.blocks.data)))
    assert site.mail("jane", 5)[-200:] in blocks
    assert site.mail("jane", 2)[-200:] not in blocks


def test_an_erasure_needs_the_private_key_where_blocks_have_to_be_parted(site: Site) -> None:
    """What both have lies in the block of who was stored first."""
    site.encrypt()
    for user in ("jane", "joe"):
        Maildir(site.store / user).message(f"9.{user}:2,", site.mail("all", 9))
    site.run("backup")
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("sweep")
    erase = ("erase", "jane", "--reason", "17")
    for words in (("--dry-run",), ("--yes",)):
        told = site.run(*erase, *words, status=1).stderr
        assert "for ops" in told
        assert "--identity" in told
    assert not (site.staging / "_erasures").exists()
    assert site.restored(*site.with_key) == [], "nothing has changed"
    site.run(*erase, "--yes", *site.with_key)
    keys = unlocking(opened_identity([site.identity], [site.passphrase]))
    for place in (site.staging, site.vault):
        for path in place.rglob("*.mh[ar]"):
            with closing(LocalFile(str(path))) as file:
                opened = keys(read_slots(file)).and_those(_structure(site))
            plain = plain_file(path, opened)
            assert b"jane" not in plain, path
        assert files_with(b"jane", place, keys=_structure(site)) == []
        assert list(place.glob("primary/*/*.mha"))
    shutil.rmtree(site.store / "jane")
    assert site.restored(*site.with_key) == []
    site.run("verify", "--data", *site.with_key)
    told = json.loads(site.run("erase", "--list", "--json").stdout)
    assert [erasure["state"] for erasure in told["erasures"]] == ["done"]


def _structure(site: Site) -> Keyring:
    (path,) = site.keys.glob("*.structure")
    return Keyring(structures={key.id: key.secret for key in read_structure_keys(path)})
