"""Files that are encrypted with the structure key: opened whole and as they were written, or refused."""

from __future__ import annotations

import io
import os
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from mailhaul.proto.errors import DamagedError, EncryptedError, UnsupportedError
from mailhaul.proto.keys import sealed_files
from mailhaul.proto.keys.derivation import file_key, structure_key
from mailhaul.proto.keys.records import NO_KEYS, Cipher, Keyring
from mailhaul.proto.keys.sealed_files import CHUNK_BYTES, open_sealed_file, seal_file
from mailhaul.worker.keepsake import mailhaul_restore

from ....sealed import OF_A_HOST, STRUCTURE

NAME = "20261121T220000Z-4f3a.0.names.tsv.gz.sealed"


def sealed(content: bytes = b"jane, joe", name: str = NAME, piece: int = 1 << 16) -> bytes:
    pieces = (content[at : at + piece] for at in range(0, len(content), piece))
    return b"".join(seal_file(name, pieces, STRUCTURE))


def opened(data: bytes, name: str = NAME, keys: Keyring = OF_A_HOST) -> bytes:
    return b"".join(open_sealed_file(io.BytesIO(data), keys, name))


@pytest.fixture(params=list(Cipher))
def small_chunks(request: pytest.FixtureRequest) -> Iterator[None]:
    """So that a test of what can be done to chunks has many."""
    with (
        patch.object(sealed_files, "CHUNK_BYTES", 64),
        patch.object(sealed_files, "quickest_cipher", lambda: request.param),
    ):
        yield


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_content_comes_back(size: int, tmp_path: Path) -> None:
    content = random.Random(size).randbytes(size)
    data = sealed(content)
    assert opened(data) == content
    assert opened(data + bytes(10_240)) == content, "of a tape"
    (tmp_path / NAME).write_bytes(data)
    keys = mailhaul_restore.Keys()
    with patch.object(mailhaul_restore.Keys, "structure", lambda _self, _id: STRUCTURE.secret):
        assert b"".join(mailhaul_restore.unsealed(str(tmp_path / NAME), keys)) == content


def test_nothing_of_it_can_be_read(root: Path) -> None:
    content = (root / "README.md").read_bytes()
    data = sealed(content)
    for at in range(len(content) - 6):
        assert content[at : at + 6] not in data[64 + len(NAME) :]
    assert len(data) - len(content) < 200


def test_each_file_has_a_key_of_its_own() -> None:
    assert len({sealed()[32:64] for _ in range(100)}) == 100
    assert len({sealed()[-25:] for _ in range(100)}) == 100


def test_another_key_opens_nothing() -> None:
    with pytest.raises(EncryptedError, match=STRUCTURE.id.hex()):
        opened(sealed(), keys=NO_KEYS)
    other = structure_key(os.urandom(32))
    with pytest.raises(EncryptedError):
        opened(sealed(), keys=Keyring({other.id: other.secret}))
    with pytest.raises(DamagedError):
        opened(sealed(), keys=Keyring({STRUCTURE.id: other.secret}))


def test_a_file_under_another_name_is_refused() -> None:
    with pytest.raises(DamagedError, match="another name"):
        opened(sealed(name="20261121T220000Z-4f3a.0.sqlite.gz.sealed"))


def test_a_later_version_is_refused() -> None:
    data = sealed()
    for at, value in ((8, 2), (9, 9)):
        with pytest.raises(UnsupportedError):
            opened(data[:at] + bytes([value]) + data[at + 1 :])


def chunks(data: bytes) -> tuple[bytes, list[bytes]]:
    at = 64 + struct.unpack_from("<H", data, 10)[0]
    head, found = data[:at], []
    while at < len(data):
        size = 4 + (struct.unpack_from("<I", data, at)[0] & ~(1 << 31))
        found.append(data[at : at + size])
        at += size
    return head, found


@pytest.mark.usefixtures("small_chunks")
def test_chunks_that_are_moved_dropped_repeated_or_foreign() -> None:
    content = random.Random(1).randbytes(1000)
    head, parts = chunks(sealed(content))
    _, others = chunks(sealed(content))
    assert len(parts) == 16
    assert opened(head + b"".join(parts)) == content
    wrong = [
        parts[:-1],
        parts[1:],
        parts[:3] + parts[4:],
        parts[:2] + parts[1:],
        parts[:1] * 2,
        [],
        parts * 2,
    ]
    wrong += [[*parts[:5], others[5], *parts[6:]], [*parts[:-1], others[-1]], [*parts, parts[-1]]]
    wrong += [[parts[1], parts[0], *parts[2:]], [*parts[:-2], parts[-1]], [*parts, b"x"], [parts[-1]]]
    # One that says to be the last, or not to be.
    wrong += [[*parts[:3], parts[3][:3] + bytes([parts[3][3] | 0x80]) + parts[3][4:]]]
    wrong += [[*parts[:-1], parts[-1][:3] + bytes([parts[-1][3] & 0x7F]) + parts[-1][4:], *others]]
    for case in wrong:
        with pytest.raises(DamagedError):
            opened(head + b"".join(case))


@pytest.mark.usefixtures("small_chunks")
def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    data = sealed(random.Random(2).randbytes(200))
    refused = (DamagedError, EncryptedError, UnsupportedError)
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(refused):
            opened(bytes(altered))
    for cut in range(len(data)):
        with pytest.raises(refused):
            opened(data[:cut])
        (tmp_path / NAME).write_bytes(data[:cut])
        with (
            patch.object(mailhaul_restore.Keys, "structure", lambda _self, _id: STRUCTURE.secret),
            pytest.raises((mailhaul_restore.Damaged, mailhaul_restore.Failed)),
        ):
            list(mailhaul_restore.unsealed(str(tmp_path / NAME), mailhaul_restore.Keys()))


def test_the_example_of_the_document(root: Path, tmp_path: Path) -> None:
    text = (root / "proto/archive/FORMAT.md").read_text().split("## Worked example: a sealed file\n")[1]
    told: dict[str, bytes] = {}
    name = ""
    for line in text.split("```hex\n")[1].split("```\n")[0].splitlines():
        data, _, remark = line.partition("  ")
        name = remark.strip() or name
        told[name] = told.get(name, b"") + bytes.fromhex(data)
    called = re.findall(r"Called `(.*?)`", text)[0]
    assert file_key(STRUCTURE.secret, told["sealed file"][32:64]) == told["key of the file"]
    assert opened(told["sealed file"], called) == b"jane, joe"
    (tmp_path / called).write_bytes(told["sealed file"])
    with patch.object(mailhaul_restore.Keys, "structure", lambda _self, _id: STRUCTURE.secret):
        read = mailhaul_restore.unsealed(str(tmp_path / called), mailhaul_restore.Keys())
        assert b"".join(read) == b"jane, joe"
