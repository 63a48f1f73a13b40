"""The directories of one mailbox: which are folders, which hold other files, and what these are called.

A directory with ``cur/`` or ``new/`` is a folder, at whatever depth: Maildir++ keeps ``.Archive.2024``
beside ``cur/``, LAYOUT=fs ``Archive/2024`` below each other, and a mailbox may have both. Each directory is
opened and listed once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress

from ...proto.records import Attributes, Directory, DirectoryKind
from ...proto.structs import Record
from ..packing import hot_path
from ..packing.entries import DIRECTORY, FILE, LINK
from . import uidlist
from .attributes import AttributeReader
from .directories import DEEPEST, confirmed, descend, described, joined, split
from .location import RESERVED
from .notices import Notices

OWN = frozenset((b"cur", b"new", b"tmp"))
"""The directories that make a folder; they hold messages and nothing else."""

_DERIVED = (b"dovecot.index", b"dovecot.list.index", b"dovecot.mailbox.log", RESERVED)


class Contents(Record):
    """The names in a directory by what they stand for: ``links`` with their targets, ``others`` are pipes,
    sockets, devices."""

    directories: Collection[bytes]
    files: Sequence[bytes]
    links: Sequence[tuple[bytes, bytes]]
    others: Sequence[bytes]

    def only(self, wanted: Callable[[bytes], bool]) -> Contents:
        """What is no directory and has a name that is wanted."""
        # In tuples, as most are empty, and there is one for each directory of the mailbox.
        return Contents(
            (),
            tuple(filter(wanted, self.files)),
            tuple(link for link in self.links if wanted(link[0])) if self.links else (),
            tuple(filter(wanted, self.others)),
        )


class Survey(Record):
    """Paths relative to the mailbox, sorted. Of each path there is a record, and what the directory holds
    besides directories and messages and is worth keeping."""

    folders: tuple[bytes, ...]
    others: tuple[bytes, ...]
    records: Mapping[bytes, Directory]
    contents: Mapping[bytes, Contents]

    def others_by_folder(self) -> dict[bytes, list[bytes]]:
        """The directories that are no folders, by the nearest folder above, or by ``b""``, the mailbox."""
        known = set(self.folders)
        found: dict[bytes, list[bytes]] = {}
        for path in self.others:
            above = path
            while above and above not in known:
                above = above.rpartition(b"/")[0]
            found.setdefault(above, []).append(path)
        return found


Look = Callable[[bytes, int, os.stat_result, Contents], None]
"""Is shown each directory while it is open: its path, the directory, its status and all that it holds."""


def survey(
    base: int,
    notices: Notices,
    start: bytes = b"",
    *,
    plain: bool = False,
    home: bool = False,
    look: Look = lambda _path, _directory, _status, _contents: None,
    attributes: AttributeReader | None = None,
    apart: Collection[tuple[int, int]] = (),
) -> Survey:
    """Look through a mailbox, or through one directory of it (or of its user's home). Follows no link.

    ``plain``: where no folders are to be, and ``cur`` is a name as any other. ``attributes`` reads those of
    directories that are no folders. Directories ``apart``, by device and inode, are passed over.
    """
    folders: list[bytes] = []
    others: list[bytes] = []
    records: dict[bytes, Directory] = {}
    contents: dict[bytes, Contents] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path.count(b"/") >= DEEPEST:
            notices.add(path, "too-deep", f"more than {DEEPEST} directories deep", home=home)
            continue
        try:
            directory = descend(base, split(path))
            try:
                status = os.fstat(directory)
                if (status.st_dev, status.st_ino) in apart:
                    continue
                found = contents_of(directory)
                is_one = not plain and is_folder(found)
                named: Attributes = ()
                look(path, directory, status, found)
                if attributes and not is_one:
                    named = attributes.of(directory, status.st_dev, path, home=home)
            finally:
                os.close(directory)
        except OSError as error:
            notices.failed(path, confirmed(error, base, path), home=home)
            continue
        (folders if is_one else others).append(path)
        records[path] = described(path, status, DirectoryKind.NEAR, named)
        contents[path] = found.only(_is_any if plain else is_worth_keeping if is_one else _is_not_derived)
        waiting += [
            joined(path, name)
            for name in found.directories
            if not name.startswith(RESERVED) and not (is_one and name in OWN)
        ]
    return Survey(tuple(sorted(folders)), tuple(sorted(others)), records, contents)


def is_folder(contents: Contents) -> bool:
    """Whether a directory that holds this is a folder, where there can be folders."""
    return b"cur" in contents.directories or b"new" in contents.directories


def contents_of(directory: int) -> Contents:
    """What lies in an open directory. Raises OSError."""
    directories: set[bytes] = set()
    files: list[bytes] = []
    links: list[tuple[bytes, bytes]] = []
    others: list[bytes] = []
    for name, kind, _ in hot_path.entries_in(directory):
        if kind == FILE:
            files.append(name)
        elif kind == DIRECTORY:
            directories.add(name)
        elif kind == LINK:
            with suppress(FileNotFoundError):
                links.append((name, os.readlink(name, dir_fd=directory)))
        else:
            others.append(name)
    return Contents(directories, files, links, others)


def is_worth_keeping(name: bytes) -> bool:
    """Whether a file of a folder holds more than what the server finds out again, or what the records of
    the folder and its messages say."""
    return _is_not_derived(name) and not name.startswith(uidlist.NAME) and not name.endswith(b".lock")


def _is_not_derived(name: bytes) -> bool:
    return not name.startswith(_DERIVED)


def _is_any(_: bytes) -> bool:
    return True
