"""The files of a mailbox, and of its user's home, that are no messages: how they are listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from ...groups.paths import printable
from ...proto.records import ListedFile
from .directories import is_directory, opened, split
from .links import stays_inside
from .marks import FilesMark
from .notices import Notices
from .survey import Contents, contents_of, survey


class OtherFiles:
    """Lists files below an open directory, which is the mailbox or (``home``) the home of its user, and
    takes them into a mark. ``levels_above`` is how far up a link in the topmost directory may lead."""

    def __init__(
        self, base: int, notices: Notices, mark: FilesMark, *, home: bool = False, levels_above: int = 0
    ) -> None:
        self._base = base
        self._notices = notices
        self._mark = mark
        self._home = home
        self._levels_above = levels_above

    def listed(self, path: bytes, contents: Contents) -> Iterator[ListedFile]:
        """The files and links in a directory that holds these, by name. What is gone by now is left out."""
        above = path + b"/" if path else b""
        found = [ListedFile(above + name, self._home) for name in contents.files]
        for name, target in contents.links:
            if stays_inside(above + name, target, self._levels_above):
                found.append(ListedFile(above + name, self._home, target))
            else:
                self._add(above + name, "leads-out", f"a symbolic link to {printable(target)}")
        for name in contents.others:
            self._add(above + name, "not-regular", "a pipe, a socket or a device")
        found.sort(key=_path)
        return (file for file in found if self._is_there(file))

    def directory(self, path: bytes, wanted: Callable[[bytes], bool]) -> Iterator[ListedFile]:
        """The files and links in a directory whose names are wanted, by name."""
        try:
            with opened(self._base, split(path)) as fd:
                contents = contents_of(fd)
        except OSError as error:
            self._notices.failed(path, error, home=self._home)
        else:
            yield from self.listed(path, contents.only(wanted))

    def tree(self, path: bytes) -> Iterator[ListedFile]:
        """The files in a directory and below it; none if there is no such directory."""
        if is_directory(self._base, path):
            found = survey(self._base, self._notices, path, plain=True, home=self._home)
            for directory in found.others:
                yield from self.listed(directory, found.contents[directory])

    def _is_there(self, file: ListedFile) -> bool:
        # No link on the way is a danger here: what the path leads to is hashed, and opened otherwise.
        try:
            status = os.stat(file.path, dir_fd=self._base, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            self._mark.add_unknown()
        else:
            self._mark.add(file, status)
        return True

    def _add(self, path: bytes, why: str, detail: str) -> None:
        self._notices.add(path, why, detail, home=self._home)


def _path(file: ListedFile) -> bytes:
    return file.path
