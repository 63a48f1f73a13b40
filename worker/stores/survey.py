"""The directories of one mailbox: which are folders, which hold other files.

A directory with ``cur/`` or ``new/`` is a folder, at whatever depth: Maildir++ keeps ``.Archive.2024``
beside ``cur/``, LAYOUT=fs ``Archive/2024`` below each other, and a mailbox may have both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .directories import DEEPEST, joined, name_bytes, opened, split
from .location import RESERVED
from .notices import Notices

OWN = frozenset((b"cur", b"new", b"tmp"))
"""The directories that make a folder; they hold messages and nothing else."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Paths relative to the mailbox, sorted."""

    folders: tuple[bytes, ...]
    others: tuple[bytes, ...]

    def others_by_folder(self) -> dict[bytes, list[bytes]]:
        """The directories that are no folders, by the nearest folder above; by the first if there is none."""
        known = set(self.folders)
        found: dict[bytes, list[bytes]] = {}
        for path in self.others if known else ():
            above = path
            while above and above not in known:
                above = above.rpartition(b"/")[0]
            found.setdefault(above if above in known else self.folders[0], []).append(path)
        return found


def survey(
    base: int, notices: Notices, start: bytes = b"", *, plain: bool = False, home: bool = False
) -> Survey:
    """Look through a mailbox, or through one directory of it (or of its user's home). Follows no link.

    ``plain``: where no folders are to be, and ``cur`` is a name as any other.
    """
    folders: list[bytes] = []
    others: list[bytes] = []
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path.count(b"/") >= DEEPEST:
            notices.add(path, "too-deep", f"more than {DEEPEST} directories deep", home=home)
            continue
        try:
            with opened(base, split(path)) as fd:
                directories = _directories(fd)
        except OSError as error:
            notices.failed(path, error, home=home)
            continue
        if not plain and directories & {b"cur", b"new"}:
            folders.append(path)
            directories -= OWN
        else:
            others.append(path)
        waiting += [joined(path, name) for name in directories]
    return Survey(tuple(sorted(folders)), tuple(sorted(others)))


def _directories(fd: int) -> set[bytes]:
    with os.scandir(fd) as found:
        names = {name_bytes(one.name) for one in found if one.is_dir(follow_symlinks=False)}
    return {name for name in names if not name.startswith(RESERVED)}
