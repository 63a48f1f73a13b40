"""Keys that are handed in: whose they are, how long they stay, and how a process gets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.people.roles import Who
from mailhaul.coordinator.serving import private_keys
from mailhaul.coordinator.serving.private_keys import HeldKey, PrivateKeys, inherited
from mailhaul.proto.errors import AccessError
from mailhaul.proto.keys.identities import handed_identity
from mailhaul.proto.keys.recipients import text_of
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import ScryptCost, Secret, Share, without_passphrase, write_secret
from mailhaul.tests.pages import SettableClock
from mailhaul.tests.sealed import PRIVATE, recipient

NOW = datetime(2026, 11, 30, tzinfo=UTC)
ANNA = Who(name="anna", role="operator", session="s1")
ELSEWHERE = Who(name="anna", role="operator", session="s2")


def secret(share: Share | None = None) -> Secret:
    return Secret(name="ops", kem=Kem.X25519, recipient=recipient().id, private=PRIVATE, share=share)


def kept(keys: PrivateKeys) -> HeldKey:
    key = keys.opened("ops.secret", without_passphrase(secret()), "")
    keys.keep(ANNA, key)
    return key


def test_an_operation_gets_what_its_session_has_handed_in_as_long_as_that_is_there() -> None:
    clock = SettableClock()
    keys = PrivateKeys(clock)
    kept(keys)
    with keys.lending(ANNA) as lend:
        lend(7)
    with keys.lending(ELSEWHERE) as lend:
        lend(8)
    assert handed_identity("again", keys.lent(7), "")[0].recipients == {recipient().id: "ops"}
    assert keys.lent(7) == keys.lent(7)
    assert (keys.lent(8), keys.lent(9)) == (b"", b"")
    keys.forget(ANNA)
    assert keys.lent(7) == b""
    kept(keys)
    assert keys.lent(7) == b"", "another key may be another"
    with keys.lending(ANNA) as lend:
        lend(10)
    clock.seconds += 30 * 60 + 1
    keys.tick(NOW)
    assert keys.lent(10) == b""


def test_a_session_has_a_key_for_twelve_hours_at_most() -> None:
    clock = SettableClock()
    keys = PrivateKeys(clock)
    kept(keys)
    for _ in range(12 * 3):
        clock.seconds += 20 * 60
        assert keys.of(ANNA) is not None
    clock.seconds += 1
    assert keys.of(ANNA) is None


def test_no_key_is_in_any_text() -> None:
    keys = PrivateKeys(SettableClock())
    key = kept(keys)
    for text in (repr(key), str(key), repr(keys.__dict__), repr(key.identity)):
        assert PRIVATE.hex() not in text
        assert "mailhaul_secret" not in text


def test_what_is_inherited_is_read_by_one_process_and_has_no_name(tmp_path: Path) -> None:
    with inherited(b"a secret") as descriptor:
        assert os.fstat(descriptor).st_nlink == 0
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert not os.get_inheritable(descriptor)
        words = [sys.executable, "-c", f"import os; print(os.read({descriptor}, 99).decode())"]
        read = subprocess.run(words, pass_fds=(descriptor,), capture_output=True, check=True)
        assert read.stdout.strip() == b"a secret"
        assert subprocess.run(words, capture_output=True, check=False).returncode != 0
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_a_passphrase_is_asked_for_once(tmp_path: Path) -> None:
    file = tmp_path / "ops.secret"
    write_secret(file, secret(), "correct horse", ScryptCost(n=2, r=1))
    identity, handed = handed_identity("ops.secret", file.read_bytes(), "correct horse")
    assert identity.recipients == {recipient().id: "ops"}
    assert handed_identity("x", handed, "")[0].recipients == identity.recipients
    with pytest.raises(AccessError, match="is wrong"):
        handed_identity("ops.secret", file.read_bytes(), "another")


def test_shares_and_encrypted_files_of_age_are_for_the_command_line() -> None:
    share = secret(Share(number=1, threshold=2, count=3, set=b"abcd"))
    with pytest.raises(AccessError, match="one share"):
        handed_identity("board.secret", without_passphrase(share), "")
    with pytest.raises(AccessError, match="decrypt it before"):
        handed_identity("age", b"age-encryption.org/v1\n-> scrypt x 30\n", "x")


@pytest.mark.parametrize("before", ["", " ", "\ufeff", "\u00a0", "\u2003", "\x1c", "\x85"])
def test_a_program_is_never_handed_in_whatever_stands_before_it(before: str) -> None:
    command = {"mailhaul_command": 1, "command": ["/bin/true"], "recipient": text_of(recipient())}
    with pytest.raises(AccessError, match=r"it names a program|is no identity"):
        handed_identity("/etc/hostname", (before + json.dumps(command)).encode(), "")


def test_who_looks_with_a_key_of_the_configuration_waits_for_nobody() -> None:
    key, _ = handed_identity("ops.secret", without_passphrase(secret()), "")
    keys = PrivateKeys(SettableClock(), lambda: key, (Path("ops.secret"),))
    first = keys.configured()
    opening, goes_on = threading.Event(), threading.Event()

    def open_slowly(*_: object) -> object:
        opening.set()
        goes_on.wait(60)
        raise AccessError("wrong")

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(private_keys, "handed_identity", open_slowly)
        handing_in = pool.submit(keys.opened, "other.secret", b"", "")
        try:
            assert opening.wait(60)
            assert pool.submit(keys.of, ANNA).result(60) is first
        finally:
            goes_on.set()
        assert isinstance(handing_in.exception(), AccessError)
