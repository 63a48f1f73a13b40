"""Key files: made once, read strictly, never open to others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mailhaul.groups.definitions import SAFE_NAME
from mailhaul.proto.errors import AccessError
from mailhaul.proto.wire import envelopes
from mailhaul.proto.wire.keys import KeyPair, make_pair, new_pair, read_allowed, read_pair, read_public

WRONG_NAMES = ["", "../a", "a/b", ".a", "-a", "a b", "a\n", "é", "a" * 101]


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_names_are_those_of_the_rest_of_the_program() -> None:
    assert envelopes.HOST_NAME == SAFE_NAME


class TestPair:
    def test_is_read_back(self, tmp_path: Path) -> None:
        pair = make_pair(tmp_path / "keys", "store01")
        assert read_pair(tmp_path / "keys", "store01") == pair
        assert read_public(tmp_path / "keys", "store01") == pair.public
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()}
        assert modes == {"store01.key": 0o644, "store01.key_secret": 0o600}

    def test_modes_do_not_depend_on_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o777)
        try:
            make_pair(tmp_path, "store01")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "store01.key").stat().st_mode) == 0o644
        read_pair(tmp_path, "store01")

    def test_the_secret_is_in_no_text_about_it(self, tmp_path: Path) -> None:
        pair = make_pair(tmp_path, "store01")
        assert pair.secret not in repr(pair)
        assert pair.secret not in (tmp_path / "store01.key").read_text()

    @pytest.mark.parametrize("there", ["store01.key", "store01.key_secret"])
    def test_nothing_is_overwritten_or_left_half(self, tmp_path: Path, there: str) -> None:
        (tmp_path / there).write_text("precious")
        with pytest.raises(AccessError, match=f"{there}: is there already"):
            make_pair(tmp_path, "store01")
        assert content(tmp_path) == {there: b"precious"}

    def test_no_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "store01.key").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(AccessError, match="is there already"):
            make_pair(tmp_path, "store01")
        assert os.listdir(tmp_path) == ["store01.key"]

    @pytest.mark.parametrize("name", WRONG_NAMES)
    def test_names(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(AccessError, match="can't name a key"):
            make_pair(tmp_path, name)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
    def test_a_secret_that_lies_open(self, tmp_path: Path, mode: int) -> None:
        make_pair(tmp_path, "store01")
        path = tmp_path / "store01.key_secret"
        path.chmod(mode)
        with pytest.raises(AccessError, match=f"chmod 600 {path}"):
            read_pair(tmp_path, "store01")

    def test_halves_that_do_not_belong_together(self, tmp_path: Path) -> None:
        pair = make_pair(tmp_path, "store01")
        path = tmp_path / "store01.key_secret"
        path.write_text(path.read_text().replace(pair.public, new_pair().public))
        with pytest.raises(AccessError, match="do not belong together"):
            read_pair(tmp_path, "store01")

    def test_what_is_no_pair(self, tmp_path: Path) -> None:
        path = tmp_path / "store01.key_secret"
        for text in broken(make_pair(tmp_path, "other")):
            path.unlink(missing_ok=True)
            path.write_bytes(text)
            path.chmod(0o600)
            with pytest.raises(AccessError, match=r"store01\.key_secret"):
                read_pair(tmp_path, "store01")
        path.unlink()
        with pytest.raises(AccessError, match="No such file"):
            read_pair(tmp_path, "store01")


def broken(pair: KeyPair) -> list[bytes]:
    """What may stand in a key file by mistake or malice."""
    good = f"public {pair.public}\nsecret {pair.secret}\n".encode()
    return [
        b"",
        b"\0" * 100,
        b"\xff\xfe",
        good[:-2],
        good + good,
        good.replace(b"public ", b"public  "),
        good.replace(b"\n", b"\r\n"),
        b"#" + good,
        b"# comment\n" * 1000 + good,
        good.replace(pair.public[:1].encode(), b"'", 1),
    ]


class TestAllowed:
    def test_every_public_file_counts(self, tmp_path: Path) -> None:
        pairs = {name: make_pair(tmp_path, name) for name in ("store01", "store02", "mx.example.org")}
        (tmp_path / "README").touch()
        (tmp_path / "store02.key_secret").unlink()
        assert read_allowed(tmp_path) == {pair.public: name for name, pair in pairs.items()}
        (tmp_path / "store02.key").unlink()
        assert "store02" not in read_allowed(tmp_path).values()

    def test_none(self, tmp_path: Path) -> None:
        assert read_allowed(tmp_path) == {}
        with pytest.raises(AccessError, match="No such file"):
            read_allowed(tmp_path / "absent")
        with pytest.raises(AccessError, match="No such file"):
            read_allowed(tmp_path / "absent", lambda error: None)

    def test_what_is_broken_is_reported_and_lets_nobody_in(self, tmp_path: Path) -> None:
        good = make_pair(tmp_path, "store01")
        (tmp_path / "no name.key").write_text(f"public {new_pair().public}\n")
        (tmp_path / ".hidden.key").write_text(f"public {new_pair().public}\n")
        (tmp_path / "text.key").write_text("public key\n")
        (tmp_path / "place.key").mkdir()
        (tmp_path / "gone.key").symlink_to("nowhere")
        os.mkfifo(tmp_path / "pipe.key")
        reported: list[AccessError] = []
        assert read_allowed(tmp_path, reported.append) == {good.public: "store01"}
        told = "\n".join(error.message for error in reported)
        assert len(reported) == 6
        assert all(name in told for name in ("no name", ".hidden", "text", "place", "gone", "pipe"))
        with pytest.raises(AccessError):
            read_allowed(tmp_path)

    def test_a_key_with_two_names_lets_nobody_in(self, tmp_path: Path) -> None:
        good, shared = make_pair(tmp_path, "store01"), make_pair(tmp_path, "store02")
        (tmp_path / "store03.key").write_bytes((tmp_path / "store02.key").read_bytes())
        reported: list[AccessError] = []
        assert read_allowed(tmp_path, reported.append) == {good.public: "store01"}
        assert shared.public not in read_allowed(tmp_path, reported.append)
        assert "store02, store03" in reported[0].message
        with pytest.raises(AccessError, match="store02, store03"):
            read_allowed(tmp_path)

    def test_many_different_pairs(self, tmp_path: Path) -> None:
        """Z85 has characters that mean something elsewhere: every pair must come back."""
        for number in range(60):
            pair = make_pair(tmp_path, f"h{number}")
            assert read_pair(tmp_path, f"h{number}") == pair
        assert len(read_allowed(tmp_path)) == 60
