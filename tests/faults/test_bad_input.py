"""What users, servers and disks leave in a Maildir: each has a clear outcome, and the rest is unharmed."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ..trees import differences, snapshot

# Root reads everything: these privileges are what lets it.
_AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def mailhaul(*arguments: str | Path, prefix: Sequence[str] = ()) -> tuple[int, Any, str]:
    """Run the command with --json; returns exit status, document, stderr."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "mailhaul", arguments[0], "--json", *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


class Store:
    """A partition with one user's Maildir, and where its backup and its restore lie."""

    def __init__(self, place: Path) -> None:
        self.root = place / "mail"
        self.box = self.root / "jane" / "Maildir"
        self.staging = place / "staging"
        self.target = place / "restored"
        for name in ("cur", "new", "tmp"):
            (self.box / name).mkdir(parents=True)
        self.staging.mkdir()
        self.target.mkdir()
        for number in range(1, 6):
            self.message(f"{number}.M1P1.host", b"Subject: %d\n\nbody %d\n" % (number, number))

    def message(self, name: str | bytes, content: bytes, sub: str = "cur") -> bytes:
        path = os.path.join(os.fsencode(self.box), sub.encode(), os.fsencode(name))
        with open(path, "xb") as file:
            file.write(content)
        os.utime(path, ns=(10**18, 10**18))
        return path

    def back_up(self, prefix: Sequence[str] = ()) -> tuple[int, Any, str]:
        store = f"maildir:{self.root}"
        return mailhaul(
            "backup", "--store", store, "--staging", self.staging, "--workers", "1", prefix=prefix
        )

    def restore(self) -> tuple[int, Any, str]:
        return mailhaul("restore", "/", "--staging", self.staging, "--to", f"maildir:{self.target}")

    def assert_restored(self, *missing: str) -> None:
        """The restored store is the original without the entries that were rightly left out."""
        code, _, error = self.restore()
        assert code == 0, error
        before, after = snapshot(self.root), snapshot(self.target)
        for where in [where for where in before if os.fsdecode(where) in missing]:
            del before[where]
        assert differences(before, after) == []


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def reasons(document: Any) -> set[str]:
    return {skip["reason"] for skip in document["skipped"]}


def test_strange_messages_are_kept_byte_for_byte(store: Store) -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(100_000)
    )
    for name, content in {
        "10.empty": b"",
        "11.no-blank-line": b"Subject: nothing else",
        "12.nul": b"\0" * 5000,
        "13.deep": deep + b"\nend",
        "14.binary": bytes(range(256)) * 40,
        "15.crlf": b"A: b\r\n\r\nbody\r\n" * 100,
        "16.delimiters": b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 200_000,
        "17.base64": b"A: b\nContent-Transfer-Encoding: base64\n\n" + b"QUJD\n" * 300 + b"QR==\n",
    }.items():
        store.message(name, content)
    code, document, error = store.back_up()
    assert (code, document["skipped"]) == (0, []), error
    store.assert_restored()


def test_strange_names_are_kept_byte_for_byte(store: Store) -> None:
    for name in (
        b"20.\xff\xfe.host:2,S",
        b"21.new\nline:2,FS",
        b"22.\x1b[31m.host",
        b"23.%2F..%2F:2,",
        "24.ü".encode(),
    ):
        store.message(name, b"Subject: x\n\n" + name)
    (store.box / ".R&-D" / "cur").mkdir(parents=True)
    (store.box / ".R&-D" / "new").mkdir()
    (store.box / ".R&-D" / "tmp").mkdir()
    odd = os.path.join(os.fsencode(store.box), b".\xff\xfe", b"cur")
    os.makedirs(odd)
    for sub in (b"new", b"tmp"):
        os.makedirs(os.path.join(os.path.dirname(odd), sub))
    code, document, error = store.back_up()
    assert (code, document["skipped"]) == (0, []), error
    assert "\x1b" not in error
    store.assert_restored()


