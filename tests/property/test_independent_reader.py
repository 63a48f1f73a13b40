"""The reader that is laid beside archives, which was written from FORMAT.md alone, restores a store exactly,
and of damaged archives gives what the product gives."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhaul.tests.agreement import disagreements, read_by_product
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.trees import differences, snapshot
from mailhaul.worker.keepsake import mailhaul_restore

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
def staged() -> tuple[dict[str, bytes], int]:
    """The files of three nights, and how many messages they give in all."""
    with TemporaryDirectory() as place:
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


CHANGES = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "repeat", "zero"]),
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
    return bytes(data)


@example(copies=[[], [[("cut", 0.875, 4096)]], [[]]], together=True)
@example(copies=[[], [], [[("cut", 0.125, 4096)], []]], together=True)
@example(copies=[[[("flip", 0.9921875, 1), ("repeat", 0.0, 4096)]], [], []], together=False)
@example(copies=[[[("repeat", 0.0, 4096)], [("flip", 0.0, 1), ("flip", 0.25, 1)]], [], []], together=True)
@example(
    copies=[[], [[("flip", 0.9921875, 1)]], [[("flip", 0.0, 1)], [("flip", 0.25, 1), ("cut", 0.5, 1)]]],
    together=True,
)
@settings(max_examples=60)
@given(
    copies=st.lists(st.lists(st.lists(CHANGES, max_size=3), max_size=2), min_size=3, max_size=3),
    together=st.booleans(),
)
def test_damaged_archives_are_read_alike(
    copies: list[list[list[tuple[str, float, int]]]], together: bool
) -> None:
    """Some are missing, some there twice with other damage; each in a file, or all in one."""
    found = [
        (f"{number}.{name}", changed(whole, changes))
        for (name, whole), damages in zip(sorted(staged()[0].items()), copies, strict=True)
        for number, changes in enumerate(damages)
    ]
    with TemporaryDirectory() as place:
        for name, data in [("all.mha", b"".join(data for _, data in found))] if together else found:
            (Path(place) / name).write_bytes(data)
        assert disagreements(Path(place).iterdir()) == []


def test_whole_archives_are_found_by_their_footers(tmp_path: Path) -> None:
    """Not by walking over all of a file, which would take hours for a large one."""
    (tmp_path / "all.mha").write_bytes(b"".join(data for _, data in sorted(staged()[0].items())) + bytes(100))
    archives = mailhaul_restore.Archives([str(tmp_path / "all.mha")])
    parts = [part for archive in archives.found.values() for part in archive.parts]
    assert [part.walked for part in parts] == [False] * 3


def test_what_was_not_damaged_is_all_there(tmp_path: Path) -> None:
    """The comparison is not one of nothing with nothing."""
    files, count = staged()
    assert count > 90
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert disagreements(tmp_path.iterdir()) == []
    (tmp_path / min(files)).unlink()
    assert 0 < len(set(read_by_product(sorted(tmp_path.iterdir())))) < count
