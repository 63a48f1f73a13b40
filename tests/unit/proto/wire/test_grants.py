"""Grants: only the coordinator's are good, only unaltered, only in time."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import AccessError
from mailhaul.proto.structs import replace
from mailhaul.proto.wire import grants
from mailhaul.proto.wire.envelopes import MOST_GRANT_BYTES
from mailhaul.proto.wire.grants import Grant, check, issue, load_secret

SECRET = bytes(range(32))
GRANT = Grant(
    "write", "store01", "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha", 65_537, 1_795_317_300
)


def test_comes_back_until_it_expires() -> None:
    token = issue(SECRET, GRANT)
    assert check(SECRET, token, 0.0) == check(SECRET, token, GRANT.expires - 0.001) == GRANT
    for late in (GRANT.expires, GRANT.expires + 0.5, 1e12):
        with pytest.raises(AccessError, match="expired"):
            check(SECRET, token, late)


def test_the_longest_one_fits() -> None:
    grant = Grant("write", "h" * 100, "f" * 512, 2**63 - 1, 2**63 - 1)
    token = issue(SECRET, grant)
    assert len(token) <= MOST_GRANT_BYTES
    assert check(SECRET, token, 0.0) == grant


@given(st.data())
def test_one_altered_bit_is_enough(data: st.DataObject) -> None:
    token = bytearray(issue(SECRET, GRANT))
    bit = data.draw(st.integers(0, len(token) * 8 - 1))
    token[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AccessError, match="not issued"):
        check(SECRET, bytes(token), 0.0)


@given(st.binary(max_size=1100))
def test_noise_is_refused(token: bytes) -> None:
    with pytest.raises(AccessError):
        check(SECRET, token, 0.0)


def test_cut_lengthened_or_of_another_secret() -> None:
    token = issue(SECRET, GRANT)
    for other in (token[:-1], token + b"\0", token[:32], token[:31], b"", issue(b"x" * 32, GRANT)):
        with pytest.raises(AccessError, match="not issued"):
            check(SECRET, other, 0.0)
    with pytest.raises(AccessError, match="too long"):
        check(SECRET, token + b"x" * MOST_GRANT_BYTES, 0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(GRANT, kind="all"),
        replace(GRANT, host=""),
        replace(GRANT, host="../a"),
        replace(GRANT, file="f" * 513),
        replace(GRANT, epoch=-1),
        replace(GRANT, expires=1.5),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_one_is_neither_issued_nor_taken(wrong: Grant) -> None:
    with pytest.raises(ValueError, match="is "):
        issue(SECRET, wrong)
    # Signed all the same, as by a coordinator of another version:
    row = [grants.VERSION, wrong.kind, wrong.host, wrong.file, wrong.epoch, wrong.expires]
    with pytest.raises(AccessError, match="can't be read"):
        check(SECRET, signed(row), 0.0)


@pytest.mark.parametrize("row", [[], {}, 1, [2, "write", "a", "f", 1, 2**40], [1, "write", "a", "f", 1]])
def test_of_another_form(row: object) -> None:
    with pytest.raises(AccessError, match="can't be read"):
        check(SECRET, signed(row), 0.0)


def signed(row: object) -> bytes:
    body: bytes = msgpack.packb(row)
    return grants._mac(SECRET, body) + body


class TestSecret:
    def test_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / ".mailhaul" / "grants.key"
        secret = load_secret(path)
        assert (len(secret), load_secret(path)) == (32, secret)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(path.parent) == [path.name]
        assert load_secret(tmp_path / "other.key") != secret

    def test_all_who_come_at_once_get_the_same(self, tmp_path: Path) -> None:
        for number in range(20):
            path, gate = tmp_path / f"{number}.key", threading.Barrier(8)
            found: list[bytes] = []

            def load(path: Path = path, gate: threading.Barrier = gate, found: list[bytes] = found) -> None:
                gate.wait(10)
                found.append(load_secret(path))

            threads = [threading.Thread(target=load) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert len(found) == 8
            assert set(found) == {path.read_bytes()}
        assert len(os.listdir(tmp_path)) == 20

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
    def test_that_lies_open_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "grants.key"
        load_secret(path)
        path.chmod(mode)
        with pytest.raises(AccessError, match=f"chmod 600 {path}"):
            load_secret(path)

    @pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
    def test_of_another_length(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "grants.key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(AccessError, match=r"grants\.key"):
            load_secret(path)

    def test_where_none_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(AccessError, match="can't be made"):
            load_secret(tmp_path / "file" / "grants.key")
        path = tmp_path / "grants.key"
        os.mkfifo(path, 0o600)
        with pytest.raises(AccessError, match="no regular file"):
            load_secret(path)
