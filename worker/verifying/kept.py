"""The versions of mailboxes that are kept, and what their metadata tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...proto.archive import messages
from ...proto.archive.contents import MailboxEntry
from ...proto.archive.mailboxes import Mailbox
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError
from ...proto.records import ArchiveId, Message, RunId, StoredFile


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """How a mailbox was stored in a group, and by the metadata of which archive; ``first`` and ``last`` are
    the first and the last moment at which it is to be seen so. ``current``: it is so to this day."""

    group: str
    archive: ArchiveId
    first: RunId
    last: RunId
    current: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMailbox:
    """The versions of a mailbox that are to be looked at: one group after the other, of each oldest first.
    All together have so many ``messages`` and bytes."""

    partition: str
    user: str
    versions: tuple[KeptVersion, ...]
    messages: int = 0
    size_bytes: int = 0


def metadata_of(
    open_archive: Callable[[ArchiveId], ArchiveReader], archive: ArchiveId, user: str
) -> tuple[ArchiveReader, MailboxEntry, Mailbox]:
    """What an archive tells of a mailbox. Raises DamagedError."""
    reader = open_archive(archive)
    entry = reader.entry(user)
    if entry is None:
        raise DamagedError(f"{reader.file.name}: the metadata of {user!r} is gone", reason="metadata")
    return reader, entry, reader.mailbox(entry)


def contents_of(
    open_archive: Callable[[ArchiveId], ArchiveReader], mailbox: KeptMailbox
) -> Iterator[tuple[KeptVersion, Message | StoredFile]]:
    """Every message and other file of all versions of a mailbox, as far as their metadata can be read. Those
    of a frame that was copied come once."""
    seen: set[bytes] = set()
    for version in mailbox.versions:
        try:
            reader, entry, metadata = metadata_of(open_archive, version.archive, mailbox.user)
        except DamagedError:
            continue
        for number in range(len(entry.message_frames)):
            try:
                checksum = reader.frame_header(entry, number).checksum
                if checksum in seen:
                    continue
                found = messages.decode(reader.message_frame(entry, number))
            except DamagedError:
                continue
            seen.add(checksum)
            for message in found:
                yield version, message
        for file in metadata.files:
            if file.target is None:
                yield version, file
