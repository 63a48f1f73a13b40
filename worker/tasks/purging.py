"""What a purge dispatches, on the host of the staging area: tasks, and the functions that do them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

from ...proto.archive.frames import Codec
from ...proto.archive.reader import open_sealed
from ...proto.archive.rewriting import Rewritten
from ...proto.errors import BackupError, DamagedError
from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Progress
from ...proto.structs import Record
from .. import memory
from ..archives.holdings import Holdings, PlaceSettings, keys_of
from ..archives.opened import opened_archives, refuse_clear, refuse_foreign
from ..archives.places import Places
from ..purging.bounds import unpacked
from ..purging.compaction import NoSink, Remains, TellsOf, compact
from ..purging.liveness import Dead, LiveData, NeededArchive, Shares, dead, live_data, shares
from ..staging.area import StagingArea
from ..staging.sinks import StagedFile
from .local import LocalTask


class LiveTask(Record, LocalTask, kw_only=True):
    """Find out what the mailboxes need of which some archives tell. ``archives`` are all that may have to be
    read for it."""

    needed: tuple[NeededArchive, ...]
    archives: Holdings

    @property
    def label(self) -> str:
        """See Task."""
        return "live"


class SharesTask(Record, LocalTask, kw_only=True):
    """Find out how much of archives in these ``places`` is alive."""

    archives: Mapping[ArchiveId, Remains]
    places: tuple[PlaceSettings, ...]

    @property
    def label(self) -> str:
        """See Task."""
        return "shares"


class DeadTask(Record, LocalTask, kw_only=True):
    """Find out what of these ``archives`` nobody needs; ``holdings`` say where their metadata can be read."""

    archives: Mapping[ArchiveId, Remains]
    holdings: Holdings

    @property
    def label(self) -> str:
        """See Task."""
        return "dead"


class CompactionTask(Record, LocalTask, kw_only=True):
    """Write what remains of an archive anew as ``name`` of the ``staging`` area; or, if that is empty,
    nowhere, to find out how large it would be. ``codec`` and ``level`` are for blocks that can't stay as they
    are; ``label`` is how the task is called in its progress. It is read in the staging area, with keys that
    are ``unlocked`` beside those of that; ``encrypted``: it is known to be."""

    label: str
    remains: Remains
    codec: Codec
    level: int
    staging: StagingArea
    name: str = ""
    unlocked: Keyring = NO_KEYS
    encrypted: bool = False


def run_live(task: LiveTask, progress: ProgressSink) -> LiveData:
    """See ``liveness.live_data``."""
    memory.keep_freed_memory()
    with opened_archives(task.archives) as archives:
        return live_data(task.needed, archives, progress)


def run_shares(task: SharesTask, _progress: ProgressSink) -> dict[ArchiveId, Shares]:
    """See ``liveness.shares``. Archives that are damaged are left out."""
    found = {}
    with closing(Places(task.places)) as places:
        for archive, remains in task.archives.items():
            with suppress(DamagedError), closing(places.open(remains.location)) as file:
                reader = open_sealed(file, keys=keys_of(task.places))
                refuse_foreign(reader, archive)
                found[archive] = shares(reader, unpacked(remains.stretches), remains.metadata)
    return found


def run_dead(task: DeadTask, _progress: ProgressSink) -> dict[ArchiveId, Dead | BackupError]:
    """See ``liveness.dead``; or why that can't be known of an archive."""
    found: dict[ArchiveId, Dead | BackupError] = {}
    with opened_archives(task.holdings) as archives:
        for archive, remains in task.archives.items():
            try:
                reader = archives(archive)
                if reader.damage:
                    raise DamagedError(reader.damage[0].detail, reason="damaged")
                found[archive] = dead(
                    reader,
                    unpacked(remains.stretches),
                    remains.metadata,
                    TellsOf(reader.header, remains.erased or ()),
                )
            except BackupError as error:
                found[archive] = error
    return found


def run_compaction(task: CompactionTask, progress: ProgressSink) -> Rewritten:
    """See ``compaction.compact``."""
    memory.keep_freed_memory()
    sink = StagedFile(Path(task.staging.path, task.name)) if task.name else NoSink()
    with closing(Places((task.staging,))) as places, closing(places.open(task.remains.location)) as file:
        archive = open_sealed(file, keys=task.staging.keys.and_those(task.unlocked))
        refuse_foreign(archive, task.remains.archive)
        if task.encrypted:
            refuse_clear(archive)
        return compact(
            task.remains,
            archive,
            sink,
            codec=task.codec,
            level=task.level,
            sealing=task.staging.resealing,
            on_bytes=lambda size_bytes: progress(Progress(task.label, 0, size_bytes)),
        )
