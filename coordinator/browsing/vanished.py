"""What vanished from a mailbox between two moments.

A message has vanished if some kept moment from the first to the last has it in one of the folders that are
asked for, and at the last moment the mailbox has neither a message of its lasting name nor one of the same
content, in any folder. Two files may share a lasting name: a message that was there beside another one of
that name is not taken for it. Nothing is known of folders that were left out of the backup then: what they
had is not told. One that only went to another folder (Trash) is told as moved: it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from ...groups.paths import LogicalPath
from ...proto.archive.pointers import FramePointer
from ...proto.archive.stored import OpenArchive, StoredRows
from ...proto.errors import DamagedError, ErasedError
from ...proto.records import ArchiveId, Message, RunId, Skipped, Terms
from ...proto.structs import Record, replace
from .metadata import MailboxFrames, lasting_key
from .timeline import Span, Timeline

_Key = tuple[str, bytes, bytes]
"""Folder, what a message is known by in it, and its digest."""


class Vanished(Record):
    """A message that is not in the mailbox any more: the folder that had it last, the archive whose metadata
    tells of that, and the last moment at which it was there."""

    folder: str
    archive: ArchiveId
    last: RunId
    message: Message
    terms: Terms


class Moved(Record):
    """A message that is in another folder now."""

    folder: str
    into: str
    message: Message
    terms: Terms


class WhatVanished(Record, kw_only=True):
    """What became of the messages of the mailbox ``whose``, by folder and date of arrival.

    ``place`` is where the mailbox lies, or lay last; ``damaged`` what of the metadata can't be read: there
    may have been more.
    """

    whose: LogicalPath
    vanished: tuple[Vanished, ...]
    moved: tuple[Moved, ...]
    place: bytes
    damaged: tuple[Skipped, ...]


def folders_ever(archives: OpenArchive, timeline: Timeline) -> set[str]:
    """The names of all folders that the mailbox has had, as far as that can be read."""
    names: set[str] = set()
    for span in timeline.spans:
        version = span.version
        if version.archive is not None:
            with suppress(DamagedError, ErasedError):
                names.update(MailboxFrames(archives, version.archive, version.user).folders)
    return names


def find_vanished(
    archives: OpenArchive, timeline: Timeline, first: RunId, until: RunId, selects: Callable[[str], bool]
) -> WhatVanished:
    """What the selected folders of a mailbox lost between two moments, both included. Raises DamagedError if
    it can't be told what the mailbox has at the last one."""
    now = timeline.at(until)
    held = MailboxFrames(archives, now.archive, now.user) if now and now.archive else None
    left_out = held.leaves_out if held is not None else lambda _: False
    search = _Search(archives, timeline, lambda folder: selects(folder) and not left_out(folder))
    if held is not None:
        search.pass_over(held)
    for span in reversed(timeline.between(first, until)):
        if span.version is not now:
            search.look_at(span)
    moved = search.take_back(held) if held is not None else []
    return search.found(held.mailbox.place if held else None, moved)


