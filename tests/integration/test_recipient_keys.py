"""``mailhaul keys recipient`` as it is called: what is made opens what is wrapped for it, also from paper."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.coordinator.cli.identities import opened_identity
from mailhaul.coordinator.cli.main import main
from mailhaul.proto.errors import AccessError, UsageError
from mailhaul.proto.keys.identities import open_identity
from mailhaul.proto.keys.recipients import read_recipient
from mailhaul.proto.keys.records import Kem, Wrap
from mailhaul.proto.keys.wrapping import wrap
from mailhaul.proto.structs import Record
from mailhaul.worker.keepsake import mailhaul_restore


class Done(Record):
    status: int
    out: str
    err: str


Recipient = Callable[..., Done]


@pytest.fixture
def recipient(capsys: pytest.CaptureFixture[str]) -> Recipient:
    """Runs ``mailhaul keys recipient`` in this process."""

    def run(*arguments: object, status: int = 0) -> Done:
        ended = main(["keys", "recipient", *map(str, arguments)])
        captured = capsys.readouterr()
        done = Done(ended, captured.out, captured.err)
        assert done.status == status, done
        assert "Traceback" not in done.err
        return done

    return run


def opens(public: Path, *identities: Path, passphrase: str = "") -> bool:
    to = read_recipient(public)
    identity = open_identity(identities, lambda path: passphrase, lambda told: None)
    return identity.unwrap(Wrap(to.id, to.name, to.kem, wrap(to, b"k" * 64, b"i")), b"i") == b"k" * 64


def test_the_default_survives_quantum_computers(recipient: Recipient, tmp_path: Path) -> None:
    document = json.loads(recipient("make", "ops", "--dir", tmp_path, "--no-passphrase", "--json").out)
    assert document["public"] == str(tmp_path / "ops.pub")
    assert document["secret"] == [str(tmp_path / "ops.secret")]
    assert document["recipient"]["kind"] == "hybrid"
    assert read_recipient(tmp_path / "ops.pub").kem is Kem.HYBRID
    assert opens(tmp_path / "ops.pub", tmp_path / "ops.secret")
    shown = json.loads(recipient("show", tmp_path / "ops.pub", "--json").out)
    assert shown["fingerprint"] == document["recipient"]["fingerprint"]
    assert shown["fingerprint"] in recipient("show", tmp_path / "ops.pub").out


def test_with_a_passphrase_and_what_is_said_of_losing_it(recipient: Recipient, tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("correct horse\nsecond line\n")
    (tmp_path / "pass").chmod(0o600)
    done = recipient("make", "ops", "--dir", tmp_path, "--passphrase-file", tmp_path / "pass")
    assert "nobody can read what is encrypted for it, ever: print it now" in done.err
    assert f"keys recipient paper {tmp_path / 'ops.secret'}" in done.out
    assert opens(tmp_path / "ops.pub", tmp_path / "ops.secret", passphrase="correct horse")
    assert (tmp_path / "ops.secret").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "ops.secret").read_bytes()
    told = recipient("make", "ops", "--dir", tmp_path, "--no-passphrase", status=2).err
    assert "ops.pub is there already" in told
    assert (tmp_path / "ops.secret").read_bytes() == before
    wrong = tmp_path / "wrong"
    wrong.write_text("other\n")
    assert (
        "passphrase is wrong"
        in recipient("paper", tmp_path / "ops.secret", "--passphrase-file", wrong, status=1).err
    )
    text = recipient("paper", tmp_path / "ops.secret", "--passphrase-file", tmp_path / "pass").out
    (tmp_path / "typed").write_text(text)
    assert opens(tmp_path / "ops.pub", tmp_path / "typed")


def test_scripts_are_never_asked(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "mailhaul", "keys", "recipient"]
    for words in (["make", "ops", "--dir", str(tmp_path / "new")],):
        done = subprocess.run(
            [*call, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "--passphrase-file FILE, or --no-passphrase" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_passphrase_is_asked_twice_at_a_terminal_and_never_shown(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "mailhaul", "keys", "recipient", "make", "ops", "--dir", str(tmp_path)]
    typed = ["short", "short", "correct horse", "correct hearse", "correct horse", "correct horse"]
    told = at_a_terminal([*call, "--kind", "x25519"], typed)
    assert "8 letters at least" in told
    assert "not match" in told
    assert "horse" not in told
    assert opens(tmp_path / "ops.pub", tmp_path / "ops.secret", passphrase="correct horse")


def at_a_terminal(call: list[str], typed: list[str]) -> str:
    """What a program shows at a terminal where these lines are typed, each when it asks for one."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(call[0], call)
    told = b""
    asked = 0
    try:
        while chunk := os.read(terminal, 4096):
            told += chunk
            while asked < told.count(b"passphrase of ops.secret: ") + told.count(b"confirmation: "):
                os.write(terminal, typed[asked].encode() + b"\n")
                asked += 1
    except OSError:
        pass  # the terminal is closed when the program has ended
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, told
    return told.decode()


