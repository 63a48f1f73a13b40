"""A mail store behind the port of a mail store, read no faster than a budget allows.

Opening a message, or a file that is none, costs one message; reading costs bytes, in pieces, so that the
rate holds inside a large message too. Listing and measuring cost nothing, nor does looking at a message
without opening it: they read names and inodes. But where only a share of a host may be had, rests follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from ...proto.ports import FolderReader, KnownMailbox, ListedMessages, MailboxReader, MailStore, OpenedFile
from ...proto.records import FileStat, Listed, ListedFile, MailboxSize, Skipped

_LEAST_PIECE_BYTES = 4096


class ReadingBudget(Protocol):
    """What the budget of a worker must be able to do: see ``load.budget``."""

    @property
    def piece_bytes(self) -> int:
        """How much to read before it is spent; 0 for all at once."""

    @property
    def small_bytes(self) -> int:
        """Of messages up to this size nothing has to be spent."""

    def spend_message(self) -> None:
        """Waits."""

    def spend_bytes(self, count: int) -> None:
        """Waits."""

    def rest(self) -> None:
        """Waits, after what is neither messages nor bytes."""


class ThrottledStore:
    """A MailStore (see ``proto.ports``) that raises what the store and the budget raise."""

    def __init__(self, store: MailStore, budget: ReadingBudget) -> None:
        self._store = store
        self._budget = budget

    def users(self) -> Iterator[str]:
        return self._store.users()

    def left_out(self) -> Sequence[Skipped]:
        return self._store.left_out()

    def measure(self, user: str) -> MailboxSize:
        self._budget.rest()
        return self._store.measure(user)

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> Iterator[MailboxReader]:
        self._budget.rest()
        with self._store.open_mailbox(user, known, wanted) as mailbox:
            yield _Mailbox(mailbox, self._budget)


class _Mailbox:
    def __init__(self, mailbox: MailboxReader, budget: ReadingBudget) -> None:
        self.place = mailbox.place
        self._mailbox = mailbox
        self._budget = budget

    def mark(self) -> bytes:
        return self._mailbox.mark()

    def folders(self) -> Iterator[FolderReader]:
        for folder in self._mailbox.folders():
            self._budget.rest()
            yield _Folder(folder, self._budget)

    def held_still(self) -> bool:
        return self._mailbox.held_still()

    def files(self) -> Iterator[ListedFile]:
        return self._mailbox.files()

    def files_mark(self) -> bytes:
        return self._mailbox.files_mark()

    def passed_over(self) -> Sequence[str]:
        return self._mailbox.passed_over()

    def open_file(self, file: ListedFile) -> OpenedFile:
        self._budget.spend_message()
        return _paced(self._mailbox.open_file(file), self._budget)

    def link_stat(self, file: ListedFile) -> FileStat:
        return self._mailbox.link_stat(file)

    def skipped(self) -> Sequence[Skipped]:
        return self._mailbox.skipped()


class _Folder:
    def __init__(self, folder: FolderReader, budget: ReadingBudget) -> None:
        self._folder = folder
        self._budget = budget
        self._take_over()

    def __len__(self) -> int:
        length = len(self._folder)
        self._take_over()
        return length

    def messages(self) -> Iterator[Listed]:
        messages = self._folder.messages()
        self._take_over()
        self._budget.rest()
        return messages

    def listing(self) -> ListedMessages:
        listing = self._folder.listing()
        self._take_over()
        self._budget.rest()
        return listing

    def open_message(self, message: Listed) -> OpenedFile:
        self._budget.spend_message()
        return _paced(self._folder.open_message(message), self._budget)

    def stat(self, message: Listed) -> FileStat:
        self._budget.rest()
        return self._folder.stat(message)

    def _take_over(self) -> None:
        """What a folder says of itself; once it was listed it may say more."""
        folder = self._folder
        self.folder, self.mark = folder.folder, folder.mark
        self.unchanged, self.trusted = folder.unchanged, folder.trusted
        self.complete = folder.complete


def _paced(opened: OpenedFile, budget: ReadingBudget) -> OpenedFile:
    piece = budget.piece_bytes
    if not piece or opened.stat.size <= budget.small_bytes:
        return opened
    return _Opened(opened, budget, max(piece, _LEAST_PIECE_BYTES))


class _Opened:
    __slots__ = ("_budget", "_opened", "_piece_bytes", "listed", "stat")

    def __init__(self, opened: OpenedFile, budget: ReadingBudget, piece_bytes: int) -> None:
        self.stat: FileStat = opened.stat
        self.listed: Listed | None = opened.listed
        self._opened = opened
        self._budget = budget
        self._piece_bytes = piece_bytes

    def read(self, size: int) -> bytes:
        if size <= self._piece_bytes:
            return self._piece(size)
        pieces = []
        while size:
            asked = min(size, self._piece_bytes)
            data = self._piece(asked)
            pieces.append(data)
            size -= asked
            if len(data) < asked:
                break
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        data = self._opened.read(size)
        # Spent afterwards, as only now it is known how much there was: the end of a file costs nothing.
        self._budget.spend_bytes(len(data))
        return data

    def close(self) -> None:
        self._opened.close()
