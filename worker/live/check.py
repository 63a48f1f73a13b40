"""The table of contents of a check of the live store: mailboxes as they are now beside how they are stored.

    for each mailbox
      open    the mailbox and its server's record, changing nothing      stores/
      for each folder that was stored
        compare   each message that is there: size, UID; where time differs, or all, the content
        account   for each that is not there: expunged, moved, or lost   the server's record
        again     what seems to be lost is looked at a second time: the store is in use

What was stored and was removed since is no damage, nor is what came since. A message that has no file was
removed if its server says so: its list of UIDs does not have it any more, or its index does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...groups.paths import LogicalPath, message_path
from ...proto.archive.columns import clamped
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.messages import Names
from ...proto.archive.pointers import FramePointer
from ...proto.archive.stored import OpenArchive, StoredMailbox
from ...proto.errors import DamagedError, ErasedError, MessageUnavailable, PlaceError, StoreError
from ...proto.ports import FolderReader, MailboxReader, MailStore, ProgressSink, RecordKeeper, ServerRecord
from ...proto.records import (
    ArchiveId,
    FileStat,
    Folder,
    Listed,
    Message,
    Progress,
    SeenFile,
    Skipped,
)
from ...proto.structs import Mutable, Record, replace
from ..comparing.matching import UNKNOWN, KnownRows
from ..portion import Portion
from .content import digest_now
from .findings import IN_THE_BODY, Finding, Kind, MailboxFindings

_PROGRESS_MESSAGES = 256
_SECOND_LOOK_SECONDS = 1.0
_OF_THE_SERVER = ("keyword", "doveadm")
"""Why something of a mailbox can't be stored without its server, which is not asked here."""


class Stored(Record, kw_only=True):
    """A mailbox as ``archive`` tells of it, and what of it is looked at: what ``path`` selects, or of that
    what is in the ``portion``."""

    archive: ArchiveId
    user: str
    path: LogicalPath
    portion: Portion | None = None

    @property
    def whose(self) -> LogicalPath:
        """The mailbox."""
        return LogicalPath(self.path.partition, self.path.group, self.user)


class LiveCheck:
    """Looks through mailboxes of ``store``, whose server keeps ``records``. ``data``: the content of all
    messages is read and compared. ``pause`` waits before a second look."""

    def __init__(
        self,
        archives: OpenArchive,
        store: MailStore,
        records: RecordKeeper,
        progress: ProgressSink,
        *,
        data: bool,
        pause: Callable[[float], object],
    ) -> None:
        self._archives = archives
        self._store = store
        self._records = records
        self._progress = progress
        self._data = data
        self._pause = pause
        self._users: frozenset[str] | None = None
        self._done = Progress("", 0, 0)

    def mailbox(self, wanted: Stored) -> MailboxFindings:
        """What is damaged of one mailbox. What can't be looked at is told; raises nothing for it."""
        return self.looked(wanted)[0]

    def looked(self, wanted: Stored) -> tuple[MailboxFindings, Look | None]:
        """The same, with the look itself, if the mailbox could be entered."""
        findings = MailboxFindings(path=str(wanted.path), archive=wanted.archive, user=wanted.user)
        whose = str(wanted.whose)
        try:
            stored = StoredMailbox(self._archives, wanted.archive, wanted.user)
        except (DamagedError, ErasedError, PlaceError) as error:
            return replace(findings, unlooked=(Skipped(whose, error.code, error.message),)), None
        look = Look(stored, wanted, self._data, self._told)
        try:
            with (
                self._store.open_mailbox(wanted.user) as reader,
                self._records.server_record(wanted.user) as record,
            ):
                look.over(reader, record)
            if look.suspects:
                self._look_again(look)
        except StoreError as error:
            if not self._is_gone(wanted.user):
                return replace(findings, unlooked=(Skipped(whose, "mailbox", error.message),)), None
            lost = Finding(
                kind=Kind.MISSING,
                path=whose,
                detail="the mailbox is not there",
                messages=stored.entry.stored,
            )
            return replace(findings, damaged=(lost,), messages=stored.entry.stored), None
        self._told_of(wanted.user)
        return look.findings(), look

    def _look_again(self, look: Look) -> None:
        """The store is in use: what was just being removed or renamed is not lost."""
        self._pause(_SECOND_LOOK_SECONDS)
        names = {suspect.live.name for suspect in look.suspects.values()}
        user = look.wanted.user
        with (
            self._store.open_mailbox(user, wanted=names.__contains__) as reader,
            self._records.server_record(user) as record,
        ):
            look.once_more(reader, record)

    def _is_gone(self, user: str) -> bool:
        """Whether the store does not list this user. Raises nothing: a store that can't be listed tells
        nothing."""
        if self._users is None:
            try:
                self._users = frozenset(self._store.users())
            except StoreError:
                return False
        return user not in self._users

    def _told(self, messages: int, size_bytes: int) -> None:
        done = self._done
        self._done = done._replace(messages=done.messages + messages, size_bytes=done.size_bytes + size_bytes)
        if self._done.messages // _PROGRESS_MESSAGES != done.messages // _PROGRESS_MESSAGES:
            self._progress(self._done)

    def _told_of(self, user: str) -> None:
        self._done = self._done._replace(mailbox=user)
        self._progress(self._done)


