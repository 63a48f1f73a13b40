"""What a mailbox could not give or take as it was: collected while the rest goes on."""

from __future__ import annotations

from ...groups.paths import printable
from ...proto.records import Skipped
from .directories import reason


class Notices:
    """The list behind ``skipped()``; paths are relative to the mailbox. ``count`` tells how often there was
    something, also the same again."""

    def __init__(self) -> None:
        self.skipped: list[Skipped] = []
        self.count = 0
        self._told: set[Skipped] = set()

    def add(self, path: bytes, why: str, detail: str, *, home: bool = False) -> None:
        """``home``: the path is relative to the home of the mailbox's user."""
        self.count += 1
        shown = printable(path) or "."
        skip = Skipped(f"../{shown}" if home else shown, why, detail)
        # A folder that is looked at again has the same to tell.
        if skip not in self._told:
            self._told.add(skip)
            self.skipped.append(skip)

    def failed(self, path: bytes, error: OSError, *, home: bool = False) -> None:
        """What the file system refused."""
        self.add(path, reason(error), error.strerror or "", home=home)
