"""The reader that is laid beside archives: what it does by itself where others have modules, its command.
That it gives what the product gives is held by every test that leaves archives (``tests/conftest.py``)."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import cast
from unittest.mock import patch

import lz4.block
import pyrage
import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import sealing, slots
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.keys import recipients, shamir
from mailhaul.proto.keys.derivation import recipient_id
from mailhaul.proto.keys.records import Kem, Recipient, Sealing
from mailhaul.proto.keys.secret_files import Secret, write_secret
from mailhaul.proto.keys.vault import Vault, seal, vault_name
from mailhaul.proto.records import ArchiveId, Folder
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    MemoryFile,
    MemoryOpened,
    MemorySink,
    archive_header,
    frames_of,
    message,
)
from mailhaul.tests.sealed import PRIVATE, STRUCTURE, recipient
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.keepsake.mailhaul_restore import Identity, Means, PlainBlake3, plain_lz4, plain_zstd
from mailhaul.worker.packing.packer import Packer

RNG = random.Random(27)
TEXT = b"".join(b"Subject: %d\r\n\r\nthe same words again, %d\r\n" % (n % 7, n) for n in range(4000))


def command(*arguments: object) -> int:
    return mailhaul_restore.main([str(argument) for argument in arguments])


def one_archive(
    mail: dict[str, dict[str, list[bytes]]],
    number: int = 1,
    sealing: Sealing | None = None,
    generation: int = 0,
) -> bytes:
    """An archive of these messages, by user and folder; INBOX is the Maildir itself."""
    sink = MemorySink()
    header = replace(archive_header(ArchiveId(bytes([number]) * 16)), generation=generation)
    writer = ArchiveWriter(sink, header, sealing=sealing)
    packer = Packer(writer)
    for user, folders in mail.items():
        writer.begin_mailbox(user)
        uid = 0
        for name, contents in folders.items():
            for data in contents:
                uid += 1
                _, digest, pieces = packer.store(MemoryOpened(data))
                writer.add_message(message(uid, data, pieces, digest))
            writer.end_folder(
                Folder(
                    name=name,
                    path=b"" if name == "INBOX" else b"." + name.encode(),
                    uidvalidity=7,
                    uidnext=uid + 1,
                )
            )
        size = sum(len(data) for contents in folders.values() for data in contents)
        writer.end_mailbox(user, user.encode(), uid, size, ())
    writer.finish()
    return bytes(sink.data)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two users."""
    mail = {
        user: {"INBOX": [TEXT[:900], b"m: %s\n" % user.encode()], "Sent": [TEXT]} for user in ("anna", "bert")
    }
    place = tmp_path / "one.mha"
    place.write_bytes(one_archive(mail))
    return place


def contents(target: Path) -> list[bytes]:
    """Of all messages that were restored."""
    return sorted(
        path.read_bytes()
        for path in target.rglob("*")
        if path.parent.name in ("cur", "new") and path.is_file()
    )


