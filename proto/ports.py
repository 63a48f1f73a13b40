"""The ports: what each kind of adapter promises to the rest of the product.

Promises stand in the docstrings; ``tests/contract`` holds every adapter to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from .records import (
    FileStat,
    Folder,
    Listed,
    ListedFile,
    MailboxOutcome,
    MailboxSize,
    Message,
    Progress,
    SeenFile,
    Skipped,
    StoredFile,
)
from .state import WantedState

if TYPE_CHECKING:
    from .archive.draft import Draft
    from .archive.files import RandomAccess
    from .archive.message_rows import Names


class Clock(Protocol):
    """Time, handed in so that tests can set it."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds that never step back; only differences mean something."""


class MailStore(Protocol):
    """One partition of a mail store, for reading. Reading changes nothing in the store."""

    def users(self) -> Iterator[str]:
        """Every user that has a mailbox here, each once, sorted. Raises StoreError if the root can't be
        listed."""

    def left_out(self) -> Sequence[Skipped]:
        """What looks like mail and is no mailbox that ``users()`` gave, and why; ``path`` is relative to the
        root, printable. Complete once users() has returned."""

    def measure(self, user: str) -> MailboxSize:
        """Messages and bytes of a mailbox, from names alone where that is possible. An estimate."""

    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> AbstractContextManager[MailboxReader]:
        """The mailbox of a user. ``known`` is how it was stored last: what has not changed since is not
        looked at more closely. Folders that are not ``wanted``, by name, are passed over.

        Raises StoreError if there is none or it can't be entered."""


class KnownFolder(Protocol):
    """A folder as it was stored last."""

    folder: Folder
    mark: bytes
    """What ``FolderReader.mark`` was then; empty where it can't be compared."""

    def bases(self) -> Iterator[bytes]:
        """The lasting names of its messages."""


class KnownMailbox(Protocol):
    """A mailbox as it was stored last."""

    files_mark: bytes
    """What ``MailboxReader.files_mark`` was then; empty where it can't be compared."""

    mark: bytes
    """What ``MailboxReader.mark`` was then; empty where it can't be compared."""

    def directories(self) -> Iterable[tuple[bytes, str]]:
        """The paths of all its directories that are told of: with the name of its folder, or ``""`` for one
        that is none. Those of the parts of folders are left out."""

    def listed_files(self) -> Iterable[ListedFile]:
        """Its files that are no messages, in the order in which they were listed."""

    def folder(self, path: bytes) -> KnownFolder | None:
        """The folder with this path, if it was there."""


class MailboxReader(Protocol):
    """One mailbox, for reading while the server goes on delivering, flagging, moving, expunging."""

    place: bytes
    """The mailbox's directory relative to the root of its partition, where users are named by where their
    mailboxes lie; b"" where a template says it."""

    def mark(self) -> bytes:
        """The state of all its directories, and of the lists in them, before anything else of it was read: as
        long as this and ``files_mark()`` are the same, nothing has changed of all that is there to be stored.
        Empty where that can't be told; so it is also while folders are passed over."""

    def folders(self) -> Iterator[FolderReader]:
        """Every folder, one open at a time: the UID list is read before the names of the messages, so
        that a message that is listed finds its UID or has none yet.

        At the end those folders come again into which mail came after they were read, with that mail
        only, and folders that were not there before: it may have been moved out of a folder that was read
        later. Then the later record counts, and its mark is empty. That goes on until the mailbox holds
        still, or up to a bound."""

    def held_still(self) -> bool:
        """Whether there was a moment at which all folders were as ``folders()`` has shown them: a message
        that was ``vanished`` and has not come again was removed then. Complete once folders() is
        exhausted."""

    def files(self) -> Iterator[ListedFile]:
        """Every other file worth keeping (subscriptions, keywords, sieve scripts, ACLs, quota).
        Symbolic links are listed with their target and never followed. To be asked for after the folders,
        unless ``mark()`` is as it was: what lies among messages and is none is found with them."""

    def files_mark(self) -> bytes:
        """The state of all that ``files()`` lists, in a few bytes: as long as it is the same, so are the
        files and what they hold. Empty where that can't be told. To be asked for after files()."""

    def passed_over(self) -> Sequence[str]:
        """The names of the folders that were not wanted. Complete once folders() is exhausted."""

    def open_file(self, file: ListedFile) -> OpenedFile:
        """Open a listed file that is no link. Raises MessageUnavailable."""

    def link_stat(self, file: ListedFile) -> FileStat:
        """The ownership and mtime of a listed link itself. Raises MessageUnavailable."""

    def skipped(self) -> Sequence[Skipped]:
        """What the listing left out and why (FIFOs, sockets, devices, links that lead out, unreadable
        directories), so far; ``path`` is relative to the mailbox, printable. Complete once folders()
        and files() are exhausted."""


