"""Many messages that come into a folder at once: the directory in which they wait takes the place of the
folder's own, however many they are. To give each of them a name there takes seconds for a hundred thousand,
in which nobody else gets the folder's lock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from ...proto.records import DirectoryKind
from .attributes import AttributeReader
from .directories import described, names_in, opened
from .file_writer import FileWriter
from .location import RESERVED
from .notices import Notices
from .renaming import exchange

LEAST = 2000
"""Of fewer messages each is given its name in less than a second."""

_LATE_SECONDS = 0.5
_CALL = RESERVED + b"look"


def take_over(stage: int, folder: int, name: bytes, files: FileWriter) -> frozenset[bytes] | None:
    """Let the directory ``name`` of a stage, with what the folder's has beside, change places with that; the
    folder is locked. Gives what was in the other one, for ``take_late``; None if that can't be, or is not
    worth it: then all is as it was, but that the stage may have more names. Raises OSError."""
    with opened(stage, (name,)) as new, opened(folder, (name,)) as old:
        there = _names(old)
        if len(names_in(new)) < max(LEAST, len(there)):
            return None
        try:
            _link(there, old, new)
        except OSError:
            return None  # a file system without hard links
        status = os.fstat(old)
        attributes = AttributeReader(Notices()).of(old, status.st_dev, name)
        files.dress(new, described(name, status, DirectoryKind.PART, attributes))
        if not exchange(stage, name, folder, name):
            return None
        now = _names(old)
        _link(now - there, old, new)
        for one in there - now:
            with suppress(FileNotFoundError):
                os.unlink(one, dir_fd=new)
        os.fsync(folder)
        # Who waits for mail watches the directory that was here, and has to look.
        os.close(os.open(_CALL, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=old))
        os.unlink(_CALL, dir_fd=old)
        return now


def take_late(stage: int, folder: int, name: bytes, known: frozenset[bytes]) -> None:
    """What somebody who knows no lock has put into the other directory, having found it just before that was
    taken away. Waits for him. Raises OSError."""
    time.sleep(_LATE_SECONDS)
    with opened(stage, (name,)) as old, opened(folder, (name,)) as new:
        _link(_names(old) - known, old, new)
        os.fsync(new)


def _link(names: Iterable[bytes], source: int, target: int) -> None:
    for name in names:
        with suppress(FileExistsError, FileNotFoundError):
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)


def _names(directory: int) -> frozenset[bytes]:
    return frozenset(names_in(directory))
