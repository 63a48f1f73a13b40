"""One Maildir mailbox, read while its server goes on delivering, flagging, moving and expunging."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property

from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import KnownFolder, KnownMailbox
from ...proto.records import Attributes, Directory, DirectoryKind, FileStat, Folder, ListedFile, Skipped
from ...proto.structs import Record, replace
from . import folder_names, folder_state, quick_look, uidlist
from .acceptance import Acceptance
from .attributes import AttributeReader, named
from .control import Control, is_control_file
from .directories import confirmed, described, joined, opened, ownership, split, unavailable
from .doveadm import Doveadm, ServerFolder
from .folder_opener import FolderOpener
from .folder_state import FolderState
from .home_files import HomeFiles
from .later_looks import PAUSES, LaterLooks
from .listing import PLACES, Earlier
from .lists import Lists
from .maildir_folder import MaildirFolder
from .marks import DirectoriesMark, FilesMark
from .notices import Notices
from .opened import FileOpener, StoreFile
from .other_files import OtherFiles
from .survey import Contents, Survey, is_folder, survey
from .unchanged_folder import UnchangedFolder


class _Same(Record):
    """A folder that is as it is known: its directories, and when messages last came or went."""

    known: KnownFolder
    records: list[Directory]
    times: Mapping[str, int]


class Places(Record, kw_only=True):
    """Where a mailbox lies, as open directories: its own (``root``), the ``home`` of its user (-1 if there
    is none), of which the patterns ``also`` belong to it, the one in which its server keeps its lists, and
    the one of its ``index`` files (-1 if that is the mailbox), which are not looked at. ``above`` are those
    between the root of the partition and the mailbox, or the home."""

    root: int
    home: int = -1
    control: Control | None = None
    index: int = -1
    above: Sequence[int] = ()
    also: Sequence[str] = ()

    def apart(self) -> frozenset[tuple[int, int]]:
        """The mailbox and what its server keeps elsewhere, by device and inode."""
        control = self.control.fd if self.control else -1
        return frozenset(_identity(fd) for fd in (self.root, control, self.index) if fd >= 0)


class MaildirMailbox:
    """A MailboxReader (see ``proto.ports``). The directories of its ``places`` outlive it. ``now`` is the
    clock, in nanoseconds since 1970.

    The whole mailbox is looked through once, at the beginning: a folder that is unchanged then counts as
    unchanged, and is looked at again at the end if any folder was read after that. ``sleep`` waits between
    the later looks.
    """

    def __init__(
        self,
        places: Places,
        user: str,
        place: bytes,
        doveadm: Doveadm | None,
        *,
        known: KnownMailbox | None,
        wanted: Callable[[str], bool],
        acceptance: Acceptance,
        now: Callable[[], int],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.place = place
        self._places = places
        self._root = places.root
        self._home = places.home
        self._control = places.control
        self._user = user
        self._doveadm = doveadm
        self._known = known
        self._acceptance = acceptance
        self._now = now
        self._sleep = sleep
        self._held_still = True
        self._notices = Notices()
        self._attributes = AttributeReader(self._notices)
        self._opener = FileOpener(self._attributes)
        self._lists = Lists(self._control, self._attributes)
        self._folder_opener = FolderOpener(
            self._root,
            self._lists,
            self._opener,
            self._notices,
            self._ask_server,
            self._ask_keywords,
            now,
        )
        self._states: dict[bytes, FolderState] = {}
        self._directories = DirectoriesMark(now())
        self._has_server = self._has_lists = self._holds_mail = False
        self._apart = places.apart()
        self._home_files = HomeFiles(self._home, places.also, self._notices, self._attributes, self._apart)
        self._is_wanted = wanted
        # By folder: the names in its new/ and cur/ that are no messages.
        self._strays: dict[bytes, set[tuple[str, bytes]]] = {}
        self._files_mark = b""

    @cached_property
    def _survey(self) -> Survey:
        self._directories = DirectoriesMark(self._now())
        apart = self._apart - {_identity(self._root)}
        return survey(self._root, self._notices, look=self._look_at, attributes=self._attributes, apart=apart)

    @cached_property
    def _has_guids(self) -> bool:
        """Whether the names of the folders are in the server's list only."""
        return folder_names.are_guids(self._survey.folders)

    @cached_property
    def _names(self) -> dict[bytes, str]:
        names = folder_names.names(self._survey.folders)
        if self._has_guids and (server := self._ask_server()):
            found = {path: server.get(path.decode()) for path in names}
            names |= {path: os.fsdecode(folder.name) for path, folder in found.items() if folder}
        return names

    @cached_property
    def _wanted(self) -> dict[bytes, str]:
        return {path: name for path, name in self._names.items() if self._is_wanted(name)}

    def mark(self) -> bytes:
        return self._mark

    @cached_property
    def _mark(self) -> bytes:
        if self._known is not None and self._is_as_known:
            return self._known.mark
        if self._has_guids or len(self._wanted) < len(self._names):
            return b""
        return self._with_what_is_around(self._directories)

    @cached_property
    def _is_as_known(self) -> bool:
        """Whether all directories are as they are known, by one stat for each of them and of their parts."""
        known = self._known
        if known is None or not known.mark or self._control is not None:
            return False
        if not all(self._is_wanted(folder) for _, folder in known.directories() if folder):
            return False
        mark = DirectoriesMark(self._now())
        try:
            quick_look.take_in(self._root, known, mark)
        except OSError:
            return False  # looking through it will say why
        return self._with_what_is_around(mark) == known.mark

    def _with_what_is_around(self, mark: DirectoriesMark) -> bytes:
        mark.add(b"server" if self._doveadm else b"", ())
        mark.add(self.place, ())
        for directory in self._around:
            mark.add_record(directory)
        return mark.digest()

    def folders(self) -> Iterator[MaildirFolder | UnchangedFolder]:
        near = self._near()
        earlier: dict[bytes, Earlier] = {}
        any_listed = False
        for path in self._wanted:
            try:
                with ExitStack() as stack:
                    folder = self._reader(stack, path, near[path])
                    yield folder
                    self._has_lists = self._has_lists or folder.folder.uidvalidity > 0
                    if not self._has_lists:
                        self._holds_mail = self._holds_mail or folder.holds_mail
                        self._has_server = self._has_server or folder.has_server_names
                    self._strays[path] = folder.strays
                    earlier[path] = folder.remembered()
                    any_listed = any_listed or folder.was_listed
            except OSError as error:
                self._notices.failed(path, confirmed(error, self._root, path))
        if any_listed:
            self._held_still = False
            yield from self._later_looks(near, earlier)
        self._warn_without_lists()

    def held_still(self) -> bool:
        return self._held_still

    def passed_over(self) -> Sequence[str]:
        return [name for path, name in self._names.items() if path not in self._wanted]

    def files(self) -> Iterator[ListedFile]:
        self._files_mark, mark = b"", FilesMark(self._now())
        if self._known is not None and self._is_as_known and "_survey" not in vars(self):
            yield from quick_look.files(self._root, self._known, mark)
        else:
            yield from self._files_found(mark)
        if self._home >= 0:
            yield from self._home_files.listed(mark)
        self._files_mark = mark.digest()

    def _files_found(self, mark: FilesMark) -> Iterator[ListedFile]:
        """All that is not in the home."""
        taken: set[bytes] = set()
        for file in self._mailbox_files(mark):
            if self._control:
                taken.add(file.path)
            yield file
        if self._has_guids:
            names = OtherFiles(self._list_of_names, self._notices, mark)
            yield from names.directory(b"", lambda name: name.startswith(folder_names.LIST_INDEX))
        if self._control:
            control = OtherFiles(self._control.fd, self._notices, mark)
            yield from self._lists.files(control, self._wanted, taken)

    @property
    def _list_of_names(self) -> int:
        """The directory in which the server has the names of folders that are called by their GUIDs."""
        return self._places.index if self._places.index >= 0 else self._root

    def _mailbox_files(self, mark: FilesMark) -> Iterator[ListedFile]:
        mailbox = OtherFiles(self._root, self._notices, mark, levels_above=1 if self._home >= 0 else 0)
        for path in self._survey.folders:
            # What lies in the mailbox's own directory is the mailbox's, not of INBOX alone.
            if not path or path in self._wanted:
                yield from mailbox.listed(path, self._own(self._survey.contents[path]))
                yield from self._stray_files(mailbox, path)
        for path in self._others_wanted():
            yield from mailbox.listed(path, self._own(self._survey.contents[path]))

    def files_mark(self) -> bytes:
        return self._files_mark

    def open_file(self, file: ListedFile) -> StoreFile:
        base, path = self._base(file)
        *above, name = split(path)
        try:
            with opened(base, tuple(above)) as directory:
                return self._opener.open(directory, name)
        except OSError as error:
            raise unavailable(confirmed(error, base, path), path) from error

    def link_stat(self, file: ListedFile) -> FileStat:
        base, path = self._base(file)
        *above, name = split(path)
        try:
            with opened(base, tuple(above)) as directory:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise unavailable(confirmed(error, base, path), path) from error
        return FileStat(0, status.st_mtime_ns, ownership(status))

    def skipped(self) -> Sequence[Skipped]:
        return self._acceptance.all_judged(self._notices.skipped)

    def _known_folder(self, path: bytes) -> KnownFolder | None:
        return self._known.folder(path) if self._known is not None else None

    def _look_at(self, path: bytes, directory: int, status: os.stat_result, contents: Contents) -> None:
        """Note the state of a directory; of a folder also whether a server keeps files in it."""
        if not is_folder(contents):
            self._directories.add(path, (status,))
            return
        self._has_server = self._has_server or any(name.startswith(b"dovecot") for name in contents.files)
        self._has_lists = self._has_lists or (not self._control and uidlist.NAME in contents.files)
        try:
            with ExitStack() as stack:
                lists = self._lists.opened(stack, directory, path)
                state = folder_state.glance(directory, status, contents, lists)
                if self._control:
                    state = replace(state, control=self._lists.record(lists, path))
        except OSError:
            # It changes at this moment, or opening it will say why.
            self._directories.add_unknown()
            return
        self._states[path] = state
        self._directories.add(path, state.all_parts())
        if state.control is not None:
            self._directories.add_record(state.control)

    def _same(self, path: bytes) -> _Same | None:
        """A folder that is as it is known; None if it is not."""
        known, state = self._known_folder(path), self._states.get(path)
        mark = folder_state.decoded(known.mark) if known is not None else None
        if known is None or state is None or mark is None or known.folder.path != path:
            return None
        if state.hash() != mark.state:
            return None
        try:
            with opened(self._root, split(path)) as directory:
                state = replace(state, attributes=self._attributes_of(known.folder, directory, state))
        except OSError:
            return None  # opening it will say why
        return _Same(known, state.records(path), state.times())

    def _attributes_of(self, known: Folder, directory: int, state: FolderState) -> dict[bytes, Attributes]:
        """Those of a folder that is as it is known. To change them changes the state of what is a part of
        that; of the rest they are read."""
        found = {one.path.rpartition(b"/")[2]: one.attributes for one in known.directories if _is_part(one)}
        found[b""] = self._attributes.of(directory, state.own.st_dev, known.path)
        if b"tmp" in state.parts:
            tmp = named(directory, b"tmp")
            found[b"tmp"] = self._attributes.of(tmp, state.own.st_dev, joined(known.path, b"tmp"))
        return found

    def _reader(
        self, stack: ExitStack, path: bytes, near: Sequence[Directory]
    ) -> MaildirFolder | UnchangedFolder:
        """A folder, open as long as the stack. Raises OSError if it can't be entered."""
        name, same = self._names[path], self._same(path)
        if same is None:
            known = self._known_folder(path)
            return stack.enter_context(self._folder_opener.opened(path, name, near, known))
        folder, directories = same.known.folder, (*same.records, *near)
        if (folder.name, folder.directories) != (name, directories):
            folder = replace(folder, name=name, directories=directories)

        def open_it() -> MaildirFolder:
            try:
                return stack.enter_context(self._folder_opener.opened(path, name, near, same.known))
            except OSError as error:
                self._notices.failed(path, error)
                return self._folder_opener.nothing(folder)

        return UnchangedFolder(same.known, folder, same.times, open_it)

    def _later_looks(
        self, near: Mapping[bytes, Sequence[Directory]], earlier: dict[bytes, Earlier]
    ) -> Iterator[MaildirFolder | UnchangedFolder]:
        """The folders into which mail came since they were read, and those that are new: what was moved from
        a folder read later into one looked at earlier was in neither."""
        looks = LaterLooks(self._root, self._survey, self._notices, self._attributes, self._now)
        for pause in PAUSES:
            if pause:
                self._sleep(pause)
            new = self._named(looks)
            changed = [path for path in list(earlier) if self._has_changed(path, earlier)]
            if not (new or changed):
                self._held_still = True
                return
            for path in (*changed, *new):
                yield from self._look(path, near.get(path, ()), earlier)

    def _look(
        self, path: bytes, near: Sequence[Directory], earlier: dict[bytes, Earlier]
    ) -> Iterator[MaildirFolder]:
        """A folder with what came since it was looked at, if anything did."""
        name, known, before = self._names[path], self._known_folder(path), earlier.get(path)
        try:
            with self._folder_opener.opened(path, name, near, known, before) as folder:
                if len(folder) or before is None:
                    yield folder
                after = folder.remembered()
                earlier[path] = after if before is None else before.before(after)
                if before is None:
                    self._strays[path] = folder.strays
        except OSError as error:
            earlier.pop(path, None)
            self._fail_later(path, error)

    def _has_changed(self, path: bytes, earlier: dict[bytes, Earlier]) -> bool:
        try:
            return self._folder_opener.has_changed(path, earlier[path])
        except OSError as error:
            del earlier[path]
            self._fail_later(path, error)
            return False

    def _fail_later(self, path: bytes, error: OSError) -> None:
        found = confirmed(error, self._root, path)
        if not isinstance(found, FileNotFoundError):  # else its owner removed it
            self._notices.failed(path, found)

    def _named(self, looks: LaterLooks) -> list[bytes]:
        """The new folders that are wanted; they get names that none of the others has."""
        new = looks.new_folders()
        self._survey = looks.survey
        taken = set(self._names.values())
        for path in new:
            name = folder_names.folder_name(path)
            while name in taken:
                name += "~"
            taken.add(name)
            self._names[path] = name
            if self._is_wanted(name):
                self._wanted[path] = name
        return [path for path in new if path in self._wanted]

    def _near(self) -> dict[bytes, list[Directory]]:
        """The directories that are no folders, by the folder that they are told with: the nearest above, or
        the first for those of the mailbox and of the home."""
        others, records = self._survey.others_by_folder(), self._survey.records
        near = {path: [records[other] for other in others.get(path, ())] for path in self._wanted}
        for first in list(self._wanted)[:1]:
            if first:
                near[first] += [records[other] for other in others.get(b"", ())]
            near[first] += self._around
        return near

    @cached_property
    def _around(self) -> list[Directory]:
        """The directories beside the mailbox and above it, as they are when they are first asked for."""
        home = self._home_files.directories() if self._home >= 0 else ()
        return [*home, *self._lists.top(), *self._above()]

    def _above(self) -> Iterator[Directory]:
        for level, directory in enumerate(self._places.above, 1):
            status = os.fstat(directory)
            attributes = self._attributes.of(directory, status.st_dev, b"..")
            # Its time is that of the last mailbox that was made in it.
            record = described(b"%d" % level, status, DirectoryKind.ABOVE, attributes)
            yield replace(record, mtime_ns=0)

    def _others_wanted(self) -> Iterator[bytes]:
        """The directories that are no folders, without those of folders that are passed over."""
        others = self._survey.others_by_folder()
        of_others = {
            path for folder in others if folder and folder not in self._wanted for path in others[folder]
        }
        return (path for path in self._survey.others if path not in of_others)

    def _own(self, contents: Contents) -> Contents:
        """What of a directory of the mailbox counts: with a control directory not what the server looks for
        there."""
        return contents.only(lambda name: not is_control_file(name)) if self._control else contents

    def _stray_files(self, mailbox: OtherFiles, folder: bytes) -> Iterator[ListedFile]:
        for place in PLACES:
            names = {name for where, name in self._strays.get(folder, ()) if where == place}
            if names:
                above = joined(folder, place.encode())
                yield from mailbox.directory(above, names.__contains__)
                for name in sorted(names):
                    yield from mailbox.tree(joined(above, name))

    def _warn_without_lists(self) -> None:
        """A server that keeps UIDs keeps them elsewhere, if the mailbox has none: they would be lost."""
        if self._has_lists or not self._holds_mail or not (self._doveadm or self._has_server):
            return
        why = "no folder has a UID list: if the server keeps them elsewhere (CONTROL=), say where (control)"
        self._notices.add(b"", "uidlist", why)

    def _base(self, file: ListedFile) -> tuple[int, bytes]:
        """Where a listed file lies: a directory, and the path in it."""
        if not file.home:
            if self._has_guids and file.path.startswith(folder_names.LIST_INDEX):
                return self._list_of_names, file.path
            where = self._lists.where(file)
            return (self._root, file.path) if where is None else where
        if self._home < 0:
            raise MessageUnavailable("the mailbox has no home beside it", reason="vanished")
        return self._home, file.path

    def _ask_keywords(self, guid: str) -> Mapping[int, tuple[str, ...]]:
        if self._doveadm is None:
            return {}
        return self._doveadm.keywords(self._user, guid)

    def _ask_server(self) -> Mapping[str, ServerFolder] | None:
        """The folders as the server knows them, by GUID; None if no server is to be asked."""
        if self._doveadm is None:
            return None
        try:
            return self._doveadm.folders(self._user)
        except StoreError as error:
            self._notices.add(b"", "doveadm", f"HIGHESTMODSEQ is not recorded: {error.message}")
            return None


def _is_part(record: Directory) -> bool:
    return record.kind in (DirectoryKind.PART, DirectoryKind.UIDLIST)


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
