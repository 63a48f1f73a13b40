"""Which file system is full, for people."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from ...groups.paths import printable
from ...proto.errors import TargetFullError


def full_file_system(error: TargetFullError, paths: Sequence[bytes]) -> TargetFullError:
    """The error, and of the file systems on which these paths lie the one that has least room. Where a quota
    is used up, all of them: which of them has it can't be asked."""
    found = {_mount_point(path): None for path in paths}
    if not found:
        return error
    if error.facts.get("errno") == errno.EDQUOT:
        shown = ", ".join(map(printable, sorted(found)))
        message = f"a quota is used up on the file system at {shown}: {error.message}"
        return TargetFullError(message, **error.facts, file_system=shown)
    free_bytes, free_inodes, mount = min(map(_state, found), key=lambda one: one[0] if one[1] != 0 else 0)
    shown = printable(mount)
    left = f"{free_bytes:,} bytes" + ("" if free_inodes is None else f" and {free_inodes:,} inodes")
    return TargetFullError(
        f"no room on the file system at {shown}: {error.message} ({left} free there)",
        **error.facts,
        file_system=shown,
        free_bytes=free_bytes,
        free_inodes=free_inodes,
    )


def _state(mount: bytes) -> tuple[int, int | None, bytes]:
    """Free bytes and inodes (None: it has no fixed number of these), and where the file system is mounted."""
    state = os.statvfs(mount)
    free_bytes = state.f_bavail * state.f_frsize
    return free_bytes, state.f_favail if state.f_files else None, mount


def _mount_point(path: bytes) -> bytes:
    """The directory at which the file system is mounted on which a path lies, or will."""
    path = os.path.realpath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
