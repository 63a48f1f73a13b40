"""Recipients, secrets and shares in files: what is written is read, what is wrong is refused."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from mailhaul.groups.definitions import SAFE_NAME
from mailhaul.proto.errors import AccessError
from mailhaul.proto.keys import making, recipients
from mailhaul.proto.keys.identities import PrivateKey, open_identity
from mailhaul.proto.keys.making import make_recipient, secret_paths
from mailhaul.proto.keys.paper import paper_secret
from mailhaul.proto.keys.recipients import read_recipient, recipient_of_text
from mailhaul.proto.keys.records import Kem, Wrap
from mailhaul.proto.keys.secret_files import ScryptCost, parse_secret, read_secret, write_secret
from mailhaul.proto.keys.wrapping import wrap
from mailhaul.proto.structs import replace

CHEAP = ScryptCost(n=16)
KEMS = [Kem.X25519, Kem.HYBRID]


def opens(identity: Any, path: Path) -> bool:
    """Whether an identity opens what is wrapped for the recipient in a file."""
    to = read_recipient(path)
    sealed = Wrap(to.id, to.name, to.kem, wrap(to, b"k" * 64, b"info"))
    return bool(identity.unwrap(sealed, b"info") == b"k" * 64)


def test_names_are_those_of_the_rest_of_the_program() -> None:
    assert recipients.NAME == SAFE_NAME


class TestMaking:
    @pytest.mark.parametrize("kem", KEMS)
    @pytest.mark.parametrize("passphrase", [None, "pässphrase"])
    def test_what_is_made_opens(self, tmp_path: Path, kem: Kem, passphrase: str | None) -> None:
        place = tmp_path / "keys"
        made = make_recipient(place, "ops", kem, [passphrase], cost=CHEAP)
        assert read_recipient(place / "ops.pub") == made
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
        assert modes == {"ops.pub": 0o644, "ops.secret": 0o600}
        identity = open_identity([place / "ops.secret"], lambda path: passphrase or "", pytest.fail)
        assert opens(identity, place / "ops.pub")
        assert identity.recipients == {made.id: "ops"}

    def test_a_passphrase_is_the_same_however_its_letters_are_composed(self, tmp_path: Path) -> None:
        make_recipient(tmp_path, "ops", Kem.X25519, ["p\u00e4ss"], cost=CHEAP)
        assert open_identity([tmp_path / "ops.secret"], lambda path: "pa\u0308ss", pytest.fail)

    @pytest.mark.parametrize("there", ["ops.pub", "ops.secret"])
    def test_nothing_is_overwritten_or_left_half(self, tmp_path: Path, there: str) -> None:
        (tmp_path / there).symlink_to("nowhere")
        with pytest.raises(AccessError, match="no key is ever overwritten"):
            make_recipient(tmp_path, "ops", Kem.X25519, [None])
        assert [path.name for path in tmp_path.iterdir()] == [there]

    def test_without_its_public_half_no_secret_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> None:
            raise AccessError("full")

        monkeypatch.setattr(making, "write_recipient", fails)
        with pytest.raises(AccessError, match="full"):
            make_recipient(tmp_path, "ops", Kem.X25519, [None, None, None], threshold=2)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["", "../a", ".a", "a b", "a\n", "é"])
    def test_names(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match="can't name"):
            make_recipient(tmp_path, name, Kem.X25519, [None])

    def test_secrets_are_in_no_text_about_them(self, tmp_path: Path) -> None:
        make_recipient(tmp_path, "ops", Kem.X25519, [None])
        file = read_secret(tmp_path / "ops.secret")
        secret = file.open(None)
        key = base64.b64encode(secret.private).decode()
        assert key in (tmp_path / "ops.secret").read_text()
        for shown in (repr(file), repr(secret), repr(PrivateKey(secret))):
            assert key not in shown
            assert repr(secret.private) not in shown


class TestPublic:
    def test_a_damaged_key_is_refused(self, tmp_path: Path) -> None:
        """Each letter of the key and of the id counts: what is wrapped for another key is lost."""
        make_recipient(tmp_path, "ops", Kem.X25519, [None])
        text = (tmp_path / "ops.pub").read_text()
        line = text.splitlines()[1]
        start = text.index(line) + len("mailhaul-recipient 1 x25519 ")
        for at in range(start, len(text.rstrip()) - 1):
            if not text[at].isspace():
                other = text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :]
                with pytest.raises(ValueError, match=r"damaged|is no file"):
                    recipient_of_text("ops", other)

    def test_a_letter_of_which_only_unused_bits_differ(self, root: Path) -> None:
        text = (root / "proto" / "keys" / "KEYS.md").read_text()
        line = next(one for one in text.splitlines() if one.startswith("mailhaul-recipient 1 "))
        assert line.endswith("KF8=")
        assert recipient_of_text("ops", line)
        with pytest.raises(ValueError, match="damaged"):
            recipient_of_text("ops", line.removesuffix("8=") + "9=")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "0 lines"),
            ("# nothing\n", "0 lines"),
            ("age1\n", "is no file"),
            ("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqq\n", "no age recipient"),
            ("AGE-SECRET-KEY-1XXX\n", "public half"),
            ('{\n "mailhaul_secret": 1\n}\n', "public half"),
            ("# on paper\nmailhaul paper key 1\n 1: qgqqq\n", "public half"),
            ("mailhaul-recipient 2 x25519 00 00\n", "is no file"),
            ("mailhaul-recipient 1 age 61f91d449f9edac2d88c80b658919ca7 AAAA\n", "is no file"),
            ("mailhaul-recipient 1 x25519 61f91d449f9edac2d88c80b658919ca7 AAAA\n", "has 32 bytes"),
            ("mailhaul-recipient 1 x25519 61f91d449f9edac2d88c80b658919ca7 AAAAA\n", ""),
            ("\0\xff\n", "is no file"),
        ],
    )
    def test_what_is_no_recipient(self, tmp_path: Path, text: str, told: str) -> None:
        path = tmp_path / "ops.pub"
        path.write_text(text)
        with pytest.raises(AccessError, match=rf"ops\.pub: .*{told}"):
            read_recipient(path)


def changed(path: Path, **values: object) -> bytes:
    document = json.loads(path.read_text())
    for name, value in values.items():
        if name.startswith("scrypt_"):
            document["scrypt"][name.removeprefix("scrypt_")] = value
        else:
            document[name] = value
    return json.dumps(document).encode()


class TestHostileSecrets:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        make_recipient(tmp_path, "ops", Kem.X25519, ["pass"], cost=CHEAP)
        return tmp_path / "ops.secret"

    @pytest.mark.parametrize(
        "values",
        [
            {"scrypt_n": 1 << 40},
            {"scrypt_n": 1 << 21},
            {"scrypt_r": 1 << 30},
            {"scrypt_p": 1 << 20},
            {"scrypt_n": 0},
            {"scrypt_n": -2},
            {"scrypt_n": 17},
            {"scrypt_r": 0},
            {"scrypt_p": 0},
            {"scrypt_n": 16.0},
            {"scrypt_n": True},
            {"scrypt_n": 10**400},
            {"scrypt_salt": ""},
            {"scrypt_salt": 7},
            {"scrypt": []},
            {"nonce": "AAAA"},
            {"key": "A"},
            {"key": "AAAA"},
            {"kind": "age"},
            {"kind": "hybrid"},
            {"kind": "rsa"},
            {"recipient": "00"},
            {"recipient": "zz"},
            {"mailhaul_secret": 2},
            {"share": {}},
            {"share": {"number": 4, "threshold": 2, "count": 3, "set": "00000000"}},
            {"share": {"number": 1, "threshold": 1, "count": 3, "set": "00000000"}},
        ],
    )
    def test_are_refused_before_any_memory_is_taken(self, path: Path, values: dict[str, object]) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(AccessError, match=r"ops\.secret: is no file with a secret key"):
            parse_secret(path, changed(path, **values), lies_open=False)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # kB

    def test_every_truncation(self, path: Path) -> None:
        data = path.read_bytes()
        for end in range(len(data) - 2):
            with pytest.raises(AccessError):
                parse_secret(path, data[:end], lies_open=False)

    def test_a_public_key_is_none(self, path: Path) -> None:
        with pytest.raises(AccessError, match="no file with a secret key, as NAME"):
            read_secret(path.with_name("ops.pub"))

    def test_what_is_deep_or_strange(self, path: Path) -> None:
        for data in (b"[" * 50_000, b"null", b"7", b"\xff\xfe{", b"{}", b'{"mailhaul_secret": 1}'):
            with pytest.raises(AccessError):
                parse_secret(path, data, lies_open=False)

    def test_what_a_secret_says_of_itself_is_authenticated(self, path: Path) -> None:
        share = {"number": 1, "threshold": 2, "count": 3, "set": "00000000"}
        for values in ({"recipient": "00" * 16}, {"share": share}):
            data = changed(path, **values)
            with pytest.raises(AccessError, match="passphrase is wrong, or the file is damaged"):
                parse_secret(path, data, lies_open=False).open("pass")

    def test_a_wrong_passphrase(self, path: Path) -> None:
        with pytest.raises(AccessError, match="passphrase is wrong"):
            read_secret(path).open("Pass")
        with pytest.raises(AccessError, match="a passphrase is needed"):
            read_secret(path).open(None)

    def test_one_that_lies_open_is_warned_of(self, path: Path) -> None:
        path.chmod(0o644)
        warned: list[str] = []
        open_identity([path], lambda _: "pass", warned.append)
        assert warned == [f"{path}: others may read or write this secret: chmod 600 {path}"]

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "large").write_bytes(b" " * 70_000)
        for name, told in (
            ("pipe", "no regular"),
            ("large", "longer"),
            ("none", "No such"),
            (".", "no regular|directory"),
        ):
            with pytest.raises(AccessError, match=told):
                open_identity([tmp_path / name], lambda _: "", pytest.fail)


class TestShares:
    @pytest.fixture
    def shares(self, tmp_path: Path) -> tuple[Path, ...]:
        passphrases = ["one", "two", "three"]
        make_recipient(tmp_path, "ops", Kem.HYBRID, passphrases, threshold=2, cost=CHEAP)
        assert not (tmp_path / "ops.secret").exists()
        return secret_paths(tmp_path, "ops", 3)

    def ask(self, path: Path) -> str:
        return {"1": "one", "2": "two", "3": "three"}[path.name[len("ops.share")]]

    @pytest.mark.parametrize("chosen", [(0, 1), (2, 0), (1, 2), (2, 1, 0)])
    def test_enough_of_them_open(self, shares: tuple[Path, ...], chosen: tuple[int, ...]) -> None:
        identity = open_identity([shares[one] for one in chosen], self.ask, pytest.fail)
        assert opens(identity, shares[0].with_name("ops.pub"))

    def test_too_few(self, shares: tuple[Path, ...]) -> None:
        for several in (shares[:1], shares[:1] * 2):
            with pytest.raises(AccessError, match="2 different shares of ops are needed, 1 given"):
                open_identity(several, self.ask, pytest.fail)

    def test_one_that_was_made_another_time(self, shares: tuple[Path, ...], tmp_path: Path) -> None:
        second = read_secret(shares[1]).open("two")
        again = tmp_path / "again.secret"
        assert second.share
        other = replace(second, share=replace(second.share, set=b"\1\2\3\4"))
        write_secret(again, other, None)
        with pytest.raises(AccessError, match="were not made together"):
            open_identity([shares[0], again], self.ask, pytest.fail)
        spoiled = tmp_path / "spoiled.secret"
        write_secret(spoiled, replace(second, private=bytes(96)), None)
        with pytest.raises(AccessError, match="these shares make no key: one of them is not what it was"):
            open_identity([shares[0], spoiled], self.ask, pytest.fail)


class TestDocument:
    """The worked examples of KEYS.md."""

    @pytest.fixture
    def examples(self, root: Path) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        text = (root / "proto" / "keys" / "KEYS.md").read_text()
        for kind, example in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found.setdefault(kind, []).append(example)
        return found

    def test_are_what_they_say(self, examples: dict[str, list[str]], tmp_path: Path) -> None:
        ops = recipient_of_text("ops", examples["pub"][0])
        assert recipients.text_of(ops) == examples["pub"][0]
        plain, locked = (
            parse_secret(tmp_path, text.encode(), lies_open=False) for text in examples["secret"]
        )
        assert plain.open(None).private == bytes(range(32)) == locked.open("correct horse").private
        assert paper_secret("ops", examples["paper"][0]) == plain.open(None)
        assert paper_secret("vault", examples["paper"][1]).private == bytes(range(96))
        paths = [tmp_path / "1", tmp_path / "3"]
        for path, line in zip(paths, examples["shares"][0].splitlines(), strict=True):
            path.write_text(line)
            path.chmod(0o600)
        identity = open_identity(paths, lambda _: "", pytest.fail)
        assert isinstance(identity, PrivateKey)
        assert identity.secret == plain.open(None)
        (tmp_path / "card").write_text(examples["command"][0])
        (tmp_path / "card").chmod(0o600)
        assert list(open_identity([tmp_path / "card"], lambda _: "", pytest.fail).recipients) == [ops.id]
