"""What a restore will read of archives' data: the metadata of its mailboxes tells, without decoding messages.

Only what is chosen as a whole is looked at: mailboxes, and folders. For single messages, and for those of a
time, nothing is to be gained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from ..proto.archive.demand import Demand
from ..proto.archive.extents import of_rows
from ..proto.archive.mailboxes import FolderEntry
from ..proto.archive.stored import StoredMailbox
from ..proto.errors import DamagedError, ErasedError, PlaceError
from ..proto.records import ArchiveId
from .archives.opened import OpenArchives
from .choice import Choice, Extent


def demand_of(archives: OpenArchives, choices: Sequence[Choice]) -> Demand:
    """What choices will read. What can't be read now is left out: the restore tells of it."""
    demand = Demand()
    for choice in choices:
        with suppress(DamagedError, ErasedError, PlaceError):
            for archive, begin, end in _stretches(archives, choice):
                with suppress(DamagedError, ErasedError, PlaceError):
                    demand.add(archives.data(archive), begin, end)
    return demand


def _stretches(archives: OpenArchives, choice: Choice) -> Iterator[tuple[ArchiveId, int, int]]:
    if (
        choice.slice
        or choice.rescues
        or choice.only
        or choice.portion
        or choice.path.uid is not None
        or choice.path.name is not None
    ):
        return
    stored = StoredMailbox(archives, choice.archive, choice.user)
    if choice.extent is Extent.ALL:
        for folder in stored.mailbox.folders:
            if choice.path.selects_folder(folder.folder.name):
                yield from _of_folder(stored, folder)
    if choice.path.folder is None and not choice.into:
        for file in stored.mailbox.files:
            for piece in file.pieces:
                yield piece.archive, piece.offset, piece.offset + piece.length


def _of_folder(stored: StoredMailbox, folder: FolderEntry) -> Iterator[tuple[ArchiveId, int, int]]:
    for rows in stored.frames(folder):
        with suppress(DamagedError):
            for archive, bounds in of_rows(rows.by_columns()).items():
                for begin, end in list(pairwise(bounds))[::2]:
                    yield archive, begin, end
