"""What of a user's home belongs to the mail: filters, keys, attributes, by names and patterns.

A pattern has the levels of a path, relative to the home; ``*``, ``?`` and ``[…]`` stand for a part of one
level. A directory that matches is taken with all that is in it. The home may hold much else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from ...proto.errors import MessageUnavailable
from ...proto.records import Directory, DirectoryKind, ListedFile
from .attributes import AttributeReader
from .directories import described, joined, names_in, opened, split
from .marks import FilesMark
from .notices import Notices
from .other_files import OtherFiles
from .survey import Contents, Survey, survey

Identity = tuple[int, int]
"""Device and inode."""

PATTERNS = (
    *(".dovecot.sieve", ".dovecot.svbin", ".sieve", ".sieve.svbin", "sieve"),
    *("dovecot-acl", "dovecot-attributes"),
)
"""What belongs to the mail in any home."""

_WILD = frozenset(b"*?[")


class HomeFiles:
    """Those of one home, open as ``home``. ``apart`` are directories that are no part of it though they lie
    in it: the mailbox, its control directory."""

    def __init__(
        self,
        home: int,
        also: Sequence[str],
        notices: Notices,
        attributes: AttributeReader,
        apart: Collection[Identity],
    ) -> None:
        self._home = home
        self._patterns = [os.fsencode(pattern) for pattern in (*PATTERNS, *also)]
        self._notices = notices
        self._attributes = attributes
        self._apart = apart

    def directories(self) -> Iterator[Directory]:
        """The home, and the directories in it that belong to the mail or hold something that does."""
        status = os.fstat(self._home)
        attributes = self._attributes.of(self._home, status.st_dev, b"", home=True)
        yield described(b"", status, DirectoryKind.HOME, attributes)
        trees = {path: directory for tree in self._trees for path, directory in tree.records.items()}
        for path in sorted({*trees, *self._above()}):
            record = trees.get(path) or self._record(path)
            if record is not None:
                yield Directory(path, record.owner, record.mtime_ns, DirectoryKind.HOME, record.attributes)

    def listed(self, mark: FilesMark) -> Iterator[ListedFile]:
        """The files and links, each taken into the mark."""
        files = OtherFiles(self._home, self._notices, mark, home=True)
        in_trees = {path for tree in self._trees for path in tree.others}
        for path, contents in sorted(self._single.items()):
            if path not in in_trees:
                yield from files.listed(path, contents)
        for path in sorted(in_trees):
            contents = next(tree.contents[path] for tree in self._trees if path in tree.contents)
            yield from files.listed(path, contents)

    @cached_property
    def _found(self) -> dict[bytes, int]:
        """What matches a pattern: its mode by its path."""
        found: dict[bytes, int] = {}
        for pattern in self._patterns:
            try:
                found.update(self._matching(b"", split(pattern)))
            except MessageUnavailable:
                continue  # no path that could lie in a home
        return found

    @cached_property
    def _trees(self) -> list[Survey]:
        directories = [path for path, mode in self._found.items() if stat.S_ISDIR(mode)]
        return [
            survey(
                self._home,
                self._notices,
                path,
                plain=True,
                home=True,
                attributes=self._attributes,
                apart=self._apart,
            )
            for path in directories
        ]

    @cached_property
    def _single(self) -> dict[bytes, Contents]:
        """What matches and is no directory, by the directory that it lies in."""
        files: dict[bytes, list[bytes]] = {}
        links: dict[bytes, list[tuple[bytes, bytes]]] = {}
        others: dict[bytes, list[bytes]] = {}
        for path, mode in self._found.items():
            above, _, name = path.rpartition(b"/")
            if stat.S_ISREG(mode):
                files.setdefault(above, []).append(name)
            elif stat.S_ISLNK(mode):
                try:
                    target = os.readlink(path, dir_fd=self._home)
                except OSError:
                    continue  # gone, or another thing by now
                links.setdefault(above, []).append((name, target))
            elif not stat.S_ISDIR(mode):
                others.setdefault(above, []).append(name)
        return {
            above: Contents((), files.get(above, ()), links.get(above, ()), others.get(above, ()))
            for above in {*files, *links, *others}
        }

    def _above(self) -> set[bytes]:
        """The directories above what was found, but for the home."""
        above: set[bytes] = set()
        for path in self._found:
            while path := path.rpartition(b"/")[0]:
                above.add(path)
        return above

    def _matching(self, path: bytes, names: tuple[bytes, ...]) -> Iterator[tuple[bytes, int]]:
        """What in a directory of the home matches the rest of a pattern."""
        pattern, rest = names[0], names[1:]
        try:
            with opened(self._home, split(path)) as directory:
                for name in _names(directory, pattern):
                    try:
                        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if (status.st_dev, status.st_ino) in self._apart:
                        continue
                    if not rest:
                        yield joined(path, name), status.st_mode
                    elif stat.S_ISDIR(status.st_mode):
                        yield from self._matching(joined(path, name), rest)
        except OSError as error:
            self._notices.failed(path, error, home=True)

    def _record(self, path: bytes) -> Directory | None:
        try:
            with opened(self._home, split(path)) as directory:
                status = os.fstat(directory)
                attributes = self._attributes.of(directory, status.st_dev, path, home=True)
                return described(path, status, DirectoryKind.HOME, attributes)
        except OSError:
            return None  # gone; what was in it is not listed then


def _names(directory: int, pattern: bytes) -> list[bytes]:
    """The names in a directory that match one level of a pattern: hidden ones only if it begins so."""
    if not _WILD.intersection(pattern):
        return [pattern]
    names = names_in(directory)
    return sorted(
        name
        for name in names
        if fnmatchcase(name, pattern) and name.startswith(b".") == pattern.startswith(b".")
    )
