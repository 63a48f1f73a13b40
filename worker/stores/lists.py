"""Where the lists of a mailbox's folders lie (UIDs, keywords): in the folders, or in a control directory; and
what else lies in that."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack

from ...proto.records import Directory, DirectoryKind, ListedFile
from ...proto.structs import replace
from . import uidlist
from .attributes import AttributeReader
from .control import Control, is_control_file
from .directories import descend, described, joined, opened, split
from .other_files import OtherFiles
from .survey import contents_of, is_worth_keeping


class Lists:
    """Finds the lists of one mailbox. Its methods raise OSError."""

    def __init__(self, control: Control | None, attributes: AttributeReader) -> None:
        self._control = control
        self._attributes = attributes
        self._paths: dict[bytes, bytes] = {}  # in the control directory, by those in the mailbox

    def opened(self, stack: ExitStack, folder: int, path: bytes) -> int | None:
        """The directory with the lists of an open folder, open as long as the stack; None if there is
        none."""
        if self._control is None:
            return folder
        try:
            directory = descend(self._control.fd, split(self._control.path(path)))
        except FileNotFoundError:
            return None
        stack.callback(os.close, directory)
        return directory

    def record(self, lists: int | None, path: bytes) -> Directory | None:
        """The record of the directory with a folder's lists, if it is another one than the folder's."""
        if self._control is None or lists is None:
            return None
        return self._described(lists, self._control.path(path))

    def top(self) -> Iterator[Directory]:
        """The record of the control directory, if there is one."""
        if self._control is not None:
            yield self._described(self._control.fd, b"")

    def files(
        self, control: OtherFiles, folders: Collection[bytes], taken: Collection[bytes]
    ) -> Iterator[ListedFile]:
        """What else lies in the control directory, with these folders: as if it lay in the mailbox, unless
        these paths are ``taken`` there."""
        if self._control is None:
            return
        self._paths.clear()
        above = {b"": b""} | {self._control.path(path): path for path in folders}
        for where, path in above.items():
            try:
                with opened(self._control.fd, split(where)) as directory:
                    contents = contents_of(directory).only(is_worth_keeping)
            except FileNotFoundError:
                continue
            for file in control.listed(where, contents):
                name = file.path.rpartition(b"/")[2]
                shown = joined(path, name)
                if shown not in self._paths and (is_control_file(name) or shown not in taken):
                    self._paths[shown] = file.path
                    yield replace(file, path=shown)

    def where(self, file: ListedFile) -> tuple[int, bytes] | None:
        """The directory and path of a file that was listed here; None for any other."""
        path = self._paths.get(file.path)
        return (self._control.fd, path) if self._control is not None and path is not None else None

    def _described(self, directory: int, path: bytes) -> Directory:
        status = os.fstat(directory)
        attributes = self._attributes.of(directory, status.st_dev, joined(path, uidlist.NAME))
        return described(path, status, DirectoryKind.CONTROL, attributes)
