"""A tree of directories and files that is being restored, and what its directories are to be like.

Modes, owners and times of directories are set at the end: to write into a directory changes its time, and
may need a mode that it is not to have.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import groupby

from ...proto.records import Directory, DirectoryKind, Ownership
from ...proto.structs import replace
from .directories import descend, descend_making, described, joined, make_directory, opened, split
from .file_writer import FileWriter
from .scaffold import TREE, Scaffold

_MODE = 0o700


class StagedTree:
    """A tree in a temporary directory of ``workshop``. Its methods raise OSError."""

    def __init__(self, workshop: int, files: FileWriter) -> None:
        self._scaffold = Scaffold(workshop)
        self._files = files
        self._made: set[bytes] = set()
        self._records: dict[bytes, Directory] = {}
        self.merged: list[bytes] = []
        self._owner: Ownership | None = None

    @property
    def top(self) -> int:
        """The topmost directory of the tree."""
        return self._scaffold.top

    @property
    def around(self) -> int:
        """The directory that holds the tree (as ``scaffold.TREE``) and what is made beside it."""
        return self._scaffold.fd

    def make(self, names: tuple[bytes, ...]) -> int:
        """A directory of the tree, made if it is missing, and opened. The caller closes it."""
        directory = descend_making(self._scaffold.top, names, _MODE)
        path = b""
        for name in names:
            path = joined(path, name)
            self._made.add(path)
        return directory

    def make_all(self, names: tuple[bytes, ...], below: Iterable[bytes]) -> int:
        """As ``make``, and these directories in it, which are not opened."""
        directory = self.make(names)
        path = b"/".join(names)
        for name in below:
            make_directory(directory, name, _MODE)
            self._made.add(joined(path, name))
        return directory

    def has(self, path: bytes) -> bool:
        """Whether a directory was made."""
        return not path or path in self._made

    def describe(self, records: Iterable[Directory], owner: Ownership) -> None:
        """What directories are to be like. The first ``owner`` told is that of all without a record."""
        self._owner = self._owner or owner
        for record in records:
            self._records.setdefault(record.path, record)

    @property
    def owner(self) -> Ownership | None:
        """Whose the directories are that have no record; None if nobody was told."""
        return self._owner

    def record(self, path: bytes) -> Directory | None:
        """What a directory is to be like, if that was told."""
        return self._records.get(path)

    def make_beside(self, *names: bytes) -> int:
        """A directory that is removed with the tree and is no part of it, opened."""
        return descend_making(self._scaffold.fd, names, _MODE)

    def finish(self) -> None:
        """Set modes, owners and times of all directories but the topmost, and make everything durable."""
        by_depth = sorted(self._made, key=lambda path: (path.count(b"/"), path), reverse=True)
        for above, below in groupby(by_depth, key=lambda path: path.rpartition(b"/")[0]):
            with opened(self._scaffold.top, split(above)) as directory:
                for path in below:
                    self._dress(directory, path, path.rpartition(b"/")[2])
        self._scaffold.sync()

    def admit(self, *, whole: bool) -> tuple[int, bytes]:
        """Let the server's user pass through to the finished tree, which is to become a mailbox by itself
        (``whole``) or to be merged. Returns the open directory that it is in, and its name there."""
        if whole:
            self._dress_top()
        else:
            os.fchmod(self._scaffold.top, 0o711)
        os.fchmod(self._scaffold.fd, 0o711)
        return self._scaffold.fd, TREE

    def sync(self) -> None:
        """Make durable what was written since it was finished."""
        self._scaffold.sync()

    def finish_again(self) -> None:
        """Set the times of all directories once more, after something was written into them, and make that
        durable."""
        for path in self._made & self._records.keys():
            mtime_ns = self._records[path].mtime_ns
            with opened(self._scaffold.top, split(path)) as directory, suppress(OSError, OverflowError):
                os.utime(directory, ns=(mtime_ns, mtime_ns))
        self._scaffold.sync()

    def become(self, parent: int, name: bytes) -> None:
        """Put the finished tree into place as a whole; see ``Scaffold.become``."""
        self._dress_top()
        self._scaffold.become(parent, name)

    def merge(self, target: int, kept: Callable[[bytes], None]) -> None:
        """Put what the finished tree holds into a directory; see ``Scaffold.merge``."""
        self.merged = self._scaffold.merge(target, kept)

    def dress_merged(self, target: int, *, only_times: bool) -> None:
        """Set times of directories that were there already, where a folder came to be in them; all else too
        unless ``only_times``: who owns a directory, and who may enter it, may be another matter by now."""
        for path in reversed(self.merged):
            record = self._records.get(path)
            if record is None:
                continue
            with opened(target, split(path)) as directory:
                if only_times:
                    with suppress(OSError, OverflowError):
                        os.utime(directory, ns=(record.mtime_ns, record.mtime_ns))
                else:
                    self.dress(directory, record)

    def dress(self, directory: int, record: Directory | None) -> None:
        """Make an open directory what it is to be like; None: nothing is known of it."""
        self._files.dress(directory, record or self._default(directory))

    def remove(self) -> None:
        """Repeatable."""
        self._scaffold.remove()

    def _dress_top(self) -> None:
        record = self._records.get(b"") or self._default(self._scaffold.top)
        self._files.dress_staged(self._scaffold.top, record)

    def _dress(self, above: int, path: bytes, name: bytes) -> None:
        directory = descend(above, (name,))
        try:
            self._files.dress_staged(directory, self._records.get(path) or self._default(directory))
        finally:
            os.close(directory)

    def _default(self, directory: int) -> Directory:
        now = described(b"", os.fstat(directory), DirectoryKind.FOLDER)
        return replace(now, owner=replace(self._owner or now.owner, mode=now.owner.mode))
