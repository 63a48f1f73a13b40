"""The files of a mailbox, and of its user's home, that are no messages: how they are listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from ...groups.paths import printable
from ...proto.records import ListedFile
from . import uidlist
from .directories import is_directory, joined, name_bytes, opened, split
from .links import stays_inside
from .location import RESERVED
from .notices import Notices
from .survey import survey

HOME_DIRECTORY = b"sieve"
HOME_FILES = frozenset((b".dovecot.sieve", b".dovecot.svbin", b"dovecot-acl", HOME_DIRECTORY))
"""What of a home beside the mailbox belongs to the mail; ``sieve`` may be a directory of scripts."""

_DERIVED = (uidlist.NAME, b"dovecot.index", b"dovecot.list.index", b"dovecot.mailbox.log", RESERVED)


def worth_keeping(name: bytes) -> bool:
    """Whether a file of a folder holds more than what the server finds out again, or what the records of
    the folder and its messages say."""
    return not name.startswith(_DERIVED) and not name.endswith(b".lock")


class FileWalk:
    """Lists files below an open directory, which is the mailbox or (``home``) the home of its user.
    ``levels_above`` is how far up a link in the topmost directory may lead."""

    def __init__(self, base: int, notices: Notices, *, home: bool = False, levels_above: int = 0) -> None:
        self._base = base
        self._notices = notices
        self._home = home
        self._levels_above = levels_above

    def directory(
        self, path: bytes, wanted: Callable[[bytes], bool] = lambda _: True
    ) -> Iterator[ListedFile]:
        """The files and links in a directory whose names are wanted, by name."""
        listed: list[ListedFile] = []
        try:
            with opened(self._base, split(path)) as fd, os.scandir(fd) as found:
                for one in found:
                    name = name_bytes(one.name)
                    if not wanted(name) or one.is_dir(follow_symlinks=False):
                        continue
                    below = joined(path, name)
                    if one.is_symlink():
                        self._link(below, os.readlink(name, dir_fd=fd), listed)
                    elif one.is_file(follow_symlinks=False):
                        listed.append(ListedFile(below, self._home))
                    else:
                        self._notices.add(
                            below, "not-regular", "a pipe, a socket or a device", home=self._home
                        )
        except OSError as error:
            self._notices.failed(path, error, home=self._home)
        yield from sorted(listed, key=lambda file: file.path)

    def tree(self, path: bytes) -> Iterator[ListedFile]:
        """The files in a directory and below it; none if there is no such directory."""
        if is_directory(self._base, path):
            for directory in survey(self._base, self._notices, path, plain=True, home=self._home).others:
                yield from self.directory(directory)

    def _link(self, path: bytes, target: bytes, listed: list[ListedFile]) -> None:
        if stays_inside(path, target, self._levels_above):
            listed.append(ListedFile(path, self._home, target))
        else:
            self._notices.add(path, "leads-out", f"a symbolic link to {printable(target)}", home=self._home)
