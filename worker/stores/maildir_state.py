"""A Maildir mailbox that is in use, whose messages get flags, keywords and places: files are renamed, and
nothing else is touched.

A server that lists a directory while something in it is renamed may miss a message, and takes it for
expunged (docs/decisions/0040-state-only.md). So files are renamed under the lock of the folder's UID list,
under which the server lists. It is held for half a second at most at a time. Keywords for which a folder has
no letter are given by the server itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ...groups.paths import printable
from ...proto.errors import LockedError, MessageUnavailable, StoreError
from ...proto.records import Listed, Skipped
from ...proto.state import Flags, WantedState
from ...proto.structs import Mutable, field
from . import keywords, subscriptions
from .control import Control, control_of
from .directories import descend, make_directory, opened, refused, split
from .dotlock import uidlist_lock
from .doveadm import Doveadm
from .file_writer import FileWriter
from .keyword_file import replace_keywords
from .listing import PLACES, Listing, record
from .location import Location
from .message_places import lasting_names, portable_name
from .notices import Notices
from .opened import FileOpener
from .renaming import rename_new
from .uidlist_file import opened_list, uids_of

_LOCKED_SECONDS = 0.5
_PAUSE_SECONDS = 0.25
"""So long the lock is free between two turns: a Dovecot that waits for it looks every 0.1 to 0.2 seconds."""


class _OpenFolder(Mutable):
    """A folder: the open directories of its messages and of its lists, and the names of its keywords."""

    path: bytes
    places: Mapping[str, int]
    lists: int
    names: tuple[str, ...] = ()

    def letters(self, names: Collection[str]) -> str:
        """The letters of those keywords that have any."""
        known = {name.lower(): keywords.LETTERS[at] for at, name in enumerate(self.names) if name}
        return "".join(known[name.lower()] for name in names if name.lower() in known)

    def nameless(self) -> set[str]:
        """The letters that no keyword is known of."""
        named = {keywords.LETTERS[at] for at, name in enumerate(self.names) if name}
        return set(keywords.LETTERS) - named

    def lettered(self) -> set[str]:
        """The keywords that have a letter, in small letters."""
        return {name.lower() for name in self.names if name}


class _Beyond(Mutable):
    """Keywords that have no letter in a folder, and whose messages are to get or to lose them: by lasting
    names, or by UIDs where messages stay in their folder."""

    add: dict[str, list[tuple[bytes, int]]] = field(default_factory=dict)
    remove: dict[str, list[tuple[bytes, int]]] = field(default_factory=dict)

    def note(self, folder: _OpenFolder, base: bytes, uid: int, had: Flags, wanted: Flags) -> None:
        """A message that had some keywords, and is to have others."""
        lettered = folder.lettered()
        before = {keyword for keyword in had.keywords if keyword.lower() not in lettered}
        after = {one for one in wanted.keywords if one.lower() not in lettered}
        for names, into in ((after - before, self.add), (before - after, self.remove)):
            for name in names:
                into.setdefault(name, []).append((base, uid))


class MaildirState:
    """A MailboxState (see ``proto.ports``); ``root`` is the mailbox, open, ``control`` where its lists lie,
    if they lie elsewhere."""

    def __init__(self, root: int, control: Control | None, user: str, doveadm: Doveadm | None) -> None:
        self._root = root
        self._control = control
        self._user = user
        self._doveadm = doveadm
        self._notices = Notices()
        self._files = FileWriter(self._notices)

    def put(self, source: bytes, target: bytes, wanted: Sequence[WantedState]) -> Sequence[str]:
        try:
            with ExitStack() as stack:
                here = self._opened(stack, source)
                there = here if target == source else self._opened(stack, target)
                self._add_letters(there, wanted)
                return self._renamed(here, there, wanted)
        except MessageUnavailable as error:
            raise StoreError(error.message) from error
        except OSError as error:
            raise refused(error, printable(target) or "INBOX") from error

    def subscribe(self, then: bytes, folders: Sequence[str], *, dry_run: bool = False) -> bool:
        directory = self._control.fd if self._control else self._root
        try:
            if dry_run:
                return subscriptions.differ(directory, then, folders)
            return subscriptions.change(directory, then, folders, self._files)
        except MessageUnavailable as error:
            raise StoreError(error.message) from error
        except OSError as error:
            raise refused(error, printable(subscriptions.NAME)) from error

    def skipped(self) -> Sequence[Skipped]:
        return self._notices.skipped

    def _opened(self, stack: ExitStack, path: bytes) -> _OpenFolder:
        directory = _entered(stack, self._root, path)
        places: dict[str, int] = {}
        for place in PLACES:
            make_directory(directory, place.encode(), 0o700)
            places[place] = _entered(stack, directory, place.encode())
        lists = _lists(stack, self._control, path) if self._control else directory
        return _OpenFolder(path, places, lists, keywords.read_keywords(lists, FileOpener()))

    def _add_letters(self, there: _OpenFolder, wanted: Sequence[WantedState]) -> None:
        """Let the folder have a letter for each keyword that its messages get, as long as there are any."""
        needed = {name for state in wanted for name in state.decide(_flags_of(state.listed)).keywords}
        lettered = there.lettered()
        if not {name for name in needed if name.lower() not in lettered}:
            return
        with self._locked(there):
            there.names = keywords.read_keywords(there.lists, FileOpener())
            names, lettered = list(there.names), there.lettered()
            for name in sorted(needed, key=str.lower):
                if name.lower() not in lettered and len(names) < keywords.MOST and keywords.can_be(name):
                    names.append(name)
                    lettered.add(name.lower())
            if len(names) > len(there.names):
                replace_keywords(there.lists, there.lists, names, self._files)
                there.names = tuple(names)

    def _renamed(self, here: _OpenFolder, there: _OpenFolder, wanted: Sequence[WantedState]) -> list[str]:
        """Rename the files of messages, in turns."""
        answers: list[str] = []
        beyond = _Beyond()
        while len(answers) < len(wanted):
            if answers:
                time.sleep(_PAUSE_SECONDS)
            with self._locked(here, there):
                turn = _Turn(here, there)
                until = time.monotonic() + _LOCKED_SECONDS
                for state in wanted[len(answers) :]:
                    answers.append(turn.take(state, beyond))
                    if time.monotonic() >= until:
                        break
        for fd in {*here.places.values(), *there.places.values()}:
            os.fsync(fd)
        if beyond.add or beyond.remove:
            self._tell_server(there, beyond, is_new=there is not here)
        return answers

    @contextmanager
    def _locked(self, *folders: _OpenFolder) -> Iterator[None]:
        by_path = {folder.path: folder for folder in folders}
        with ExitStack() as stack:
            for path in sorted(by_path):
                try:
                    stack.enter_context(uidlist_lock(by_path[path].lists))
                except LockedError as error:
                    raise StoreError(f"{printable(path) or 'INBOX'}: {error.message}") from error
            yield

    def _tell_server(self, folder: _OpenFolder, beyond: _Beyond, *, is_new: bool) -> None:
        """Keywords that only the server's index can hold."""
        left = {**beyond.remove, **beyond.add}
        try:
            if self._doveadm is None:
                raise StoreError("the server is not told (doveadm)")
            with opened_list(folder.lists) as found:
                guid = found.header.guid
            self._doveadm.look(self._user, guid)  # from now on all messages have UIDs
            uids = _numbered(folder, left, is_new=is_new)
            for change, marked in (
                (self._doveadm.add_keyword, beyond.add),
                (self._doveadm.remove_keyword, beyond.remove),
            ):
                for keyword, messages in marked.items():
                    if not _change_all(change, self._user, guid, keyword, messages, uids):
                        raise StoreError("messages without a UID")
                    left.pop(keyword, None)
        except (StoreError, MessageUnavailable) as error:
            detail = f"keywords are not as they were: {', '.join(sorted(left))}: {error.message}"
            self._notices.add(folder.path, "keyword", detail)


