"""The table of contents of ``verify --fix``: damaged archives are written anew, and set aside.

    which archives to repair                                            decided from a verification
    under the locks of runs and readers, for each of them
      write it anew, as the next generation of the same archive         worker.verifying.repair
      keep the damaged file beside the archives
      the catalog points to the new file, and knows what is lost
    at last damaged files lose their places: until then others could be filled from them

Each step can be repeated: whatever was left by a repair that was interrupted, the next one does it again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

from ...proto.errors import BackupError, NotFoundError, StagingError, is_damage
from ...proto.ports import ProgressSink
from ...proto.records import STAGING, ArchiveId, Location, Stretch
from ...proto.structs import Record, replace
from ...worker.archives.names import generation_name
from ...worker.archives.opened import read_beginning
from ...worker.archives.stretches import common, merged, without
from ...worker.tasks.verifying import RepairTask, run_repair
from ...worker.verifying.kept import KeptMailbox
from ...worker.verifying.repair import RepairReport
from ..catalog import Catalog
from ..dispatch.engine import Engine
from ..history import ArchiveRecord
from ..keepsakes import keep_catalog
from ..lock import RunLock
from ..readers import exclusive
from ..ready import settle, withdrawn
from ..run_archives import renew_run_archives
from ..structure_keys import area_at
from .examination import Examination
from .set_aside import drop_original, keep_copy
from .verification import Verification, broken_of, needed_archives

RepairOutcome = Literal["rewritten", "missing", "unreadable", "set-aside", "failed"]


class Repaired(Record, kw_only=True):
    """What became of a damaged file: its archive was ``rewritten`` as ``new_file``, with ``filled_bytes``
    from elsewhere and without ``lost_bytes``; or is ``missing``; or was ``unreadable``, all of it; it was
    only ``set-aside``, as a newer one is there; or that ``failed``. ``lost_frames``: metadata is lost, too.
    ``aside`` is where the damaged file is.
    """

    archive: ArchiveId
    file: str
    outcome: RepairOutcome
    new_file: str = ""
    aside: str = ""
    filled_bytes: int = 0
    lost_bytes: int = 0
    lost_frames: bool = False
    detail: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing was lost by it."""
        return not (self.lost_bytes or self.lost_frames)


def repair(
    staging: Path,
    examination: Examination,
    verification: Verification,
    engine: Engine,
    on_progress: ProgressSink,
    on_wait: Callable[[str], object] = lambda _: None,
) -> tuple[Repaired, ...]:
    """Repair what a verification found to be damaged, as far as it has not changed since; the archives of
    runs are written anew from the catalog.

    Nobody may use archives meanwhile, the caller included. Raises LockedError while a run or a reader does,
    StagingError.
    """
    with ExitStack() as stack:
        stack.enter_context(RunLock(staging))
        stack.enter_context(exclusive(staging, on_wait=on_wait))
        catalog = stack.enter_context(Catalog.open(staging, write=True))
        work = _Repair(staging, catalog, examination, verification)
        work.leftovers()
        tasks = list(work.tasks())
        for outcome in engine(run_repair, tasks, on_progress):
            record = work.record(outcome.task.archive)
            if outcome.report is not None:
                work.rewritten(record, outcome.task.name, outcome.report)
            else:
                work.not_rewritten(record, outcome.failure())
        work.drop_originals()
        work.mark_lost({task.archive for task in tasks})
        renew_run_archives(staging, catalog)
        if work.repaired:
            with suppress(StagingError):
                keep_catalog(staging, catalog)
        settle(staging, catalog)
        return tuple(work.repaired)


def damaged_archives(verification: Verification) -> set[ArchiveId]:
    """The archives that are to be repaired: those that are damaged, and those of which something is lost that
    can be had elsewhere."""
    found = {archive for archive, report in verification.reports.items() if report.damaged}
    for loss, told in zip(verification.losses, verification.affected, strict=True):
        if told.remedy == "archive":
            found.update(archive for archive, _ in loss.lacking)
    return found