class ListedMessages(Protocol):
    """The messages of a folder as they are listed, in their order, without a record for each."""

    def __len__(self) -> int:
        """How many there are."""

    def some(self, first: int, end: int) -> list[Listed]:
        """The records of those from the one with the number ``first`` on, up to ``end``."""

    def agreeing(self, first: int, names: Names, row: int) -> int:
        """How many messages from the one with the number ``first`` on are called, one after the other, just
        as those that were stored, from ``row`` on, in every detail, and are the same files: what
        ``Names.agreeing`` says of their records."""


class FolderReader(Protocol):
    """One folder of a mailbox. Valid until the next one is asked for."""

    folder: Folder

    mark: bytes
    """The state of the folder before it was read, in a few bytes: as long as it is the same, no message came,
    went, got other flags or another UID. Empty where that can't be told: the store changed it at the very
    time, or something in it could not be listed."""

    unchanged: bool
    """Whether it is as ``known`` said: the mark is the same. Nothing was listed then; ``messages()`` does."""

    trusted: bool
    """Whether a name that was known stands for the same message as long as its ``inode`` is the same. Not if
    the folder may be another one, made anew or copied: then each message has to be compared by ``stat``."""

    complete: bool
    """Whether all that the folder holds could be listed. If not, what was stored of it and is not listed now
    may be there still."""

    def __len__(self) -> int:
        """How many messages ``messages()`` yields."""

    def messages(self) -> Iterator[Listed]:
        """Every message, in the order of UIDs, those without one last. Lazily: a folder may hold millions."""

    def listing(self) -> ListedMessages:
        """The same messages in the same order, to be compared with what was stored of them."""

    def open_message(self, message: Listed) -> OpenedFile:
        """Open a message for reading. One that was renamed meanwhile is looked up again by its base name;
        ``OpenedFile.listed`` says under which name it was found. Raises MessageUnavailable, with reason
        ``vanished`` if it is gone."""

    def stat(self, message: Listed) -> FileStat:
        """What ``open_message`` would tell of it, without reading. Raises MessageUnavailable."""


class RecordKeeper(Protocol):
    """One partition of a mail store, as its server keeps account of it."""

    def server_record(self, user: str) -> AbstractContextManager[ServerRecord]:
        """What is on record of the mailbox of a user. Raises StoreError if there is none or it can't be
        entered."""


class ServerRecord(Protocol):
    """What a server has on record of the messages of a mailbox, be they there or not. Asking changes nothing,
    in the mailbox and for the server. Folders are called by their paths."""

    def numbered(self, path: bytes, bases: Collection[bytes]) -> Mapping[bytes, int] | None:
        """The UIDs that the list of a folder has for messages with these lasting names, as far as it has any;
        None if there is no list, or it can't be read."""

    def counts_on(self, path: bytes, uids: Collection[int]) -> Collection[int] | None:
        """Which of these UIDs the server takes to be there. One that was expunged is not among them, though
        the list may have it for a while. None if the server can't be asked."""

    def has_deleted(self, guid: str) -> bool:
        """Whether it is on record that somebody deleted the folder with this GUID."""


class MailMender(Protocol):
    """One partition of a mail store, for putting the content of single messages back in place."""

    def open_mending(self, user: str) -> AbstractContextManager[MailboxMender]:
        """A mailbox that is there. Raises StoreError if there is none or it can't be entered."""


