"""What of a restored mailbox goes below a directory of its server: lists below that of ``CONTROL=``, index
files below that of ``INDEX=``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from ...proto.records import DirectoryKind, Folder, Ownership
from ...proto.structs import replace
from .attributes import AttributeReader
from .control import Control
from .directories import descend, descend_making, exists, names_in, opened, ownership, split
from .file_writer import FileWriter
from .folder_names import LIST_INDEX, directory_name
from .notices import Notices
from .opened import FileOpener
from .staged_tree import StagedTree

_OF_THE_MAILBOX = (b"dovecot-uidvalidity", b"subscriptions", LIST_INDEX)
_BLOCK_BYTES = 1 << 20
_MODE = 0o700


class ApartTree:
    """Files that are ``mine`` by their names, on their way below the open directory ``fd``, which is closed
    with it and may have been made for them; of a mailbox with these folders. Its methods raise OSError,
    StoreError."""

    def __init__(
        self,
        fd: int,
        layout: Sequence[Folder],
        files: FileWriter,
        notices: Notices,
        mine: Callable[[bytes], bool],
        *,
        is_new: bool,
    ) -> None:
        paths = [folder.path for folder in layout]
        dotted = not any(path and not path.startswith(b".") for path in paths)
        self._fd = fd
        self._is_new = is_new
        self._where = Control(fd, directory_name(paths), dotted=dotted)
        self._files = files
        self._notices = notices
        self._mine = mine
        self._tree = StagedTree(fd, files)
        self._opener = FileOpener(AttributeReader(notices))

    def is_mine(self, name: bytes) -> bool:
        """Whether a file of this name is to lie here."""
        return self._mine(name)

    def is_there(self, folder: bytes, name: bytes) -> bool:
        """Whether the server has a file of this name for a folder."""
        try:
            with opened(self._fd, split(self._path(folder, name))) as directory:
                return exists(directory, name)
        except FileNotFoundError:
            return False

    def there(self, folder: bytes, owner: os.stat_result) -> int:
        """The directory for a folder that exists, opened, made if it is missing."""
        names = split(self._where.path(folder))
        try:
            return descend(self._fd, names)
        except FileNotFoundError:
            directory = descend_making(self._fd, names, _MODE)
            with suppress(PermissionError):
                os.fchown(directory, owner.st_uid, owner.st_gid)
            return directory

    def describe(self, folder: Folder) -> None:
        """What the directories for a folder are to be like, as far as that is known."""
        for record in folder.directories:
            if record.kind is DirectoryKind.CONTROL:
                path = self._where.path(folder.path) if record.path else b""
                self._tree.describe([replace(record, path=path)], record.owner)

    def take(self, top: int, folders: Iterable[bytes], owner: Ownership | None) -> None:
        """Take these folders' files out of the finished tree with this topmost directory, and those of the
        mailbox. What the server has already is kept. Directories without a record go to ``owner``."""
        if owner:
            self._tree.describe((), owner)
        for folder in dict.fromkeys((b"", *folders)):
            try:
                with opened(top, split(folder)) as source:
                    self._take_from(source, folder)
            except FileNotFoundError:
                continue
        self._tree.finish()

    def put(self) -> None:
        """Put what was taken into place."""
        self._tree.merge(self._fd, self._kept)

    def end(self) -> None:
        """What putting it into place has changed."""
        self._tree.remove()
        self._tree.dress_merged(self._fd, only_times=not self._is_new)
        if self._is_new:
            self._tree.dress(self._fd, self._tree.record(b""))

    def remove(self) -> None:
        """Repeatable."""
        self._tree.remove()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _take_from(self, source: int, folder: bytes) -> None:
        names = sorted(filter(self._mine, names_in(source)))
        for where, group in _by(lambda name: self._path(folder, name), names):
            left = self._left(where, group)
            if left:
                self._notices.add(folder, "exists", "what the server has of this folder elsewhere is kept")
            for name in group:
                if not left:
                    self._move(source, name, where)
                os.unlink(name, dir_fd=source)

    def _left(self, where: bytes, names: Sequence[bytes]) -> bool:
        """Whether the server has files of this kind there: they know more, and belong together."""
        try:
            with opened(self._fd, split(where)) as directory:
                if not where:
                    return any(exists(directory, name) for name in names)
                return any(map(self._mine, names_in(directory)))
        except FileNotFoundError:
            return False

    def _move(self, source: int, name: bytes, where: bytes) -> None:
        file = self._opener.open(source, name)
        try:
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            directory = self._tree.make(split(where))
            try:
                self._files.write(
                    directory,
                    name,
                    iter(lambda: file.read(_BLOCK_BYTES), b""),
                    ownership(status),
                    status.st_mtime_ns,
                    file.stat.attributes,
                )
            finally:
                os.close(directory)
        finally:
            file.close()

    def _path(self, folder: bytes, name: bytes) -> bytes:
        of_mailbox = not folder and name.startswith(_OF_THE_MAILBOX)
        return b"" if of_mailbox else self._where.path(folder)

    def _kept(self, path: bytes) -> None:
        self._notices.add(path, "exists", "came into being meanwhile and is left as it is")


def _by(key: Callable[[bytes], bytes], names: Iterable[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    groups: dict[bytes, list[bytes]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    yield from groups.items()
