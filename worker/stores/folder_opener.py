"""Opens the folders of one Maildir mailbox: what is read of each, and in which order."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ...proto.errors import MessageUnavailable, StoreError
from ...proto.ports import KnownFolder
from ...proto.records import Attributes, Directory, Folder
from . import folder_state, keywords, uidlist
from .directories import confirmed, descend, joined, split
from .doveadm import ServerFolder
from .folder_state import FolderState, Mark
from .listing import PLACES, Earlier, Listing
from .lists import Lists
from .maildir_folder import MaildirFolder
from .notices import Notices
from .numbering import Numbering
from .opened import FileOpener

AskServer = Callable[[], Mapping[str, ServerFolder] | None]


AskKeywords = Callable[[str], Mapping[int, tuple[str, ...]]]


class FolderOpener:
    """Opens the folders of one mailbox. ``ask_server`` gives them as their server knows them, by GUID, and
    is not called before a folder is opened; ``ask_keywords`` those of a folder's messages by UID, by its
    GUID. ``now`` is the clock, in nanoseconds since 1970."""

    def __init__(
        self,
        root: int,
        lists: Lists,
        opener: FileOpener,
        notices: Notices,
        ask_server: AskServer,
        ask_keywords: AskKeywords,
        now: Callable[[], int],
    ) -> None:
        self._root = root
        self._lists = lists
        self._opener = opener
        self._notices = notices
        self._ask_server = ask_server
        self._ask_keywords = ask_keywords
        self._now = now
        self._has_asked = False
        self._server: Mapping[str, ServerFolder] | None = None

    def has_changed(self, path: bytes, earlier: Earlier) -> bool:
        """Whether something may have come into or gone out of a folder since an earlier look. Raises
        OSError."""
        if not earlier.settled:
            return True
        return any(self._time(joined(path, place.encode())) != then for place, then in earlier.times.items())

    @contextmanager
    def opened(
        self,
        path: bytes,
        name: str,
        near: Sequence[Directory] = (),
        known: KnownFolder | None = None,
        earlier: Earlier | None = None,
    ) -> Iterator[MaildirFolder]:
        """A folder; its record tells of ``near`` too, directories that are told with it though they are no
        part of it. Of a folder that was looked at ``earlier`` only what came since, and then without a mark.
        Raises OSError if it can't be entered."""
        self._ask_once()
        told_before = self._notices.count
        with ExitStack() as stack:
            directory = _entered(stack, self._root, split(path))
            # First the clock, then the state of everything, then the contents: what changes meanwhile shows
            # in the next state. The UID list is opened before the directories are read: a message that is
            # listed finds its UID, or had none yet. Keywords are read last: each flag finds its keyword.
            now_ns = self._now()
            lists = self._lists.opened(stack, directory, path)
            places, refused, uids, state = self._state(stack, directory, lists, path)
            mark = folder_state.mark_of(state, places)
            listing = self._listing(places, path, earlier)
            numbering = self._numbering(listing, uids, path)
            folder = self._record(path, name, uids, lists, (*state.records(path), *near))
            beyond, are_all_told = self._keywords_beyond(path, folder)
            numbering.names = keywords.FlagNames(folder.keywords, beyond)
            whole = listing.settled and not listing.others and self._notices.count == told_before
            can_tell = earlier is None and whole and are_all_told and state.has_settled(now_ns)
            yield MaildirFolder(
                folder,
                listing,
                numbering,
                places,
                self._opener,
                mark=mark.encoded() if can_tell else b"",
                trusted=_is_the_known_one(known, folder, mark),
                complete=earlier is not None or not (refused or listing.problems),
            )

    def nothing(self, folder: Folder) -> MaildirFolder:
        """A folder that could not be opened, though it was there before: without messages."""
        listing = Listing({})
        return MaildirFolder(
            folder,
            listing,
            Numbering(listing, None),
            {},
            self._opener,
            mark=b"",
            trusted=False,
            complete=False,
        )

    def _time(self, path: bytes) -> int:
        return os.stat(path, dir_fd=self._root, follow_symlinks=False).st_mtime_ns

    def _state(
        self, stack: ExitStack, directory: int, lists: int | None, path: bytes
    ) -> tuple[dict[str, int], bool, uidlist.UidList | None, FolderState]:
        """The places of messages and the UID list, opened, whether a place could not be, and what all parts
        of the folder are like."""
        own = os.fstat(directory)
        parts: dict[bytes, os.stat_result] = {}
        places: dict[str, int] = {}
        told_before = self._notices.count
        for place in PLACES:
            fd = self._place(stack, directory, path, place.encode())
            if fd is not None:
                places[place] = fd
                parts[place.encode()] = os.fstat(fd)
        refused = self._notices.count > told_before
        attributes = {b"": self._attributes(directory, own, path)}
        temporary = self._place(stack, directory, path, b"tmp")
        if temporary is not None:
            parts[b"tmp"] = os.fstat(temporary)
            attributes[b"tmp"] = self._attributes(temporary, parts[b"tmp"], joined(path, b"tmp"))
        for place, fd in places.items():
            name = place.encode()
            attributes[name] = self._attributes(fd, parts[name], joined(path, name))
        uids = None
        if lists is not None:
            uids = self._uidlist(stack, lists, path, parts, attributes)
            with suppress(OSError):  # reading them says why
                parts[keywords.NAME] = os.stat(keywords.NAME, dir_fd=lists, follow_symlinks=False)
        control = self._lists.record(lists, path)
        return places, refused, uids, FolderState(own, parts, attributes, control)

    def _attributes(self, fd: int, status: os.stat_result, path: bytes) -> Attributes:
        reader = self._opener.attributes
        return reader.of(fd, status.st_dev, path) if reader else ()

    def _place(self, stack: ExitStack, directory: int, path: bytes, name: bytes) -> int | None:
        try:
            return _entered(stack, directory, (name,))
        except OSError as error:
            found = confirmed(error, directory, name)
            if found.errno != errno.ENOENT:
                self._notices.failed(joined(path, name), found)
            return None

    def _uidlist(
        self,
        stack: ExitStack,
        directory: int,
        path: bytes,
        parts: dict[bytes, os.stat_result],
        attributes: dict[bytes, Attributes],
    ) -> uidlist.UidList | None:
        below = joined(path, uidlist.NAME)
        try:
            fd, status = self._opener.open_regular(directory, uidlist.NAME)
            stack.callback(os.close, fd)
            parts[uidlist.NAME] = status
            attributes[uidlist.NAME] = self._attributes(fd, status, below)
            return uidlist.UidList(fd, status.st_size)
        except FileNotFoundError:
            return None
        except MessageUnavailable as error:
            self._notices.add(below, error.reason, error.message)
        except OSError as error:
            self._notices.failed(below, error)
        return None

    def _listing(self, places: Mapping[str, int], path: bytes, earlier: Earlier | None) -> Listing:
        listing = Listing(places, self._now)
        if earlier is not None:
            listing.drop(earlier)
        for place, error in listing.problems.items():
            self._notices.failed(joined(path, place.encode()), error)
        return listing

    def _numbering(self, listing: Listing, uids: uidlist.UidList | None, path: bytes) -> Numbering:
        below = joined(path, uidlist.NAME)
        try:
            numbering = Numbering(listing, uids)
        except OSError as error:
            self._notices.failed(below, error)
            return Numbering(listing, None)
        if uids and not uids.header.uidvalidity:
            self._notices.add(below, "uidlist", "its first line can't be read: UIDVALIDITY is not known")
        if uids and uids.garbled:
            self._notices.add(below, "uidlist", f"lines that can't be read: {uids.garbled}")
        if numbering.duplicates:
            self._notices.add(below, "uidlist", f"UIDs given to a second message: {numbering.duplicates}")
        return numbering

    def _record(
        self,
        path: bytes,
        name: str,
        uids: uidlist.UidList | None,
        lists: int | None,
        directories: tuple[Directory, ...],
    ) -> Folder:
        header = uids.header if uids else uidlist.UidListHeader(b"")
        return Folder(
            name=name,
            path=path,
            uidvalidity=header.uidvalidity,
            uidnext=uids.next_uid if uids else 0,
            guid=header.guid,
            highest_modseq=self._highest_modseq(path, header.guid),
            keywords=self._keywords(lists, path) if lists is not None else (),
            header=header.line,
            directories=directories,
        )

    def _keywords_beyond(self, path: bytes, folder: Folder) -> tuple[Mapping[int, tuple[str, ...]], bool]:
        """Keywords of messages by UID for which the folder has no letter left, and whether the folder's files
        tell of all: only the server's index has the others, and changes of them show nowhere else."""
        if sum(map(bool, folder.keywords)) < keywords.MOST:
            return {}, True
        try:
            if self._server is None or not folder.guid:
                raise StoreError("the server is not asked (doveadm)")
            named = set(folder.keywords)
            told = self._ask_keywords(folder.guid)
        except StoreError as error:
            why = f"keywords beyond the first {keywords.MOST} are not recorded: {error.message}"
            self._notices.add(path, "keyword", why)
            return {}, False
        beyond = {uid: tuple(name for name in names if name not in named) for uid, names in told.items()}
        return {uid: names for uid, names in beyond.items() if names}, False

    def _ask_once(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self._server = self._ask_server()

    def _highest_modseq(self, path: bytes, guid: str) -> int:
        if self._server is None or not guid:
            return 0
        if guid not in self._server:
            # Made since the server was asked: ask again.
            self._server = self._ask_server() or {}
        if guid in self._server:
            return self._server[guid].highest_modseq
        if self._is_there(path):  # else it was removed, or has another name by now
            why = "HIGHESTMODSEQ is not recorded: the server does not know this folder"
            self._notices.add(path, "doveadm", why)
        return 0

    def _is_there(self, path: bytes) -> bool:
        try:
            self._time(path or b".")
        except FileNotFoundError:
            return False
        except OSError:
            pass
        return True

    def _keywords(self, directory: int, path: bytes) -> tuple[str, ...]:
        try:
            return keywords.read_keywords(directory, self._opener)
        except MessageUnavailable as error:
            self._notices.add(joined(path, keywords.NAME), error.reason, error.message)
            return ()


def _is_the_known_one(known: KnownFolder | None, folder: Folder, mark: Mark) -> bool:
    """Whether a folder is certainly the one that is known: the same directories, and the server has not
    begun to count anew. Without a mark nothing is known of the directories."""
    then = folder_state.decoded(known.mark) if known is not None else None
    if known is None or then is None or then.identity != mark.identity:
        return False
    return (folder.uidvalidity, folder.guid) == (known.folder.uidvalidity, known.folder.guid)


def _entered(stack: ExitStack, start: int, names: tuple[bytes, ...]) -> int:
    fd = descend(start, names)
    stack.callback(os.close, fd)
    return fd