class MailboxMender(Protocol):
    """One mailbox in which messages get the content back that they had, each under its name and UID. Nothing
    else is touched; what was put back is durable."""

    def mend(self, folder: bytes, message: Message, seen: SeenFile | None, content: Iterable[bytes]) -> None:
        """Put the content of a message in the place of its file, which was ``seen``, or where there is none.

        Raises MessageUnavailable if the file is another one by now (``changed``), or the folder can't be
        entered; StoreError if it can't be written. An exception raised by ``content`` passes through; all is
        as it was then."""


class StateKeeper(Protocol):
    """One partition of a mail store, for giving messages flags and places back without their content."""

    def open_state(self, user: str) -> AbstractContextManager[MailboxState]:
        """A mailbox that is there. Raises StoreError if there is none or it can't be entered."""


class MailboxState(Protocol):
    """One mailbox in use whose messages get flags, keywords and places. No content is read or written; its
    server tells its clients of each change, as of any other. Folders are called by their paths."""

    def put(self, source: bytes, target: bytes, wanted: Sequence[WantedState]) -> Sequence[str]:
        """Let messages of a folder have other flags, and lie in the folder ``target``, which may be the same
        one. Answers for each, in order: empty if it is so now, else why not, in one word (``vanished``: it is
        not in the folder any more). What is done is durable. The server is kept from its lists for a second
        at most at a time. Raises StoreError."""

    def subscribe(self, then: bytes, folders: Sequence[str], *, dry_run: bool = False) -> bool:
        """Let the user be subscribed to what the content ``then`` of the store's list of subscriptions says,
        and not to others of these ``folders``, by name; whether that changed anything, or would. Raises
        StoreError."""

    def skipped(self) -> Sequence[Skipped]:
        """What could not be set as it was wanted (keywords), and why; ``path`` is relative to the mailbox,
        printable."""


class MailRemover(MailStore, Protocol):
    """One partition of a mail store, for taking back what was put into it."""

    def stands(self, user: str) -> bool:
        """Whether there is anything where the mailbox of a user lies. Raises StoreError if it can't lie
        anywhere."""

    def open_removing(self, user: str) -> AbstractContextManager[MailboxRemover]:
        """A mailbox that is there. Raises StoreError if there is none or it can't be entered."""


class MailboxRemover(Protocol):
    """One mailbox in use, from which something is removed. Its server tells its clients of each message, as
    of any that is expunged; UIDs and UIDVALIDITYs are never given again. Folders are called by their paths.
    All methods raise StoreError; what is done is durable."""

    def remove_messages(self, folder: bytes, messages: Sequence[Listed]) -> Sequence[Listed]:
        """Remove messages of a folder, but for those that have another name than was listed, other flags for
        one; returns what is gone. The server is kept from its lists for a second at most at a time."""

    def remove_folder(self, folder: bytes) -> bool:
        """Remove a folder; False if there is a message in it, another folder, or a file that the server does
        not make by itself. The mailbox's own directory stays."""

    def remove_file(self, file: StoredFile) -> bool | None:
        """Remove a file that is no message, unless its server keeps it for itself; False if it does not hold
        what was stored, None if there is nothing to remove."""

    def remove_mailbox(self) -> bool:
        """Remove the mailbox with all its folders; False if anything is in it that its server does not make
        by itself."""


class Announcer(Protocol):
    """One partition of a mail store, for a message of the operator in mailboxes. ``place`` and ``layout``:
    see ``MailTarget``."""

    def announce(self, user: str, place: bytes, layout: Sequence[Folder], content: bytes) -> None:
        """Put a message into the INBOX of a user, as new mail, unless one is there or there is no INBOX.
        Raises StoreError."""

    def end_announcement(self, user: str, place: bytes, layout: Sequence[Folder]) -> None:
        """Remove it from the INBOX, where it is there still. Raises StoreError."""


class OpenedFile(Protocol):
    """A regular file that was opened. Close it."""

    stat: FileStat
    listed: Listed | None

    def read(self, size: int) -> bytes:
        """The next bytes: exactly ``size`` unless the end of the file comes first, b"" at the end.
        Raises MessageUnavailable (``io-error``)."""

    def close(self) -> None:
        """Repeatable."""


