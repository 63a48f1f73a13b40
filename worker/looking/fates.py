"""What would become of the folders of a mailbox in a Maildir store: which are there, and with what in them.
Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from ...proto.records import Folder, Message
from ...proto.target_facts import FolderFate
from ..stores import uidlist
from ..stores.directories import descend, is_directory, opened, split
from ..stores.listing import NO_KEYWORDS, PLACES, Listing, record
from ..stores.message_places import is_variant, portable_name, variant_parts
from ..stores.reserved_uids import reserved_for


class MailboxThere:
    """A mailbox of the target that is there, by its open directory ``root`` and that of its server's lists
    (-1: these lie in it)."""

    def __init__(self, root: int, control: int) -> None:
        self._root = root
        self._control = control

    def has(self, folder: Folder) -> bool:
        """Whether a folder is there."""
        with suppress(OSError), opened(self._root, split(folder.path)) as directory:
            return is_directory(directory, b"cur")
        return False

    def names(self, folder: Folder) -> Listing:
        """The messages of a folder that is there. Raises OSError."""
        with ExitStack() as stack:
            directory = stack.enter_context(opened(self._root, split(folder.path)))
            places: dict[str, int] = {}
            for place in PLACES:
                with suppress(FileNotFoundError):
                    places[place] = descend(directory, (place.encode(),))
                    stack.callback(os.close, places[place])
            return Listing(places)

    def header(self, folder: Folder) -> uidlist.UidListHeader:
        """The first line of the UID list of a folder that is there; an empty one if nothing tells it."""
        for base in (self._control, self._root):
            if base < 0:
                continue
            with suppress(OSError), opened(base, split(folder.path)) as directory:
                fd = os.open(
                    uidlist.NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory
                )
                try:
                    return uidlist.UidList(fd, os.fstat(fd).st_size).header
                finally:
                    os.close(fd)
        return uidlist.UidListHeader(b"")


@contextmanager
def mailbox_there(root: int, control: bytes | None) -> Iterator[MailboxThere]:
    """A mailbox that is there, with the directory of its server's lists if that is apart; open as long as the
    context lasts."""
    fd = -1
    if control is not None:
        with suppress(OSError):
            fd = os.open(control, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield MailboxThere(root, fd)
    finally:
        if fd >= 0:
            os.close(fd)


def fate_of(
    path: str,
    folder: Folder,
    messages: Sequence[Message],
    there: Listing,
    header: uidlist.UidListHeader,
    *,
    new_uidvalidity: bool,
) -> FolderFate:
    """That of a folder that is there: a message that it has is skipped, any other gets a new number, unless
    the folder was made for it and its own is still free."""
    missing = [message.uid for message in messages if not _is_there(message.base, there)]
    limit = 0 if new_uidvalidity else reserved_for(folder, header)
    kept = sum(0 < uid < limit for uid in missing)
    return FolderFate(
        path=path,
        kept=kept,
        renumbered=len(missing) - kept,
        present=len(messages) - len(missing),
        uidvalidity=folder.uidvalidity,
        there=header.uidvalidity,
    )


def _is_there(base: bytes, there: Listing) -> bool:
    """Whether a folder has a message of this lasting name, or of one that a restore gave for it."""
    name = portable_name(base)
    if there.find(base) >= 0 or there.find(name) >= 0:
        return True
    begin, end = variant_parts(name)
    found = (record(entry, NO_KEYWORDS).base for entry in there.beginning_with(begin))
    return any(is_variant(one, begin, end) for one in found)