class _Turn:
    """Messages of a folder that are renamed while the locks are held. Methods raise OSError."""

    def __init__(self, here: _OpenFolder, there: _OpenFolder) -> None:
        self._here = here
        self._there = there
        self._now: Mapping[bytes, bytes] | None = None
        self._taken: set[bytes] | None = None

    def take(self, wanted: WantedState, beyond: _Beyond) -> str:
        """Rename a message, under whatever name it has by now; says why not, as ``MailboxState.put``."""
        with suppress(FileNotFoundError):
            return self._rename(wanted.listed, wanted, beyond)
        now = self._as_it_is(wanted.listed)
        if now is not None:
            with suppress(FileNotFoundError):
                return self._rename(now, wanted, beyond)
        return "vanished"

    def _as_it_is(self, listed: Listed) -> Listed | None:
        """A message that somebody has given other flags meanwhile."""
        if self._now is None:
            listing = Listing(self._here.places)
            self._now = {entry.partition(b"\0")[0]: entry for entry in listing.entries}
        entry = self._now.get(listed.base)
        if entry is None:
            return None
        now = record(entry, keywords.FlagNames(self._here.names), listed.uid, listed.fields)
        # A keyword without a letter is not in the name: that is as it was listed.
        lettered = self._here.lettered()
        kept = {keyword for keyword in listed.keywords if keyword.lower() not in lettered}
        return now._replace(keywords=tuple(sorted({*now.keywords, *kept})))

    def _rename(self, listed: Listed, wanted: WantedState, beyond: _Beyond) -> str:
        had = _flags_of(listed)
        flags = wanted.decide(had)
        suffix = self._suffix(listed, flags)
        if suffix is None:
            return "name"
        place = "cur" if listed.place == "cur" or suffix else "new"
        source, name = self._here.places[listed.place], listed.base + listed.suffix
        target = self._there.places[place]
        if self._there is not self._here:
            base = self._moved(source, name, target, listed.base, suffix)
            beyond.note(self._there, base, 0, Flags("", ()), flags)
            return ""
        if target == source and suffix == listed.suffix:
            os.stat(name, dir_fd=source, follow_symlinks=False)
        else:
            try:
                rename_new(source, name, target, listed.base + suffix)
            except FileExistsError:
                return "exists"
        beyond.note(self._there, listed.base, listed.uid, had, flags)
        return ""

    def _moved(self, source: int, name: bytes, target: int, base: bytes, suffix: bytes) -> bytes:
        """Put a message into the other folder, under a lasting name that no message has or had there."""
        taken = self._taken_names()
        free = (
            lasting_name for lasting_name in lasting_names(portable_name(base)) if lasting_name not in taken
        )
        while True:
            chosen = next(free)
            taken.add(chosen)
            with suppress(FileExistsError):
                rename_new(source, name, target, chosen + suffix)
                return chosen

    def _taken_names(self) -> set[bytes]:
        """The lasting names of the messages that are in the other folder, and of those that are in its list,
        though they were expunged: to the server, a file of that name would be such a message."""
        if self._taken is None:
            self._taken = {entry.partition(b"\0")[0] for entry in Listing(self._there.places).entries}
            with suppress(FileNotFoundError), opened_list(self._there.lists) as found:
                self._taken.update(base for _, _, base in found.entries())
        return self._taken

    def _suffix(self, listed: Listed, flags: Flags) -> bytes | None:
        """How the name of the file ends; None where nobody knows how such a name is written."""
        letters = flags.letters + self._there.letters(flags.keywords)
        if self._there is self._here:
            # A letter that no keyword is known of stays.
            letters += "".join(set(keywords.flags_of(listed.suffix)) & self._there.nameless())
        if listed.suffix.startswith(b":2,"):
            return keywords.with_flags(listed.suffix, letters)
        if listed.suffix:
            return None
        return b":2," + "".join(sorted(letters)).encode("ascii") if letters else b""


