"""One folder of a Maildir mailbox, for reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable
from ...proto.records import Directory, Folder, Listed
from . import keywords, uidlist
from .directories import descend, described, joined, opened, split
from .doveadm import ServerFolder
from .listing import PLACES, Listing, Marks, Numbering, Rescan, record
from .notices import Notices
from .opened import FileOpener, StoreFile

_LOOKUPS = 4


class MaildirFolder:
    """A FolderReader (see ``proto.ports``). ``places`` are open directories that outlive it."""

    def __init__(
        self,
        folder: Folder,
        listing: Listing,
        numbering: Numbering,
        places: Mapping[str, int],
        opener: FileOpener,
    ) -> None:
        self.folder = folder
        self._listing = listing
        self._numbering = numbering
        self._places = places
        self._opener = opener
        self._rescan: Rescan | None = None

    @property
    def strays(self) -> set[tuple[str, bytes]]:
        """What lies among the messages and is none: (place, name)."""
        return self._listing.others

    def marks(self) -> Marks:
        """What to remember of the folder, to find out later what came into it."""
        return self._listing.marks()

    def __len__(self) -> int:
        return len(self._listing)

    def messages(self) -> Iterator[Listed]:
        return iter(self._numbering)

    def open_message(self, message: Listed) -> StoreFile:
        try:
            return self._open(message)
        except FileNotFoundError:
            return self._open_renamed(message)

    def _open(self, message: Listed) -> StoreFile:
        return self._opener.open(self._places[message.place], message.base + message.suffix, message)

    def _open_renamed(self, message: Listed) -> StoreFile:
        """Look the message up under its lasting name. One look at the directories serves all that were
        renamed or removed before it: a message that it did not see will not come back."""
        position = self._listing.find(message.base)
        for attempt in range(_LOOKUPS):
            if self._rescan is None or attempt:
                self._rescan = self._listing.rescan()
            renamed = self._rescan.fresh.get(message.base)
            if renamed is None and not (position >= 0 and self._rescan.seen[position]):
                break
            now = record(renamed, message.uid, message.fields) if renamed is not None else message
            try:
                return self._open(now)
            except FileNotFoundError:
                continue
        name = printable(message.base + message.suffix)
        raise MessageUnavailable(f"{name} was removed while the folder was read", reason="vanished")


class FolderOpener:
    """Opens the folders of one mailbox. ``ask_server`` gives them as their server knows them, by GUID."""

    def __init__(
        self,
        root: int,
        opener: FileOpener,
        notices: Notices,
        ask_server: Callable[[], Mapping[str, ServerFolder] | None],
    ) -> None:
        self._root = root
        self._opener = opener
        self._notices = notices
        self._ask_server = ask_server
        self._server = ask_server()

    def has_changed(self, path: bytes, marks: Marks) -> bool:
        """Whether something came into or went out of a folder since it was listed. Raises OSError."""
        with opened(self._root, split(path)) as directory:
            return any(
                os.stat(place, dir_fd=directory, follow_symlinks=False).st_mtime_ns != time_ns
                for place, time_ns in marks.times.items()
            )

    @contextmanager
    def opened(
        self,
        path: bytes,
        name: str,
        others: Sequence[bytes] = (),
        beside: Sequence[Directory] = (),
        earlier: Marks | None = None,
    ) -> Iterator[MaildirFolder]:
        """A folder; its record tells of ``others`` too, directories that are told with it though they are
        no part of it, and of what is ``beside``. Of a folder that was listed ``earlier`` only what came
        since. Raises OSError if it can't be entered."""
        with ExitStack() as stack:
            directory = _entered(stack, self._root, split(path))
            records = [described(path, os.fstat(directory))]
            places = self._places(stack, directory, path, records)
            # The list is opened before the directories are read: a message that is listed finds its UID,
            # or had none yet.
            uids = self._uidlist(stack, directory, path, records)
            listing = Listing(places)
            if earlier is not None:
                listing.drop(earlier)
            for place, error in listing.problems.items():
                self._notices.failed(joined(path, place.encode()), error)
            numbering = self._numbering(listing, uids, path)
            records += [*self._described(others), *beside]
            header = uids.header if uids else uidlist.UidListHeader(b"")
            folder = Folder(
                name=name,
                path=path,
                uidvalidity=header.uidvalidity,
                uidnext=uids.next_uid if uids else 0,
                guid=header.guid,
                highest_modseq=self._highest_modseq(path, header.guid),
                keywords=self._keywords(directory, path),
                header=header.line,
                directories=tuple(records),
            )
            yield MaildirFolder(folder, listing, numbering, places, self._opener)

    def _places(
        self, stack: ExitStack, directory: int, path: bytes, records: list[Directory]
    ) -> dict[str, int]:
        """``new`` and ``cur``, opened; the records get what they and ``tmp`` are like."""
        places: dict[str, int] = {}
        for place in (*PLACES, "tmp"):
            below = joined(path, place.encode())
            try:
                places[place] = _entered(stack, directory, (place.encode(),))
            except FileNotFoundError:
                continue
            except OSError as error:
                self._notices.failed(below, error)
                continue
            records.append(described(below, os.fstat(places[place])))
        places.pop("tmp", None)
        return places

    def _uidlist(
        self, stack: ExitStack, directory: int, path: bytes, records: list[Directory]
    ) -> uidlist.UidList | None:
        below = joined(path, uidlist.NAME)
        try:
            fd, status = self._opener.open_regular(directory, uidlist.NAME)
            stack.callback(os.close, fd)
            records.append(described(below, status))
            return uidlist.UidList(fd, status.st_size)
        except FileNotFoundError:
            return None
        except MessageUnavailable as error:
            self._notices.add(below, error.reason, error.message)
        except OSError as error:
            self._notices.failed(below, error)
        return None

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

    def _described(self, paths: Sequence[bytes]) -> Iterator[Directory]:
        for path in paths:
            try:
                with opened(self._root, split(path)) as fd:
                    yield described(path, os.fstat(fd))
            except OSError as error:
                self._notices.failed(path, error)

    def _highest_modseq(self, path: bytes, guid: str) -> int:
        if self._server is None or not guid:
            return 0
        if guid not in self._server:
            # Made since the server was asked: ask again.
            self._server = self._ask_server() or {}
        if guid in self._server:
            return self._server[guid].highest_modseq
        why = "HIGHESTMODSEQ is not recorded: the server does not know this folder"
        self._notices.add(path, "doveadm", why)
        return 0

    def _keywords(self, directory: int, path: bytes) -> tuple[str, ...]:
        try:
            return keywords.read_keywords(directory, self._opener)
        except MessageUnavailable as error:
            self._notices.add(joined(path, keywords.NAME), error.reason, error.message)
            return ()


def _entered(stack: ExitStack, start: int, names: tuple[bytes, ...]) -> int:
    fd = descend(start, names)
    stack.callback(os.close, fd)
    return fd
