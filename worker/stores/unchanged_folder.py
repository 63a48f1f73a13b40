"""A folder of a Maildir mailbox that is as it was stored last."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from ...proto.ports import KnownFolder, ListedMessages
from ...proto.records import FileStat, Folder, Listed
from .listing import NAMES_LOOKED_AT, Earlier, is_server_name
from .maildir_folder import MaildirFolder
from .opened import StoreFile


class UnchangedFolder:
    """A FolderReader (see ``proto.ports``) that opens its folder only if its messages are asked for.

    ``folder`` is then the record that was found with them, for it may have changed after all since the
    mailbox was looked through; the mark stays that of the first look, and so will tell.
    """

    def __init__(
        self,
        known: KnownFolder,
        folder: Folder,
        times: Mapping[str, int],
        open_it: Callable[[], MaildirFolder],
    ) -> None:
        self.folder = folder
        self.mark = known.mark
        self.unchanged = True
        self.trusted = True
        self.complete = True
        self._known = known
        self._times = times
        self._open_it = open_it
        self._opened: MaildirFolder | None = None
        self._known_hashes: array[int] | None = None

    @property
    def was_listed(self) -> bool:
        """Whether its messages were asked for."""
        return self._opened is not None

    @property
    def strays(self) -> set[tuple[str, bytes]]:
        """What lies among the messages and is none: nothing, or there would be no mark."""
        return self._opened.strays if self._opened else set()

    def remembered(self) -> Earlier:
        """What to remember of the folder, to find out later what came into it."""
        if self._opened:
            return self._opened.remembered()
        return Earlier(self._times, self._hashes)

    @property
    def holds_mail(self) -> bool:
        """Whether there is any message in it, as far as is known."""
        return self._opened.holds_mail if self._opened else next(iter(self._known.bases()), None) is not None

    @property
    def has_server_names(self) -> bool:
        """Whether a server that keeps UIDs has named messages of it, as far as is known."""
        if self._opened:
            return self._opened.has_server_names
        return any(map(is_server_name, islice(self._known.bases(), NAMES_LOOKED_AT)))

    def __len__(self) -> int:
        return len(self._folder())

    def messages(self) -> Iterator[Listed]:
        return self._folder().messages()

    def listing(self) -> ListedMessages:
        return self._folder().listing()

    def open_message(self, message: Listed) -> StoreFile:
        return self._folder().open_message(message)

    def stat(self, message: Listed) -> FileStat:
        return self._folder().stat(message)

    def _hashes(self) -> array[int]:
        if self._known_hashes is None:
            self._known_hashes = array("q", map(hash, self._known.bases()))
        return self._known_hashes

    def _folder(self) -> MaildirFolder:
        if self._opened is None:
            self._opened = self._open_it()
            self.folder = self._opened.folder
            self.trusted = self._opened.trusted
            self.complete = self._opened.complete
        return self._opened
