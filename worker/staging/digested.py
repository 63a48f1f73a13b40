"""A sink that knows the digest of what goes through it: what a run's manifest says of its archives is made of
bytes that are in memory anyway. Reading sealed files back takes them from the disk again."""

from __future__ import annotations

from hashlib import sha256

from ...proto.archive.draft import Draft
from ...proto.archive.files import RandomAccess
from ...proto.ports import ArchiveSink


class DigestedSink:
    """An ArchiveSink that hands all on to another."""

    def __init__(self, sink: ArchiveSink) -> None:
        self._sink = sink
        self._digest = sha256()
        self._has_all = True
        self._is_sealed = False

    @property
    def sha256(self) -> bytes:
        """Of the archive that was sealed; empty if it was not, and where it begins with what an earlier
        attempt has written."""
        return self._digest.digest() if self._is_sealed and self._has_all else b""

    def begin(self) -> Draft | None:
        """See ArchiveSink."""
        draft = self._sink.begin()
        self._has_all = draft is None
        return draft

    @property
    def written(self) -> RandomAccess:
        """See ArchiveSink."""
        return self._sink.written

    def restart(self) -> None:
        """See ArchiveSink."""
        self._sink.restart()
        self._has_all = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        self._sink.write(data)
        if self._has_all:
            self._digest.update(data)

    def checkpoint(self) -> None:
        """See ArchiveSink."""
        self._sink.checkpoint()

    def seal(self) -> str:
        """See ArchiveSink."""
        name = self._sink.seal()
        self._is_sealed = True
        return name

    def abort(self) -> None:
        """See ArchiveSink."""
        self._sink.abort()
