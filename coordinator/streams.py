"""Streams of archives, as they come back: whether the end of each is there, and all that it names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from ..proto.archive.reader import ArchiveReader
from ..proto.archive.run_end import NOWHERE, archives_of, read_run_end
from ..proto.errors import DamagedError, UnsupportedError
from ..proto.keys.records import NO_KEYS, Keyring
from ..proto.records import ArchiveId, RunId, Skipped


class Streams:
    """The streams that archives say they stand in, by their runs."""

    def __init__(self) -> None:
        self._files: dict[RunId, str] = {}
        self._ends: dict[RunId, frozenset[ArchiveId]] = {}

    def look(self, archive: ArchiveReader, file: str, keys: Keyring = NO_KEYS) -> None:
        """An archive that was found, and the file for people; ``keys`` open it."""
        header = archive.header
        if not header.stream:
            return
        self._files.setdefault(header.run, file)
        if header.partition == NOWHERE:
            with suppress(DamagedError, UnsupportedError):
                self._ends[header.run] = archives_of(read_run_end(archive.file, keys))

    def cut(self, found: Collection[ArchiveId]) -> Iterator[Skipped]:
        """What is missing of streams, if only these archives were found."""
        for run, file in self._files.items():
            end = self._ends.get(run)
            if end is None:
                told = f"the stream of run {run} ends without the archive of the run: others may be missing"
                yield Skipped(file, "no-end", told)
            elif missing := end.difference(found):
                told = f"of {len(end)} archives in the stream of run {run} {len(missing)} are missing"
                yield Skipped(file, "missing", told)
