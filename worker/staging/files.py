"""The files of the receiver's streams: opened, checked and written, sealed, let go of.

Does what streams ask for, in whatever thread it is called; of one stream it is asked for one thing at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...proto.archive.draft import encode_draft, mailboxes_end, read_draft, whole_frames
from ...proto.archive.reader import read_footer
from ...proto.errors import BackupError, DamagedError, StagingError
from ...proto.structs import Mutable
from ..archives.names import archive_path
from .frame_chain import FrameChain
from .partial import PartialArchive, open_partial
from .space import Space, lack_of
from .stream import (
    Append,
    Appended,
    Asked,
    CloseFile,
    Done,
    Failed,
    FileClosed,
    FileOpened,
    FileSealed,
    Job,
    OpenFile,
    SealFile,
)


class _Written(Mutable):
    """A file that is being written, and the chain of frames in it."""

    partial: PartialArchive
    chain: FrameChain
    space: Space


class StreamFiles:
    """Those below the directory ``area``. ``space_of`` gives the room where a file is to be written."""

    def __init__(self, area: Path, space_of: Callable[[Path], Space]) -> None:
        self._area = area
        self._space_of = space_of
        self._files: dict[int, _Written] = {}

    def perform(self, job: Job) -> Done:
        """Do it. Never raises."""
        try:
            if isinstance(job, OpenFile):
                return self._open(job.stream, job.asked)
            if isinstance(job, Append):
                return self._append(job)
            if isinstance(job, SealFile):
                return self._seal(job)
            return self._close(job)
        except BackupError as error:
            return Failed(job.stream, error)
        except Exception as error:
            # Whatever is wrong with one stream must not end the receiver.
            return Failed(job.stream, StagingError(f"the receiver failed: {type(error).__name__}: {error}"))

    def durable(self) -> dict[int, int]:
        """How much of each stream's file is durable."""
        return {stream: file.partial.durable_bytes for stream, file in list(self._files.items())}

    def close(self) -> None:
        """Let go of all files."""
        for stream in list(self._files):
            self._files.pop(stream).partial.close()

    def _open(self, stream: int, asked: Asked) -> Done:
        path = archive_path(self._area, asked.file)
        partial = open_partial(path, asked.epoch)
        if partial is None:
            return FileSealed(stream, path.stat().st_size)
        try:
            chain, draft = _continued(partial, asked.have)
        except BaseException:
            partial.close()
            raise
        self._files[stream] = _Written(partial, chain, self._space_of(path.parent))
        return FileOpened(stream, partial.size, chain.frames, draft)

    def _append(self, job: Append) -> Done:
        file = self._files[job.stream]
        for number, batch in enumerate(job.batches):
            if not file.space.room_for(len(batch)):
                return Appended(job.stream, number, False, file.space.lack)
            chain = file.chain.extended(batch, file.partial.path.name)
            try:
                file.partial.append(batch)
            except StagingError as error:
                if not (lack := lack_of(error)):
                    raise
                file.space.ran_out(lack)
                return Appended(job.stream, number, False, lack)
            file.chain = chain
        if job.checkpoint:
            file.partial.checkpoint()
        return Appended(job.stream, len(job.batches), True)

    def _seal(self, job: SealFile) -> Done:
        file = self._files[job.stream]
        _check_end(file)
        file.partial.seal()
        del self._files[job.stream]
        return FileSealed(job.stream, job.size_bytes)

    def _close(self, job: CloseFile) -> Done:
        file = self._files.pop(job.stream, None)
        if file is not None:
            with suppress(OSError):
                file.partial.close()
        return FileClosed(job.stream)


def _check_end(file: _Written) -> None:
    """Raises DamagedError unless the archive ends with its footer."""
    reader = file.partial.open_reader()
    try:
        header, footer = read_footer(reader)
    finally:
        reader.close()
    if header.archive != file.chain.owner or footer.frames != file.chain.frames:
        raise DamagedError(f"{file.partial.path.name}: the footer is of something else", reason="footer")


def _continued(partial: PartialArchive, have: int) -> tuple[FrameChain, bytes]:
    """Cut a file to what is of use to who asked; that, and the encoded draft for a new attempt."""
    if not partial.size or have == 0:
        partial.truncate(0)
        return FrameChain(), b""
    reader = partial.open_reader()
    try:
        if have > 0:
            whole = whole_frames(reader)
            if whole.size_bytes < have:
                raise StagingError(f"of {have} bytes that were written {whole.size_bytes} are there")
            partial.truncate(whole.size_bytes)
            return FrameChain(whole.archive, whole.frames), b""
        ends = mailboxes_end(reader)
        if ends.archive is not None:
            # It is encrypted: who asks has the key, and reads what is there.
            partial.truncate(ends.size_bytes)
            return FrameChain(ends.archive, ends.frames), b""
        draft = read_draft(reader)
        encoded = encode_draft(draft) if draft else None
        if draft is None or encoded is None:
            partial.truncate(0)
            return FrameChain(), b""
        partial.truncate(draft.size_bytes)
        return FrameChain(draft.header.archive, draft.frames), encoded
    finally:
        reader.close()