@contextmanager
def open_state(
    location: Location, control: Location | None, user: str, doveadm: Doveadm | None
) -> Iterator[MaildirState]:
    """The mailbox at a place, whose lists lie in ``control`` if that is not there. Raises StoreError."""
    with ExitStack() as stack:
        root = _located(stack, location)
        lists = control_of(root, _located(stack, control)) if control is not None else None
        yield MaildirState(root, lists, user, doveadm)


def _located(stack: ExitStack, location: Location) -> int:
    try:
        directory = location.open()
    except OSError as error:
        raise StoreError(f"{printable(location.path)}: {error.strerror}") from error
    stack.callback(os.close, directory)
    return directory


def _lists(stack: ExitStack, control: Control, path: bytes) -> int:
    """The directory of the lists of a folder, as the server makes it when it first opens the folder."""
    names = split(control.path(path))
    for depth in range(1, len(names) + 1):
        with opened(control.fd, names[: depth - 1]) as above:
            status = os.fstat(above)
            if make_directory(above, names[depth - 1], status.st_mode & 0o777) and os.geteuid() == 0:
                os.chown(names[depth - 1], status.st_uid, status.st_gid, dir_fd=above, follow_symlinks=False)
    return _entered(stack, control.fd, control.path(path))


def _flags_of(listed: Listed) -> Flags:
    return Flags(listed.flags, listed.keywords)


def _entered(stack: ExitStack, start: int, path: bytes) -> int:
    directory = descend(start, split(path))
    stack.callback(os.close, directory)
    return directory


def _numbered(
    folder: _OpenFolder, marked: Mapping[str, Sequence[tuple[bytes, int]]], *, is_new: bool
) -> Mapping[bytes, int]:
    """The UIDs of messages that came into the folder just now."""
    if not is_new:
        return {}
    return uids_of(folder.lists, {base for messages in marked.values() for base, _ in messages})


def _change_all(
    change: Callable[[str, str, str, Sequence[int]], None],
    user: str,
    guid: str,
    keyword: str,
    messages: Sequence[tuple[bytes, int]],
    uids: Mapping[bytes, int],
) -> bool:
    """Change a keyword of messages; False if one of them has no UID."""
    numbers = [uid or uids.get(base, 0) for base, uid in messages]
    change(user, guid, keyword, sorted(filter(None, numbers)))
    return all(numbers)
