"""An archive that may leave the staging area while it is read: a sweep frees space when that is short, and a
file that was deleted takes up its space as long as somebody has it open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...proto.archive.files import RandomAccess
from ...proto.errors import DamagedError, StagingError, UnreadableError
from ...proto.records import Location


class Departing:
    """A RandomAccess over copies that hold the same bytes at the same offsets, an archive and its excerpt:
    over the first that can be opened, and when that is gone over the next. Raises DamagedError if none can
    be opened, StagingError if the system does not let one be read.

    ``open_copy``: see ``Places.open``. To be used by one thread at a time.
    """

    def __init__(self, copies: Sequence[Location], open_copy: Callable[[Location], RandomAccess]) -> None:
        self._copies = copies
        self._open_copy = open_copy
        self._file: RandomAccess | None = None
        file = self._opened()
        self.name = file.name
        self.size = file.size

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        try:
            return self._opened().read_at(offset, length)
        except DamagedError as error:
            if error.facts.get("reason") == "elsewhere":
                raise
        # Of another host's file this is how it is told that it is gone.
        self.let_go()
        return self._opened().read_at(offset, length)

    def let_go(self) -> None:
        """Close the file until something is read again, so that its space can be had if it was deleted."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    close = let_go

    def _opened(self) -> RandomAccess:
        if self._file is None:
            self._file = self._first()
        return self._file

    def _first(self) -> RandomAccess:
        failed = DamagedError("the archive is not at hand", reason="missing")
        for number, location in enumerate(self._copies):
            try:
                return self._open_copy(location)
            except UnreadableError as error:
                # As if it were damaged, all that it holds would be read and stored again.
                raise StagingError(error.message) from error
            except DamagedError as error:
                if not number:
                    failed = error
        raise failed
