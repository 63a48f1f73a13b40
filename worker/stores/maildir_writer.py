"""One Maildir mailbox being restored: built beside its place, and put there when it is whole.

A mailbox that does not exist appears all at once. In one that exists, so does a folder that does not;
a folder that exists gets its messages one by one. A process that is killed leaves nothing but temporary
trees (see ``scaffold``) in the directory above the mailbox, or in its ``tmp/``.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import FolderWriter
from ...proto.records import (
    Directory,
    DirectoryKind,
    Folder,
    MailboxOutcome,
    Ownership,
    Renumbering,
    Skipped,
    StoredFile,
)
from ...proto.structs import Record, field, replace
from .added_folder import added_folder, lies_below
from .apart_tree import ApartTree
from .control import is_control_file
from .counting import count_messages
from .delivery import Delivery, reserved_stage_of, stage_of
from .directories import (
    checked_name,
    descend,
    exists,
    is_mailbox,
    is_maildir,
    names_in,
    opened,
    refused,
    split,
    unwritable,
)
from .doveadm import Doveadm
from .dovecot_index import INDEX, StagedFolder, write_indexes
from .existing_folder import ExistingFolder
from .file_names import FileNames
from .file_writer import FileWriter
from .folder_names import INBOX, LIST_INDEX, are_guids
from .known_files import KnownFiles
from .links import stays_inside
from .new_folder import NewFolder, owner_of
from .notices import Notices
from .renumbering import COUNTER, COURIER, Renumberer
from .reserved_uids import ReservedUids, free_below
from .staged_tree import StagedTree
from .survey import OWN

_CHANGES_PER_UID = 10  # how often a message is flagged, at most, on average: HIGHESTMODSEQ counts that too

_PRIVATE_MODE = 0o700

_SERVER_STATE = (b"dovecot-uidvalidity", b"maildirsize")
"""Files at the top of a mailbox whose names begin so tell of all its folders and messages: those of another
time are wrong beside what is there."""


class Apart(Record, kw_only=True):
    """A directory of its server apart from the folders: open, and perhaps made for it; or to lie ``below``
    the mailbox, which does not exist yet."""

    fd: int = -1
    is_new: bool = False
    below: bytes = b""


def _knows_none() -> None:
    return None


class Site(Record, kw_only=True):
    """Open directories: the mailbox's own (``root``; -1 if it does not exist), the one above it where it
    will be called ``name`` (``parent``; -1 if it exists), the one for temporary trees (``workshop``), and
    the home of its user (-1 if there is none), which may have been made for it. Its server may keep lists
    (``control``) and index files (``index``) elsewhere. ``made_above`` are the directories above that were
    made for it, by how many levels below the root they lie. ``known`` opens the files that are known for all
    mailboxes of the restore."""

    root: int
    parent: int
    name: bytes
    workshop: int
    home: int
    new_home: bool = False
    control: Apart | None = None
    index: Apart | None = None
    made_above: Mapping[int, int] = field(default_factory=dict)
    known: Callable[[], KnownFiles | None] = _knows_none


class MaildirWriter:
    """A MailboxWriter (see ``proto.ports``). Raises OSError if it can't begin."""

    def __init__(
        self,
        site: Site,
        user: str,
        doveadm: Doveadm | None,
        renumbering: Renumbering,
        layout: Sequence[Folder] = (),
    ) -> None:
        self._site = site
        self._user = user
        self._doveadm = doveadm
        self._renumbering = renumbering
        self._layout = layout
        self._numbers = Renumberer(renumbering, int(time.time()))
        self._counters: list[StoredFile] = []
        self._without_modseq = 0
        self._indexed: set[bytes] = set()
        self._notices = Notices()
        self._files = FileWriter(self._notices)
        self._new: dict[bytes, NewFolder] = {}
        self._existing: list[ExistingFolder] = []
        self._home_tree: StagedTree | None = None
        self._home_record: Directory | None = None
        self._above: dict[bytes, Directory] = {}
        self._is_added_to = site.root >= 0 and is_mailbox(site.root)
        if self._is_added_to:
            # It may have become another user's, or users may have other numbers now.
            status = os.fstat(site.root)
            self._files.owner = status.st_uid, status.st_gid
        self._tree = StagedTree(site.workshop, self._files)
        self._names = FileNames(self._files, self._known_files)
        self._own_known: KnownFiles | None = None
        self._control = self._apart(site.control, is_control_file)
        self._index = self._apart(site.index, lambda name: name.startswith((INDEX, LIST_INDEX)))

    def _known_files(self) -> KnownFiles:
        """Those of the restore; of the mailbox alone, where that has none here."""
        if known := self._site.known():
            return known
        self._own_known = KnownFiles(self._tree.make_beside(b"known"))
        return self._own_known

    def _apart(self, apart: Apart | None, mine: Callable[[bytes], bool]) -> ApartTree | None:
        if apart is None:
            return None
        directory = self._tree.make(split(apart.below)) if apart.below else os.dup(apart.fd)
        is_new = apart.is_new or bool(apart.below)
        return ApartTree(directory, self._layout, self._files, self._notices, mine, is_new=is_new)

    def new_folder(self, name: str) -> Folder:
        return added_folder(name, self._layout)

    def open_folder(self, folder: Folder) -> FolderWriter:
        names = split(folder.path)
        try:
            there = self._folder_there(names)
            return self._added_to(folder, there) if there >= 0 else self._built(folder, names)
        except OSError as error:
            raise unwritable(error, folder.path) from error

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        *above, name = split(file.path) or (checked_name(file.path),)
        try:
            if self._is_there(file, tuple(above), name):
                return False
            if self._is_counter(file, tuple(above), name, content):
                return True
            tree = self._home() if file.home else self._tree
            if not self._is_added_to and not self._tree.owner:
                # A mailbox that nobody has opened yet has no folders whose owner could be told.
                self._tree.describe((), replace(file.owner, mode=_PRIVATE_MODE))
            directory = tree.make(tuple(above))
        except OSError as error:
            raise unwritable(error, file.path) from error
        try:
            if file.target is None:
                if name in COURIER and not file.home and b"/".join(above) in self._new:
                    content = self._numbers.courier(name, content)
                self._files.write(directory, name, content, file.owner, file.mtime_ns, file.attributes)
            else:
                self._link(file, file.target, directory, name)
        except FileExistsError:
            return False
        finally:
            os.close(directory)
        return True

    def commit(self) -> None:
        try:
            self._dress_above()
            self._finish()
            for apart in self._aparts():
                # Before the mail can be seen: whoever sees it finds its UIDs.
                apart.put()
            if self._site.root < 0:
                self._put_mailbox()
            else:
                self._tree.merge(self._site.root, self._kept)
                self._deliver()
            if self._home_tree:
                self._home_tree.merge(self._site.home, self._kept_home)
            self._set_last_times()
        except OSError as error:
            raise refused(error, f"the mailbox of {self._user!r} can't be put in place") from error
        self._names.keep()
        self._files.report()
        self._check_indexes()
        self._add_keywords_beyond()

    def _check_indexes(self) -> None:
        """Whether the server finds the index files that were written: it may keep its own elsewhere."""
        inbox = next((folder.path for folder in self._layout if folder.name == INBOX), None)
        if self._doveadm is None or inbox not in self._indexed:
            return
        try:
            place = self._doveadm.index_of_inbox(self._user)
            # Without index files the server has no numbers that a client could remember.
            if place and not os.path.exists(os.path.join(place, INDEX)):
                where = printable(place)
                raise StoreError(f"the server keeps its index in {where}, not where the configuration says")
        except StoreError as error:
            self._without_modseq += len(self._indexed)
            self._notices.add(b"", "doveadm", f"HIGHESTMODSEQ is not raised: {error.message}")

    def _add_keywords_beyond(self) -> None:
        """Keywords for which the folders have no letters: only the server's index can hold them."""
        for path, folder in self._new.items():
            if not folder.beyond:
                continue
            try:
                if self._doveadm is None or not folder.folder.guid:
                    raise StoreError("the server is not told (doveadm)")
                for keyword, uids in folder.beyond.items():
                    self._doveadm.add_keyword(
                        self._user, folder.folder.guid, keyword, [uid for uid in uids if uid]
                    )
                if any(0 in uids for uids in folder.beyond.values()):
                    raise StoreError("a message without a UID")
            except StoreError as error:
                names = ", ".join(sorted(folder.beyond))
                self._notices.add(
                    path, "keyword", f"messages come back without keywords: {names}: {error.message}"
                )

    def skipped(self) -> Sequence[Skipped]:
        return self._notices.skipped

    def outcome(self) -> MailboxOutcome:
        return MailboxOutcome()

    def without_modseq(self) -> int:
        return self._without_modseq

    def listed(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        with ExitStack() as stack:
            root = self._site.root
            if root < 0:
                root = stack.enter_context(opened(self._site.parent, (self._site.name,)))
            folders: list[NewFolder | ExistingFolder] = [*self._new.values(), *self._existing]
            for folder in folders:
                names = split(folder.folder.path)
                with suppress(OSError), opened(root, names) as directory:
                    counts[folder.folder.name] = count_messages(directory)
        return counts

    def close(self) -> None:
        """Remove what was not put into place. Repeatable."""
        folders: list[NewFolder | ExistingFolder] = [*self._new.values(), *self._existing]
        for folder in folders:
            folder.close()
        self._tree.remove()
        if self._home_tree:
            self._home_tree.remove()
        for apart in self._aparts():
            apart.remove()
        self._names.close()
        if self._own_known:
            self._own_known.close()

    def _aparts(self) -> list[ApartTree]:
        return [tree for tree in (self._control, self._index) if tree]

    def _folder_there(self, names: tuple[bytes, ...]) -> int:
        """The directory of a folder that exists, opened, else -1."""
        if self._site.root < 0:
            return -1
        try:
            directory = descend(self._site.root, names)
        except FileNotFoundError:
            return -1
        if is_maildir(directory):
            return directory
        os.close(directory)
        return -1

    def _added_to(self, folder: Folder, directory: int) -> FolderWriter:
        lists = self._lists(folder, directory)
        above = stage_of(len(self._existing))
        stage = self._tree.make_beside(*above)
        reserved = self._reserved(folder, lists)
        writer = ExistingFolder(folder, directory, lists, stage, self._files, self._names, reserved)
        self._existing.append(writer)
        return writer

    def _reserved(self, folder: Folder, lists: int) -> ReservedUids | None:
        """The UIDs that were kept free for a folder that is there."""
        limit = 0 if self._renumbering.new_uidvalidity else free_below(lists, folder)
        if not limit:
            return None
        above = reserved_stage_of(len(self._existing))
        stage = self._tree.make_beside(*above)
        try:
            return ReservedUids(limit, stage, self._files, self._names)
        finally:
            os.close(stage)

    def _lists(self, folder: Folder, directory: int) -> int:
        """The directory with the lists of a folder that is there, opened."""
        if self._control:
            return self._control.there(folder.path, os.fstat(directory))
        return os.dup(directory)

    def _index_of(self, folder: Folder, directory: int) -> int:
        """The directory with the index files of a folder that is there, opened."""
        if self._index:
            return self._index.there(folder.path, os.fstat(directory))
        return os.dup(directory)

    def _built(self, folder: Folder, names: tuple[bytes, ...]) -> FolderWriter:
        if folder.path in self._new:
            raise MessageUnavailable("two folders would become one", reason="leads-out")
        folder = self._numbers.folder(folder)
        owner = owner_of(folder)
        in_home = [one for one in folder.directories if one.kind is DirectoryKind.HOME]
        elsewhere = (DirectoryKind.HOME, DirectoryKind.CONTROL, DirectoryKind.ABOVE)
        self._above |= {one.path: one for one in folder.directories if one.kind is DirectoryKind.ABOVE}
        in_mailbox = [one for one in folder.directories if one.kind not in elsewhere]
        if self._control:
            self._control.describe(folder)
        self._tree.describe(in_mailbox, owner)
        directory = self._tree.make_all(names, OWN)
        try:
            for record in in_mailbox:
                if record.kind is not DirectoryKind.UIDLIST and not self._tree.has(record.path):
                    os.close(self._tree.make(split(record.path)))
            for record in in_home:
                self._build_in_home(record, owner)
        except BaseException:
            os.close(directory)
            raise
        writer = NewFolder(
            folder,
            directory,
            self._files,
            self._notices,
            self._names,
            reserves=self._renumbering.reserves,
        )
        self._new[folder.path] = writer
        return writer

    def _build_in_home(self, record: Directory, owner: Ownership) -> None:
        if not record.path:
            self._home_record = self._home_record or record
        elif self._site.home >= 0:
            self._home().describe([record], owner)
            os.close(self._home().make(split(record.path)))

    def _is_there(self, file: StoredFile, above: tuple[bytes, ...], name: bytes) -> bool:
        base = self._site.home if file.home else self._site.root
        if self._control and not file.home and is_control_file(name):
            return self._control.is_there(b"/".join(above), name)
        if base < 0:
            return False
        if self._is_added_to and not file.home and not above and name.startswith(_SERVER_STATE):
            return True
        try:
            with opened(base, above) as directory:
                return exists(directory, name)
        except FileNotFoundError:
            return False

    def _is_counter(
        self, file: StoredFile, above: tuple[bytes, ...], name: bytes, content: Iterable[bytes]
    ) -> bool:
        """Whether this file counts UIDVALIDITYs. Such a file is written at the end, with another number."""
        if above or file.home or file.target is not None or not self._numbers.takes(name, content):
            return False
        self._counters.append(file)
        return True

    def _link(self, file: StoredFile, target: bytes, directory: int, name: bytes) -> None:
        levels_above = 1 if self._site.home >= 0 and not file.home else 0
        if not stays_inside(file.path, target, levels_above):
            raise MessageUnavailable("a symbolic link that leads out of the mailbox", reason="leads-out")
        self._files.link(directory, name, target, file.owner, file.mtime_ns)

    def _home(self) -> StagedTree:
        if self._site.home < 0:
            raise MessageUnavailable("this mailbox has no home beside it", reason="leads-out")
        if self._home_tree is None:
            self._home_tree = StagedTree(self._site.home, self._files)
        return self._home_tree

    def _finish(self) -> None:
        """Complete the trees and make them durable."""
        if self._site.root < 0 and not lies_below(self._layout):
            # Also if its INBOX is not restored: who looks for Maildirs must take it for one. But where the
            # INBOX lay elsewhere, these would be folders that nobody had.
            os.close(self._tree.make_all((), OWN))
        for path, folder in self._new.items():
            if folder.has_keywords:
                directory = self._tree.make(split(path))
                try:
                    folder.write_keywords(directory)
                finally:
                    os.close(directory)
        self._write_counters()
        self._tree.finish()
        self._write_indexes()
        for apart in self._aparts():
            apart.take(self._tree.top, self._new, self._tree.owner)
            self._tree.finish_again()
        if self._home_tree:
            if self._tree.owner:
                self._home_tree.describe((), self._tree.owner)
            self._home_tree.finish()

    def _put_mailbox(self) -> None:
        # Before the mailbox can be seen: a restore that is killed now must not leave a mailbox in a home that
        # its user can't enter.
        self._admit_to_home()
        try:
            self._tree.become(self._site.parent, self._site.name)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # The server made it meanwhile, or another restore of the same user.
            with opened(self._site.parent, (self._site.name,)) as root:
                self._tree.merge(root, self._kept)

    def _admit_to_home(self) -> None:
        """Give a new home to its user. (Others than root might lock themselves out.)"""
        if self._site.new_home and os.geteuid() == 0:
            self._tree.dress(self._site.home, self._home_record)

    def _deliver(self) -> None:
        delivery = Delivery(self._tree, self._user, self._doveadm, self._notices)
        with ExitStack() as stack:
            for folder in self._existing:
                directory = descend(self._site.root, split(folder.folder.path))
                stack.callback(os.close, directory)
                lists = self._lists(folder.folder, directory)
                stack.callback(os.close, lists)
                index = self._index_of(folder.folder, directory)
                stack.callback(os.close, index)
                delivery.add(folder, directory, lists, index)
            margin = _CHANGES_PER_UID * self._renumbering.uid_margin
            self._without_modseq += delivery.carry_out(margin)

    def _dress_above(self) -> None:
        """The directories above, if they were made for this mailbox: else the server could make no other one
        in them."""
        for level, directory in self._site.made_above.items():
            if record := self._above.get(b"%d" % level):
                self._files.dress(directory, replace(record, mtime_ns=time.time_ns()))

    def _set_last_times(self) -> None:
        """What putting trees into place, and taking the temporary ones away, has changed."""
        self._tree.remove()
        if self._home_tree:
            self._home_tree.remove()
        for apart in self._aparts():
            apart.end()
        if self._site.root >= 0:
            is_hidden = self._is_added_to and are_guids(folder.path for folder in self._layout)
            if is_hidden and self._new:
                why = "the server lists no folder that it has forgotten the name of (LAYOUT=index)"
                self._notices.add(b"", "name", why)
            elif not self._new.keys().isdisjoint(self._tree.merged):
                self._forget_folder_list()
            self._tree.dress_merged(self._site.root, only_times=self._is_added_to)
        if self._site.new_home:
            self._tree.dress(self._site.home, self._home_record)

    def _forget_folder_list(self) -> None:
        """Remove Dovecot's copy of which folders there are. It makes it anew; while it has it, a directory
        that was no folder when it looked (``Archive`` beside ``Archive/2024``) stays none."""
        for name in names_in(self._site.root):
            if name.startswith(LIST_INDEX):
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._site.root)

    def _kept(self, path: bytes) -> None:
        self._notices.add(path, "exists", "came into being meanwhile and is left as it is")

    def _kept_home(self, path: bytes) -> None:
        self._notices.add(path, "exists", "came into being meanwhile and is left as it is", home=True)

    def _counts_already(self) -> bool:
        if self._control:
            return self._control.is_there(b"", COUNTER)
        return self._site.root >= 0 and exists(self._site.root, COUNTER)

    def _write_counters(self) -> None:
        """The counter of UIDVALIDITYs and its marker, unless the server counts already."""
        if not self._counters or self._counts_already():
            return
        top = self._tree.make(())
        try:
            for name, content in self._numbers.counter_files().items():
                # The server writes the one, and renames the other.
                like = [
                    counter for counter in self._counters if (counter.path == COUNTER) == (name == COUNTER)
                ]
                recorded = (like or self._counters)[-1]
                mode = recorded.owner.mode | (0o200 if name == COUNTER else 0)
                owner = replace(recorded.owner, mode=mode)
                self._files.write(top, name, [content], owner, recorded.mtime_ns, recorded.attributes)
        finally:
            os.close(top)

    def _write_indexes(self) -> None:
        """Let the server count on above what clients may remember of the new folders."""
        numbered = [new_folder for new_folder in self._new.values() if new_folder.folder.uidvalidity]
        if not numbered or self._renumbering.new_uidvalidity:
            return
        self._without_modseq = len(numbered)
        if self._doveadm is None:
            return
        known = max(one.folder.highest_modseq for one in numbered)
        least = known + _CHANGES_PER_UID * self._renumbering.uid_margin
        self._admit_to_home()
        place, tree = self._tree.admit(whole=self._site.root < 0)
        with ExitStack() as stack:
            staged = []
            for folder in numbered:
                names = split(folder.folder.path)
                directory = self._tree.make(names)
                stack.callback(os.close, directory)
                staged.append(StagedFolder(directory, names, folder.is_empty))
            try:
                write_indexes(self._doveadm, self._user, place, tree, staged, least)
                self._without_modseq = 0
                self._indexed = {one.folder.path for one in numbered}
            except StoreError as error:
                self._notices.add(b"", "doveadm", f"HIGHESTMODSEQ is not raised: {error.message}")
        self._tree.finish_again()
