"""One Maildir mailbox, read while its server goes on delivering, flagging, moving and expunging."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from ...proto.errors import MessageUnavailable, StoreError
from ...proto.records import Directory, FileStat, ListedFile, Skipped
from . import folder_names
from .directories import described, is_directory, joined, opened, ownership, split, unavailable
from .doveadm import Doveadm, ServerFolder
from .listing import PLACES, Marks
from .location import HOME
from .maildir_folder import FolderOpener, MaildirFolder
from .notices import Notices
from .opened import FileOpener, StoreFile
from .other_files import HOME_DIRECTORY, HOME_FILES, FileWalk, worth_keeping
from .survey import survey


class MaildirMailbox:
    """A MailboxReader (see ``proto.ports``). ``root`` and ``home`` are open directories that outlive it;
    ``home`` is -1 where the mailbox has none."""

    def __init__(self, root: int, home: int, user: str, place: bytes, doveadm: Doveadm | None) -> None:
        self.place = place
        self._root = root
        self._home = home
        self._user = user
        self._doveadm = doveadm
        self._notices = Notices()
        self._opener = FileOpener()
        self._survey = survey(root, self._notices)
        # By folder: the names in its new/ and cur/ that are no messages.
        self._strays: dict[bytes, set[tuple[str, bytes]]] = {}

    def folders(self) -> Iterator[MaildirFolder]:
        names = folder_names.names(self._survey.folders)
        others = self._survey.others_by_folder()
        opener = FolderOpener(self._root, self._opener, self._notices, self._ask_server)
        marks: dict[bytes, Marks] = {}
        # Told with the first folder.
        beside = {path: list(self._home_directories()) for path in self._survey.folders[:1]}
        for path in self._survey.folders:
            near = others.get(path, []), beside.get(path, [])
            try:
                with opener.opened(path, names[path], *near) as folder:
                    self._strays[path] = folder.strays
                    marks[path] = folder.marks()
                    yield folder
            except OSError as error:
                self._notices.failed(path, error)
        for path, known in marks.items():
            # Mail that was moved from a folder read later into one read earlier was in neither.
            try:
                if opener.has_changed(path, known):
                    near = others.get(path, []), beside.get(path, [])
                    with opener.opened(path, names[path], *near, earlier=known) as folder:
                        if len(folder):
                            yield folder
            except FileNotFoundError:
                continue  # its owner removed it
            except OSError as error:
                self._notices.failed(path, error)

    def files(self) -> Iterator[ListedFile]:
        has_home = self._home >= 0
        mailbox = FileWalk(self._root, self._notices, levels_above=1 if has_home else 0)
        for path in self._survey.folders:
            yield from mailbox.directory(path, worth_keeping)
            yield from self._stray_files(mailbox, path)
        for path in self._survey.others:
            yield from mailbox.directory(path)
        if has_home:
            home = FileWalk(self._home, self._notices, home=True)
            yield from home.directory(b"", HOME_FILES.__contains__)
            yield from home.tree(HOME_DIRECTORY)

    def open_file(self, file: ListedFile) -> StoreFile:
        *above, name = split(file.path)
        try:
            with opened(self._base(file), tuple(above)) as directory:
                return self._opener.open(directory, name)
        except OSError as error:
            raise unavailable(error, file.path) from error

    def link_stat(self, file: ListedFile) -> FileStat:
        *above, name = split(file.path)
        try:
            with opened(self._base(file), tuple(above)) as directory:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise unavailable(error, file.path) from error
        return FileStat(0, status.st_mtime_ns, ownership(status))

    def skipped(self) -> Sequence[Skipped]:
        return self._notices.skipped

    def _home_directories(self) -> Iterator[Directory]:
        """The home and the directories in it that belong to the mail, relative to the mailbox."""
        if self._home < 0:
            return
        yield described(HOME, os.fstat(self._home))
        if is_directory(self._home, HOME_DIRECTORY):
            for path in survey(self._home, self._notices, HOME_DIRECTORY, plain=True, home=True).others:
                with suppress(OSError), opened(self._home, split(path)) as fd:
                    yield described(joined(HOME, path), os.fstat(fd))

    def _stray_files(self, mailbox: FileWalk, folder: bytes) -> Iterator[ListedFile]:
        for place in PLACES:
            names = {name for where, name in self._strays.get(folder, ()) if where == place}
            if names:
                above = joined(folder, place.encode())
                yield from mailbox.directory(above, names.__contains__)
                for name in sorted(names):
                    yield from mailbox.tree(joined(above, name))

    def _base(self, file: ListedFile) -> int:
        if file.home and self._home < 0:
            raise MessageUnavailable("the mailbox has no home beside it", reason="vanished")
        return self._home if file.home else self._root

    def _ask_server(self) -> Mapping[str, ServerFolder] | None:
        """The folders as the server knows them, by GUID; None if no server is to be asked."""
        if self._doveadm is None:
            return None
        try:
            return self._doveadm.folders(self._user)
        except StoreError as error:
            self._notices.add(b"", "doveadm", f"HIGHESTMODSEQ is not recorded: {error.message}")
            return None