@pytest.mark.parametrize(
    "size", [0, 1, 64, 1023, 1024, 1025, 2048, 3073, 5120, 1 << 20, (1 << 20) + 1, 2_500_000]
)
def test_blake3_is_blake3(size: int) -> None:
    data = RNG.randbytes(size)
    hashed = PlainBlake3()
    hashed.update(data[: size // 3])
    hashed.update(data[size // 3 :])
    assert hashed.digest() == blake3(data).digest()


@given(st.lists(st.sampled_from([b"a", b"abc", b"abcdefgh", TEXT[:300], bytes(40)]), max_size=60))
def test_lz4_is_lz4(parts: list[bytes]) -> None:
    plain = b"".join(parts)
    assert plain_lz4(lz4.block.compress(plain, store_size=False), len(plain)) == plain


@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 400))
def test_a_damaged_lz4_block_gives_no_more_than_was_promised(at: int, value: int, cut: int) -> None:
    block = bytearray(lz4.block.compress(TEXT[:6000], store_size=False))
    block[at % len(block)] = value
    with suppress(ValueError, IndexError):
        assert len(plain_lz4(bytes(block[: len(block) - cut]), 6000)) <= 6000


MIXED = [b"a", b"abc", TEXT[:300], bytes(40), RNG.randbytes(60), bytes(RNG.choices(b"etaoin shrdlu", k=900))]


@given(
    st.lists(st.sampled_from(MIXED), max_size=300),
    st.sampled_from([-5, 1, 3, 9, 19]),
    st.booleans(),
)
def test_zstd_is_zstd(parts: list[bytes], level: int, checksum: bool) -> None:
    plain = b"".join(parts)
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=checksum)
    assert plain_zstd(compressor.compress(plain), len(plain)) == plain


def test_zstd_over_many_blocks() -> None:
    words = [RNG.randbytes(RNG.randrange(2, 9)) for _ in range(3000)]
    plain = b"".join(RNG.choices(words, k=90_000)) + bytes(200_000) + TEXT * 3
    for level in (1, 3, 12):
        assert plain_zstd(zstandard.ZstdCompressor(level=level).compress(plain), len(plain)) == plain


@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 400))
def test_a_damaged_zstd_frame_gives_no_more_than_was_promised(at: int, value: int, cut: int) -> None:
    frame = bytearray(zstandard.ZstdCompressor(level=3).compress(MIXED[5] + TEXT[:6000]))
    frame[at % len(frame)] = value
    with suppress(ValueError, IndexError, struct.error):
        assert len(plain_zstd(bytes(frame[: len(frame) - cut]), 6900)) <= 6900


def test_it_reads_the_same_without_any_module(archive: Path) -> None:
    found = []
    for plain in (False, True):
        archives = mailhaul_restore.Archives([str(archive)], Means(plain=plain))
        (one,) = archives.found.values()
        found.append(
            [
                b"".join(archives.content(mail))
                for told in one.told()
                for folder in archives.mailbox(told.home)["folders"]
                for _, mails in archives.messages(archives.mailbox(told.home), folder)
                for mail in mails
            ]
        )
    assert found[0] == found[1]
    assert len(found[0]) == 6


