"""How large the messages of a mailbox are, as its newest backup says: what it is cut into parts by."""

from __future__ import annotations

from contextlib import suppress

from ...groups.paths import LogicalPath
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import DamagedError
from ...proto.records import RunId
from ...proto.structs import Record, replace
from ...worker.portion import key_of
from ..backup_set import from_catalog, opened
from ..readers import reading
from .trial import Sources


class FolderSizes(Record, kw_only=True):
    """A folder, and of each of its messages the key (see ``worker.portion``) and the size."""

    name: str
    uidvalidity: int
    sizes: tuple[tuple[bytes, int], ...]


class MailboxSizes(Record, kw_only=True):
    """A mailbox, as it was kept by ``run``."""

    run: RunId
    folders: tuple[FolderSizes, ...]


def sizes_of(sources: Sources, path: LogicalPath, at: str) -> MailboxSizes:
    """The sizes of a mailbox at a time, as far as metadata tells: what of it is damaged is found by the
    trial. Raises NotFoundError, DamagedError, ErasedError, PlaceError."""
    with reading(sources.staging):
        backup = from_catalog(sources.staging, at, [path], sources.destinations)
        (version,) = backup.select(path)
        with opened(replace(backup, unlock=sources.unlock)) as archives:
            stored = StoredMailbox(archives, version.archive, version.user)
            folders = tuple(_sizes(stored, entry) for entry in stored.mailbox.folders)
        return MailboxSizes(run=version.run, folders=folders)


def _sizes(stored: StoredMailbox, entry: FolderEntry) -> FolderSizes:
    folder = entry.folder
    sizes: list[tuple[bytes, int]] = []
    with suppress(DamagedError):
        sizes.extend((key_of(folder, message), message.size) for message in stored.messages(entry))
    return FolderSizes(name=folder.name, uidvalidity=folder.uidvalidity, sizes=tuple(sizes))
