"""The command line on a real store: there and back, every file compared, every exit status for real.

Most commands run in this process, with one worker in it; what is about processes, pipes and signals
runs as its users run it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.lock import RunLock
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.scanning import FoundFrame, scan

from ..trees import Entry, differences, snapshot

JANE = "/primary/user/example.org%2Fjane"
PROGRAM = [sys.executable, "-P", "-m", "mailhaul"]


@dataclass(frozen=True)
class Done:
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process."""
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **_options: local_engine(0))

    def run(*arguments: object, status: int = 0, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        ended = main([str(argument) for argument in arguments])
        captured = capsysbinary.readouterr()
        done = Done(ended, captured.out, captured.err.decode())
        assert done.status == status, done
        assert "Traceback" not in done.err, done.err
        return done

    return run


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that nobody changes: 4 users, 160 messages, two levels of directories above a mailbox."""
    place = tmp_path_factory.mktemp("mail") / "store"
    program = root / "deploy" / "demo" / "make_store.py"
    options = ("--messages", "160", "--users", "4")
    subprocess.run(
        [sys.executable, program, place, *options], check=True, stdout=subprocess.DEVNULL, timeout=60
    )
    return place


@pytest.fixture(scope="module")
def staging(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staging area with one backup of the store, made with two workers. Nobody changes it."""
    place = tmp_path_factory.mktemp("backup") / "staging"
    command = ("backup", "--store", f"maildir:{store}", "--staging", place, "--workers", "2")
    subprocess.run([*PROGRAM, *command], check=True, capture_output=True, timeout=60)
    return place


def archives(staging: Path) -> list[Path]:
    return sorted(staging.rglob("*.mha"))


def contents(root: Path) -> dict[bytes, Entry]:
    """A store without the directories above and beside mailboxes: no backup knows when they were changed;
    and without tmp/, in which restores work."""
    return {
        where: entry
        for where, entry in snapshot(root).items()
        if entry[0] != "directory" or (b"/Maildir" in where and not where.endswith(b"/tmp"))
    }


def message_files(mailbox: Path) -> dict[int, Path]:
    """The messages of an INBOX by UID."""
    lines = (mailbox / "dovecot-uidlist").read_text().splitlines()[1:]
    uids = {name: int(uid) for uid, _, name in (line.partition(" :") for line in lines)}
    return {
        uids[path.name.partition(":")[0]]: path
        for sub in ("cur", "new")
        for path in (mailbox / sub).iterdir()
    }


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def first_frame(file: Path, kind: FrameType) -> int:
    """Where the first frame of a kind begins in an archive."""
    archive = LocalFile(str(file))
    try:
        return next(
            frame.at for frame in scan(archive) if isinstance(frame, FoundFrame) and frame.header.type is kind
        )
    finally:
        archive.close()


# There and back


def test_everything_comes_back_through_processes(store: Path, staging: Path, tmp_path: Path) -> None:
    target = tmp_path / "restored"
    command = ("restore", "/", "--staging", staging, "--to", f"maildir:{target}", "--workers", "2")
    done = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "restored in" in done.stdout
    assert differences(contents(store), contents(target)) == []


def test_a_file_has_all_of_it(cli: Cli, store: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "mail.mha", tmp_path / "restored"
    done = cli("backup", "--store", f"maildir:{store}", "-f", file)
    assert str(file) in done.text
    assert "found 4 mailboxes, 160 messages" in done.err
    cli("backup", "--store", f"maildir:{store}", "-f", file, status=2)
    assert os.listdir(tmp_path) == ["mail.mha"]
    assert "160" in cli("ls", "-f", file).text
    cli("restore", "/", "-f", file, "--to", f"maildir:{target}")
    assert differences(contents(store), contents(target)) == []


def test_a_pipe_has_all_of_it(store: Path, tmp_path: Path) -> None:
    target, spool = tmp_path / "restored", tmp_path / "spool"
    spool.mkdir()
    with subprocess.Popen(
        [*PROGRAM, "backup", "--store", f"maildir:{store}", "-f", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as backup:
        restore = subprocess.run(
            [*PROGRAM, "restore", "/", "-f", "-", "--to", f"maildir:{target}"],
            stdin=backup.stdout,
            env={**os.environ, "TMPDIR": str(spool)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        _, told = backup.communicate(timeout=60)
    assert (backup.returncode, restore.returncode) == (0, 0), told.decode() + restore.stderr
    assert b"4 mailboxes" in told
    assert f"copying the standard input to {spool}" in restore.stderr
    assert differences(contents(store), contents(target)) == []
    assert list(spool.iterdir()) == []


def test_one_message(cli: Cli, store: Path, staging: Path, tmp_path: Path) -> None:
    files = message_files(store / "example.org" / "jane" / "Maildir")
    uid, path = sorted(files.items())[len(files) // 2]
    assert cli("show", f"{JANE}/INBOX/{uid}", "--staging", staging).out == path.read_bytes()
    target = tmp_path / "restored"
    to = ("--staging", staging, "--to", f"maildir:{target}", "--json")
    report = cli("restore", f"{JANE}/INBOX/{uid}", *to).document
    assert (report["mailboxes"], report["restored"], report["present"]) == (1, 1, 0)
    (restored,) = [one for one in target.rglob("*,S=*") if one.is_file()]
    assert (restored.name, restored.read_bytes()) == (path.name, path.read_bytes())
    report = cli("restore", f"{JANE}/INBOX/{uid}", *to).document
    assert (report["restored"], report["present"]) == (0, 1)


def test_a_folder_into_the_mailbox_of_another(cli: Cli, store: Path, staging: Path, tmp_path: Path) -> None:
    mailbox = store / "example.org" / "jane" / "Maildir"
    expected = sorted(path.name for path in mailbox.glob(".Archive*/???/*"))
    target = tmp_path / "restored"
    to = ("--staging", staging, "--to", f"maildir:{target}/{{user}}/Maildir", "--json")
    report = cli("restore", f"{JANE}/Archive", f"{JANE}/Archive/2024/", "--as", "bob", *to).document
    assert (report["mailboxes"], report["restored"]) == (1, len(expected))
    assert sorted(path.name for path in (target / "bob" / "Maildir").glob(".Archive*/???/*")) == expected
    cli("restore", "/primary", "--as", "bob", *to, status=2)


def test_a_configuration(cli: Cli, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From ``init`` to a mailbox that was lost and is back in its place."""
    mail = tmp_path / "mail"
    shutil.copytree(store, mail, symlinks=True)
    before = contents(mail)
    monkeypatch.chdir(tmp_path)
    cli("init")
    cli("init", status=2)
    config = tmp_path / "mailhaul.toml"
    text = config.read_text().replace("/var/spool/mailhaul", "staging")
    config.write_text(
        text.replace("/srv/mail/{domain}/{user}/Maildir", f"{mail}/{{domain}}/{{user}}/Maildir")
    )
    (tmp_path / "backup-groups.conf").write_text("aj=[a-j].*\nex=.*@example.org\n")

    survey = cli("groups", "--json").document
    assert {(group["group"], group["users"]) for group in survey["groups"]} == {
        ("aj", 2),
        ("ex", 2),
        ("user", 1),
    }
    assert survey["ungrouped"] == ["/primary/user/yuki@example.net"]
    assert survey["several"] == {"/primary/user/jane@example.org": ["aj", "ex"]}
    assert "jane@example.org: aj, ex" in cli("groups").text

    run = cli("backup", "--codec", "zstd", "--json").document
    assert (run["state"], run["mailboxes"], run["skipped"]) == ("done", 5, [])
    assert all(Path(file).is_file() for file in run["archives"])
    cli("backup", "/primary/ex")
    later, first = cli("runs", "--json").document["runs"]
    assert (first["run"], first["mailboxes"], later["mailboxes"]) == (run["run"], 5, 2)
    units = cli("runs", run["run"], "--json").document["units"]
    assert [(unit["group"], unit["state"]) for unit in units] == [(g, "sealed") for g in ("aj", "ex", "user")]

    assert len(cli("ls", "/primary/user", "--json").document["users"]) == 4
    assert len(cli("ls", "/primary/ex", "--at", run["run"], "--json").document["users"]) == 2
    shutil.rmtree(mail / "example.net")
    shutil.rmtree(mail / "example.org" / "jane" / "Maildir")
    report = cli("restore", "/", "--json").document
    assert report["skipped"] == report["damaged"] == []
    assert report["present"] > 0
    assert differences(before, contents(mail)) == []


def test_names_that_are_not_text(cli: Cli, tmp_path: Path) -> None:
    folder = b"\xff50%\n/Maildir/.a\xfe b"
    for sub in (b"cur", b"new", b"tmp"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), b"store", folder, sub))
        os.makedirs(os.path.join(os.fsencode(tmp_path), b"store", b"\xff50%\n/Maildir", sub))
    name = os.path.join(os.fsencode(tmp_path), b"store", folder, b"cur", b"1.\xe9\x1b[31m:2,S")
    Path(os.fsdecode(name)).write_bytes(b"Subject: x\n\n")
    staging = tmp_path / "staging"
    cli("backup", "--store", f"maildir:{tmp_path}/store", "--staging", staging)
    path = "/"
    for level in ("partitions", "groups", "users", "folders", "messages"):
        document = cli("ls", path, "--staging", staging, "--json").document
        text = cli("ls", path, "--staging", staging).text
        (path,) = [one["path"] for one in document[level] if one.get("folder") != "INBOX"]
        assert path in text
        assert "\x1b" not in text
    assert path.startswith("/primary/user/%FF50%25%0A/")
    assert path.endswith("/;NAME=1.%E9%1B[31m")
    assert cli("show", path, "--staging", staging).out == b"Subject: x\n\n"
    cli("restore", path, "--staging", staging, "--to", f"maildir:{tmp_path}/restored")
    assert [one.name for one in (tmp_path / "restored").rglob("1.*")] == [os.fsdecode(os.path.basename(name))]


# Looking


def test_every_level_is_listed(cli: Cli, store: Path, staging: Path) -> None:
    at = ("--staging", staging, "--json")
    assert cli("ls", *at).document["partitions"] == [
        {
            "path": "/primary",
            "users": 4,
            "messages": 160,
            "size_bytes": sum(path.stat().st_size for path in store.rglob("*,S=*")),
        }
    ]
    assert [group["path"] for group in cli("ls", "/primary", *at).document["groups"]] == ["/primary/user"]
    users = cli("ls", "/primary/user", *at).document["users"]
    assert [user["user"] for user in users] == sorted(one["user"] for one in users)
    folders = cli("ls", JANE, *at).document["folders"]
    assert [folder["folder"] for folder in folders if folder["messages"]][:2] == ["Archive", "Archive/2024"]
    inbox = cli("ls", f"{JANE}/INBOX", *at).document["messages"]
    files = message_files(store / "example.org" / "jane" / "Maildir")
    assert [one["uid"] for one in inbox] == sorted(files)
    for one in inbox:
        stat = files[one["uid"]].stat()
        assert one["size_bytes"] == stat.st_size
        assert one["path"] == f"{JANE}/INBOX/{one['uid']}"
    flags = {flag for one in inbox for flag in one["flags"]}
    assert {"\\Seen", "\\Answered"} <= flags <= {"\\Seen", "\\Answered", "\\Flagged", "$Forwarded", "NonJunk"}
    below = cli("ls", f"{JANE}/Archive", *at).document
    assert [one["folder"] for one in below["folders"]] == ["Archive/2024"]
    one = below["folders"][0]["path"]
    assert one == f"{JANE}/Archive/2024/"
    assert len(cli("ls", one, *at).document["messages"]) == below["folders"][0]["messages"]


def test_a_dry_run_writes_nothing(cli: Cli, staging: Path, tmp_path: Path) -> None:
    target = tmp_path / "restored"
    command = ("restore", "/", "--dry-run", "--staging", staging, "--to", f"maildir:{target}")
    plan = cli(*command, "--json").document
    assert (len(plan["mailboxes"]), plan["messages"]) == (4, 160)
    assert {mailbox["file"] for mailbox in plan["mailboxes"]} == set(map(str, archives(staging)))
    text = cli(*command).text
    assert str(target / "example.org" / "jane") in text
    assert "4 mailboxes, 160 messages" in text
    assert not target.exists()


def test_verify(cli: Cli, staging: Path) -> None:
    assert "all whole" in cli("verify", "--staging", staging).text
    for options in ((), ("--at", "latest")):
        done = cli("verify", "--data", "--json", "--staging", staging, *options).document
        assert done["messages"] == 160
        assert done["damaged"] == done["affected"] == []
    files = [word for file in archives(staging) for word in ("-f", file)]
    assert "160 messages" in cli("verify", "--data", *files).text
    some = cli("verify", "--data", JANE, "--json", "--staging", staging).document
    assert 0 < some["messages"] < 160


def test_the_catalog_is_made_again(cli: Cli, store: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    cli("backup", "--store", f"maildir:{store}", "--staging", staging)
    before = cli("ls", "/primary/user", "--staging", staging, "--json").document
    shutil.rmtree(staging / ".mailhaul")
    told = cli("ls", "--staging", staging, status=1).err
    assert "catalog rebuild" in told
    assert cli("catalog", "rebuild", "--staging", staging, "--json").document["archives"] == 1
    assert cli("ls", "/primary/user", "--staging", staging, "--json").document == before


# How a command can end


@pytest.mark.parametrize(
    "path",
    [
        "/nix",
        "/primary/nix",
        "/primary/user/nix",
        f"{JANE}/Nix",
        f"{JANE}/INBOX/99999",
        f"{JANE}/INBOX/;NAME=x",
    ],
)
def test_what_is_not_there(path: str, cli: Cli, staging: Path, tmp_path: Path) -> None:
    at = ("--staging", staging)
    told = [cli("restore", path, *at, "--to", f"maildir:{tmp_path}/restored", status=1).err]
    if "/INBOX/" not in path:
        told.append(cli("ls", path, *at, status=1).err)
    if path.startswith(JANE):
        told.append(cli("show", path if "INBOX" in path else f"{path}/1", *at, status=1).err)
    else:
        told.append(cli("verify", path, *at, status=1).err)
    for one in told:
        assert one.startswith(f"mailhaul: {path}")
        assert len(one.splitlines()) == 1
    assert not (tmp_path / "restored").exists()


def test_wrong_use(
    cli: Cli, store: Path, staging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    of, at = ("--store", f"maildir:{store}"), ("--staging", staging)
    for arguments in (
        ("runs",),  # no configuration
        ("--config", "nowhere.toml", "runs"),
        ("backup", *of),
        ("backup", *at),
        ("backup", "--store", "mbox:/x", *at),
        ("backup", *of, *at, "-f", "x.mha"),
        ("backup", *of, "-f", "x.mha", "--workers", "2"),
        ("backup", *of, "-f", "-", "--json"),
        ("backup", f"{JANE}/INBOX/1", *of, "--staging", "new"),
        ("backup", "--since", "whenever", *of, "--staging", "new"),
        ("backup", "--exclude-folder", "a//b", *of, "--staging", "new"),
        ("backup", "--resume", "latest", "--full", *at),
        ("backup", "--store", "maildir:/{nix}", "--staging", "new"),
        ("ls", "primary", *at),
        ("ls", "//", *at),
        ("ls", "--at", "whenever", *at),
        ("ls", "--at", "latest", "-f", "x.mha"),
        ("ls", "--staging", "nowhere"),
        ("ls", "-f", tmp_path),
        ("restore", *at, "--to", "maildir:x"),
        ("restore", "/", *at),
        ("show", JANE, *at),
        ("show", f"{JANE}/INBOX", *at),
    ):
        done = cli(*arguments, status=2)
        assert done.out == b"", arguments
        assert done.err, arguments


def test_a_store_without_mailboxes(cli: Cli, tmp_path: Path) -> None:
    at = ("--staging", tmp_path / "staging")
    (tmp_path / "empty").mkdir()
    assert "no mailbox" in cli("backup", "--store", f"maildir:{tmp_path}/empty", *at, status=1).err
    done = cli("backup", "--store", f"maildir:{tmp_path}/missing", *at, "--json", status=1)
    assert done.document["error"]["code"] == "store"
    assert archives(tmp_path / "staging") == []


def test_something_skipped(cli: Cli, store: Path, tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    shutil.copytree(store / "example.org" / "jane", mail / "jane", symlinks=True)
    for number in range(25):
        os.mkfifo(mail / "jane" / "Maildir" / "cur" / f"{number}.fifo")
    staging = tmp_path / "staging"
    done = cli("backup", "--store", f"maildir:{mail}", "--staging", staging, status=3)
    assert "25   not-regular 25" in done.text
    assert len([line for line in done.err.splitlines() if "skipped:" in line]) == 21
    assert "and 5 more" in done.err
    done = cli("backup", "--store", f"maildir:{mail}", "--staging", staging, "--json", status=3)
    assert {(skip["path"].rpartition(".")[2], skip["reason"]) for skip in done.document["skipped"]} == {
        ("fifo", "not-regular")
    }
    assert len(done.document["skipped"]) == 25
    assert len(cli("runs", "latest", "--staging", staging, "--json").document["skipped_entries"]) == 25
    assert "not-regular" in cli("runs", "latest", "--staging", staging).text


def test_damage(cli: Cli, store: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    cli("backup", "--store", f"maildir:{store}", "--staging", staging)
    (file,) = archives(staging)
    whole = file.read_bytes()
    flip(file, len(whole) // 3)
    at = ("--staging", staging)
    assert "damaged: " in cli("verify", *at, status=4).text
    document = cli("verify", "--data", *at, "--json", status=4).document
    assert any(one["path"].startswith("/primary/user/") for one in document["affected"])
    done = cli("restore", "/", *at, "--to", f"maildir:{tmp_path}/one", "--json", status=4)
    assert 0 < done.document["restored"] < 160
    lost_messages = [one for one in done.document["damaged"] if re.search(r"/[0-9]+$", one["path"])]
    assert done.document["restored"] + len(lost_messages) == 160
    lost = done.document["damaged"][0]["path"]
    assert cli("show", lost, *at, status=4).err

    file.write_bytes(whole)
    flip(file, first_frame(file, FrameType.MESSAGES) + 100)
    (user,) = cli("ls", "/primary/user", *at, "--json").document["users"][:1]
    inbox = f"{user['path']}/INBOX"
    document = cli("ls", inbox, *at, "--json", status=4).document
    assert (document["path"], document["error"]["code"]) == (inbox, "damaged")
    done = cli("ls", inbox, *at, status=4)
    assert done.text == "", "no titles of a table that has no rows"
    assert "are lost" in done.err

    file.write_bytes(whole[: len(whole) * 2 // 3])
    done = cli("restore", "/", "-f", file, "--to", f"maildir:{tmp_path}/two", status=4)
    assert "has no end" in done.err
    assert "restored in" in done.text
    assert cli("ls", "-f", file, status=4).text.startswith("users")
    assert cli("catalog", "rebuild", *at, "--json", status=4).document["archives"] == 1
    file.write_bytes(b"no archive at all")
    cli("ls", "-f", file, status=4)
    assert cli("verify", *at, status=4).text


def test_another_run_holds_the_lock(cli: Cli, store: Path, tmp_path: Path) -> None:
    with RunLock(tmp_path):
        done = cli("backup", "--store", f"maildir:{store}", "--staging", tmp_path, "--json", status=5)
        assert done.document["error"]["code"] == "locked"
        assert f"pid {os.getpid()}" in done.err
        cli("catalog", "rebuild", "--staging", tmp_path, status=5)


def test_nothing_could_be_restored(cli: Cli, staging: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = cli("restore", "/", "--staging", staging, "--to", f"maildir:{tmp_path}/file", "--json", status=1)
    assert (tmp_path / "file").read_bytes() == b""
    assert len(done.document["skipped"]) == 4


def test_who_reads_may_stop_reading(staging: Path) -> None:
    command = [*PROGRAM, "ls", f"{JANE}/INBOX", "--json", "--staging", str(staging)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as listing:
        assert listing.stdout
        assert listing.stderr
        listing.stdout.close()
        told = listing.stderr.read()
    assert (listing.returncode, told) == (141, b"")


def test_a_full_disk_behind_the_output(staging: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "ls", "--staging", staging],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"mailhaul: reading or writing: No space left on device\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_backup_is_interrupted(number: signal.Signals, status: int, store: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    fifo = tmp_path / "doveadm"
    os.mkfifo(fifo)
    config = tmp_path / "mailhaul.toml"
    # A server's command that never answers: the worker waits in the middle of its work.
    slow = f'doveadm = ["sh", "-c", "echo here > {fifo}; sleep 30"]'
    config.write_text(
        f'[staging]\npath = "{staging}"\n[[partition]]\nformat = "maildir"\n'
        f'path = "{store}/{{domain}}/{{user}}/Maildir"\n{slow}\n'
    )
    with subprocess.Popen(
        [*PROGRAM, "--config", config, "backup"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        with open(fifo) as reader:
            assert reader.read(4) == "here"
        run.send_signal(number)
        began = time.monotonic()
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (status, "")
    assert time.monotonic() - began < 20
    assert err.splitlines()[-1].startswith(("mailhaul: interrupted", "mailhaul: ended by SIGTERM"))
    assert "Traceback" not in err
    assert archives(staging) == []
