"""mailhaul as its users run it: a configuration file, a command in a process of its own, JSON on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .servers.dovecot import Dovecot

CONFIG = """\
[staging]
path = "{staging}"

[[partition]]
format = "maildir"
path = {path}
{more}
[dispatch]
workers_per_host = 2
"""


class Mailhaul:
    """The command, run in ``place``; the staging area is there too."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"

    def configure(
        self,
        server: Dovecot,
        *,
        doveadm: Sequence[str] | None = None,
        staging: str = "staging",
        **settings: object,
    ) -> Path:
        """A configuration whose partition is this server's mail. ``doveadm`` is the way to the server if it
        is not the server's own; empty for none. ``settings`` are further keys of the partition."""
        command = server.doveadm if doveadm is None else doveadm
        keys = {"doveadm": command, **settings} if command else settings
        more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        config = self.place / f"{len(list(self.place.glob('*.toml')))}.toml"
        config.write_text(CONFIG.format(path=json.dumps(server.template), more=more, staging=staging))
        return config

    def run(
        self, config: Path | None, command: str, *arguments: str | Path, status: int | tuple[int, ...] = 0
    ) -> Any:
        """Run a command with ``--json``; returns what it printed. It must end with this status, or one of
        these."""
        named: list[str | Path] = [] if config is None else ["--config", config]
        done = subprocess.run(
            [Path(sys.executable).with_name("mailhaul"), *named, *command.split(), "--json", *arguments],
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        expected = (status,) if isinstance(status, int) else status
        assert done.returncode in expected, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)