class _StoredFolder:
    """A folder as it was stored, by positions of its messages (see KnownRows)."""

    def __init__(self, stored: StoredMailbox, entry: FolderEntry) -> None:
        rows = stored.frames(entry)
        self.frames = tuple(row.pointer for row in rows)
        self.entry = entry
        self.known = KnownRows(self)
        self.met = bytearray(entry.messages)
        self._rows = dict(zip(self.frames, rows, strict=True))
        self._decoded: tuple[int, list[Message]] = (-1, [])

    def names(self, pointer: FramePointer) -> Names:
        """See StoredNames."""
        return self._rows[pointer].names()

    def message(self, position: int) -> Message:
        """Raises DamagedError."""
        ordinal, row = self.known.place(position)
        if self._decoded[0] != ordinal:
            self._decoded = ordinal, self._rows[self.frames[ordinal]].messages()
        return self._decoded[1][row]

    def unmet(self) -> Iterator[Message]:
        """The messages that were not met. What is damaged is passed over: ``damage`` tells."""
        for ordinal, pointer in enumerate(self.frames):
            found = self.known.frame(ordinal)
            if found is None:
                continue
            first = found[0]
            met = self.met[first : first + pointer.messages]
            if 0 in met:
                for row, seen in enumerate(met):
                    if not seen:
                        yield self.message(first + row)

    def damaged(self) -> int:
        """How many of its messages are not known, as their frames are damaged."""
        return sum(
            pointer.messages
            for ordinal, pointer in enumerate(self.frames)
            if pointer.messages and self.known.frame(ordinal) is None
        )


class _Suspects(Mutable):
    """Messages of a folder that are not there, though their server counts on them, by UID in its list."""

    live: Folder
    stored: FolderEntry
    messages: dict[int, Message]


class _Absent(Mutable):
    """Messages that a folder had, and has no more. ``renewed``: its list of UIDs is another one."""

    live: Folder
    stored: FolderEntry
    messages: list[Message]
    renewed: bool


class _Counts(Mutable):
    messages: int = 0
    size_bytes: int = 0
    read: int = 0
    gone: int = 0
    untold: int = 0
    new: int = 0
    altered: int = 0