def test_what_is_no_file_is_told(store: Store) -> None:
    os.mkfifo(store.box / "cur" / "30.fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(store.box / "new")
        try:
            listener.bind("31.socket")
        finally:
            os.chdir(here)
        if os.geteuid() == 0:
            os.mknod(store.box / "cur" / "32.device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        secret = store.root.parent / "secret"
        secret.write_bytes(b"nobody's business")
        (store.box / "cur" / "33.link").symlink_to(secret)
        (store.box / ".Out").symlink_to(store.root.parent)
        code, document, error = store.back_up()
    assert code == 3, error
    assert "not-regular" in reasons(document)
    told = " ".join(skip["path"] for skip in document["skipped"])
    assert all(name in told for name in ("30.fifo", "31.socket", "33.link", ".Out"))
    store.assert_restored("jane/Maildir/cur/33.link", "jane/Maildir/.Out")
    assert b"nobody's business" not in b"".join(path.read_bytes() for path in store.staging.rglob("*.mha"))


def test_unreadable_message_is_told(store: Store, require_tool: Callable[[str], Path]) -> None:
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        require_tool("setpriv")
        prefix = _AS_OTHERS
    (store.box / "cur" / "3.M1P1.host").chmod(0)
    (store.box / "locked").mkdir(mode=0)
    code, document, error = store.back_up(prefix)
    assert code == 3, error
    told = {(skip["path"].rpartition("/")[2], skip["reason"]) for skip in document["skipped"]}
    assert told == {(";NAME=3.M1P1.host", "permission"), ("locked", "permission")}
    assert document["messages"] == 4
    assert "permission" in error
    code, document, error = store.restore()
    assert (code, document["restored"]) == (0, 4), error


@pytest.mark.parametrize(
    ("content", "uids"),
    [
        (
            b"3 V1500000000 N6 Gabc\n1 :1.M1P1.host\n2 :2.M1P1.host\n3 :3.M",
            {1: b"1.M1P1.host", 2: b"2.M1P1.host"},
        ),
        (
            b"3 V1500000000 N9\n7 :1.M1P1.host\n7 :2.M1P1.host\n8 :3.M1P1.host\n",
            {7: b"1.M1P1.host", 8: b"3.M1P1.host"},
        ),
        (
            b"3 V1500000000 N9\n\xff\xfe\0\n5 W12 :4.M1P1.host\n99999999999 :5.M1P1.host\n",
            {5: b"4.M1P1.host"},
        ),
    ],
    ids=["cut off", "duplicate", "garbled"],
)
def test_broken_uid_list_costs_only_what_it_does_not_say(
    store: Store, content: bytes, uids: dict[int, bytes]
) -> None:
    (store.box / "dovecot-uidlist").write_bytes(content)
    code, document, error = store.back_up()
    assert code in (0, 3), error
    assert document["messages"] == 5
    code, _, error = store.restore()
    assert code == 0, error
    restored = (store.target / "jane" / "Maildir" / "dovecot-uidlist").read_bytes().splitlines()
    assert restored[0].startswith(b"3 V1500000000 ")
    assert {int(line.split()[0]): line.partition(b" :")[2] for line in restored[1:]} == uids
    assert len(list((store.target / "jane" / "Maildir" / "cur").iterdir())) == 5


def test_useless_uid_list_means_no_uids(store: Store) -> None:
    (store.box / "dovecot-uidlist").write_bytes(b"\0" * 300)
    code, document, error = store.back_up()
    assert code in (0, 3), error
    assert document["messages"] == 5
    code, document, error = store.restore()
    assert (code, document["restored"]) == (0, 5), error


def test_truncated_archive_gives_back_what_is_whole(store: Store) -> None:
    store.back_up()
    (archive,) = store.staging.rglob("*.mha")
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) - 60])
    code, document, _ = mailhaul("verify", "--staging", store.staging)
    assert code == 4
    code, document, error = mailhaul("restore", "/", "-f", archive, "--to", f"maildir:{store.target}")
    assert document["restored"] == 5, error
    archive.write_bytes(content[:100])
    code, _, error = mailhaul("restore", "/", "-f", archive, "--to", f"maildir:{store.target}2")
    assert code == 4, error


def test_flipped_bit_is_found_and_named(store: Store) -> None:
    marked = os.urandom(5000)
    store.message("6.M1P1.host", b"Subject: 6\n\n" + marked)
    store.back_up()
    (archive,) = store.staging.rglob("*.mha")
    content = bytearray(archive.read_bytes())
    at = content.index(marked[:64])
    content[at] ^= 1
    archive.write_bytes(content)
    code, document, error = mailhaul("verify", "--data", "--staging", store.staging)
    assert code == 4, error
    assert str(archive) in json.dumps(document)
    code, document, error = store.restore()
    assert code == 4, error
    assert document["damaged"]
