"""What an erasure is asked for, what it plans, and whom it tells of its course."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...proto.records import ArchiveId, Skipped
from ...proto.structs import Record, field
from ...worker.archives.holdings import Holdings
from ...worker.archives.opened import Unlock
from ...worker.destinations.settings import Destination
from ..history import ArchiveRecord
from ..purging.plan import Compaction
from ..settings import ArchiveConfig
from .plan import PlaceCopies, Whom


class ErasureMeans(Record, kw_only=True):
    """What it takes to write archives anew: the ``destinations`` at which they can be read, what opens
    encrypted ones (``unlock``; None: nothing is at hand), and how new blocks are compressed. ``bring_back``
    is called with archives that are not in the staging area: as far as that can be done now they lie there
    afterwards."""

    destinations: Sequence[Destination] = ()
    unlock: Unlock | None = None
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    bring_back: Callable[[Holdings, Sequence[ArchiveId]], object] = lambda _holdings, _archives: None


class ErasurePlan(Record, kw_only=True):
    """What an erasure is to do: whose mail goes, which archives are ``deleted`` and which ``rewritten`` (in
    which so many bytes of data, as it was before compression, nobody needs), and how many bytes of it stay,
    as other mailboxes have them, too.

    ``copies`` are those outside of the staging area that have to go. ``restores`` can't be taken back any
    more, and so many damaged files that were ``set_aside`` are deleted. ``undone``: archives that can't be
    written anew now, and why.
    """

    whom: Whom
    deleted: tuple[ArchiveRecord, ...]
    rewritten: tuple[Compaction, ...]
    dead_bytes: int
    shared_bytes: int
    copies: tuple[PlaceCopies, ...]
    restores: tuple[str, ...]
    set_aside: int
    undone: tuple[Skipped, ...]
