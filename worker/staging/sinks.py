"""Where an archive is written: a file in the staging area, or a stream. Adapters of ArchiveSink."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ...proto.archive.draft import Draft, read_draft
from ...proto.archive.files import RandomAccess
from ...proto.errors import StagingError
from ...proto.keys.records import NO_KEYS, Keyring
from ..archives.names import PARTIAL
from .partial import PartialArchive, open_partial
from .space import Space, lack_of, no_room

__all__ = ["PARTIAL", "StagedFile", "StreamSink"]


class StagedFile:
    """A file of this host that has its final name only when it is whole and durable.

    Written as ``NAME.EPOCH.partial``. What is written survives the end of the program at once, and a crash
    of the machine from about a second after the checkpoint behind it on (later where the disk is slower).

    Without room on the file system it waits for up to ``patience_seconds``; ``on_wait`` is called as
    ``Space.wait_for`` does it. Without a ``space`` no reserve is kept free. ``keys`` open what an earlier
    attempt left, if that is encrypted.
    """

    def __init__(
        self,
        path: Path,
        *,
        epoch: int = 0,
        space: Space | None = None,
        patience_seconds: float = 0.0,
        on_wait: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        keys: Keyring = NO_KEYS,
    ) -> None:
        self._path = path
        self._epoch = epoch
        self._space = space or Space(path.parent)
        self._patience_seconds = patience_seconds
        self._on_wait = on_wait
        self._clock = clock
        self._keys = keys
        self._file: PartialArchive | None = None
        self._written: RandomAccess | None = None
        self._whole_bytes = 0

    def begin(self) -> Draft | None:
        """See ArchiveSink."""
        self._file = open_partial(self._path, self._epoch)
        if self._file is None:
            raise StagingError(f"{self._path} is sealed already", path=str(self._path))
        self._whole_bytes = self._file.size
        reader = self._file.open_reader()
        draft = read_draft(reader, self._keys)
        self._whole_bytes = draft.size_bytes if draft else 0
        self._file.truncate(self._whole_bytes)
        if draft is None:
            reader.close()
            return None
        # What is written behind it is none of the draft.
        reader.size = draft.size_bytes
        self._written = reader
        return draft

    @property
    def written(self) -> RandomAccess:
        """See ArchiveSink."""
        if self._written is None:
            raise StagingError(f"nothing was written to {self._path} before", path=str(self._path))
        return self._written

    def restart(self) -> None:
        """See ArchiveSink."""
        self._whole_bytes = 0
        self._opened().truncate(0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        file = self._opened()
        if self._space.room_for(len(data)) and self._wrote(file, data):
            return
        until = self._clock() + self._patience_seconds
        while True:
            left = max(0.0, until - self._clock())
            self._space.wait_for(len(data), left, self._waiting)
            if self._wrote(file, data):
                return
            if not left:
                raise no_room(self._path, self._patience_seconds, self._space.lack)

    def checkpoint(self) -> None:
        """See ArchiveSink."""
        file = self._opened()
        self._whole_bytes = file.size
        file.checkpoint()

    def seal(self) -> str:
        """See ArchiveSink."""
        self._opened().seal()
        self._file = None
        return str(self._path)

    def abort(self) -> None:
        """See ArchiveSink. What no later attempt can use is not kept: the disk may be full."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(StagingError):
                file.truncate(self._whole_bytes)
            file.close()
        if self._written is not None:
            self._written.close()

    def _opened(self) -> PartialArchive:
        if self._file is None:
            raise StagingError(f"{self._path} is not open for writing", path=str(self._path))
        return self._file

    def _wrote(self, file: PartialArchive, data: bytes | bytearray | memoryview) -> bool:
        """Whether there was room for it after all."""
        try:
            file.append(data)
        except StagingError as error:
            if not (lack := lack_of(error)):
                raise
            self._space.ran_out(lack)
            return False
        return True

    def _waiting(self, why: str) -> None:
        self._on_wait(why)
        if why:
            # A later attempt must not have to wait for the end of the patience of this one.
            self._opened().check_fence()


class StreamSink:
    """A stream, such as a pipe. Its end is the only sign that it was whole: the archive's footer."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self.name = name

    def begin(self) -> Draft | None:
        """See ArchiveSink. Always at the start."""
        return None

    @property
    def written(self) -> RandomAccess:
        """See ArchiveSink. Nothing."""
        raise StagingError(f"nothing was written to {self.name} before")

    def restart(self) -> None:
        """See ArchiveSink. It is at the start."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        try:
            self._stream.write(data)
        except OSError as error:
            raise StagingError(f"can't write to {self.name}: {error.strerror}") from error

    def checkpoint(self) -> None:
        """See ArchiveSink. A stream can promise nothing."""

    def seal(self) -> str:
        """See ArchiveSink. Flushes; durability is the business of who reads the stream."""
        try:
            self._stream.flush()
        except OSError as error:
            raise StagingError(f"can't write to {self.name}: {error.strerror}") from error
        return self.name

    def abort(self) -> None:
        """See ArchiveSink. The stream simply ends without a footer."""
