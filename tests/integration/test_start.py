"""What commands load at their start: nothing that takes long and that they do without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_HEAVY = frozenset(
    {
        "botocore",
        "concurrent.futures",
        "dataclasses",
        "difflib",
        "imapclient",
        "logging",
        "multiprocessing",
        "pickle",
        "prometheus_client",
        "psutil",
        "pydantic",
        "ray",
        "re2",
        "rich",
        "secrets",
        "socket",
        "subprocess",
        "zmq",
    }
)
"""Each takes from one to some hundred milliseconds of a processor."""

_CALL = """
import sys
from mailhaul.coordinator.cli.main import main

status = main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


def loaded(*arguments: str | Path) -> set[str]:
    """The modules that are there when a command ends."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CALL, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one message, backed up."""
    place = tmp_path_factory.mktemp("start")
    for sub in ("cur", "new", "tmp"):
        (place / "mail" / "jane" / sub).mkdir(parents=True)
    (place / "mail" / "jane" / "cur" / "1.M1P1.host:2,S").write_bytes(b"Subject: x\n\ntext\n")
    uids = "3 V1700000000 N2 G1d38f32a3a1b2c3d4e5f60718293a4b5\n1 :1.M1P1.host\n"
    (place / "mail" / "jane" / "dovecot-uidlist").write_text(uids)
    loaded("backup", "--store", f"maildir:{place}/mail", "--staging", place / "staging")
    return place


@pytest.mark.parametrize(
    "command",
    [
        ("backup", "--store", "maildir:{place}/mail"),
        ("ls", "/primary"),
        ("show", "/primary/user/jane/INBOX/1"),
        ("status",),
        ("restore", "/primary/user/jane", "--to", "maildir:{place}/back"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_loads_nothing_heavy_that_it_does_without(place: Path, command: tuple[str, ...]) -> None:
    words = [word.format(place=place) for word in command]
    found = loaded(*words, "--staging", place / "staging")
    assert "sqlite3" in found, "this is where they are seen"
    assert sorted(found & _HEAVY) == []


def test_new_mail_of_a_small_night_comes_back(place: Path) -> None:
    new = b"Subject: new\n\nof the second night\n"
    (place / "mail" / "jane" / "new" / "2.M2P1.host").write_bytes(new)
    found = loaded("backup", "--store", f"maildir:{place}/mail", "--staging", place / "staging")
    assert not found & {"multiprocessing", "subprocess"}, "no worker process was started"
    loaded("restore", "/", "--to", f"maildir:{place}/again", "--staging", place / "staging")
    (back,) = (place / "again").glob("**/2.M2P1.host*")
    assert back.read_bytes() == new
