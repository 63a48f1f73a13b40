"""Which file systems the mailboxes of a restore come to lie on, and how much room these have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...proto.structs import Mutable, field
from ...proto.target_facts import FileSystemRoom

_MOUNTS = Path("/proc/self/mountinfo")
_QUOTA_OPTIONS = frozenset(
    ("quota", "usrquota", "grpquota", "prjquota", "uquota", "gquota", "pquota", "uqnoenforce", "gqnoenforce")
)
_PER_FOLDER = 6  # it, its three parts, its list of UIDs, its keywords
_PER_MAILBOX = 4
_MOST_FILES = 1 << 16


class _Sum(Mutable):
    path: bytes
    mailboxes: int = 0
    messages: int = 0
    size_bytes: int = 0
    inodes: int = 0
    names: int = 0
    names_bytes: int = 0
    files: dict[bytes, int] = field(default_factory=dict)


class Rooms:
    """Adds up mailboxes by the file systems that they come to lie on. ``overhead_bytes`` is what a message
    takes beside its own, None where each becomes a file; ``per_folder`` how many files and directories a
    folder is besides."""

    def __init__(
        self, host: str, *, overhead_bytes: int | None = None, per_folder: int = _PER_FOLDER
    ) -> None:
        self._host = host
        self._overhead_bytes = overhead_bytes
        self._per_folder = per_folder
        self._sums: dict[int, _Sum] = {}

    def add(self, path: bytes, folders: int, messages: int, size_bytes: int) -> None:
        """A mailbox comes to lie in ``path``, or below where that will be made. Raises OSError."""
        there = nearest(path)
        found = self._sums.setdefault(os.stat(there).st_dev, _Sum(there))
        found.mailboxes += 1
        found.messages += messages
        found.size_bytes += size_bytes
        files = messages if self._overhead_bytes is None else 0
        found.inodes += files + self._per_folder * folders + _PER_MAILBOX

    def link(self, path: bytes, names: Iterable[tuple[bytes, int]]) -> None:
        """Messages of a mailbox that was added are names of files with several: what tells the file of each
        from others, and its size. Of very many files some count as often as they have names. Raises
        OSError."""
        found = self._sums[os.stat(nearest(path)).st_dev]
        for key, size_bytes in names:
            if key in found.files or len(found.files) < _MOST_FILES:
                found.files[key] = size_bytes
                found.names += 1
                found.names_bytes += size_bytes

    def all(self) -> tuple[FileSystemRoom, ...]:
        """The file systems. Raises OSError."""
        return tuple(self._room(device, one) for device, one in self._sums.items())

    def _room(self, device: int, one: _Sum) -> FileSystemRoom:
        told = os.statvfs(one.path)
        # What is kept for root is free for root only.
        blocks = told.f_bfree if os.geteuid() == 0 else told.f_bavail
        inodes = told.f_ffree if os.geteuid() == 0 else told.f_favail
        return FileSystemRoom(
            host=self._host,
            device=device,
            path=os.fsdecode(one.path),
            free_bytes=blocks * told.f_frsize,
            free_inodes=inodes if told.f_files else None,
            block_bytes=told.f_frsize if self._overhead_bytes is None else self._overhead_bytes,
            quotas=_has_quotas(device),
            mailboxes=one.mailboxes,
            messages=one.messages,
            size_bytes=one.size_bytes,
            inodes=one.inodes,
            names=one.names,
            names_bytes=one.names_bytes,
            files=one.files,
        )


def nearest(path: bytes) -> bytes:
    """A directory, or the first one above it that is there."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _has_quotas(device: int) -> bool:
    """Whether a file system is mounted with quotas."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = _MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        fields = line.split()
        if len(fields) > 5 and fields[2] == wanted:
            options = {one.partition("=")[0] for one in (fields[5] + "," + fields[-1]).split(",")}
            return bool(options & _QUOTA_OPTIONS)
    return False