class _Search:
    """Looks back from the last moment: what a later version has is not looked at again in an earlier one."""

    def __init__(self, archives: OpenArchive, timeline: Timeline, selects: Callable[[str], bool]) -> None:
        self._archives = archives
        self._selects = selects
        group = timeline.spans[-1].version.group
        self._whose = LogicalPath(timeline.partition, group, timeline.user)
        self._found: dict[_Key, Vanished] = {}
        self._seen: set[FramePointer] = set()
        # By folder and what a message is known by: the digests that it had, the newest first.
        self._named: dict[tuple[str, bytes], list[bytes]] = {}
        self._place = b""
        self._damaged: list[Skipped] = []

    def pass_over(self, held: MailboxFrames) -> None:
        """Leave out the frames that the mailbox has now."""
        self._seen.update(frame.pointer for _, frame in self._frames(held, self._selects))

    def look_at(self, span: Span) -> None:
        """Note what is in a folder of this version and was not there in a later one."""
        version = span.version
        if version.archive is None:
            return
        try:
            mailbox = MailboxFrames(self._archives, version.archive, version.user)
        except DamagedError as error:
            self._tell(None, error)
            return
        self._place = self._place or mailbox.mailbox.place
        for folder, frame in self._frames(mailbox, self._selects):
            if frame.pointer in self._seen:
                continue
            self._seen.add(frame.pointer)
            try:
                for message, terms in frame.rows():
                    self._note(Vanished(folder, version.archive, span.last, message, terms))
            except DamagedError as error:
                self._tell(folder, error)

    def _note(self, vanished: Vanished) -> None:
        """Take a message down, unless it was changed later into one that was: that one counts."""
        name, digest = lasting_key(vanished.message.uid, vanished.message.base), vanished.message.digest
        digests = self._named.setdefault((vanished.folder, name), [])
        if digest in digests or (digests and not self._is_beside(vanished, digests[-1])):
            return
        digests.append(digest)
        self._found[vanished.folder, name, digest] = vanished

    def _is_beside(self, vanished: Vanished, digest: bytes) -> bool:
        """Whether the version that has a message has another one of its name in the folder, with this digest,
        as far as that can be read."""
        wanted = lasting_key(vanished.message.uid, vanished.message.base), digest
        try:
            mailbox = MailboxFrames(self._archives, vanished.archive, self._whose.user or "")
            folder = mailbox.folders.get(vanished.folder)
            return folder is not None and any(
                (lasting_key(other.uid, other.base), other.digest) == wanted
                for frame in mailbox.frames(folder)
                for other in frame.messages()
            )
        except DamagedError:
            return False

    def take_back(self, held: MailboxFrames) -> list[Moved]:
        """Take back what the mailbox has now; return what of it is in another folder."""
        known: dict[bytes, list[_Key]] = {}
        for key in self._found:
            known.setdefault(key[1], []).append(key)
            known.setdefault(key[2], []).append(key)
        moved: list[Moved] = []
        for folder, frame in self._frames(held, lambda _: bool(self._found)):
            try:
                messages = frame.messages()
            except DamagedError as error:
                self._tell(folder, error)
                self._leave(folder, frame.pointer)
                continue
            for message in messages:
                name = lasting_key(message.uid, message.base)
                of_name = [key for key in known.get(name, ()) if self._is_now(key, message.digest)]
                here = filter(None, map(self._pop, (*of_name, *known.get(message.digest, ()))))
                moved += [
                    Moved(vanished.folder, folder, vanished.message, vanished.terms)
                    for vanished in here
                    if vanished.folder != folder
                ]
        return moved

    def _leave(self, folder: str, unreadable: FramePointer) -> None:
        """Take back what may be among messages that the mailbox has now and that can't be read."""
        for key, vanished in list(self._found.items()):
            uid = vanished.message.uid
            if key[0] == folder and (not uid or unreadable.may_have(uid)):
                self._pop(key)

    def found(self, place: bytes | None, moved: Sequence[Moved]) -> WhatVanished:
        """What was found out; ``place`` is where the mailbox lies now, if it is there."""
        vanished = sorted(self._each_once(), key=lambda one: (one.folder, one.message.date_ns))
        return WhatVanished(
            whose=self._whose,
            vanished=tuple(vanished),
            moved=tuple(moved),
            place=self._place if place is None else place,
            damaged=tuple(self._damaged),
        )

    def _each_once(self) -> Iterator[Vanished]:
        """What was found, each message only where it was last: before, it may have been in another folder,
        also under another name."""
        named: set[tuple[bytes, bytes]] = set()
        contents: dict[bytes, RunId] = {}
        for (_, name, digest), vanished in self._found.items():
            later = contents.setdefault(digest, vanished.last)
            if (name, digest) not in named and later == vanished.last:
                named.add((name, digest))
                yield vanished

    def _is_now(self, key: _Key, digest: bytes) -> bool:
        """Whether a message may be what has its name now, with this digest: not if it was there beside it."""
        vanished = self._found.get(key)
        return vanished is not None and (digest == key[2] or not self._is_beside(vanished, digest))

    def _pop(self, key: _Key) -> Vanished | None:
        return self._found.pop(key, None)

    def _frames(
        self, mailbox: MailboxFrames, selects: Callable[[str], bool]
    ) -> Iterator[tuple[str, StoredRows]]:
        for name, folder in mailbox.folders.items():
            if not selects(name):
                continue
            try:
                frames = mailbox.frames(folder)
            except DamagedError as error:
                self._tell(name, error)
                continue
            for frame in frames:
                yield name, frame

    def _tell(self, folder: str | None, error: DamagedError) -> None:
        self._damaged.append(Skipped(str(replace(self._whose, folder=folder)), "metadata", error.message))
