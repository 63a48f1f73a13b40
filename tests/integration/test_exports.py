"""Mail restored as files of other formats, and below a folder of another mailbox: the whole way, each message
compared with the store that was backed up."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mailhaul.proto.structs import replace

from ..contract.targets import KINDS, Found, Kind, Mailboxes, maildir_folders

PROGRAM = [sys.executable, "-P", "-m", "mailhaul"]
EVERYBODY = "/primary/user"


def run(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[bytes]:
    command = [*PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == status, done.stderr
    assert b"Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 users, 160 messages."""
    place = tmp_path_factory.mktemp("mail") / "store"
    program = root / "deploy" / "demo" / "make_store.py"
    subprocess.run(
        [sys.executable, program, place, "--messages", "160", "--users", "4"], check=True, timeout=60
    )
    return place


@pytest.fixture(scope="module")
def staging(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("backup") / "staging"
    run("backup", "--store", f"maildir:{store}/{{domain}}/{{user}}/Maildir", "--staging", place)
    return place


@pytest.fixture(scope="module")
def mail(store: Path) -> Mailboxes:
    """What was backed up."""
    found = {
        (f"{home.parent.name}@{home.parent.parent.name}", name): messages
        for home in sorted(store.glob("*/*/Maildir"))
        for name, messages in maildir_folders(home)
    }
    assert sum(map(len, found.values())) >= 160
    assert any(
        message.flags & {"$Forwarded", "NonJunk"} for messages in found.values() for message in messages
    )
    return found


@pytest.fixture(params=["mbox", "eml", "tar"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Kind]:
    """How a target is named on the command line, and how it is read."""
    place = tmp_path / "place"
    file = place / "mail.tar" if request.param == "tar" else place
    return f"{request.param}:{file}", KINDS[request.param](place)


def test_everything_comes_back(mail: Mailboxes, staging: Path, kind: tuple[str, Kind]) -> None:
    where = ("--staging", staging, "--to", kind[0])
    if kind[1].ends_lines:
        mail = {folder: sorted(map(_ended, messages)) for folder, messages in mail.items()}
    # One of the messages has no line end at its end.
    told = json.loads(
        run(
            "restore", EVERYBODY, *where, "--workers", 2, "--json", status=3 if kind[1].ends_lines else 0
        ).stdout
    )
    reasons = [skip["reason"] for skip in told["skipped"]]
    assert reasons == (["line-end"] if kind[1].ends_lines else [])
    assert told["restored"] == sum(map(len, mail.values()))
    assert kind[1].read() == mail
    if kind[1].holds_one_file:
        assert b"is there already" in run("restore", EVERYBODY, *where, status=2).stderr
    else:
        again = json.loads(run("restore", EVERYBODY, *where, "--json").stdout)
        assert (again["restored"], again["present"]) == (0, told["restored"])
    assert kind[1].read() == mail


def _ended(found: Found) -> Found:
    return found if found.content.endswith(b"\n") else replace(found, content=found.content + b"\n")


def test_the_same_restore_gives_the_same_archive(mail: Mailboxes, staging: Path, tmp_path: Path) -> None:
    done = run("restore", EVERYBODY, "--staging", staging, "--to", "tar:-")
    assert b"messages" in done.stderr
    run("restore", EVERYBODY, "--staging", staging, "--to", f"tar:{tmp_path}/place/mail.tar")
    assert (tmp_path / "place" / "mail.tar").read_bytes() == done.stdout
    assert KINDS["tar"](tmp_path / "place").read() == mail
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert {(one.uid, one.gid, one.uname, one.mode) for one in archive} == {(0, 0, "", 0o600)}


def test_nothing_else_goes_to_a_stream(staging: Path) -> None:
    refused = run("restore", "/", "--staging", staging, "--to", "tar:-", "--json", status=2)
    assert b"leave out --json" in refused.stdout


def test_a_stream_that_nobody_reads(staging: Path) -> None:
    command = [*PROGRAM, "restore", EVERYBODY, "--staging", str(staging), "--to", "tar:-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout
        assert program.stderr
        program.stdout.read(1000)
        program.stdout.close()
        said = program.stderr.read()
        assert program.wait(60) == 1
    assert b"standard output: Broken pipe" in said
    assert b"Traceback" not in said


def test_parts_of_a_mailbox(mail: Mailboxes, staging: Path, kind: tuple[str, Kind]) -> None:
    jane = f"{EVERYBODY}/jane@example.org"
    listed = json.loads(run("ls", f"{jane}/INBOX", "--staging", staging, "--json").stdout)
    uids = [message["uid"] for message in listed["messages"]][:2]
    paths = [f"{jane}/INBOX/{uid}" for uid in uids] + [f"{jane}/Sent"]
    where = ("--staging", staging, "--to", kind[0])
    planned = json.loads(run("restore", *paths, *where, "--dry-run", "--json").stdout)
    assert planned["messages"] == 2 + len(mail["jane@example.org", "Sent"])
    assert kind[1].read() == {}
    run("restore", *paths, *where)
    found = kind[1].read()
    assert found.keys() == {("jane@example.org", "INBOX"), ("jane@example.org", "Sent")}
    assert found["jane@example.org", "Sent"] == mail["jane@example.org", "Sent"]
    assert len(found["jane@example.org", "INBOX"]) == 2


@pytest.mark.parametrize("format_", ["maildir", "mbox", "eml", "tar"])
def test_into_a_folder_of_somebody_else(mail: Mailboxes, staging: Path, tmp_path: Path, format_: str) -> None:
    place = tmp_path / "place"
    file = f"{format_}:{place}" + {"maildir": "/{user}", "tar": "/mail.tar"}.get(format_, "")
    options = ("--staging", staging, "--to", file, "--as", "joe", "--into", "From/Jane")
    if format_ == "maildir":
        run("restore", f"{EVERYBODY}/jane@example.org/Trash", *options[:-2])
    told = json.loads(run("restore", f"{EVERYBODY}/jane@example.org", *options, "--json").stdout)
    assert told["skipped"] == []
    wanted = {
        ("joe", f"From/Jane/{folder}"): messages
        for (user, folder), messages in mail.items()
        if user == "jane@example.org"
    }
    found = KINDS[format_](place).read()
    assert {where: found.get(where) for where in wanted} == wanted
    if format_ == "maildir":
        assert found["joe", "Trash"] == mail["jane@example.org", "Trash"]
        # Nothing of her mailbox but mail came: no subscriptions, no UIDs.
        assert not list(place.glob("joe/.From*/dovecot-uidlist"))