class _Repair:
    """A repair while it goes on."""

    def __init__(
        self, staging: Path, catalog: Catalog, examination: Examination, verification: Verification
    ) -> None:
        self._staging = staging
        self._catalog = catalog
        self._examination = examination
        self._verification = verification
        self.repaired: list[Repaired] = []
        self._replaced: list[str] = []
        self._lacking: dict[ArchiveId, list[Stretch]] = {}
        for loss in verification.losses:
            for archive, stretch in loss.lacking:
                self._lacking.setdefault(archive, []).append(stretch)

    def record(self, archive: ArchiveId) -> ArchiveRecord:
        """What the catalog says of an archive by now."""
        return self._catalog.archive(archive)

    def leftovers(self) -> None:
        """Files that a repair left which was interrupted: a damaged one whose archive was rewritten, and one
        that was written anew and that the catalog never knew."""
        for name in self._examination.strangers:
            with suppress(BackupError):
                header = read_beginning(str(self._staging / name))
                archive, generation = header.archive, header.generation
                record = self._catalog.archive(archive)
                if generation < record.generation and (self._staging / record.name).exists():
                    aside = str(keep_copy(self._staging, name))
                    self._replaced.append(name)
                    self.repaired.append(
                        Repaired(archive=archive, file=name, outcome="set-aside", aside=aside)
                    )

    def tasks(self) -> Iterator[RepairTask]:
        """What is to be written anew. Where nothing is left to read, that is recorded."""
        examination = self._examination
        reports = {examinee.archive: examinee for examinee in examination.archives}
        broken = broken_of(examination, self._verification.reports)
        for archive in sorted(damaged_archives(self._verification)):
            try:
                record = self.record(archive)
            except NotFoundError:
                continue  # it was purged meanwhile
            known = reports.get(archive)
            if known is not None and known.record is not None and known.record.name != record.name:
                continue  # it was written anew meanwhile
            if not record.is_staged and not record.missing:
                continue  # what its copies have lost is recorded with the rest
            if not (self._staging / record.name).exists():
                self._catalog.set_missing(archive)
                self.repaired.append(Repaired(archive=archive, file=record.name, outcome="missing"))
                continue
            mailboxes = self._affected(archive)
            name = generation_name(record.name, record.generation + 1)
            # Of a repair that was interrupted before the catalog knew it.
            (self._staging / name).unlink(missing_ok=True)
            needed = needed_archives(examination, mailboxes).locations
            here = Location(STAGING, record.name)
            yield RepairTask(
                archive=archive,
                location=here,
                staging=area_at(self._staging),
                name=name,
                archives=replace(
                    examination.holdings,
                    locations={**needed, **self._holders(archive), archive: (here,)},
                ),
                broken=broken,
                dead=tuple(without(record.holes, (*record.lost.data, *self._lacking.get(archive, ())))),
                spares=tuple(self._verification.spares.get(archive, ())),
                mailboxes=tuple(mailboxes),
                departed=self._catalog.told_by(archive),
            )

    def rewritten(self, record: ArchiveRecord, name: str, report: RepairReport) -> None:
        """An archive is there anew under this name, whole and durable."""
        aside = keep_copy(self._staging, record.name)
        self._catalog.replace_archive(
            record.archive,
            name=name,
            size_bytes=report.size_bytes,
            generation=report.generation,
            holes=report.holes,
            references=report.references,
            lost=report.lost,
        )
        self._replaced.append(record.name)
        self.repaired.append(
            Repaired(
                archive=record.archive,
                file=record.name,
                outcome="rewritten",
                new_file=name,
                aside=str(aside),
                filled_bytes=report.filled_bytes,
                lost_bytes=sum(stretch.length for stretch in common(report.lost.data, report.holes)),
                lost_frames=bool(report.lost_frames or report.users),
            )
        )

    def not_rewritten(self, record: ArchiveRecord, error: BackupError) -> None:
        """An archive could not be written anew: as nothing of it can be read, or else."""
        if not is_damage(error):
            repaired = Repaired(
                archive=record.archive, file=record.name, outcome="failed", detail=error.message
            )
            self.repaired.append(repaired)
            return
        aside = keep_copy(self._staging, record.name)
        self._catalog.set_missing(record.archive)
        self._replaced.append(record.name)
        self.repaired.append(
            Repaired(
                archive=record.archive,
                file=record.name,
                outcome="unreadable",
                aside=str(aside),
                detail=error.message,
            )
        )

    def drop_originals(self) -> None:
        """Damaged files, which are kept elsewhere by now, lose their places."""
        with withdrawn(self._staging, self._replaced):
            for file in self._replaced:
                drop_original(self._staging, file)

    def mark_lost(self, rewritten: Container[ArchiveId]) -> None:
        """What is lost of the other archives is recorded, too: the next backup reads it again. A catalog that
        was made again knows of holes, and not that somebody needs what was there."""
        for archive, stretches in self._lacking.items():
            if archive in rewritten or archive not in self._examination.holdings.locations:
                continue
            with suppress(NotFoundError):
                record = self.record(archive)
                lost = merged((*record.lost.data, *stretches))
                if not record.missing and lost != merged(record.lost.data):
                    self._catalog.mark_lost(archive, replace(record.lost, data=tuple(lost)))

    def _affected(self, archive: ArchiveId) -> list[KeptMailbox]:
        """The mailboxes that have lost something in an archive."""
        hit = {
            loss.mailbox
            for loss in self._verification.losses
            if any(whose == archive for whose, _ in loss.lacking)
        }
        return [
            mailbox
            for share in self._examination.mail
            for mailbox in share.mailboxes
            if (mailbox.partition, mailbox.user) in hit
        ]

    def _holders(self, archive: ArchiveId) -> Mapping[ArchiveId, tuple[Location, ...]]:
        """The archives that hold some of what is lost in one."""
        spares = self._verification.spares.get(archive, ())
        return self._examination.holdings.of(spare.archive for spare in spares).locations
