"""The end of the audit log, kept apart from it: one that is cut off shows, and one that is gone."""

from __future__ import annotations

from pathlib import Path

from ...proto.structs import Record
from .database import place, reading, writing


class AuditEnd(Record):
    """The log had so many bytes, the last line of which has this SHA-256. As text ``BYTES:HASH``."""

    size_bytes: int
    digest: str

    def __str__(self) -> str:
        return f"{self.size_bytes}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> AuditEnd:
        """Raises ValueError."""
        size, _, digest = text.strip().partition(":")
        if not (size.isascii() and size.isdigit() and len(size) < 19):
            raise ValueError("no BYTES:HASH")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError("no BYTES:HASH")
        return cls(int(size), digest)


class AuditEnds:
    """That of a staging area. All raise StagingError, DamagedError, UnsupportedError."""

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def known(self) -> AuditEnd | None:
        """As it was noted last; None if it never was."""
        if not place(self._staging).exists():
            return None
        with reading(self._staging) as database:
            row = database.execute("SELECT size_bytes, digest FROM audit_end").fetchone()
            return None if row is None else AuditEnd(row["size_bytes"], row["digest"])

    def note(self, end: AuditEnd) -> None:
        """How it is from now on; durable on return."""
        with writing(self._staging) as database:
            database.execute(
                "INSERT OR REPLACE INTO audit_end (id, size_bytes, digest) VALUES (1, ?, ?)",
                (end.size_bytes, end.digest),
            )