class Look:
    """One mailbox while it is looked through."""

    def __init__(
        self, stored: StoredMailbox, wanted: Stored, data: bool, told: Callable[[int, int], object]
    ) -> None:
        self.wanted = wanted
        self.suspects: dict[bytes, _Suspects] = {}
        self._stored = stored
        self._data = data
        self._told = told
        self._counts = _Counts()
        self.bodies: list[tuple[Finding, Message]] = []
        self.absent: set[str] = set()
        """The paths of messages that are not there, and not said to be missing."""
        self._damaged: list[Finding] = []
        self._unlooked: list[Skipped] = []
        folders = stored.mailbox.folders
        self._path = wanted.path.resolve([entry.folder.name for entry in folders])
        chosen = [entry for entry in folders if self._selects(entry.folder.name)]
        self._by_path = {entry.folder.path: entry for entry in chosen}
        self._by_guid = {one.folder.guid: one for one in chosen if one.folder.guid}

    def over(self, reader: MailboxReader, record: ServerRecord) -> None:
        """Look at all that there is. Raises StoreError."""
        absent: list[_Absent] = []
        arrived: set[bytes] = set()
        seen: set[bytes] = set()
        for folder in reader.folders():
            live = folder.folder
            if live.path in seen:
                arrived.update(
                    message.base for message in folder.messages()
                )  # what came while it was looked at
                continue
            seen.add(live.path)
            entry = self._match(live, record)
            if entry is None:
                self._note_others(folder, arrived)
                continue
            self._by_path.pop(entry.folder.path, None)
            self._by_guid.pop(entry.folder.guid, None)
            absent += self._folder(folder, entry, arrived)
        for skip in reader.skipped():
            if skip.reason not in _OF_THE_SERVER:
                self._unlooked.append(Skipped(f"{self.wanted.whose}/{skip.path}", skip.reason, skip.detail))
        for gone in absent:
            gone.messages = [one for one in gone.messages if one.base not in arrived]
            self._account(gone, record)
        for entry in self._by_path.values():
            self._folder_is_gone(entry, record)

    def once_more(self, reader: MailboxReader, record: ServerRecord) -> None:
        """A second look at the folders with suspects: what is so still is lost. Raises StoreError."""
        for folder in reader.folders():
            suspects = self.suspects.get(folder.folder.path)
            if suspects is not None:
                wanted = {one.base: uid for uid, one in suspects.messages.items()}
                for listed in folder.messages():
                    suspects.messages.pop(wanted.get(listed.base, -1), None)
        for path, suspects in self.suspects.items():
            counted = record.counts_on(path, suspects.messages)
            if counted is None:
                self._counts.untold += len(suspects.messages)
                continue
            for uid, message in suspects.messages.items():
                if uid in counted:
                    self._found(
                        Kind.MISSING,
                        suspects.live,
                        message,
                        "there is no file, and the server has not removed it",
                    )
                else:
                    self._counts.gone += 1
                    self.absent.add(self._shown(suspects.live, message))

    def findings(self) -> MailboxFindings:
        """What was found."""
        counts = self._counts
        return MailboxFindings(
            path=str(self.wanted.path),
            archive=self.wanted.archive,
            user=self.wanted.user,
            messages=counts.messages,
            size_bytes=counts.size_bytes,
            read=counts.read,
            gone=counts.gone,
            untold=counts.untold,
            new=counts.new,
            altered=counts.altered,
            damaged=tuple(self._damaged),
            unlooked=tuple(self._unlooked),
        )

    def _match(self, live: Folder, record: ServerRecord) -> FolderEntry | None:
        """What was stored of a folder that is there, whatever it is called now. One that was deleted and made
        anew under its name is another one."""
        entry = self._by_path.get(live.path)
        if entry is not None and not _is_other(entry.folder, live):
            return entry
        renamed = self._by_guid.get(live.guid) if live.guid else None
        if renamed is not None:
            return renamed
        if entry is not None and record.has_deleted(entry.folder.guid):
            return None
        return entry

    def _note_others(self, folder: FolderReader, arrived: set[bytes]) -> None:
        """A folder that was not stored, or not asked for: messages may have been moved into it."""
        arrived.update(message.base for message in folder.messages())

    def _folder(self, folder: FolderReader, entry: FolderEntry, arrived: set[bytes]) -> list[_Absent]:
        live, stored = folder.folder, _StoredFolder(self._stored, entry)
        renewed = self._is_renewed(live, entry)
        ambiguous: set[bytes] = set()
        is_chosen = self._chooser(entry.folder)
        for listed in folder.messages():
            position = stored.known.find(listed.base)
            if position == UNKNOWN:
                # New; or one of several of this name: nobody can say which is which.
                ambiguous.add(listed.base)
                continue
            stored.met[position] = 1
            try:
                message = stored.message(position)
            except DamagedError:
                continue
            if is_chosen(message):
                self._message(folder, listed, message, renewed=renewed)
        path = str(replace(self.wanted.whose, folder=live.name))
        if not folder.complete:
            self._unlooked.append(Skipped(path, "incomplete", "not all of the folder could be listed"))
            return []
        if lost := stored.damaged():
            detail = f"how {lost} messages were stored is not known: metadata is damaged"
            self._unlooked.append(Skipped(path, "metadata", detail))
        unmet = [message for message in stored.unmet() if is_chosen(message)]
        self._counts.messages += len(unmet)
        self._counts.new += len(ambiguous.difference(one.base for one in unmet))
        arrived |= ambiguous
        absent = [one for one in unmet if one.base not in ambiguous]
        return [_Absent(live, entry, absent, renewed)] if absent else []

    def _selects(self, folder: str) -> bool:
        portion = self.wanted.portion
        return self._path.selects_folder(folder) and (portion is None or portion.has_folder(folder))

    def _chooser(self, folder: Folder) -> Callable[[Message], bool]:
        """What tells which stored messages of a folder are looked at."""
        portion = self.wanted.portion
        holds = portion.of_folder(folder) if portion is not None else None

        def is_chosen(message: Message) -> bool:
            selected = self._path.selects_message(message.uid, message.base, message.suffix, message.place)
            return selected and (holds is None or holds(message))

        return is_chosen

    def _is_renewed(self, live: Folder, entry: FolderEntry) -> bool:
        """Whether the list of UIDs is another one than that which was stored, and nobody deleted the
        folder: that is told."""
        then = entry.folder
        if not then.uidvalidity or (then.uidvalidity == live.uidvalidity and not _is_other(then, live)):
            return False
        if live.uidvalidity:
            detail = f"its list of UIDs was made anew: UIDVALIDITY was {then.uidvalidity}, is "
            detail += str(live.uidvalidity)
        else:
            detail = "its list of UIDs is gone"
        where = str(replace(self.wanted.whose, folder=live.name))
        self._damaged.append(
            Finding(kind=Kind.UNLISTED, path=where, detail=detail, folder=live.path, messages=entry.messages)
        )
        return True

    def _message(self, folder: FolderReader, listed: Listed, message: Message, *, renewed: bool) -> None:
        live = folder.folder
        self._counts.messages += 1
        try:
            stat = folder.stat(listed)
            self._counts.size_bytes += stat.size
            different = self._difference(folder, listed, message, stat)
        except MessageUnavailable as error:
            if error.reason == "vanished":
                self._counts.gone += 1
            else:
                self._unlooked.append(Skipped(self._shown(live, message), error.reason, error.message))
            return
        self._told(1, stat.size)
        self._counts.altered += (listed.flags, listed.keywords) != (message.flags, message.keywords)
        if different is not None:
            seen = SeenFile(listed.place, listed.base + listed.suffix, stat.size, stat.mtime_ns, stat.inode)
            kind, detail = different
            self._found(kind, live, message, detail, seen)
        elif message.uid and listed.uid != message.uid and not renewed:
            now = f"it has {listed.uid} now" if listed.uid else "the list does not have it"
            self._found(Kind.UNLISTED, live, message, f"it had UID {message.uid}; {now}")

    def _difference(
        self, folder: FolderReader, listed: Listed, message: Message, stat: FileStat
    ) -> tuple[Kind, str] | None:
        if stat.size != message.size:
            kind = Kind.TRUNCATED if stat.size < message.size else Kind.CHANGED
            return kind, f"{stat.size} bytes, {message.size} were stored"
        # No server writes to a message: who did may have set neither size nor time.
        if not self._data and clamped(stat.mtime_ns) == message.date_ns:
            return None
        self._counts.read += 1
        if digest_now(folder, listed) == message.digest:
            return None
        return Kind.CHANGED, "the content is not what was stored"

    def _account(self, gone: _Absent, record: ServerRecord) -> None:
        """Tell those that were removed from those that are lost."""
        if not gone.messages:
            return
        self.absent.update(self._shown(gone.live, message) for message in gone.messages)
        if not gone.stored.folder.uidvalidity:
            self._counts.gone += len(gone.messages)  # no server keeps lists: whoever removed them did
            return
        bases = {one.base for one in gone.messages}
        numbered = None if gone.renewed else record.numbered(gone.live.path, bases)
        if numbered is None:
            self._counts.untold += len(gone.messages)
            return
        listed = {numbered[one.base]: one for one in gone.messages if one.base in numbered}
        self._counts.gone += len(gone.messages) - len(listed)
        counted = record.counts_on(gone.live.path, listed) if listed else ()
        if counted is None:
            self._counts.untold += len(listed)
            return
        self._counts.gone += len(listed) - len(counted)
        self.absent.difference_update(self._shown(gone.live, listed[uid]) for uid in counted)
        if counted:
            messages = {uid: listed[uid] for uid in counted}
            self.suspects[gone.live.path] = _Suspects(gone.live, gone.stored, messages)

    def _folder_is_gone(self, entry: FolderEntry, record: ServerRecord) -> None:
        folder = entry.folder
        self._counts.messages += entry.messages
        if not folder.uidvalidity or record.has_deleted(folder.guid):
            self._counts.gone += entry.messages
            return
        path = str(replace(self.wanted.whose, folder=folder.name))
        detail = "the folder is not there, and the server has not deleted it"
        self._damaged.append(
            Finding(kind=Kind.MISSING, path=path, detail=detail, folder=folder.path, messages=entry.messages)
        )

    def _found(
        self, kind: Kind, live: Folder, message: Message, detail: str, seen: SeenFile | None = None
    ) -> None:
        found = Finding(
            kind=kind,
            path=self._shown(live, message),
            detail=detail,
            folder=live.path,
            base=message.base,
            seen=seen,
        )
        self._damaged.append(found)
        if kind in IN_THE_BODY:
            self.bodies.append((found, message))

    def _shown(self, live: Folder, message: Message) -> str:
        whose = self.wanted.whose
        named = message.uid or message.base
        return message_path(whose.partition or "", whose.group or "", whose.user or "", live.name, named)


def _is_other(then: Folder, now: Folder) -> bool:
    """Whether two folders are certainly not the same one."""
    return bool(then.guid and now.guid and then.guid != now.guid)