class MailTarget(Protocol):
    """One partition of a mail store, for writing; or a mail server; or files of another format, each user in
    a place of its own. These may hold mail only: a writer then answers False for every other file."""

    def open_mailbox(
        self, user: str, place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> AbstractContextManager[MailboxWriter]:
        """Begin to write a mailbox. What is not committed when the context ends is not to be seen, unless it
        is a server that has it, which shows what it has taken at once.

        ``place`` is where the mailbox lay below its own root; a target without a template lays it out
        the same way, and by the user's name where it is empty. ``layout`` are all folders that it had: what
        is written lies as they did, and a mailbox whose own directory was no folder does not become one.
        Raises StoreError.
        """

    def finish(self) -> None:
        """No more mailboxes come: what is one thing for all of them (a file, a connection) is completed, made
        durable and let go. Raises StoreError; then nothing of such a thing is there."""

    def abandon(self) -> None:
        """Let go of it as it is; what is not finished is not to be seen. Repeatable, also after finish (then
        without effect)."""


class MailboxWriter(Protocol):
    """One mailbox being restored. Nothing is ever written outside its directory (and the user's home)."""

    def new_folder(self, name: str) -> Folder:
        """What to open for a folder of this name that was never stored: laid out as the folders that the
        mailbox had, of the same owner, without UIDs."""

    def open_folder(self, folder: Folder) -> FolderWriter:
        """Recreate a folder, or add to the one that exists. One folder open at a time. A folder that is
        recreated goes on above the numbers that are recorded (see ``Renumbering``)."""

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        """Write a file that is no message; False if one was there already (it is left alone)."""

    def commit(self) -> None:
        """Make everything durable, then visible."""

    def skipped(self) -> Sequence[Skipped]:
        """What could not be put back as it was (an owner, a keyword, a server's counter), and why; ``path``
        is relative to the mailbox, printable. Complete after ``commit``."""

    def outcome(self) -> MailboxOutcome:
        """What became of messages after ``add`` had taken them. Complete after ``commit``."""

    def without_modseq(self) -> int:
        """How many folders came back with their UIDVALIDITY, but without what lets the server tell clients
        that remember it (QRESYNC) of what has changed or vanished. Complete after ``commit``."""

    def listed(self) -> Mapping[str, int]:
        """How many messages each folder that was opened has now, by its name: counted by listing the target
        anew, not from what was written. Without those that it does not count by folder. To be asked for after
        ``commit``. Raises StoreError where that can't be read."""


class FolderWriter(Protocol):
    """One folder being restored."""

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        """Write a message; False if it was there already. An exception raised by ``content`` passes
        through and leaves nothing of the message behind. Where messages are sent in batches it may turn out
        later that one is refused: then ``skipped`` tells of it, and ``outcome`` counts it. Raises
        FolderStoppedError when the folder takes no more."""

    def finish(self) -> None:
        """All messages were handed over: write UID list, keywords, directory times. Raises as ``add``."""


class ArchiveSink(Protocol):
    """Where the bytes of one archive go: forward only."""

    def begin(self) -> Draft | None:
        """Open for writing; call it once, before all else. What an earlier attempt left there, whole up to
        the end of a mailbox: writing goes on behind that, unless ``restart`` is called. None where there is
        nothing of use; writing begins at the start then. Raises StagingError, also if the archive is sealed
        already; FencedError if a later attempt has taken over."""

    @property
    def written(self) -> RandomAccess:
        """The file as far as the draft goes that ``begin`` returned; until ``seal`` or ``abort``."""

    def restart(self) -> None:
        """Drop what ``begin`` returned, before anything is written: writing begins at the start. Raises
        StagingError."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; may wait for a slow or full disk. Raises StagingError."""

    def checkpoint(self) -> None:
        """A mailbox is complete. What was written so far will soon survive a crash; does not wait for it."""

    def seal(self) -> str:
        """Durable, and known under its final name from here on; returns that name."""

    def abort(self) -> None:
        """Give up for now: nothing with a final name appears, what was written may serve a later attempt.
        Repeatable, also after seal (then without effect)."""


class Task(Protocol):
    """What engines dispatch."""

    @property
    def label(self) -> str:
        """What it is called in its progress."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts on which it can be done; empty for any."""

    def attempted(self, host: str, attempt: int) -> object:
        """What a worker gets for one attempt, counted from 1, on this host (empty: where the coordinator
        runs)."""


ProgressSink = Callable[[Progress], None]
"""Called from the data path; must be quick and must not raise."""
