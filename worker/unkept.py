"""Mailboxes that a restore changes though they could not be kept as they were: ``NAME.unkept`` beside the
archive ``NAME`` of those that were (see ``before``).

It is durable before any of them is changed: who goes on with the restore would take what is half restored
for what was there before. JSON, ``{"version": 1, "partition": ..., "users": {USER: WHY}}``; where the disk
was too full for that, an empty file, which stands for all mailboxes in the same target.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ..proto.directories import sync_directory
from ..proto.errors import StagingError
from ..proto.structs import Record

SUFFIX = ".unkept"
UNNAMED = "there was no room to keep it, nor to record which mailboxes were not kept"
"""Why a mailbox is not kept, where nothing more is known."""

_VERSION = 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Unkept(Record):
    """Users of a ``partition`` of the backup, and why each could not be kept."""

    partition: str
    users: Mapping[str, str]


def note_unkept(archive: Path, unkept: Unkept) -> None:
    """Record it beside an archive, or where that would be. Raises StagingError."""
    path = archive.with_name(archive.name + SUFFIX)
    text = json.dumps({"version": _VERSION, "partition": unkept.partition, "users": dict(unkept.users)})
    try:
        _write(path, text.encode("ascii"))
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def read_unkept(path: Path) -> Unkept | None:
    """What such a file says; None: all mailboxes in the same target. Raises FileNotFoundError,
    StagingError."""
    try:
        told = json.loads(path.read_bytes())
        if told["version"] == _VERSION:
            return Unkept(str(told["partition"]), {str(one): str(why) for one, why in told["users"].items()})
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError):  # cut by a crash
        return None
    raise StagingError(f"{path}: it was written by another version", path=str(path))


def _write(path: Path, data: bytes) -> None:
    """Make the file, whether there is room for what is to be in it or not."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, data)  # what is cut short by a full disk can't be read, and counts as empty
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        os.ftruncate(fd, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
