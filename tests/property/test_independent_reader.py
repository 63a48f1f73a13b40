"""The reader that is laid beside archives, which was written from FORMAT.md alone, restores a store exactly,
and of damaged archives gives what the product gives."""

from __future__ import annotations

import ast
import random
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhaul.proto.archive import frames
from mailhaul.proto.errors import DamagedError, EncryptedError, UnsupportedError
from mailhaul.tests.agreement import disagreements, opened_by_other, read_by_product
from mailhaul.tests.archives import MemoryFile
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.sealed import everything_encrypted
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.trees import differences, snapshot
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.verifying.verify import verify_frames

from ..integration.test_incremental import Server

READER = Path("worker", "keepsake", "mailhaul_restore.py")
RNG = random.Random(6)


def test_it_knows_nothing_of_the_product(root: Path) -> None:
    """Nor of anything that is not there: it runs where nothing is installed."""
    tree = ast.parse((root / READER).read_text())
    needed = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or "."] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
    }
    assert needed <= sys.stdlib_module_names


def test_every_night_of_a_store_comes_back_exactly(tmp_path: Path, root: Path) -> None:
    server, mailhaul, rng = Server(tmp_path / "store"), Mailhaul(tmp_path), random.Random(3)
    nights = []
    for night in range(4):
        for user in server.users:
            for _ in range(5):
                server.deliver(user, number=rng.random() < 0.7)
        if night == 2:
            server.make_folder("anna", ".Work.Old")
            server.deliver("anna", ".Work.Old")
        store = f"maildir:{server.root}"
        report = mailhaul.run(None, "backup", "--store", store, "--staging", mailhaul.staging)
        nights.append((report["run"], snapshot(server.root)))
    for run, stored in nights:
        target = tmp_path / run
        done = subprocess.run(
            [sys.executable, "-I", root / READER, mailhaul.staging, "--to", target, "--run", run],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert differences(stored, snapshot(target)) == []


@cache
def staged(encrypted: bool = False) -> tuple[dict[str, bytes], int]:
    """The files of three nights, and how many messages they give in all."""
    with everything_encrypted() if encrypted else nullcontext(), TemporaryDirectory() as place:
        chain = StagedChain(Path(place))
        mail = {
            user: {name: tuple(b"h: %d\n\n" % n + RNG.randbytes(1500) for n in range(8)) for name in folders}
            for user, folders in {"alice": ("INBOX", "Sent"), "bob": ("INBOX",), "carol": ("INBOX",)}.items()
        }
        chain.run(mail)
        for night in range(2):
            mail["alice"]["INBOX"] = (*mail["alice"]["INBOX"][1:], b"n: %d\n\n" % night + RNG.randbytes(900))
            chain.run(mail)
        files = {path.name: path.read_bytes() for path in Path(place).rglob("*.mha")}
        return files, len(set(read_by_product(list(Path(place).rglob("*.mha")))))


ACCIDENTS = ("flip", "cut", "insert", "repeat", "zero")
CHANGES = st.tuples(
    st.sampled_from([*ACCIDENTS, "forge", "clear"]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([1, 8, 72, 300, 4096]),
)


def changed(whole: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """With bytes changed, lost, inserted, repeated: where, as a share of the file, and how many."""
    data = bytearray(whole)
    for kind, share, length in changes:
        at = int(share * len(data))
        if kind == "flip" and data:
            data[at] ^= length % 255 + 1
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = random.Random(share).randbytes(length)
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "zero":
            data[at : at + length] = bytes(len(data[at : at + length]))
        else:
            forge(data, share, clear=kind == "clear")
    return bytes(data)


def forge(data: bytearray, share: float, *, clear: bool) -> None:
    """Another payload of a frame, with right checksums: with a byte changed, or said to be in clear. Not of
    KEYS frames, of which the other reader takes what opens from any."""
    found = list(re.finditer(re.escape(frames.MAGIC), data))
    if not found:
        return
    at = found[int(share * len(found))].start()
    begin = at + frames.HEADER_BYTES
    try:
        header = frames.decode_header(bytes(data[at:begin]), "forged")
    except (DamagedError, UnsupportedError):
        return
    end = begin + header.stored_bytes
    if end > len(data) or end == begin or header.type is frames.FrameType.KEYS:
        return
    if clear:
        header = header._replace(flags=0, slot=0)
    else:
        data[begin + int(share * 1e6) % (end - begin)] ^= 1
    header = header._replace(checksum=frames.checksum(bytes(data[begin:end])))
    data[at:begin] = frames.pack_header(header)


@example(copies=[[], [[("cut", 0.875, 4096)]], [[]]], together=True, encrypted=False)
@example(copies=[[], [], [[("cut", 0.125, 4096)], []]], together=True, encrypted=False)
@example(copies=[[[("flip", 0.9921875, 1), ("repeat", 0.0, 4096)]], [], []], together=False, encrypted=False)
@example(
    copies=[[[("repeat", 0.0, 4096)], [("flip", 0.0, 1), ("flip", 0.25, 1)]], [], []],
    together=True,
    encrypted=False,
)
@example(  # one part has lost its keys
    copies=[[], [], [[("flip", 0.9375, 1), ("repeat", 0.5, 4096)]]], together=False, encrypted=True
)
@example(
    copies=[[], [[("flip", 0.9921875, 1)]], [[("flip", 0.0, 1)], [("flip", 0.25, 1), ("cut", 0.5, 1)]]],
    together=True,
    encrypted=False,
)
@settings(max_examples=60)
@given(
    copies=st.lists(st.lists(st.lists(CHANGES, max_size=3), max_size=2), min_size=3, max_size=3),
    together=st.booleans(),
    encrypted=st.booleans(),
)
def test_damaged_archives_are_read_alike(
    copies: list[list[list[tuple[str, float, int]]]], together: bool, encrypted: bool
) -> None:
    """Some are missing, some there twice with other damage; each in a file, or all in one."""
    found = [
        # Of what is not encrypted checksums are no signature: the readers need not judge lies alike.
        (
            f"{number}.{name}",
            changed(whole, [change for change in changes if encrypted or change[0] in ACCIDENTS]),
        )
        for (name, whole), damages in zip(sorted(staged(encrypted)[0].items()), copies, strict=True)
        for number, changes in enumerate(damages)
    ]
    with TemporaryDirectory() as place:
        for name, data in [("all.mha", b"".join(data for _, data in found))] if together else found:
            (Path(place) / name).write_bytes(data)
        assert disagreements(Path(place).iterdir(), with_keys=encrypted) == []


def test_what_one_reader_calls_damaged_so_does_the_other(tmp_path: Path, rounds: int) -> None:
    """Of encrypted archives, by who can write checksums that are right, too: a single change in any frame."""
    rng = random.Random(12)
    names = sorted(staged(encrypted=True)[0])
    for name in names:
        (tmp_path / name).write_bytes(staged(encrypted=True)[0][name])
    refused = 0
    for _ in range(rounds):
        name = rng.choice(names)
        whole = staged(encrypted=True)[0][name]
        kind = rng.choice([*ACCIDENTS, "forge", "clear"])
        data = changed(whole, [(kind, rng.random(), rng.choice([1, 8, 72, 300, 4096]))])
        (tmp_path / name).write_bytes(data)
        archives = opened_by_other([tmp_path / name], with_keys=True)
        refused += (is_refused := product_refuses(data))
        assert is_refused == (data != whole), (kind, name)
        assert is_refused == (
            bool(archives.problems or archives.locked)
            or any(archive.check()[1] for archive in archives.found.values())
        ), (kind, name)
        archives.close()
        (tmp_path / name).write_bytes(whole)
    assert refused > rounds / 2


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_is_no_archive_is_seen_before_between_and_behind_archives(
    tmp_path: Path, encrypted: bool
) -> None:
    """Zeros between them and behind them are none of it: tapes pad with them."""
    first, second, _ = (data for _, data in sorted(staged(encrypted)[0].items()))
    file = tmp_path / "all.mha"
    for data, is_right in [
        (first + bytes(512) + second + bytes(512), True),
        (b"x" + first + second, False),
        (bytes(72) + first + second, False),
        (first[-200:] + first + second, False),
        (first + b"\0x" + second, False),
        (first + second + b"x", False),
    ]:
        file.write_bytes(data)
        archives = opened_by_other([file], with_keys=encrypted)
        assert len(archives.found) == 2
        problems = [one for archive in archives.found.values() for one in archive.check()[1]]
        archives.close()
        assert (problems == []) == is_right, problems


def product_refuses(data: bytes) -> bool:
    """Whether the product says that an archive is damaged, when it reads all of it."""
    with everything_encrypted():
        try:
            return bool(verify_frames(MemoryFile(data)).damaged)
        except (EncryptedError, UnsupportedError):
            return True


def test_whole_archives_are_found_by_their_footers(tmp_path: Path) -> None:
    """Not by walking over all of a file, which would take hours for a large one."""
    (tmp_path / "all.mha").write_bytes(b"".join(data for _, data in sorted(staged()[0].items())) + bytes(100))
    archives = mailhaul_restore.Archives([str(tmp_path / "all.mha")])
    parts = [part for archive in archives.found.values() for part in archive.parts]
    assert [part.walked for part in parts] == [False] * 3


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_was_not_damaged_is_all_there(tmp_path: Path, encrypted: bool) -> None:
    """The comparison is not one of nothing with nothing."""
    files, count = staged(encrypted)
    assert count > 90
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert disagreements(tmp_path.iterdir(), with_keys=encrypted) == []
    archives = opened_by_other(tmp_path.iterdir(), with_keys=encrypted)
    assert [archive.check()[1] for archive in archives.found.values()] == [[]] * 3
    archives.close()
    (tmp_path / min(files)).unlink()
    with everything_encrypted() if encrypted else nullcontext():
        assert 0 < len(set(read_by_product(sorted(tmp_path.iterdir())))) < count
