"""The metadata of one version of a mailbox, frame by frame: for whoever compares or searches many versions.

Most frames of a version are those of the version before, byte for byte. Their checksums tell, so that no
frame has to be decoded to learn what it has in common with another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from ...groups.paths import LogicalPath
from ...proto.archive import messages
from ...proto.archive.contents import MailboxEntry
from ...proto.archive.mailboxes import FolderEntry, Mailbox
from ...proto.archive.messages import Names
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError
from ...proto.records import ArchiveId, Message, Terms

LEFT_OUT = frozenset({"excluded", "not-asked"})
"""Why a folder that may well be in the mailbox is not in its metadata."""


def lasting_key(uid: int, base: bytes) -> bytes:
    """What a message is known by within its folder, in all versions."""
    return base or b"/%d" % uid  # a slash is in no file name


class MailboxFrames:
    """A mailbox as the metadata of an archive tells of it. Methods raise DamagedError."""

    def __init__(self, archives: Callable[[ArchiveId], ArchiveReader], archive: ArchiveId, user: str) -> None:
        """Raises DamagedError if the mailbox's metadata can't be read."""
        self._reader = archives(archive)
        entry = self._reader.entry(user)
        if entry is None:
            raise DamagedError(
                f"{self._reader.file.name}: the metadata of {user!r} is gone", reason="metadata"
            )
        self._entry: MailboxEntry = entry
        self.mailbox: Mailbox = self._reader.mailbox(entry)

    @cached_property
    def folders(self) -> dict[str, FolderEntry]:
        """The folders by name, in the order in which they are stored."""
        return {one.folder.name: one for one in self.mailbox.folders}

    @cached_property
    def _left_out(self) -> tuple[str, ...]:
        named = (LogicalPath.parse(one.path).folder for one in self.mailbox.skipped if one.reason in LEFT_OUT)
        return tuple(f"{one}/" for one in named if one is not None)

    def leaves_out(self, folder: str) -> bool:
        """Whether this version would not have a folder in any case: it was excluded, or not asked for."""
        return f"{folder}/".startswith(self._left_out)

    def frames(self, folder: FolderEntry) -> list[Frame]:
        """The frames with the folder's messages, in order."""
        return [
            Frame(self._reader, self._entry, number, self._reader.frame_header(self._entry, number).checksum)
            for number in folder.frames
        ]


class Frame:
    """Some messages of a folder. Those with the same ``checksum`` are equal. Methods raise DamagedError."""

    __slots__ = ("_entry", "_number", "_reader", "checksum")

    def __init__(self, reader: ArchiveReader, entry: MailboxEntry, number: int, checksum: bytes) -> None:
        self._reader = reader
        self._entry = entry
        self._number = number
        self.checksum = checksum

    def names(self) -> Names:
        """What the messages are called and how they are marked, by columns."""
        return messages.names(self._reader.message_frame(self._entry, self._number))

    def messages(self) -> list[Message]:
        """The messages."""
        return messages.decode(self._reader.message_frame(self._entry, self._number))

    def search_payload(self) -> bytes:
        """What ``terms`` decodes."""
        return self._reader.search_frame(self._entry, self._number)

    def terms(self) -> list[Terms]:
        """What the messages can be found by, one for each of ``messages``."""
        return self._reader.terms(self._entry, self._number)

    def rows(self) -> Iterator[tuple[Message, Terms]]:
        """Each message with its terms; with empty ones where those are lost."""
        found = self.messages()
        try:
            terms = self.terms()
        except DamagedError:
            terms = []
        if len(terms) != len(found):
            terms = [Terms()] * len(found)
        return zip(found, terms, strict=True)
