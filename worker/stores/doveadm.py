"""HIGHESTMODSEQ, which a Dovecot keeps in its index files only, asked and raised through ``doveadm``.

A folder that comes back without its index files begins to count anew, and a client that remembers a
higher number is then told of no change at all. So the number is recorded with the folder, and after a
restore the server is told to go on above it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ...proto.errors import StoreError

MARGIN = 1000
"""How far above the recorded number a restored folder goes on: changes since the backup counted, too."""

_TIMEOUT_SECONDS = 600
_ESCAPED = re.compile(rb"\x01(.)", re.DOTALL)
_PLAIN = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"n": b"\n", b"r": b"\r"}


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """A folder as the server knows it: its name there, and how far it has counted."""

    name: bytes
    highest_modseq: int


class Doveadm:
    """The command that reaches the server of a partition."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command

    def folders(self, user: str) -> Mapping[str, ServerFolder]:
        """The folders of a user by their GUID, which ``dovecot-uidlist`` has too. Raises StoreError."""
        done = self._called("-f", "tab", "mailbox", "status", "-u", user, "highestmodseq guid", "*")
        header, *rows = [line.split(b"\t") for line in done.stdout.splitlines()] or [[]]
        if not rows:
            # One folder that can't be read or vanished makes the status bad, but the others are told.
            self._check(done)
        found: dict[str, ServerFolder] = {}
        for row in rows:
            values = dict(zip(header, row, strict=False))
            guid, modseq = values.get(b"guid", b""), values.get(b"highestmodseq", b"")
            if guid and modseq.isdigit():
                name = _ESCAPED.sub(lambda run: _PLAIN.get(run[1], run[1]), values.get(b"mailbox", b""))
                found[guid.decode("ascii", "replace")] = ServerFolder(name, int(modseq))
        return found

    def raise_modseq(self, user: str, name: bytes, least: int) -> None:
        """Let a folder go on at ``least`` or above. Repeatable. Raises StoreError."""
        self._run("mailbox", "update", "-u", user, "--min-highest-modseq", str(least), "--", name)

    def _run(self, *arguments: str | bytes) -> None:
        self._check(self._called(*arguments))

    def _called(self, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise StoreError(f"{self._command[0]}: {error}") from error

    def _check(self, done: subprocess.CompletedProcess[bytes]) -> None:
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()
            why = told[-1] if told else f"exit status {done.returncode}"
            raise StoreError(f"{self._command[0]}: {why}")
