"""The keywords of a folder that is in use, changed under its server's lock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress

from ...proto.records import Ownership
from . import keywords
from .directories import ownership
from .file_writer import FileWriter
from .location import RESERVED
from .scaffold import make_durable

_NEW = RESERVED + b"keywords"


def replace_keywords(directory: int, stage: int, names: Sequence[str], files: FileWriter) -> None:
    """Write the keywords of a folder anew; its lock is held. What is not yet whole lies in ``stage``, if that
    is on the same file system. Raises OSError."""
    try:
        before = os.stat(keywords.NAME, dir_fd=directory, follow_symlinks=False)
        owner, newest = ownership(before), before.st_mtime_ns
    except FileNotFoundError:
        above = ownership(os.fstat(directory))
        owner, newest = Ownership(above.mode & 0o666, above.uid, above.gid), 0
    # The server looks at the seconds of the time to learn that there are more keywords.
    mtime_ns = max(time.time_ns(), newest + 1_000_000_000)
    if os.fstat(stage).st_dev != os.fstat(directory).st_dev:
        stage = directory
    with suppress(FileNotFoundError):
        os.unlink(_NEW, dir_fd=stage)  # a process that was killed left it
    files.write(stage, _NEW, [keywords.format_keywords(names)], owner, mtime_ns)
    make_durable(stage, _NEW)
    os.rename(_NEW, keywords.NAME, src_dir_fd=stage, dst_dir_fd=directory)
