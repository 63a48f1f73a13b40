"""The file or stream that ``backup -f`` writes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...proto.directories import sync_directory
from ...proto.errors import LockedError, StagingError, UsageError
from ...worker.archives.names import PARTIAL
from .options import STDIO


@contextmanager
def archive_stream(file: str) -> Iterator[BinaryIO]:
    """The standard output for ``-``; else a file that has its name only when all is written and durable.

    Raises UsageError if the file is there already or the output is a terminal, LockedError while another
    backup writes the file, StagingError if it can't be written.
    """
    if file == STDIO:
        if sys.stdout.isatty():
            raise UsageError("-f - writes an archive to the standard output, which is a terminal")
        yield sys.stdout.buffer
        return
    path = Path(os.path.abspath(file))
    partial = path.with_name(path.name + PARTIAL)
    _refuse_existing(path)
    try:
        stream = _locked(partial)
    except OSError as error:
        raise StagingError(f"can't create {partial}: {error.strerror}", path=str(partial)) from error
    try:
        with stream:
            yield stream
            _finish(stream, partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already, and archives are never overwritten: choose another name")


def _locked(partial: Path) -> BinaryIO:
    """The partial file, emptied, held by nobody else. A backup that died may have left it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    stream = os.fdopen(os.open(partial, flags, 0o600), "wb")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stream.truncate(0)
    except BlockingIOError:
        stream.close()
        raise LockedError(f"another backup is writing {partial}; wait until it has ended") from None
    except BaseException:
        stream.close()
        raise
    return stream


def _finish(stream: BinaryIO, partial: Path, path: Path) -> None:
    try:
        stream.flush()
        os.fsync(stream.fileno())
        _refuse_existing(path)
        partial.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"can't finish {path}: {error.strerror}", path=str(path)) from error
