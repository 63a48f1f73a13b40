"""The messages of a folder that are listed as records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ...proto.archive.message_rows import Names, as_stored
from ...proto.records import Listed


class ListedRecords:
    """ListedMessages (see ``proto.ports``), compared one by one."""

    def __init__(self, listed: Sequence[Listed]) -> None:
        self._listed = listed

    def __len__(self) -> int:
        return len(self._listed)

    def some(self, first: int, end: int) -> list[Listed]:
        """See ListedMessages."""
        return list(self._listed[first:end])

    def agreeing(self, first: int, names: Names, row: int) -> int:
        """See ListedMessages."""
        return names.agreeing(row, map(as_stored, islice(self._listed, first, None)))
