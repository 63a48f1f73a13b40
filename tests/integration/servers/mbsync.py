"""mbsync: a mail client that keeps a copy of an account, and remembers which UIDs it has seen."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from .imap import PASSWORD, digest

SETTINGS = """\
IMAPAccount server
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
AuthMechs PLAIN
SSLType None

IMAPStore there
Account server

MaildirStore here
Path {copy}/
Inbox {copy}/INBOX
SubFolders Verbatim

Channel everything
Far :there:
Near :here:
Patterns *
Create Both
Remove Both
Expunge Both
CopyArrivalDate yes
SyncState *
"""


class Mbsync:
    """A copy of one account below ``place``, kept in step both ways, removals too."""

    def __init__(self, program: Path, place: Path, port: int, user: str) -> None:
        self._program = program
        self.copy = place / "copy"
        self.copy.mkdir(parents=True)
        self._settings = place / "mbsyncrc"
        self._settings.write_text(SETTINGS.format(port=port, user=user, password=PASSWORD, copy=self.copy))

    def sync(self) -> tuple[int, str]:
        """Exit status, and what was said. With nothing to do that is 0 and nothing."""
        # It would wait, and say so, while its own directories have changed within the same second.
        earlier = time.time() - 10
        for directory in self.copy.rglob("*/"):
            os.utime(directory, (earlier, earlier))
        done = subprocess.run(
            [self._program, "-c", self._settings, "-a"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def remembered(self) -> dict[str, str]:
        """Every file of the copy, mail and state alike, with a digest of its content."""
        files = (path for path in self.copy.rglob("*") if path.is_file())
        return {str(path.relative_to(self.copy)): digest(path.read_bytes()) for path in files}
