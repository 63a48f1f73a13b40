"""What a verification dispatches, as ``tasks`` does for the rest: all of it runs beside the archives."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ...proto.errors import StagingError
from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Departed, Location, Stretch
from ...proto.structs import Record
from .. import memory
from ..archives.holdings import Holdings, PlaceSettings, keys_of
from ..archives.opened import open_archive, opened_archives
from ..archives.places import Places, open_local
from ..staging.area import StagingArea
from ..staging.sinks import StagedFile
from ..verifying.examiner import Depth
from ..verifying.fillings import segment_fillings, twin_fillings
from ..verifying.kept import KeptMailbox
from ..verifying.losses import LossReport, find_losses
from ..verifying.repair import RepairReport, repair
from ..verifying.spares import Spare, Spares, find_spares
from ..verifying.verify import VerifyReport, verify_archive, verify_sample
from .local import LocalTask

Broken = Mapping[ArchiveId, tuple[Stretch, ...]]


class VerifyTask(Record, LocalTask, kw_only=True):
    """Check one copy of an archive by itself; or only a ``share`` of its frames, chosen by ``seed``.
    ``unlocked`` are keys of it beside those of the places."""

    location: Location
    places: tuple[PlaceSettings, ...]
    unlocked: Keyring = NO_KEYS
    share: float | None = None
    seed: int = 0

    @property
    def label(self) -> str:
        """See Task."""
        return self.location.name


class LossesTask(Record, LocalTask, kw_only=True):
    """Find out what of these mailboxes can't be restored. ``archives`` are all that may be needed for that;
    ``broken`` has those that are damaged. ``label`` is how the task is called in its progress."""

    mailboxes: tuple[KeptMailbox, ...]
    archives: Holdings
    broken: Broken
    depth: Depth
    label: str


class SparesTask(Record, LocalTask, kw_only=True):
    """Find out which other ``archives`` hold what is ``lost`` in some, whose files are ``copies``: those of
    today, and earlier ones, in ``places``."""

    lost: Mapping[ArchiveId, tuple[Stretch, ...]]
    copies: Mapping[ArchiveId, tuple[Location, ...]]
    places: tuple[PlaceSettings, ...]
    archives: Holdings
    broken: Broken

    @property
    def label(self) -> str:
        """See Task."""
        return "spares"


class RepairTask(Record, LocalTask, kw_only=True):
    """Write an archive, whose file is at ``location``, anew as ``name`` of the ``staging`` area, without what
    of its data is ``dead``. What is lost of it is taken from ``spares``, and from what has the same content
    in these ``mailboxes``, as far as the other ``archives`` have it. It goes on telling of those that have
    ``departed``."""

    archive: ArchiveId
    location: Location
    staging: StagingArea
    name: str
    archives: Holdings
    broken: Broken
    dead: tuple[Stretch, ...] = ()
    spares: tuple[Spare, ...] = ()
    mailboxes: tuple[KeptMailbox, ...] = ()
    departed: tuple[Departed, ...] = ()

    @property
    def label(self) -> str:
        """See Task."""
        return self.name


def run_verify(task: VerifyTask, progress: ProgressSink) -> VerifyReport:
    """See ``verify``. Raises DamagedError (``missing``) if there is no such file."""
    memory.keep_freed_memory()
    with closing(Places(task.places)) as places, closing(places.open(task.location)) as file:
        keys = keys_of(task.places).and_those(task.unlocked)
        if task.share is None:
            return verify_archive(file, progress, keys)
        return verify_sample(file, task.share, random.Random(task.seed), keys)  # noqa: S311


def run_losses(task: LossesTask, progress: ProgressSink) -> LossReport:
    """See ``losses.find_losses``."""
    memory.keep_freed_memory()
    with opened_archives(task.archives) as archives:
        return find_losses(task.mailboxes, archives, task.broken, task.depth, progress, task.label)


def run_spares(task: SparesTask, progress: ProgressSink) -> Spares:
    """See ``spares.find_spares``."""
    with opened_archives(task.archives) as archives, closing(Places(task.places)) as places:
        holders = tuple(task.archives.locations)
        return find_spares(task.lost, task.copies, places, holders, archives, task.broken, progress)


def run_repair(task: RepairTask, progress: ProgressSink) -> RepairReport:
    """See ``repair.repair``. Raises DamagedError if nothing of the archive can be read."""
    memory.keep_freed_memory()
    target = Path(task.staging.path, task.name)
    keys = task.staging.keys.and_those(task.archives.keys)
    with closing(Places((task.staging,))) as places, closing(places.open(task.location)) as file:
        encrypted = task.archive in task.archives.encrypted
        source = open_archive(file, archive=task.archive, keys=keys, encrypted=encrypted)
        broken = {**task.broken, task.archive: verify_archive(file, progress, keys).broken}
        with opened_archives(task.archives) as archives:
            fillings = [
                *segment_fillings(task.spares, archives),
                *twin_fillings(task.archive, task.mailboxes, archives, broken),
            ]
            report = repair(
                source,
                StagedFile(target),
                broken=broken[task.archive],
                dead=task.dead,
                fillings=fillings,
                departed=task.departed,
                sealing=task.staging.resealing,
            )
    _check(target, progress, keys)
    return report


def _check(file: Path, progress: ProgressSink, keys: Keyring) -> None:
    """The damaged file is set aside only for one that is whole. Raises StagingError."""
    with closing(open_local(str(file))) as written:
        damaged = verify_archive(written, progress, keys).damaged
    if damaged:
        file.unlink()
        raise StagingError(f"{file}: what was written is not what is there now: {damaged[0].detail}")
