"""Real backup programs that know nothing of mailhaul carry its archives away and bring them back, or ask for
single mailboxes through a pipe, by the recipes of docs/third-party.md."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import Maildir
from ..manifests import check_manifests
from ..trees import differences, snapshot
from ..verifying import mail_of
from .servers.amanda import APPLICATIONS, Amanda
from .servers.bacula import Bacula

pytestmark = [pytest.mark.xdist_group("third-party"), pytest.mark.timeout(900)]

MAILHAUL = Path(sys.executable).with_name("mailhaul")
CONFIG = """\
[staging]
path = "staging"
group = "{group}"
mode = "0640"
[[partition]]
format = "maildir"
path = "{place}/store"
[groups]
file = "groups"
"""


class Site:
    """A store and its configuration, where the users of other programs may enter."""

    def __init__(self, place: Path, group: str) -> None:
        self.place = place
        self.staging = place / "staging"
        self.store = place / "store"
        self._number = 0
        (place / "groups").write_text("early=[a-c].*\n")
        (place / "mailhaul.toml").write_text(CONFIG.format(place=place, group=group))
        for user in ("anna", "dora"):
            self.deliver(user)
            self.deliver(user, ".Sent")

    def deliver(self, user: str, folder: str = "") -> None:
        self._number += 1
        box = Maildir(self.store / user)
        box.folder(folder)
        box.message(
            f"{self._number}.M1P1.host:2,S", b"Subject: %d\n\n" % self._number + os.urandom(9000), folder
        )

    def command(self, *words: str | Path) -> list[str]:
        return [str(MAILHAUL), "--config", str(self.place / "mailhaul.toml"), *map(str, words)]

    def run(self, *words: str | Path, status: int = 0) -> Any:
        done = subprocess.run(
            self.command(*words, "--json"), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def lose(self) -> None:
        """The staging area is gone, the catalog with it."""
        shutil.rmtree(self.staging)

    def check(self) -> None:
        """What was brought back is all there: by its manifests, from bare files, and by a new catalog."""
        assert not (self.staging / ".mailhaul").exists()
        named = check_manifests(self.staging)
        files = sorted(self.staging.glob("primary/*/*.mha"))
        there = {str(path.relative_to(self.staging)) for path in files}
        assert there < {name for names in named.values() for name in names}
        words = [word for file in files for word in ("-f", file)]
        self.restores_exactly("bare", *words)
        self.run("catalog", "rebuild")
        self.restores_exactly("all")
        assert len(self.run("runs")["runs"]) == len(named)

    def restores_exactly(self, name: str, *words: str | Path) -> None:
        target = self.place / name
        self.run("restore", "/", *words, "--to", f"maildir:{target}")
        assert mail_differences(self.store, target) == []


def mail_differences(expected: Path, found: Path) -> list[str]:
    return differences(mail_of(snapshot(expected, times=False)), mail_of(snapshot(found, times=False)))


@pytest.fixture
def place() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("other backup programs are started by root, with users of their own")
    # Not tmp_path, which other users may not enter.
    found = Path(tempfile.mkdtemp(prefix="mh-"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)


class Deputy:
    """Does for the user of another program what sudo would: a socket that takes the words of one command, and
    gives what that writes. ``program`` is what the user calls."""

    def __init__(self, place: Path, base: list[str], user: str) -> None:
        self._base = base
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(place / "deputy"))
        self._socket.listen(4)
        shutil.chown(place / "deputy", user)
        self.program = place / "mailhaul"
        self.program.write_text(
            "#!/usr/bin/perl\nuse IO::Socket::UNIX;\n"
            f'my $s = IO::Socket::UNIX->new(Peer => "{place}/deputy") or die;\n'
            'syswrite($s, join("\\0", @ARGV) . "\\n");\nmy ($all, $data) = ("", "");\n'
            "while (sysread($s, $data, 65536)) {\n  $all .= $data;\n"
            "  print substr($all, 0, -1, '') if length $all > 1;\n}\n"
            "exit(ord($all));\n"
        )
        self.program.chmod(0o755)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                with client, client.makefile("rb") as lines:
                    words = lines.readline().rstrip(b"\n").decode().split("\0")
                    done = subprocess.run(
                        [*self._base, *words], capture_output=True, timeout=300, check=False
                    )
                    client.sendall(done.stdout + bytes([done.returncode]))


def test_amanda(place: Path, require_tool: Callable[[str], Path]) -> None:
    require_tool("amdump")
    site = Site(place, "backup")
    site.run("backup")
    site.deliver("anna")
    site.run("backup")
    (place / "amanda").mkdir()
    with Amanda(require_tool, place / "amanda", {site.staging: "directory"}) as amanda:
        amanda.dump()
        site.lose()
        site.staging.mkdir()
        dump = amanda.fetch(site.staging)
        subprocess.run(["tar", "-xpf", "-", "-C", site.staging], input=dump, check=True, timeout=60)
    site.check()


MAILBOX = """\
define application-tool mailbox {{
  plugin "mailhaul"
  property "TREE" "{tree}"
  property "PROGRAM" "{program}"
}}
define dumptype mailbox {{
  auth "local"
  program "APPLICATION"
  application "mailbox"
  compress none
  index yes
  holdingdisk auto
}}
"""


def test_amanda_asks_for_single_mailboxes(
    place: Path, root: Path, require_tool: Callable[[str], Path]
) -> None:
    require_tool("amdump")
    site = Site(place, "backup")
    tree = place / "tree"
    site.run("tree", tree, "--max-name", "64")
    (place / "amanda").mkdir()
    deputy = Deputy(place, site.command(), "backup")
    application = APPLICATIONS / "mailhaul"
    shutil.copy(root / "deploy" / "amanda" / "mailhaul", application)
    more = MAILBOX.format(tree=tree, program=deputy.program)
    mailbox, folder = tree / "primary" / "early" / "anna", tree / "primary" / "user" / "dora" / "Sent"
    disks = {mailbox: "mailbox", folder: "mailbox"}
    try:
        with Amanda(require_tool, place / "amanda", disks, more) as amanda:
            amanda.dump()
            for disk, path, there in ((mailbox, "/primary/early/anna", "anna"), (folder, "/", "dora/.Sent")):
                (place / "dump").write_bytes(amanda.fetch(disk))
                site.run("restore", "-f", place / "dump", path, "--to", f"maildir:{place / 'restored'}")
                assert mail_differences(site.store / there, place / "restored" / there) == []
            assert not list((place / "restored" / "dora" / "cur").glob("*"))
    finally:
        application.unlink()
        deputy.close()


@pytest.fixture
def start_bacula(place: Path, require_tool: Callable[[str], Path]) -> Iterator[Callable[..., Bacula]]:
    started: list[Bacula] = []

    def start(**sets: list[str]) -> Bacula:
        (place / "bacula").mkdir()
        started.append(Bacula(require_tool, place / "bacula", sets))
        started[0].start()
        return started[0]

    yield start
    for bacula in started:
        bacula.stop()


def test_bacula(place: Path, start_bacula: Callable[..., Bacula]) -> None:
    bacula = start_bacula(
        Staging=[f"File = {place}/staging", "}", "Exclude {", f"File = {place}/staging/.mailhaul"]
    )
    site = Site(place, "bacula")
    site.run("backup")
    assert bacula.back_up("Staging") == "Backup OK"
    site.deliver("anna")
    site.run("backup")
    assert bacula.back_up("Staging", "Incremental") == "Backup OK"
    site.lose()
    assert bacula.restore("Staging") == "Restore OK"
    site.check()


def test_bacula_asks_for_single_mailboxes(place: Path, start_bacula: Callable[..., Bacula]) -> None:
    site = Site(place, "bacula")
    site.run("tree", place / "tree")
    leaves = dict(line.split("\t") for line in (place / "tree" / "tree.map").read_text().splitlines())
    target = place / "restored"

    def plugin(leaf: str, path: str, *more: str) -> str:
        ask = " ".join([*site.command("backup", "-f", "-", path), *more])
        give = f"{MAILHAUL} restore -f - / --to maildir:{target}"
        return f'Plugin = "bpipe:{place}/tree/{leaf}:{ask}:{give}"'

    half = place / "half"
    half.write_text(
        f"#!/bin/sh\n{' '.join(site.command('backup', '-f', '-', '/'))} | head -c 20000\nexit 1\n"
    )
    half.chmod(0o755)
    bacula = start_bacula(
        Staging=[f"File = {place}/staging"],
        Tree=[
            *(plugin(leaf, path) for leaf, path in leaves.items()),
            plugin("primary/user/folders/dora.Sent", "/primary/user/dora/Sent"),
        ],
        Half=[f'Plugin = "bpipe:/half:{half}:{place}/keep"'],
    )
    assert bacula.back_up("Tree") == "Backup OK"
    assert bacula.restore("Tree", f"cd {place}/tree/primary/early", "mark anna") == "Restore OK"
    assert mail_differences(site.store / "anna", target / "anna") == []
    assert not (target / "dora").exists()
    # One folder.
    assert bacula.restore("Tree", f"cd {place}/tree/primary/user/folders", "mark dora.Sent") == "Restore OK"
    assert mail_differences(site.store / "dora/.Sent", target / "dora/.Sent") == []
    assert not list((target / "dora" / "cur").glob("*"))

    # A program that fails half-way is a warning to Bacula, and the half comes back: its missing end is told.
    (place / "keep").write_text(f"#!/bin/sh\nexec cat > {place}/half.mha\n")
    (place / "keep").chmod(0o755)
    assert bacula.back_up("Half") == "Backup OK -- with warnings"
    assert bacula.restore("Half", "mark half") == "Restore OK"
    for words in (("verify", "-f"), ("restore", "/", "--to", f"maildir:{place / 'no'}", "--dry-run", "-f")):
        site.run(*words, place / "half.mha", status=4)
