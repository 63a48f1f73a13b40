"""What a restore has changed of messages that were there: their flags and places, which go back when it is
taken back, unless somebody has changed them since.

Three states tell that: how a message was before, what the restore made of it, and how it is now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from ...groups.paths import LogicalPath, message_path
from ...proto.archive.assembly import Contents
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import MessageUnavailable
from ...proto.ports import MailboxReader
from ...proto.records import Folder, Listed, Message, Skipped, StoredFile
from ...proto.state import Flags, WantedState
from ...proto.structs import Mutable, Record, field
from ..archives.opened import OpenArchives
from ..choice import Choice, StateRules
from ..stores import subscriptions
from ..stores.message_places import portable_name
from .exact import InUse, is_set_aside
from .merging import are_same, merged
from .pairing import stem

TOUCHED = "touched"
"""Why something stays that a restore has made: somebody has used it since."""

_SUBSCRIPTIONS = b"subscriptions"


class _There(Record):
    """A message as it is now, in a folder."""

    folder: str
    listed: Listed


class Now(Mutable):
    """A mailbox as it is now: its folders, and their messages by lasting name."""

    folders: dict[str, Folder] = field(default_factory=dict)
    messages: dict[str, dict[bytes, Listed]] = field(default_factory=dict)
    place: bytes = b""
    subscribed: bytes = b""


def as_it_is(reader: MailboxReader) -> Now:
    """All of it."""
    now = Now(place=reader.place)
    for folder in reader.folders():
        live = folder.folder
        now.folders.setdefault(live.name, live)
        known = now.messages.setdefault(live.name, {})
        for listed in folder.messages():
            known.setdefault(listed.base, listed)
    for file in reader.files():
        if file.path == _SUBSCRIPTIONS and not file.home and file.target is None:
            with suppress(MessageUnavailable):
                opened = reader.open_file(file)
                try:
                    now.subscribed = opened.read(1 << 24)
                finally:
                    opened.close()
    return now


class _Back(Record, kw_only=True):
    """A message that gets back what it had: ``folder`` is where it was, ``decide`` which flags it gets."""

    there: _There
    folder: str
    decide: Callable[[Flags], Flags]


class PuttingBack:
    """What of one mailbox goes back. ``before`` is how it was, ``restored`` what was restored of it."""

    def __init__(
        self,
        archives: OpenArchives,
        choice: Choice,
        whose: LogicalPath,
        before: StoredMailbox,
        restored: StoredMailbox,
        live: InUse,
    ) -> None:
        self._archives = archives
        self._choice = choice
        self._whose = whose
        self._before = before
        self._restored = restored
        self._live = live
        self._rules = choice.state or StateRules(exact=True)
        self.flagged = self.moved = self.files = 0
        self.skipped: list[Skipped] = []

    def run(self, now: Now, *, dry_run: bool) -> None:
        """Put it back; in a ``dry_run`` only count. Raises DamagedError, PlaceError, StoreError."""
        backs = list(self._backs(now))
        if dry_run:
            for back in backs:
                self._count(back)
            return
        self._make_folders(now, {one.folder for one in backs})
        by_folders: dict[tuple[str, str], list[_Back]] = defaultdict(list)
        for back in backs:
            by_folders[back.there.folder, back.folder].append(back)
        with self._live.keeper.open_state(self._choice.to_user) as state:
            for (source, target), some in by_folders.items():
                wanted = [WantedState(listed=one.there.listed, decide=one.decide) for one in some]
                paths = now.folders[source].path, now.folders[target].path
                for back, why in zip(some, state.put(*paths, wanted), strict=True):
                    if why:
                        self._tell(back.there, why, "it is not put back")
                    else:
                        self._count(back)
            self.files += self._subscribes(now, state.subscribe)
            self.skipped += (
                Skipped(f"{self._whose}/{skip.path}", skip.reason, skip.detail) for skip in state.skipped()
            )

    def is_aside(self, folder: str) -> bool:
        """Whether the restore may have set messages aside in a folder of this name."""
        return self._choice.exactly is not None and is_set_aside(folder)

    def _backs(self, now: Now) -> Iterator[_Back]:
        folders = self._before.mailbox.folders
        path = self._choice.path.resolve([folder.folder.name for folder in folders])
        then = _Restored(self._restored)
        later = self._later()
        strays = self._strays(now)
        for entry in folders:
            name = entry.folder.name
            if not path.selects_folder(name):
                continue
            there = now.messages.get(name, {})
            for message in self._before.messages(entry):
                had = Flags(message.flags, message.keywords)
                wanted = self._made_of(message, name, then, later)
                if (listed := there.get(message.base)) is not None:
                    place = _There(name, listed)
                    is_now = Flags(listed.flags, listed.keywords)
                    if are_same(is_now, had):
                        continue
                    if wanted is not None and are_same(is_now, wanted):
                        yield _Back(there=place, folder=name, decide=partial(_if, wanted, had))
                    else:
                        self._tell(place, TOUCHED, "it has other flags by now, and keeps them")
                    continue
                found = next(
                    (
                        one
                        for one in strays.get(_stem(message.base), ())
                        if one.folder != name and self._was_moved(one, message, then)
                    ),
                    None,
                )
                if found is not None:
                    strays[_stem(message.base)].remove(found)
                    expected = had if self.is_aside(found.folder) else wanted or had
                    yield _Back(there=found, folder=name, decide=partial(_if, expected, had))

    def _made_of(
        self, message: Message, folder: str, then: _Restored, later: Mapping[bytes, Flags]
    ) -> Flags | None:
        """The flags that the restore has given to a message, as far as that can be told."""
        restored = then.flags(folder, message)
        if restored is None or self._rules.exact:
            return restored
        had = Flags(message.flags, message.keywords)
        return merged(had, then=restored, later=later.get(message.base))

    def _was_moved(self, there: _There, message: Message, then: _Restored) -> bool:
        """Whether it was the restore that has moved a message to where it is: aside, or where it was."""
        if message.inode and there.listed.inode and message.inode != there.listed.inode:
            return False
        return self.is_aside(there.folder) or then.holds(there.folder, message)

    def _strays(self, now: Now) -> dict[bytes, list[_There]]:
        """The messages that were not in their folders before under their names."""
        had = {folder.folder.name: folder for folder in self._before.mailbox.folders}
        found: dict[bytes, list[_There]] = defaultdict(list)
        for name, messages in now.messages.items():
            bases = {message.base for message in self._before.messages(had[name])} if name in had else set()
            for base, listed in messages.items():
                if base not in bases:
                    found[_stem(base)].append(_There(name, listed))
        return found

    def _later(self) -> dict[bytes, Flags]:
        """How the newest backup of then told of messages, by lasting name."""
        if self._rules.exact or self._rules.later is None:
            return {}
        stored = StoredMailbox(self._archives, self._rules.later, self._choice.user)
        return {
            message.base: Flags(message.flags, message.keywords)
            for entry in stored.mailbox.folders
            for message in stored.messages(entry)
        }

    def _make_folders(self, now: Now, wanted: set[str]) -> None:
        """Make the folders that are gone, and to which messages go back."""
        gone = [
            entry.folder
            for entry in self._before.mailbox.folders
            if entry.folder.name in wanted - now.folders.keys()
        ]
        if not gone:
            return
        layout = [folder_entry.folder for folder_entry in self._before.mailbox.folders]
        with self._live.target.open_mailbox(self._choice.to_user, now.place, layout) as writer:
            for folder in gone:
                writer.open_folder(folder).finish()
                now.folders[folder.name] = folder
            writer.commit()

    def _subscribes(self, now: Now, subscribe: Callable[[bytes, Sequence[str]], bool]) -> bool:
        """Let subscriptions be as they were, if they are still as the restore made them."""
        if self._choice.path.folder is not None:
            return False
        had, then = _subscribed(self._before), _subscribed(self._restored)
        if had is None or then is None:
            return False
        folders = [folder.folder.name for folder in self._restored.mailbox.folders]
        contents = Contents(self._archives.data)
        before, restored = b"".join(contents.message(had)), b"".join(contents.message(then))
        if subscriptions.merged(restored, before, folders) != now.subscribed:
            return False
        return subscribe(before, [*folders, *(entry.folder.name for entry in self._before.mailbox.folders)])

    def _count(self, one: _Back) -> None:
        is_now = Flags(one.there.listed.flags, one.there.listed.keywords)
        self.moved += one.there.folder != one.folder
        self.flagged += not are_same(is_now, one.decide(is_now))

    def _tell(self, there: _There, reason: str, detail: str) -> None:
        whose, listed = self._whose, there.listed
        named = listed.uid or listed.base
        shown = message_path(whose.partition or "", whose.group or "", whose.user or "", there.folder, named)
        self.skipped.append(Skipped(shown, reason, detail))


class _Restored:
    """The messages that a restore has put into places, by what tells one from another."""

    def __init__(self, stored: StoredMailbox) -> None:
        self._by_name: dict[tuple[str, bytes], Flags] = {}
        self._by_content: dict[tuple[str, bytes], set[Flags]] = defaultdict(set)
        for entry in stored.mailbox.folders:
            name = entry.folder.name
            for message in stored.messages(entry):
                flags = Flags(message.flags, message.keywords)
                self._by_name[name, message.base] = flags
                self._by_content[name, message.digest].add(flags)
                self._by_content["", message.digest].add(flags)

    def holds(self, folder: str, message: Message) -> bool:
        """Whether a message of this content was in a folder."""
        return (folder, message.digest) in self._by_content

    def flags(self, folder: str, message: Message) -> Flags | None:
        """The flags that a message had; None if it was not there, or nobody can tell which it was."""
        named = self._by_name.get((folder, message.base))
        if named is not None:
            return named
        for where in (folder, ""):
            same = self._by_content.get((where, message.digest), set())
            if same:
                return next(iter(same)) if len(same) == 1 else None
        return None


def _if(expected: Flags, had: Flags, now: Flags) -> Flags:
    """The flags that a message had, if it has those that are expected; else it keeps what it has."""
    return had if are_same(now, expected) else now


def _stem(base: bytes) -> bytes:
    """What the names have in common that a message may get where it is moved."""
    return stem(portable_name(base))


def _subscribed(stored: StoredMailbox) -> StoredFile | None:
    return next(
        (
            file
            for file in stored.mailbox.files
            if file.path == _SUBSCRIPTIONS and not file.home and not file.target
        ),
        None,
    )