def test_shares(recipient: Recipient, tmp_path: Path) -> None:
    make = ("make", "board", "--dir", tmp_path, "--no-passphrase")
    recipient(*make, "--shares", 3, status=2)
    recipient(*make, "--shares", 2, "--threshold", 3, status=2)
    assert list(tmp_path.iterdir()) == []
    done = recipient(*make, "--shares", 3, "--threshold", 2)
    assert "any 2 of 3 shares open archives" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "board.pub", "board.share1.secret", "board.share2.secret", "board.share3.secret",
    ]  # fmt: skip
    paper = tmp_path / "paper"
    paper.write_text(recipient("paper", tmp_path / "board.share3.secret").out)
    assert "share 3 of 3" in paper.read_text()
    assert opens(tmp_path / "board.pub", tmp_path / "board.share1.secret", paper)


def test_each_share_has_a_passphrase_of_its_own(recipient: Recipient, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        (tmp_path / f"pass{number}").write_text(f"passphrase {number}\n")
        (tmp_path / f"pass{number}").chmod(0o600)
        files += ["--passphrase-file", tmp_path / f"pass{number}"]
    make = ("make", "board", "--dir", tmp_path, "--kind", "x25519", "--shares", 3, "--threshold", 2)
    recipient(*make, *files[:4], status=2)
    recipient(*make, *files)
    first, third = tmp_path / "board.share1.secret", tmp_path / "board.share3.secret"
    names = [str(first), str(third)]
    of = [tmp_path / f"pass{number}" for number in range(3)]
    found = opened_identity([first, third], [of[0], of[2]])
    assert found.recipients == {read_recipient(tmp_path / "board.pub").id: "board"}
    assert len(mailhaul_restore.read_identities(names, [str(of[0]), str(of[2])])) == 1
    for wrong in ([of[2], of[0]], [of[0]]):
        with pytest.raises(AccessError, match="passphrase is wrong"):
            opened_identity([first, third], wrong)
        with pytest.raises(mailhaul_restore.Failed, match="passphrase is wrong"):
            mailhaul_restore.read_identities(names, list(map(str, wrong)))
    with pytest.raises(UsageError, match="one for each"):
        opened_identity([first, third], of)
    with pytest.raises(mailhaul_restore.Failed, match="one for each"):
        mailhaul_restore.read_identities(names, list(map(str, of)))


@pytest.mark.parametrize("kind", ["x25519", "hybrid"])
def test_paper_with_codes(recipient: Recipient, tmp_path: Path, kind: str) -> None:
    recipient("make", "ops", "--dir", tmp_path, "--no-passphrase", "--kind", kind)
    text = recipient("paper", tmp_path / "ops.secret", "--qr").out
    assert text.isprintable() or "█" in text or "▄" in text
    typed = tmp_path / "typed"
    typed.write_text(text)
    assert opens(tmp_path / "ops.pub", typed)
    page = tmp_path / "ops.html"
    recipient("paper", tmp_path / "ops.secret", "--html", page)
    assert page.stat().st_mode & 0o777 == 0o600
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(line in page.read_text() for line in lines)
    svg = page.read_text()
    xml.dom.minidom.parseString(svg[svg.index("<svg") : svg.index("</svg>") + 6])
    before = page.read_bytes()
    refused = recipient("paper", tmp_path / "ops.secret", "--html", page, status=1)
    assert "no key is ever overwritten" in refused.err
    assert page.read_bytes() == before


def test_a_typing_error_is_told_with_its_line(recipient: Recipient, tmp_path: Path) -> None:
    recipient("make", "ops", "--dir", tmp_path, "--no-passphrase", "--kind", "x25519")
    lines = recipient("paper", tmp_path / "ops.secret").out.splitlines()
    line = lines.index(next(one for one in lines if one.startswith(" 3: ")))
    lines[line] = lines[line][:4] + ("q" if lines[line][4] != "q" else "p") + lines[line][5:]
    (tmp_path / "typed").write_text("\n".join(lines))
    with pytest.raises(AccessError, match="typed: line 3: letters are wrong"):
        open_identity([tmp_path / "typed"], lambda path: "", lambda told: None)


def test_a_secret_key_is_no_recipient(recipient: Recipient, tmp_path: Path) -> None:
    recipient("make", "ops", "--dir", tmp_path, "--no-passphrase")
    assert "holds a secret key" in recipient("show", tmp_path / "ops.secret", status=1).err
    assert "no file with a secret key" in recipient("paper", tmp_path / "ops.pub", status=1).err
