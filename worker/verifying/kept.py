"""The versions of mailboxes that are kept, and what their metadata tells."""

from __future__ import annotations

from collections.abc import Iterator

from ...proto.archive.pointers import FramePointer
from ...proto.archive.stored import OpenArchive, StoredMailbox
from ...proto.errors import DamagedError, ErasedError
from ...proto.records import ArchiveId, Message, RunId, StoredFile
from ...proto.structs import Record


class KeptVersion(Record, kw_only=True):
    """How a mailbox was stored in a group, and by the metadata of which archive; ``first`` and ``last`` are
    the first and the last moment at which it is to be seen so. ``current``: it is so to this day."""

    group: str
    archive: ArchiveId
    first: RunId
    last: RunId
    current: bool = False


class KeptMailbox(Record, kw_only=True):
    """The versions of a mailbox that are to be looked at: one group after the other, of each oldest first.
    All together have so many ``messages`` and bytes."""

    partition: str
    user: str
    versions: tuple[KeptVersion, ...]
    messages: int = 0
    size_bytes: int = 0


def contents_of(
    open_archive: OpenArchive, mailbox: KeptMailbox
) -> Iterator[tuple[KeptVersion, Message | StoredFile]]:
    """Every message and other file of all versions of a mailbox, as far as their metadata can be read. Those
    of a frame to which several versions refer come once."""
    seen: set[FramePointer] = set()
    for version in mailbox.versions:
        try:
            stored = StoredMailbox(open_archive, version.archive, mailbox.user)
        except (DamagedError, ErasedError):
            continue
        for folder in stored.mailbox.folders:
            for rows in stored.frames(folder):
                if rows.pointer in seen:
                    continue
                try:
                    found = rows.messages()
                except DamagedError:
                    continue
                seen.add(rows.pointer)
                for message in found:
                    yield version, message
        for file in stored.mailbox.files:
            if file.target is None:
                yield version, file
