"""A store of real mail and its backups, with destinations of each kind. Commands run in this process."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..trees import Entry, snapshot
from ..verifying import command
from .servers.object_storage import S3Server

NAMES = ("vault", "ceph", "drive", "programs")
"""One of each kind."""

LAYOUT = "{domain}/{user}/Maildir"

CONFIG = """\
[staging]
path = {staging}
same_device = true

[[partition]]
name = "primary"
format = "maildir"
path = {store}

[groups]
file = {groups}

[retention]
compact_below = 1.0
"""

SWEEP = """
[sweep]
copies = {copies}
look_again = "0s"
keep_staged = "0s"
keep_newest = false
"""


@dataclass
class Site:
    """A store of real mail that lives, its nights, and destinations of some kinds."""

    place: Path
    server: S3Server
    names: Sequence[str] = NAMES
    rng: random.Random = field(default_factory=lambda: random.Random(9))
    moments: dict[str, dict[bytes, Entry]] = field(default_factory=dict)
    delivered: int = 0

    def __post_init__(self) -> None:
        self.store = self.place / "store"
        self.staging = self.place / "staging"
        self.bucket = self.server.new_bucket()
        (self.place / "kept").mkdir()
        key = self.place / "ceph.env"
        key.touch(mode=0o600)
        key.write_text(f"AWS_ACCESS_KEY_ID={self.server.key}\nAWS_SECRET_ACCESS_KEY={self.server.secret}\n")
        (self.place / "groups.conf").write_text("north=.*@example\\.org\nsouth=.*@example\\.net\n")
        self.config = self.configured(self.place, self.names)

    def destination(self, name: str) -> str:
        """The table of one of them."""
        root = self.place / "kept"
        put = ["sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "put", f"{root}/{{name}}"]
        listing = ["find", str(root), "-type", "f", "-printf", "%s %P\\n"]
        facts: dict[str, dict[str, object]] = {
            "vault": {"kind": "directory", "path": str(self.place / "vault")},
            "disk": {"kind": "directory", "path": str(self.place / "disk")},
            "ceph": {
                "kind": "s3",
                "endpoint": self.server.endpoint,
                "bucket": self.bucket,
                "prefix": "site1/",
                "credentials": str(self.place / "ceph.env"),
            },
            # So small that what is written takes several volumes, and that some archives do not fit on one.
            "drive": {
                "kind": "tape",
                "file": str(self.place / "tapes"),
                "record": "10 KiB",
                "capacity": "6 MB",
            },
            "programs": {
                "kind": "command",
                "put": put,
                "get": ["cat", f"{root}/{{name}}"],
                "list": listing,
                "remove": ["rm", f"{root}/{{name}}"],
            },
        }
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in facts[name].items()]
        return f'\n[[destination]]\nname = "{name}"\n' + "".join(lines)

    def configured(self, place: Path, names: Sequence[str]) -> Path:
        """A configuration with a staging area at this place, and these destinations."""
        config = place / "mailhaul.toml"
        head = CONFIG.format(
            staging=json.dumps(str(place / "staging")),
            store=json.dumps(str(self.store / LAYOUT)),
            groups=json.dumps(str(self.place / "groups.conf")),
        )
        rules = SWEEP.format(copies=json.dumps(names))
        config.write_text(head + "".join(map(self.destination, names)) + rules)
        return config

    def run(self, name: str, *arguments: object, status: tuple[int, ...] = (0,)) -> Any:
        return command(f"--config {self.config} {name}", *arguments, status=status)

    def make_store(self, maker: Path) -> None:
        """Real mail, and the destinations made ready."""
        subprocess.run(
            [sys.executable, maker, self.store, "--messages", "300", "--users", "4"], check=True, timeout=60
        )
        for name in self.names:
            self.run("destination check", name)

    def night(self) -> None:
        run = self.run("backup", "--workers", "2")["run"]
        self.moments[run] = mail_in(self.store)

    def day(self) -> None:
        """Mail arrives, is read, moved and deleted; a folder comes and another goes."""
        for box in self._boxes():
            for name in ("", ".Sent"):
                self._change(box / name)
        first, second, *_ = self._boxes()
        shutil.rmtree(first / ".Archive.2024", ignore_errors=True)
        made = second / f".Later.{self.delivered}"
        for part in ("cur", "new", "tmp"):
            (made / part).mkdir(parents=True, mode=0o700)

    def _boxes(self) -> list[Path]:
        return sorted(self.store.glob("*/*/Maildir"))

    def _change(self, folder: Path) -> None:
        told = folder / "dovecot-uidlist"
        head, *lines = told.read_text().splitlines()
        uid = int(re.findall(r" N(\d+)", head)[0])
        for message in sorted((folder / "cur").iterdir()):
            chance = self.rng.random()
            base, _, flags = message.name.partition(":2,")
            if chance < 0.3:
                message.unlink()
                lines = [line for line in lines if f":{base}" not in line]
            elif chance < 0.5 and "F" not in flags:
                message.rename(message.with_name(f"{base}:2,{''.join(sorted('F' + flags))}"))
        self.delivered += 1
        name = f"176000{self.delivered:04}.M1P{self.delivered}.store"
        content = b"Subject: %d\n\n" % self.delivered + self.rng.randbytes(20_000).hex().encode()
        (folder / "new" / name).write_bytes(content)
        told.write_text("\n".join([head.replace(f" N{uid}", f" N{uid + 1}"), *lines, f"{uid} :{name}", ""]))


def mail_in(root: Path) -> dict[bytes, Entry]:
    """All that lies in the mailboxes."""
    return {where: one for where, one in snapshot(root).items() if b"/Maildir/" in where}
