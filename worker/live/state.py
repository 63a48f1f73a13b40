"""The table of contents of a restore of state: flags, keywords, folders of messages and subscriptions as they
were, without the content of any message.

    for each mailbox that was chosen
      pair      each message that was stored with the one that is there now      pairing
      decide    which flags it is to have                                        merging
      make      folders that are gone, for what goes back into them              stores/
      put       flags, keywords and places, folder by folder                     stores/
      subscribe
      tell      that it is done                                                  proto.restored

What has been removed since is not brought back: it is told, folder by folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from ...groups.paths import LogicalPath, message_path
from ...proto.archive.assembly import Contents
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import (
    DamagedError,
    ErasedError,
    MessageUnavailable,
    PlaceError,
    StoreError,
    TargetFullError,
    UnreadableError,
)
from ...proto.ports import MailStore, MailTarget, ProgressSink, StateKeeper
from ...proto.records import (
    Folder,
    Listed,
    Message,
    Progress,
    RestoredMailbox,
    RestoreReport,
    RestoreTaskReport,
    Skipped,
    StoredFile,
)
from ...proto.restored import encode
from ...proto.state import Flags, WantedState
from ...proto.structs import Record, replace
from ..archives.opened import OpenArchives
from ..choice import Choice, StateRules
from ..stores.folder_names import are_guids
from .merging import are_same, merged, restored
from .pairing import Adrift, Matching, Stray

_PROGRESS_MESSAGES = 10_000
_SUBSCRIPTIONS = b"subscriptions"


class Live(Record, kw_only=True):
    """A partition in use: as it is read, as its state is set, and as folders are made in it."""

    store: MailStore
    keeper: StateKeeper
    target: MailTarget


class _Pair(Record, kw_only=True):
    """A message as it was, and as it is now, in the folder ``live``; it belongs into the folder ``home``,
    which is to be made where that is None."""

    path: str
    then: Flags
    live: bytes
    listed: Listed
    home: bytes | None
    entry: FolderEntry

    @property
    def is_moved(self) -> bool:
        """Whether it is in another folder than it was."""
        return self.home != self.live


class _Change(Record, kw_only=True):
    """What is to be done with a message."""

    pair: _Pair
    decide: Callable[[Flags], Flags]
    flags: bool


def restore_state(
    archives: OpenArchives, choices: Sequence[Choice], live: Live, progress: ProgressSink
) -> RestoreTaskReport:
    """Give the mailboxes their state, in this order. What can't be read or set is listed, and the rest goes
    on. Each mailbox that is done is told at once. With ``dry_run`` of a choice nothing is changed, and the
    report tells what would be. Raises TargetFullError."""
    done: list[RestoredMailbox] = []
    rest = RestoreReport()
    passed = 0
    for choice in choices:
        whose = LogicalPath(choice.path.partition, choice.path.group, choice.user)
        label = f"{choice.path.partition}/{choice.path.group}"
        work = _Mailbox(archives, choice, whose, live)

        def tell(messages: int, *lines: str, label: str = label, choice: Choice = choice) -> None:
            progress(Progress(label, messages, 0, choice.user, done=lines))

        try:
            report = work.restore(partial(_told, tell, passed))
        except TargetFullError:
            raise  # the others would meet it, too
        except (UnreadableError, ErasedError) as error:
            rest += RestoreReport(skipped=(*work.skipped, Skipped(str(whose), error.code, error.message)))
        except DamagedError as error:
            rest += RestoreReport(damaged=(*work.damaged, Skipped(str(whose), "metadata", error.message)))
        except StoreError as error:
            rest += RestoreReport(skipped=(*work.skipped, Skipped(str(whose), "mailbox", error.message)))
        except PlaceError as error:
            rest += RestoreReport(skipped=(*work.skipped, Skipped(str(whose), error.code, error.message)))
        else:
            archive, path, _ = choice.key
            mailbox = RestoredMailbox(archive=archive, path=path, report=report)
            done.append(mailbox)
            passed += report.restored + report.present
            tell(passed, *(() if choice.state and choice.state.dry_run else (encode(mailbox),)))
    live.target.finish()
    return RestoreTaskReport(mailboxes=tuple(done), rest=rest)


def _told(tell: Callable[[int], object], passed: int, messages: int) -> None:
    if not messages % _PROGRESS_MESSAGES:
        tell(passed + messages)


class _Mailbox:
    """One mailbox whose state is restored."""

    def __init__(self, archives: OpenArchives, choice: Choice, whose: LogicalPath, live: Live) -> None:
        self._archives = archives
        self._choice = choice
        self._rules = choice.state or StateRules()
        self._whose = whose
        self._live = live
        self.skipped: list[Skipped] = []
        self.damaged: list[Skipped] = []
        self._present = self._flagged = self._moved = self._restored = self._files = 0
        self._folders: dict[bytes, Folder] = {}
        self._places: dict[bytes, bytes] = {}
        self._pairs: list[_Pair] = []
        self._place = b""

    def restore(self, tell: Callable[[int], object]) -> RestoreReport:
        """Raises DamagedError, StoreError, PlaceError."""
        stored = StoredMailbox(self._archives, self._choice.archive, self._choice.user)
        self._pair(stored, tell)
        changes = list(self._changes())
        if self._rules.dry_run:
            self._count(changes)
        else:
            self._make_folders(stored, changes)
            self._put(changes)
        self._subscribe(stored)
        return RestoreReport(
            restored=self._restored,
            present=self._present,
            files=self._files,
            flagged=self._flagged,
            moved=self._moved,
            skipped=tuple(self.skipped),
            damaged=tuple(self.damaged),
        )

    # Which message is which

    def _pair(self, stored: StoredMailbox, tell: Callable[[int], object]) -> None:
        entries = stored.mailbox.folders
        path = self._choice.path.resolve([folder_entry.folder.name for folder_entry in entries])
        by_path = {one.folder.path: one for one in entries}
        by_guid = {one.folder.guid: one for one in entries if one.folder.guid}
        by_name = {one.folder.name: one for one in entries}
        adrift: list[Adrift] = []
        strays: list[Stray] = []
        # A folder in the place of one that has another name by now is told from it at the end.
        later: list[tuple[Folder, dict[bytes, Listed]]] = []
        with self._live.store.open_mailbox(self._choice.to_user) as reader:
            for folder in reader.folders():
                live = folder.folder
                there = {message.base: message for message in folder.messages()}
                if live.path in self._folders:
                    strays += _strays(live, there)  # what came while this was read
                    continue
                self._folders[live.path] = live
                entry = _stored_as(live, by_path, by_guid)
                if entry is None:
                    later.append((live, there))
                    continue
                self._places[entry.folder.path] = live.path
                adrift += self._in_folder(stored, entry, live.path, there, path, tell)
                strays += _strays(live, there)
            self._place = reader.place
            self._tell_all(reader.skipped())
        for live, there in later:
            entry = by_path.get(live.path) or by_name.get(live.name)
            if entry is not None and entry.folder.path not in self._places:
                self._places[entry.folder.path] = live.path
                adrift += self._in_folder(stored, entry, live.path, there, path, tell)
            strays += _strays(live, there)
        for entry in entries:
            if entry.folder.path not in self._places:
                adrift += self._in_folder(stored, entry, b"", {}, path, tell)
        self._elsewhere(adrift, strays)

    def _in_folder(
        self,
        stored: StoredMailbox,
        entry: FolderEntry,
        live: bytes,
        there: dict[bytes, Listed],
        path: LogicalPath,
        tell: Callable[[int], object],
    ) -> Iterator[Adrift]:
        """Pair the messages that have their names still, and take them out of ``there``; gives the others of
        those that were chosen."""
        chosen = path.selects_folder(entry.folder.name)
        if not chosen and not there:
            return
        try:
            for message in stored.messages(entry):
                listed = there.pop(message.base, None)
                if not chosen or not self._is_chosen(message, entry, path):
                    continue
                if listed is None:
                    yield Adrift(entry=entry, message=message)
                else:
                    self._add(entry, message, live, listed)
                    tell(self._present + len(self._pairs))
        except DamagedError as error:
            self._lose(self._folder_path(entry), error)

    def _is_chosen(self, message: Message, entry: FolderEntry, path: LogicalPath) -> bool:
        if not path.selects_message(message.uid, message.base, message.suffix, message.place):
            return False
        only = self._choice.only
        return not only or not only.isdisjoint(
            (str(self._whose), self._folder_path(entry), self._message_path(entry, message))
        )

    def _message_path(self, entry: FolderEntry, message: Message) -> str:
        whose, named = self._whose, message.uid or message.base
        return message_path(
            whose.partition or "", whose.group or "", whose.user or "", entry.folder.name, named
        )

    def _add(self, entry: FolderEntry, message: Message, live: bytes, listed: Listed) -> None:
        then = Flags(message.flags, message.keywords)
        home = self._places.get(entry.folder.path)
        if home == live and are_same(then, Flags(listed.flags, listed.keywords)):
            self._present += 1
            return
        path = self._message_path(entry, message)
        self._pairs.append(_Pair(path=path, then=then, live=live, listed=listed, home=home, entry=entry))

    def _elsewhere(self, adrift: Sequence[Adrift], strays: Sequence[Stray]) -> None:
        """Pair the messages that have other names by now, or lie in other folders."""
        matching = Matching(adrift, strays, self._folders, self._places)
        if matching.folders:
            names = {self._folders[path].name for path in matching.folders}
            with self._live.store.open_mailbox(self._choice.to_user, wanted=names.__contains__) as reader:
                for folder in reader.folders():
                    matching.look(folder)
        absent: dict[str, int] = defaultdict(int)
        for one, stray in matching.found():
            if stray is None:
                absent[self._folder_path(one.entry)] += 1
            else:
                self._add(one.entry, one.message, stray.folder, stray.listed)
        for path, many in absent.items():
            self.skipped.append(Skipped(path, "absent", f"{many} messages are not in the mailbox any more"))

    # What is to be done

    def _changes(self) -> Iterator[_Change]:
        later = {} if self._rules.exact else self._later()
        for pair in self._pairs:
            if self._rules.exact:
                decide = partial(restored, then=pair.then)
            else:
                decide = partial(merged, then=pair.then, later=later.get((pair.live, pair.listed.base)))
            now = Flags(pair.listed.flags, pair.listed.keywords)
            flags = not are_same(decide(now), now)
            if flags or pair.is_moved:
                yield _Change(pair=pair, decide=decide, flags=flags)
            else:
                self._present += 1

    def _later(self) -> dict[tuple[bytes, bytes], Flags]:
        """How the newest backup tells of the messages that are not as they were, by folder and lasting name,
        as far as it knows them there."""
        if self._rules.later is None or not self._pairs:
            return {}
        wanted: dict[bytes, set[bytes]] = defaultdict(set)
        for pair in self._pairs:
            wanted[pair.live].add(pair.listed.base)
        found: dict[tuple[bytes, bytes], Flags] = {}
        try:
            stored = StoredMailbox(self._archives, self._rules.later, self._choice.user)
            by_path = {folder.folder.path: folder for folder in stored.mailbox.folders}
            by_guid = {
                folder_entry.folder.guid: folder_entry
                for folder_entry in stored.mailbox.folders
                if folder_entry.folder.guid
            }
            for path, bases in wanted.items():
                entry = _stored_as(self._folders[path], by_path, by_guid) or by_path.get(path)
                if entry is None:
                    continue
                for message in stored.messages(entry):
                    if message.base in bases:
                        found[path, message.base] = Flags(message.flags, message.keywords)
        except (DamagedError, PlaceError) as error:
            detail = f"flags are put together without the newest backup: {error.message}"
            self.skipped.append(Skipped(str(self._whose), "later", detail))
        return found

    def _count(self, changes: Sequence[_Change]) -> None:
        for change in changes:
            self._restored += 1
            self._flagged += change.flags
            self._moved += change.pair.is_moved

    # Doing it

    def _make_folders(self, stored: StoredMailbox, changes: Sequence[_Change]) -> None:
        """Make the folders that are gone, and to which messages go back."""
        gone = {
            change.pair.entry.folder.path: change.pair.entry for change in changes if change.pair.home is None
        }
        if not gone:
            return
        layout = [folder.folder for folder in stored.mailbox.folders]
        if are_guids(one.path for one in layout):
            # What is not listed nobody would find again.
            why = "the server lists no folder that it has forgotten (LAYOUT=index): make it there first"
            self.skipped += (Skipped(self._folder_path(entry), "folder", why) for entry in gone.values())
            return
        with self._live.target.open_mailbox(self._choice.to_user, self._place, layout) as writer:
            for entry in gone.values():
                try:
                    writer.open_folder(entry.folder).finish()
                    self._places[entry.folder.path] = entry.folder.path
                except MessageUnavailable as error:
                    self.skipped.append(Skipped(self._folder_path(entry), error.reason, error.message))
            writer.commit()
            self._tell_all(writer.skipped())

    def _put(self, changes: Sequence[_Change]) -> None:
        by_folders: dict[tuple[bytes, bytes], list[_Change]] = defaultdict(list)
        for change in changes:
            home = self._places.get(change.pair.entry.folder.path)
            if home is not None:
                by_folders[change.pair.live, home].append(change)
        with self._live.keeper.open_state(self._choice.to_user) as state:
            for (source, target), some in by_folders.items():
                wanted = [WantedState(listed=one.pair.listed, decide=one.decide) for one in some]
                for change, why in zip(some, state.put(source, target, wanted), strict=True):
                    if why:
                        self.skipped.append(Skipped(change.pair.path, why, _WHY.get(why, "")))
                    else:
                        self._count([change])
            self._tell_all(state.skipped())

    def _subscribe(self, stored: StoredMailbox) -> None:
        """Subscriptions are those of the mailbox: who asks for one folder asks for none."""
        file = next(
            (
                stored_file
                for stored_file in stored.mailbox.files
                if stored_file.path == _SUBSCRIPTIONS and not stored_file.home
            ),
            None,
        )
        if file is None or file.target is not None or self._choice.path.folder is not None:
            return
        path = f"{self._whose}/{_SUBSCRIPTIONS.decode()}"
        if self._choice.only.isdisjoint((path, str(self._whose))) and self._choice.only:
            return
        try:
            self._subscribe_as(file, [folder.folder.name for folder in stored.mailbox.folders])
        except DamagedError as error:
            self._lose(path, error)
        except (StoreError, PlaceError) as error:
            self.skipped.append(Skipped(path, "subscriptions", error.message))

    def _subscribe_as(self, file: StoredFile, folders: Sequence[str]) -> None:
        then = b"".join(Contents(self._archives.data).message(file))
        with self._live.keeper.open_state(self._choice.to_user) as state:
            self._files += state.subscribe(then, folders, dry_run=self._rules.dry_run)

    def _tell_all(self, skipped: Sequence[Skipped]) -> None:
        self.skipped += (Skipped(f"{self._whose}/{skip.path}", skip.reason, skip.detail) for skip in skipped)

    def _lose(self, path: str, error: DamagedError) -> None:
        if isinstance(error, UnreadableError):
            self.skipped.append(Skipped(path, error.code, error.message))
        else:
            self.damaged.append(Skipped(path, "metadata", error.message))

    def _folder_path(self, entry: FolderEntry) -> str:
        return str(replace(self._whose, folder=entry.folder.name))


_WHY = {
    "vanished": "it was removed, or moved, while this went on",
    "exists": "another file has the name that it would have",
    "name": "its file has a name that no flags can be written into",
}


def _stored_as(
    live: Folder, by_path: dict[bytes, FolderEntry], by_guid: dict[str, FolderEntry]
) -> FolderEntry | None:
    """What was certainly stored of a folder that is there, whatever it is called now."""
    if live.guid and (same := by_guid.get(live.guid)):
        return same
    entry = by_path.get(live.path)
    return None if entry is None or entry.folder.guid else entry


def _strays(live: Folder, there: Mapping[bytes, Listed]) -> Iterator[Stray]:
    return (Stray(folder=live.path, listed=listed) for listed in there.values())
