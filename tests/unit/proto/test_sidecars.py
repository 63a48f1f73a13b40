"""Keys that are added later: whatever lies in their place, an archive opens as it did before, or not at
all."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from mailhaul.proto.archive.sidecars import (
    archive_digits,
    decode_sidecar,
    encode_sidecar,
    folders_beside,
    read_sidecar,
    sidecar_files,
    sidecar_name,
    with_sidecars,
)
from mailhaul.proto.errors import BackupError, DamagedError, EncryptedError
from mailhaul.proto.keys.derivation import content_id, wrap_info
from mailhaul.proto.keys.identities import PrivateKey
from mailhaul.proto.keys.opening import open_slot, rewrap, slots_with_sidecar
from mailhaul.proto.keys.records import SIDECARS, Cipher, Kem, Keyring, Recipient, Slot, Wrap
from mailhaul.proto.keys.secret_files import Secret
from mailhaul.proto.keys.wrapping import wrap
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.structs import replace

from ...sealed import PRIVATE, STRUCTURE, recipient

ARCHIVE = ArchiveId(b"0123456789abcdef")
OTHER = ArchiveId(b"fedcba9876543210")
CONTENT = bytes(range(64, 96))
LATER = recipient(private=bytes(range(132, 164)), name="board")
OF_AREA = Keyring(structures={STRUCTURE.id: STRUCTURE.secret})


def identity(of: Recipient, private: bytes) -> PrivateKey:
    return PrivateKey(Secret(name=of.name, kem=Kem.X25519, recipient=of.id, private=private))


OPS = identity(recipient(), PRIVATE)
BOARD = identity(LATER, bytes(range(132, 164)))


def slot(archive: ArchiveId = ARCHIVE, content: bytes = CONTENT, number: int = 1) -> Slot:
    salt, ops = os.urandom(32), recipient()
    sealed = wrap(ops, content + STRUCTURE.secret, wrap_info(archive, salt, ops.id))
    return Slot(
        number=number,
        archive=archive,
        salt=salt,
        cipher=Cipher.AES_256_GCM,
        structure=STRUCTURE.id,
        content=content_id(content),
        wraps=(Wrap(ops.id, "ops", Kem.X25519, sealed),),
    )


def sidecar_of(one: Slot, structure: bytes = STRUCTURE.secret) -> bytes:
    return encode_sidecar(one.archive, [replace(one, wraps=rewrap(one, OPS, [LATER]))], structure)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def beside(folder: Path, keys: Keyring = OF_AREA) -> Keyring:
    return replace(keys, sidecars=(str(folder / SIDECARS),))


def test_it_adds_who_can_open_the_keys(tmp_path: Path) -> None:
    one = slot()
    path = put(tmp_path, sidecar_name(ARCHIVE, 1), sidecar_of(one))
    assert path.name == "3031323334353637.1.mhk"
    assert archive_digits(sidecar_name(ARCHIVE, 1)) == "3031323334353637"
    found = read_sidecar(path)
    assert found.is_genuine(OF_AREA) is True
    assert found.is_genuine(Keyring()) is None
    with pytest.raises(EncryptedError):
        open_slot(one, BOARD)
    for keys in (OF_AREA, Keyring()):
        (both,) = with_sidecars((one,), beside(tmp_path, keys))
        assert open_slot(both, BOARD) == open_slot(both, OPS) == (CONTENT, STRUCTURE.secret)
    assert rewrap(both, OPS, [LATER]) == ()


def test_each_change_of_a_byte_is_found_and_takes_nothing_away(tmp_path: Path) -> None:
    one = slot()
    data = sidecar_of(one)
    path = put(tmp_path, sidecar_name(ARCHIVE, 1), data)
    generator = random.Random(5)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        with suppress(BackupError):
            assert read_sidecar(path).is_genuine(OF_AREA) is False, at
        assert with_sidecars((one,), beside(tmp_path)) == (one,)
        (without_key,) = with_sidecars((one,), beside(tmp_path, Keyring()))
        assert open_slot(without_key, OPS) == (CONTENT, STRUCTURE.secret)
        opens_rightly_or_not_at_all(without_key)


def opens_rightly_or_not_at_all(one: Slot) -> None:
    with suppress(DamagedError, EncryptedError):
        assert open_slot(one, BOARD) == (CONTENT, STRUCTURE.secret)


@pytest.mark.parametrize("data", [b"", b"nothing\n" * 40, bytes(200)])
def test_what_is_no_sidecar(tmp_path: Path, data: bytes) -> None:
    one = slot()
    path = put(tmp_path, sidecar_name(ARCHIVE, 1), data)
    with pytest.raises(DamagedError):
        read_sidecar(path)
    assert with_sidecars((one,), beside(tmp_path)) == (one,)
    for size in range(0, len(whole := sidecar_of(one)), 7):
        with pytest.raises(DamagedError):
            decode_sidecar(whole[:size], "cut")


def test_that_of_another_archive_or_slot_adds_nothing(tmp_path: Path) -> None:
    one, other = slot(), slot(OTHER)
    path = put(tmp_path, sidecar_name(ARCHIVE, 1), sidecar_of(other))
    with pytest.raises(DamagedError, match="sidecar of archive"):
        read_sidecar(path)
    assert with_sidecars((one,), beside(tmp_path)) == (one,)
    path.write_bytes(sidecar_of(slot(content=bytes(32))))
    assert with_sidecars((one,), beside(tmp_path)) == (one,)


def test_keys_of_somebody_else_open_nothing(tmp_path: Path) -> None:
    """Wrapped for the right recipient, bound to the right slot, under the name of the right archive."""
    one = slot()
    sealed = wrap(LATER, bytes(64), wrap_info(ARCHIVE, one.salt, LATER.id))
    forged = replace(one, wraps=(Wrap(LATER.id, "board", Kem.X25519, sealed),))
    put(tmp_path, sidecar_name(ARCHIVE, 1), encode_sidecar(ARCHIVE, [forged], bytes(32)))
    assert with_sidecars((one,), beside(tmp_path)) == (one,)
    (both,) = with_sidecars((one,), beside(tmp_path, Keyring()))
    with pytest.raises(DamagedError):
        open_slot(both, BOARD)
    assert open_slot(both, OPS) == (CONTENT, STRUCTURE.secret)
    # One that is whole, beside it, opens: whichever comes first.
    whole = decode_sidecar(sidecar_of(one), "").slots
    for mixed in (
        slots_with_sidecar((both,), whole),
        slots_with_sidecar(slots_with_sidecar((one,), whole), [forged]),
    ):
        assert open_slot(mixed[0], BOARD) == (CONTENT, STRUCTURE.secret)


def test_slots_that_came_along_open_by_the_sidecar_of_either_archive(tmp_path: Path) -> None:
    came, own = slot(OTHER), slot(number=2)
    put(tmp_path, sidecar_name(OTHER, 1), sidecar_of(came))
    both = with_sidecars((came, own), beside(tmp_path))
    assert open_slot(both[0], BOARD)
    assert both[1] == own
    assert with_sidecars((came, own), beside(tmp_path), only=ARCHIVE) == (came, own)


def test_names(tmp_path: Path) -> None:
    for name in (
        sidecar_name(ARCHIVE, 2),
        sidecar_name(ARCHIVE, 10),
        f"{SIDECARS}/3031323334353637.1.mhk",
        f"{SIDECARS}/30/3031323334353637.3.mhk.new",
        f"{SIDECARS}/30/3031323334353637.mhk",
        f"{SIDECARS}/30/3031323334353638.1.mhk",
    ):
        put(tmp_path, name, b"")
    found = [
        number for number, _ in sidecar_files([str(tmp_path / SIDECARS), str(tmp_path / "none")], ARCHIVE)
    ]
    assert found == [2, 10, 1]
    assert archive_digits("primary/user/3031323334353637.1.mhk") == ""
    assert archive_digits(f"{SIDECARS}/30/3031323334353637.x.mhk") == ""
    assert str(tmp_path / SIDECARS) in folders_beside(tmp_path / "primary" / "user" / "x.mha")
    assert folders_beside(tmp_path / "x.mha") == (str(tmp_path), str(tmp_path / SIDECARS))
