"""Messages on their way into folders that are there: they wait in stages beside the mailbox."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ...groups.paths import printable
from ...proto.errors import LockedError, MessageUnavailable, StoreError
from ...proto.structs import Record
from . import keywords
from .doveadm import Doveadm
from .dovecot_index import INDEX, StagedFolder, write_indexes
from .existing_folder import ExistingFolder
from .folder_names import INBOX
from .notices import Notices
from .reserved_uids import ReservedUids
from .staged_tree import StagedTree
from .uidlist_file import opened_list, uids_of

_RESERVED = b"reserved"


def stage_of(number: int) -> tuple[bytes, ...]:
    """Where the messages for a folder wait, beside the tree."""
    return (b"added%d" % number,)


def reserved_stage_of(number: int) -> tuple[bytes, ...]:
    """Where those wait that are to have their old UIDs."""
    return _RESERVED, b"%d" % number


class _Addressed(Record):
    """A folder that gets messages, its open directories, and how letters of keywords change on the way."""

    number: int
    folder: ExistingFolder
    directory: int
    lists: int
    index: int
    translation: keywords.Translation


class Delivery:
    """What is put into the folders of one mailbox. Its methods raise OSError."""

    def __init__(self, tree: StagedTree, user: str, doveadm: Doveadm | None, notices: Notices) -> None:
        self._tree = tree
        self._user = user
        self._doveadm = doveadm
        self._notices = notices
        self._all: list[_Addressed] = []
        self._numbered: list[tuple[_Addressed, ReservedUids]] = []

    def add(self, folder: ExistingFolder, directory: int, lists: int, index: int) -> None:
        """The next folder, and the open directories in which it has its messages, its lists and its index."""
        number = len(self._all)
        with self._stage(stage_of(number)) as stage:
            translation = folder.translation(lists, stage, self._notices)
        addressed = _Addressed(number, folder, directory, lists, index, translation)
        self._all.append(addressed)
        if folder.reserved and not folder.reserved.is_empty:
            self._numbered.append((addressed, folder.reserved))

    def carry_out(self, margin: int) -> int:
        """Put everything into place. Where an index takes the place of another, it counts on by ``margin``
        above that. Returns how many folders lost their index instead."""
        entered: set[int] = set()
        written = False
        if self._numbered and self._finds_indexes():
            written = self._write_indexes(margin)
            entered = {one.number for one, reserved in self._numbered if self._enter(one, reserved)}
        renumbered = {one.number for one, _ in self._numbered} - entered
        for addressed in self._all:
            stages = [stage_of(addressed.number)]
            if addressed.number in renumbered:
                stages.append(reserved_stage_of(addressed.number))
            for where in stages:
                with self._stage(where) as stage:
                    if addressed.folder.reserved and where != stages[0]:
                        addressed.folder.reserved.leave_there(stage)
                    addressed.folder.deliver(addressed.directory, stage, addressed.translation)
            if beyond := addressed.folder.without_letters(addressed.translation):
                self._add_keywords(addressed, beyond)
        return 0 if written else len(entered)

    def _finds_indexes(self) -> bool:
        """Whether the server will miss its index files where they are taken away; else it would give the
        messages new UIDs, and complain of each."""
        inbox = next(
            (addressed for addressed, _ in self._numbered if addressed.folder.folder.name == INBOX), None
        )
        if self._doveadm is None or inbox is None:
            return True
        try:
            place = self._doveadm.index_of_inbox(self._user)
        except StoreError:
            return True  # what is wrong is told when it is asked for an index
        if not place or os.path.samestat(os.stat(place), os.fstat(inbox.index)):
            return True
        self._renumber(inbox, f"the server keeps its index in {printable(place)}")
        return False

    def _write_indexes(self, margin: int) -> bool:
        """Let the server write indexes of the messages that are to have their old UIDs; whether it did."""
        with ExitStack() as stack:
            staged = []
            for addressed, reserved in self._numbered:
                stage = stack.enter_context(self._stage(reserved_stage_of(addressed.number)))
                reserved.look_like(stage, addressed.directory, addressed.lists, addressed.translation)
                staged.append(StagedFolder(stage, (b"%d" % addressed.number,), is_empty=False))
            if self._doveadm is None:
                return False
            place, _ = self._tree.admit(whole=False)
            with self._stage((_RESERVED,)) as above:
                os.fchmod(above, 0o711)
            try:
                known = [
                    server_folder.highest_modseq
                    for server_folder in self._doveadm.folders(self._user).values()
                ]
                known += [one.folder.folder.highest_modseq for one, _ in self._numbered]
                write_indexes(self._doveadm, self._user, place, _RESERVED, staged, max(known) + margin)
            except StoreError as error:
                self._notices.add(b"", "doveadm", f"HIGHESTMODSEQ is not raised: {error.message}")
                for folder in staged:
                    with suppress(FileNotFoundError):
                        os.unlink(INDEX, dir_fd=folder.directory)
                return False
            self._tree.sync()
            return True

    def _enter(self, one: _Addressed, reserved: ReservedUids) -> bool:
        """Whether the messages got their old UIDs."""
        try:
            with self._stage(reserved_stage_of(one.number)) as stage:
                if reserved.enter(stage, one.directory, one.lists, one.index):
                    return True
            why = "they are not free any more"
        except (LockedError, MessageUnavailable) as error:
            why = error.message
        self._renumber(one, why)
        return False

    def _add_keywords(self, one: _Addressed, beyond: Mapping[str, Sequence[bytes]]) -> None:
        """Keywords for which the folder has no letters: only the server's index can hold them."""
        left = dict(beyond)
        try:
            if self._doveadm is None:
                raise StoreError("the server is not told (doveadm)")
            with opened_list(one.lists) as found:
                guid = found.header.guid
            self._doveadm.look(self._user, guid)  # from now on the messages have UIDs
            uids = uids_of(one.lists, {base for bases in beyond.values() for base in bases})
            for keyword, bases in beyond.items():
                if bases and uids.keys() >= set(bases):
                    self._doveadm.add_keyword(self._user, guid, keyword, [uids[base] for base in bases])
                    del left[keyword]
            why = "they have no name, or their messages no UID"
        except (StoreError, MessageUnavailable) as error:
            why = error.message
        except OSError as error:
            why = error.strerror or ""
        if left:
            detail = f"messages come back without keywords: {', '.join(left)}: {why}"
            self._notices.add(one.folder.folder.path, "keyword", detail)

    def _renumber(self, one: _Addressed, why: str) -> None:
        self._notices.add(one.folder.folder.path, "uid", f"messages get new UIDs: {why}")

    @contextmanager
    def _stage(self, names: tuple[bytes, ...]) -> Iterator[int]:
        directory = self._tree.make_beside(*names)
        try:
            yield directory
        finally:
            os.close(directory)
