"""``mailhaul init``: for whom archives are encrypted is asked, or said; and what losing keys means."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.config import load
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.records import Kem


@pytest.fixture
def public(tmp_path: Path) -> list[Path]:
    for name in ("ops", "safe"):
        make_recipient(tmp_path / "keys", name, Kem.X25519, [None])
    return [tmp_path / "keys" / f"{name}.pub" for name in ("ops", "safe")]


def test_recipients_from_a_script(
    tmp_path: Path, public: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "keys")
    etc = tmp_path / "etc"
    assert main(["init", "--dir", str(etc), "--recipient", "ops.pub"]) == 0
    told = capsys.readouterr().err
    assert "there is one recipient: if its private key is lost, all backups are" in told
    assert "keys recipient paper" in told
    config = load(etc / "mailhaul.toml")
    assert config.encryption.recipients == (public[0],)
    assert config.encryption.required
    two = tmp_path / "two"
    assert main(["init", "--dir", str(two), *(w for path in public for w in ("--recipient", str(path)))]) == 0
    assert "there is one recipient" not in capsys.readouterr().err
    assert load(two / "mailhaul.toml").encryption.recipients == tuple(public)


def test_what_is_no_recipient_is_refused_and_nothing_is_written(
    tmp_path: Path, public: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    etc = tmp_path / "etc"
    secret = public[0].with_suffix(".secret")
    for words in (
        ["--recipient", str(secret)],
        ["--recipient", str(tmp_path / "none.pub")],
        ["--recipient", str(public[0]), "--in-clear"],
    ):
        assert main(["init", "--dir", str(etc), *words]) != 0
        assert not etc.exists()
    capsys.readouterr()


def test_in_clear_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, words in enumerate(([], ["--in-clear"], ["--json"])):
        etc = tmp_path / str(number)
        assert main(["init", "--dir", str(etc), *words]) == 0
        assert "archives will not be encrypted" in capsys.readouterr().err
        config = load(etc / "mailhaul.toml")
        assert (config.encryption.recipients, config.encryption.required) == ((), False)


def test_at_a_terminal_it_asks_and_warns(tmp_path: Path, public: list[Path]) -> None:
    etc = tmp_path / "etc"
    answers = [str(public[0].with_suffix(".secret")), str(public[0]), str(public[1]), ""]
    told = at_a_terminal(["init", "--dir", str(etc)], answers)
    assert "WHOEVER LOSES ALL PRIVATE KEYS HAS LOST ALL BACKUPS" in told
    assert load(etc / "mailhaul.toml").encryption.recipients == tuple(public)
    clear = tmp_path / "clear"
    told = at_a_terminal(["init", "--dir", str(clear)], [""])
    assert "archives will not be encrypted" in told
    assert load(clear / "mailhaul.toml").encryption.recipients == ()
    told = at_a_terminal(["init", "--dir", str(tmp_path / "quiet"), "--in-clear"], [])
    assert "Public key" not in told


def at_a_terminal(words: list[str], answers: list[str]) -> str:
    """What the program shows at a terminal, where these answers are typed."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "mailhaul", *words])
    told = b""
    asked = 0
    try:
        while chunk := os.read(terminal, 4096):
            told += chunk
            while asked < told.count(b"(empty: no more)"):
                os.write(terminal, answers[asked].encode() + b"\n")
                asked += 1
    except OSError:
        pass  # the terminal is closed when the program has ended
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, told
    return told.decode()
