"""A folder that is restored where there was none: built with its UIDs, keywords and times."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from ...proto.records import Attributes, Directory, DirectoryKind, Folder, Message, Ownership
from . import keywords, uidlist
from .directories import joined, unwritable
from .file_names import FileNames
from .file_writer import FileWriter
from .message_places import MessagePlaces, lasting_names
from .notices import Notices


def owner_of(folder: Folder) -> Ownership:
    """Who owned a folder, and the mode of its directory; this process, where that is not known."""
    records = _records(folder)
    if folder.path in records:
        return records[folder.path].owner
    default = Ownership(0o700, os.geteuid(), os.getegid())
    return next((record.owner for record in records.values()), default)


def _records(folder: Folder) -> dict[bytes, Directory]:
    """What is known of directories and lists of the mailbox, by path."""
    return {
        directory.path: directory
        for directory in folder.directories
        if directory.kind is not DirectoryKind.HOME
    }


class NewFolder:
    """A FolderWriter (see ``proto.ports``) for a folder that does not exist yet. ``directory``, in which it
    is built, holds its own directories, and is closed with it. ``is_empty`` until a message was added;
    ``beyond`` are keywords that no letter of the folder stands for, with the UIDs of their messages.
    ``names`` are the files with several names. With ``reserves`` no UID below the next one counts as
    given."""

    def __init__(
        self,
        folder: Folder,
        directory: int,
        files: FileWriter,
        notices: Notices,
        names: FileNames,
        *,
        reserves: bool = False,
    ) -> None:
        self.folder = folder
        self._directory = directory
        self._files = files
        self._notices = notices
        self._uids: uidlist.UidListWriter | None = None
        self.is_empty = True
        self.beyond: dict[str, list[int]] = {}
        self._lettered = frozenset(folder.keywords)
        self._places = MessagePlaces(directory, files, names)
        if folder.uidvalidity:
            reserved = folder.uidnext if reserves else 0
            self._uids = uidlist.UidListWriter(directory, folder, reserved)

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        for base in lasting_names(message.base):
            try:
                if not self._places.add(message, base, content):
                    return False
                break
            except FileExistsError:
                continue
        self.is_empty = False
        for keyword in message.keywords:
            if keyword not in self._lettered:
                self.beyond.setdefault(keyword, []).append(message.uid)
        if self._uids and message.uid and not self._uids.add(message.uid, message.fields, base):
            self._notices.add(joined(self.folder.path, base), "uid", f"its UID {message.uid} is lost")
        return True

    def finish(self) -> None:
        if self._uids:
            try:
                self._uids.finish()
                self._files.dress_file(self._uids.fd, *self._file_attributes(uidlist.NAME))
            except OSError as error:
                raise unwritable(error, uidlist.NAME) from error
        self.close()

    @property
    def has_keywords(self) -> bool:
        """Whether its messages have keywords."""
        return any(self.folder.keywords)

    def write_keywords(self, directory: int) -> None:
        """Name the keywords that messages have, unless the file that does so was restored."""
        content = keywords.format_keywords(self.folder.keywords)
        with suppress(FileExistsError):
            self._files.write(directory, keywords.NAME, [content], *self._file_attributes(keywords.NAME))

    def close(self) -> None:
        """Repeatable."""
        self._places.close()
        if self._uids:
            self._uids.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _file_attributes(self, name: bytes) -> tuple[Ownership, int, Attributes]:
        """Mode, owners, time and attributes of a file of the server: as it was, or as the server would make
        it."""
        path = joined(self.folder.path, name)
        records = _records(self.folder)
        if path in records:
            return records[path].owner, records[path].mtime_ns, records[path].attributes
        above = owner_of(self.folder)
        return Ownership(above.mode & 0o666, above.uid, above.gid), time.time_ns(), ()