def pythons() -> Iterator[str]:
    """Interpreters of other versions that run here, without our modules."""
    for minor in range(8, 20):
        python = shutil.which(f"python3.{minor}")
        if (
            python
            and subprocess.run([python, "-I", "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            yield python


@pytest.mark.parametrize("python", [*pythons()] or [sys.executable])
def test_it_runs_with_nothing_but_python(python: str, archive: Path, root: Path) -> None:
    """Also with versions that the rest does not run with."""
    target = archive.parent / "restored"
    reader = root / "worker" / "keepsake" / "mailhaul_restore.py"
    done = subprocess.run(
        [python, "-I", "-W", "error", reader, archive, "--to", target],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 mailboxes, 6 messages" in done.stdout
    assert len(contents(target)) == 6


def test_lists(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(archive, "--list") == 0
    run = archive_header().run
    size = 900 + len(b"m: anna\n") + len(TEXT)
    assert capsys.readouterr().out.splitlines() == [
        f"/primary/user/{user}\t3\t{size}\t{run}" for user in ("anna", "bert")
    ]
    assert command(archive, "--list", "--path", "/primary/user/bert") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"/primary/user/bert/INBOX\t2\t{size - len(TEXT)}\t{run}",
        f"/primary/user/bert/Sent\t1\t{len(TEXT)}\t{run}",
    ]
    assert command(archive, "--runs") == 0
    assert capsys.readouterr().out == f"{run}\t1\tprimary\n"


def test_one_folder_of_one_user(archive: Path) -> None:
    target = archive.parent / "restored"
    assert command(archive, "--to", target, "--path", "/primary/user/anna/Sent") == 0
    assert contents(target) == [TEXT]
    assert {path.name for path in target.iterdir()} == {"anna"}


def test_uids_go_on_far_above(archive: Path) -> None:
    target = archive.parent / "restored"
    assert command(archive, "--to", target, "--uid-margin", 100) == 0
    header, *lines = (target / "anna" / "dovecot-uidlist").read_text().splitlines()
    assert header == "3 V7 N103"
    assert [line.partition(" ")[0] for line in lines] == ["1", "2"]


def test_keywords_for_which_no_letter_is_left_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = MemorySink()
    writer = ArchiveWriter(sink, archive_header(ArchiveId(bytes(16))))
    packer = Packer(writer)
    lettered = tuple(f"first{number}" for number in range(26))
    for uid in range(1, 61):
        data = b"mail %d\n" % uid
        _, digest, pieces = packer.store(MemoryOpened(data))
        keywords = ("first0", "late", "later") if uid == 7 else ("first0", "late")
        writer.add_message(replace(message(uid, data, pieces, digest), keywords=keywords))
    folder = Folder(name="INBOX", path=b"", uidvalidity=7, uidnext=61, keywords=(*lettered, "late"))
    writer.end_folder(folder)
    writer.end_mailbox("anna", b"anna", 60, 60 * 8, ())
    writer.finish()
    (tmp_path / "one.mha").write_bytes(sink.data)
    assert command(tmp_path / "one.mha", "--to", tmp_path / "target") == 3
    told = capsys.readouterr().err
    where = "/primary/user/anna/INBOX: no letter is left for the keyword"
    assert f"{where} 'late': UIDs 1 2 3" in told
    assert "49 50 ..." in told
    assert f"{where} 'later': UIDs 7\n" in told
    assert "first0" not in told
    assert (tmp_path / "target" / "anna" / "dovecot-keywords").read_text().splitlines() == [
        f"{number} {name}" for number, name in enumerate(lettered)
    ]
    assert len(contents(tmp_path / "target")) == 60


def test_mailboxes_go_where_a_template_says(tmp_path: Path) -> None:
    (tmp_path / "one.mha").write_bytes(one_archive({"anna@example.org": {"INBOX": [TEXT]}}))
    target = tmp_path / "restored"
    assert command(tmp_path, "--to", target, "--layout", "{domain}/{user[0]}/{user}/Maildir") == 0
    assert [*target.glob("example.org/a/anna/Maildir/cur/*")]


@pytest.mark.parametrize(
    "wrong",
    [("--layout", "mail"), ("--layout", "{user}/../x"), ("--path", "anna"), ("--path", "/primary/../x")],
)
def test_wrong_use(archive: Path, wrong: tuple[str, str]) -> None:
    assert command(archive, "--to", archive.parent / "restored", *wrong) == 2


def test_it_restores_into_a_new_directory_only(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(archive, "--to", archive.parent) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(("lacking", "whole"), [(50, 6), (2000, 3)])
def test_an_archive_without_its_end_is_told_and_used(
    archive: Path, capsys: pytest.CaptureFixture[str], lacking: int, whole: int
) -> None:
    """Without its footer all is there; without more, all mailboxes before."""
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) - lacking])
    target = archive.parent / "restored"
    assert command(archive, "--to", target) == 4
    assert "has no end" in capsys.readouterr().err
    assert len(contents(target)) == whole


def test_what_is_damaged_is_named_and_the_rest_restored(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(archive.read_bytes())
    frame = mailhaul_restore.Archives([str(archive)])
    (one,) = frame.found.values()
    (offset, *_) = one.parts[0].of_kind(mailhaul_restore.BLOCK).all()
    data[offset + 100] ^= 1
    archive.write_bytes(data)
    target = archive.parent / "restored"
    assert command(archive, "--to", target) == 4
    told = capsys.readouterr().err
    assert "/primary/user/anna/INBOX/1: no whole frame of type 2" in told
    left = contents(target)
    assert 0 < len(left) < 6
    assert not [*target.rglob(".mailhaul-restore*")]


def test_archives_one_after_the_other_in_a_file(tmp_path: Path) -> None:
    parts = [one_archive({f"user{n}": {"INBOX": [b"m: %d\n" % n]}}, n) for n in range(1, 4)]
    (tmp_path / "all.mha").write_bytes(bytes(1000).join(parts) + bytes(512))
    assert command(tmp_path, "--to", tmp_path / "restored") == 0
    assert contents(tmp_path / "restored") == [b"m: 1\n", b"m: 2\n", b"m: 3\n"]


@pytest.fixture
def nights(tmp_path: Path) -> StagedChain:
    """Three runs: what an earlier one has is referred to; the last one finds that bert has gone."""
    chain = StagedChain(tmp_path / "staging")
    mail = {
        user: {"INBOX": tuple(b"m: %s %d\n" % (user.encode(), n) for n in range(5))}
        for user in ("anna", "bert")
    }
    chain.run(mail)
    chain.run({**mail, "anna": {"INBOX": (*mail["anna"]["INBOX"], b"m: new\n")}})
    chain.run({"anna": mail["anna"]}, departed=["bert"])
    return chain


def test_at_each_run(nights: StagedChain, tmp_path: Path) -> None:
    for number, (run, state) in enumerate(nights.moments.items()):
        target = tmp_path / str(number)
        assert command(nights.staging, "--to", target, "--run", run) == 0
        stored = sorted(one for folders in state.values() for folder in folders.values() for one in folder)
        assert contents(target) == stored
    assert command(nights.staging, "--to", tmp_path / "newest") == 0
    assert contents(tmp_path / "newest") == stored


def test_an_archive_that_is_missing_is_named(
    nights: StagedChain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = sorted(nights.files())
    (nights.staging / first).unlink()
    assert command(nights.staging, "--to", tmp_path / "restored") == 4
    assert f"is not at hand: {first}" in capsys.readouterr().err


def test_several_partitions_do_not_mix(tmp_path: Path) -> None:
    for number, partition in enumerate(("one", "two"), 1):
        sink = MemorySink()
        header = replace(archive_header(ArchiveId(bytes([number]) * 16)), partition=partition)
        writer = ArchiveWriter(sink, header)
        data = partition.encode() + b"\n"
        _, digest, pieces = Packer(writer).store(MemoryOpened(data))
        writer.add_message(message(1, data, pieces, digest))
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.end_mailbox("anna", b"anna", 1, len(data), ())
        writer.finish()
        (tmp_path / f"{partition}.mha").write_bytes(sink.data)
    assert command(tmp_path, "--to", tmp_path / "restored") == 0
    assert contents(tmp_path / "restored" / "two" / "anna") == [b"two\n"]


EXAMPLES = (Path(recipients.__file__).parent / "KEYS.md").read_text()
KEY = bytes(range(32))
OPS = recipient(private=KEY)


def examples(kind: str) -> list[str]:
    """Of files of keys, as they stand in the document."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", EXAMPLES, re.DOTALL | re.MULTILINE)


@pytest.fixture
def encrypted(archive: Path) -> Path:
    """The same as ``archive``, for the recipient of the examples of KEYS.md."""
    mail = {user: {"INBOX": [TEXT[:900], b"m: %s\n" % user.encode()]} for user in ("anna", "bert")}
    archive.write_bytes(one_archive(mail, sealing=Sealing(structure=STRUCTURE, recipients=(OPS,))))
    return archive


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A file with its private key."""
    place = tmp_path / "ops.secret"
    place.write_text(examples("secret")[0])
    return place


class TestEncrypted:
    def test_with_the_private_key_all_is_restored(self, encrypted: Path, identity: Path) -> None:
        target = encrypted.parent / "restored"
        assert command(encrypted, "--to", target, "--identity", identity) == 0
        assert contents(target) == sorted(2 * [TEXT[:900]] + [b"m: anna\n", b"m: bert\n"])

    def test_nothing_in_clear_of_its_id_is_used(
        self, encrypted: Path, identity: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Be it of a later generation: whoever can write to a destination can make it."""
        made_up = encrypted.with_name("made-up.mha")
        made_up.write_bytes(one_archive({"anna": {"INBOX": [b"made up"]}}, generation=9))
        target = encrypted.parent / "restored"
        status = command(made_up, encrypted, "--to", target, "--identity", identity)
        assert contents(target) == sorted(2 * [TEXT[:900]] + [b"m: anna\n", b"m: bert\n"])
        assert status == 4
        assert "made-up.mha: archive 0101010101010101 is in clear here" in "".join(capsys.readouterr())
        made_up.unlink()

    def test_without_a_key_it_says_whose_is_needed(
        self, encrypted: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for what in (["--list"], ["--check"], ["--to", encrypted.parent / "restored"]):
            assert command(encrypted, *what) == 1
            told = capsys.readouterr().err
            assert "it is encrypted, for ops" in told
            assert "give --identity FILE, the private key of ops" in told
        assert not (encrypted.parent / "restored").exists()
        assert command(encrypted, "--runs") == 3
        assert capsys.readouterr().out == f"{archive_header().run}\t1\tprimary\n"

    def test_a_key_of_somebody_else(
        self, encrypted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        secret = Secret(name="x", kem=Kem.X25519, recipient=recipient().id, private=PRIVATE)
        write_secret(tmp_path / "x.secret", secret, None)
        assert command(encrypted, "--list", "--identity", tmp_path / "x.secret") == 1
        assert "for ops; no key at hand opens it" in capsys.readouterr().err

    def test_beside_archives_that_are_not(
        self, encrypted: Path, identity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "two.mha").write_bytes(one_archive({"carl": {"INBOX": [b"c: d\n"]}}, 2))
        assert command(tmp_path, "--list") == 3
        assert capsys.readouterr().out.startswith("/primary/user/carl\t1\t")
        assert command(tmp_path, "--list", "--identity", identity) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3

    def test_check_reads_every_frame(
        self, encrypted: Path, identity: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = encrypted.read_bytes()
        count = len(frames_of(whole))
        given = ("--check", "--identity", identity)
        assert command(encrypted, *given) == 0
        assert capsys.readouterr().out == f"{'01' * 8}\t{archive_header().run}\t{count}\tok\n"
        search = frames_of(whole, FrameType.SEARCH)[0]
        found = frames_of(whole)
        # All checksums are right, and all that is restored, too.
        without = whole[: search.at] + whole[search.at + 72 + search.header.stored_bytes :]
        for data in (without, whole[: found[3].at] + whole[found[2].at : found[3].at] + whole[found[3].at :]):
            encrypted.write_bytes(data)
            assert command(encrypted, *given) == 4
            assert "damaged" in capsys.readouterr().out

    def test_a_restore_says_that_frames_were_moved(
        self, encrypted: Path, identity: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = encrypted.read_bytes()
        found = frames_of(whole)
        encrypted.write_bytes(whole[: found[3].at] + whole[found[2].at : found[3].at] + whole[found[3].at :])
        target = encrypted.parent / "restored"
        assert command(encrypted, "--to", target, "--identity", identity) == 4
        assert "is not as it was written" in capsys.readouterr().err
        assert len(contents(target)) == 4

    def test_with_an_old_cryptography_a_hybrid_key_says_what_it_takes(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        private = bytes(range(96))
        to = Sealing(structure=STRUCTURE, recipients=(recipient(Kem.HYBRID, private),))
        (tmp_path / "one.mha").write_bytes(one_archive({"anna": {"INBOX": [b"h: b\n"]}}, sealing=to))
        (tmp_path / "key").write_text(examples("paper")[1])
        assert command(tmp_path, "--check", "--identity", tmp_path / "key") == 0
        module = "cryptography.hazmat.primitives.asymmetric.mlkem"
        monkeypatch.setitem(sys.modules, module, cast(ModuleType, None))  # importing it fails
        assert command(tmp_path, "--check", "--identity", tmp_path / "key") == 1
        assert "cryptography>=47" in capsys.readouterr().err

    def test_without_cryptography_it_says_how_to_get_it(
        self, encrypted: Path, identity: Path, root: Path
    ) -> None:
        reader = root / "worker" / "keepsake" / "mailhaul_restore.py"
        # Without any installed module.
        done = subprocess.run(
            [sys.executable, "-I", "-S", reader, encrypted, "--list", "--identity", identity],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "pip install cryptography" in done.stderr) == (1, True), done.stderr

    def test_an_age_identity(self, tmp_path: Path) -> None:
        age = pyrage.x25519.Identity.generate()
        public = str(age.to_public()).encode()
        one = Recipient(name="age", kem=Kem.AGE, public=public, id=recipient_id(Kem.AGE, public))
        data = one_archive(
            {"anna": {"INBOX": [b"h: b\n"]}}, sealing=Sealing(structure=STRUCTURE, recipients=(OPS, one))
        )
        (tmp_path / "one.mha").write_bytes(data)
        (tmp_path / "age").write_text(f"# created: today\n# public key: {age.to_public()}\n{age}\n")
        assert command(tmp_path, "--check", "--identity", tmp_path / "age") == 0
        (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
        assert command(tmp_path, "--check", "--identity", tmp_path / "other") == 1

    def test_another_slot_for_each_attempt(self, encrypted: Path, identity: Path) -> None:
        with patch.object(sealing, "MOST_SLOT_FRAMES", 2):
            data = one_archive(
                {"anna": {"INBOX": [TEXT, b"h: b\n"]}},
                sealing=Sealing(structure=STRUCTURE, recipients=(OPS,)),
            )
        encrypted.write_bytes(data)
        assert len(slots.read_slots(MemoryFile(data))) > 1
        assert command(encrypted, "--check", "--identity", identity) == 0


class TestErasable:
    """Mailboxes apart, with a vault that lies beside the archive."""

    SECRETS = Vault().with_secrets(("primary", user) for user in ("anna", "bert", "carl"))

    @pytest.fixture
    def mixed(self, archive: Path) -> Path:
        mail = {
            user: {"INBOX": [TEXT[:900], b"m: %s\n" % user.encode()]} for user in ("anna", "bert", "carl")
        }
        to = Sealing(structure=STRUCTURE, recipients=(OPS,), mailboxes=self.SECRETS.secrets)
        archive.write_bytes(one_archive(mail, sealing=to))
        return archive

    @staticmethod
    def keep(vault: Vault, archive: Path) -> None:
        place = archive.parent / vault_name("area")
        place.write_bytes(seal(vault, STRUCTURE, place.name))

    def test_with_the_vault_all_is_restored(self, mixed: Path, identity: Path) -> None:
        self.keep(self.SECRETS, mixed)
        target = mixed.parent / "restored"
        assert command(mixed.parent, "--to", target, "--identity", identity) == 0
        assert len([path for path in target.rglob("cur/*") if path.is_file()]) == 6
        assert command(mixed.parent, "--check", "--identity", identity) == 0

    def test_without_it_it_says_what_is_missing(
        self, mixed: Path, identity: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = mixed.parent / "restored"
        assert command(mixed.parent, "--to", target, "--identity", identity) == 3
        assert "in no vault here" in capsys.readouterr().err

    def test_one_that_was_erased_is_said_to_be(
        self, mixed: Path, identity: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.keep(self.SECRETS.without(("primary", "anna"), 1.0), mixed)
        target = mixed.parent / "restored"
        assert command(mixed.parent, "--to", target, "--identity", identity) == 0
        assert "anna: erased" in capsys.readouterr().err
        assert len([path for path in target.rglob("cur/*") if path.is_file()]) == 4
        assert command(mixed.parent, "--list", "--identity", identity) == 0
        told = capsys.readouterr()
        assert "anna" not in told.out
        assert "bert" in told.out
        assert command(mixed.parent, "--check", "--identity", identity) == 0

    def test_a_vault_that_was_changed_opens_nothing(self, mixed: Path, identity: Path) -> None:
        self.keep(self.SECRETS, mixed)
        place = mixed.parent / vault_name("area")
        data = bytearray(place.read_bytes())
        data[90] ^= 1
        place.write_bytes(bytes(data))
        assert command(mixed.parent, "--to", mixed.parent / "restored", "--identity", identity) == 3


class TestIdentities:
    """KEYS.md says what is in the files."""

    def opened(self, tmp_path: Path, *files: str, passphrase: str | None = None) -> list[Identity]:
        for number, file in enumerate(files):
            (tmp_path / str(number)).write_text(file)
        if passphrase is not None:
            (tmp_path / "passphrase").write_text(passphrase)
        return mailhaul_restore.read_identities(
            [str(tmp_path / str(number)) for number in range(len(files))],
            [] if passphrase is None else [str(tmp_path / "passphrase")],
        )

    def test_a_file_with_and_without_passphrase(self, tmp_path: Path) -> None:
        plain, sealed = examples("secret")
        expected = [Identity(mailhaul_restore.X25519, OPS.id, KEY)]
        assert self.opened(tmp_path, plain) == expected
        assert self.opened(tmp_path, sealed, passphrase="correct horse\nbattery\n") == expected
        with pytest.raises(mailhaul_restore.Failed, match="passphrase is wrong"):
            self.opened(tmp_path, sealed, passphrase="wrong horse\n")

    def test_a_passphrase_is_asked_for_at_a_terminal_only(self, tmp_path: Path) -> None:
        with patch.object(sys.stdin, "isatty", lambda: False):
            with pytest.raises(mailhaul_restore.Failed, match="--passphrase-file"):
                self.opened(tmp_path, examples("secret")[1])
        with patch.object(sys.stdin, "isatty", lambda: True):
            with patch("getpass.getpass", lambda _: "correct horse"):
                assert self.opened(tmp_path, examples("secret")[1])[0].private == KEY

    def test_paper(self, tmp_path: Path) -> None:
        typed, hybrid = examples("paper")
        assert self.opened(tmp_path, typed)[0].private == KEY
        assert self.opened(tmp_path, typed.upper().replace(" ", "").replace("MAILHAULPAPERKEY1\n", ""))
        (found,) = self.opened(tmp_path, hybrid)
        assert (found.kind, found.private) == (mailhaul_restore.HYBRID, bytes(range(96)))
        lines = typed.splitlines()
        swapped = "\n".join((lines[0], lines[2], lines[1], *lines[3:])).replace("1:", "").replace("2:", "")
        for wrong in (typed.replace("qyqqq", "qyqqp"), "\n".join(lines[:-1]), swapped, "", "x: y"):
            with pytest.raises(mailhaul_restore.Failed, match="no private key"):
                self.opened(tmp_path, wrong)

    def test_shares(self, tmp_path: Path) -> None:
        both = examples("shares")[0].splitlines()
        assert self.opened(tmp_path, *both)[0].private == KEY
        with pytest.raises(mailhaul_restore.Failed, match="1 shares of a key are here, 2 of 3 are needed"):
            self.opened(tmp_path, both[0])

    @given(data=st.data())
    def test_any_shares_that_are_enough(self, data: st.DataObject) -> None:
        threshold = data.draw(st.integers(2, 6))
        made = data.draw(st.integers(threshold, 9))
        key = data.draw(st.binary(min_size=32, max_size=32))
        found = shamir.split(key, threshold, made)
        chosen = data.draw(st.permutations(sorted(found)))[:threshold]
        shares = {one: mailhaul_restore.Secret("", 1, b"", found[one], one, threshold) for one in chosen}
        assert mailhaul_restore.combined(shares) == key

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"x25519"', '"age"'),
            ('"key": "AA', '"key": "BB'),
            ('"mailhaul_secret": 1', '"mailhaul_secret": 2'),
            ('"key"', '"keys"'),
            ("61f9", "61f8"),
        ],
    )
    def test_what_is_none(self, tmp_path: Path, old: str, new: str) -> None:
        plain = examples("secret")[0]
        assert old in plain
        with pytest.raises(mailhaul_restore.Failed, match="private key"):
            self.opened(tmp_path, plain.replace(old, new))

    def test_costs_that_nobody_can_pay_are_refused_at_once(self, tmp_path: Path) -> None:
        sealed = examples("secret")[1].replace('"n": 1024', '"n": 1073741824')
        with pytest.raises(mailhaul_restore.Failed, match="scrypt"):
            self.opened(tmp_path, sealed, passphrase="correct horse")
