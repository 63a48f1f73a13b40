"""The table of contents of a verification: choose archives, dispatch, add up; and the catalog's rebuild."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.errors import DamagedError, NotFoundError, UnsupportedError
from ..proto.ports import ProgressSink
from ..proto.records import ArchiveFacts, ArchiveId, RunId, Skipped
from ..worker.archives import ArchivePlace
from ..worker.tasks import VerifyTask, run_verify
from ..worker.verify import VerifyReport
from .backup_set import BackupSet, facts_of
from .catalog import Catalog, rebuild
from .dispatch.engine import Engine
from .lock import RunLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Examinee:
    """An archive that is to be checked, and the mail that its run put there."""

    archive: ArchiveId
    file: str
    messages: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """The archives that are to be checked for a path, and where all lie that they may refer to."""

    path: LogicalPath
    archives: tuple[Examinee, ...]
    places: Mapping[ArchiveId, ArchivePlace]


def examine_backup(backup: BackupSet, path: LogicalPath) -> Examination:
    """Every archive that holds something of the path in this backup. Raises NotFoundError."""
    backup.select(path)
    messages: Counter[ArchiveId] = Counter()
    size_bytes: Counter[ArchiveId] = Counter()
    for one in backup.matching(path):
        messages[one.archive] += one.stored
        size_bytes[one.archive] += one.size_bytes
    return Examination(
        path=path,
        archives=tuple(
            Examinee(
                archive=one,
                file=backup.places[one].file,
                messages=messages[one],
                size_bytes=size_bytes[one],
            )
            for one in messages
        ),
        places=backup.places,
    )


def examine_staging(staging: Path, path: LogicalPath) -> Examination:
    """Every archive of the staging area that holds something of the path. Raises NotFoundError."""
    with Catalog.open(staging) as catalog:
        places = {one.archive: ArchivePlace(file=str(staging / one.file)) for one in catalog.archives()}
        if path.user is not None:
            versions = {
                one: None
                for run in catalog.runs()
                for one in catalog.mailboxes_at(run.run, partition=path.partition, user=path.user)
            }
            return examine_backup(BackupSet(versions=tuple(versions), places=places), path)
        chosen = [
            one
            for run in catalog.runs()
            for one in _sealed(catalog, run.run, places)
            if path.selects_partition(one[0]) and path.selects_group(one[1])
        ]
    if not chosen:
        raise NotFoundError(f"{path}: the catalog knows no archive of it", path=str(path))
    return Examination(path=path, archives=tuple(examinee for _, _, examinee in chosen), places=places)


def _sealed(
    catalog: Catalog, run: RunId, places: Mapping[ArchiveId, ArchivePlace]
) -> Iterator[tuple[str, str, Examinee]]:
    """Partition, group and archive of each sealed unit of a run."""
    units = {(one.partition, one.group, one.shard): one for one in catalog.units(run)}
    for one in catalog.archives(run):
        unit = units[one.partition, one.group, one.shard]
        examinee = Examinee(
            archive=one.archive,
            file=places[one.archive].file,
            messages=unit.messages,
            size_bytes=unit.size_bytes,
        )
        yield one.partition, one.group, examinee


def verify(
    examination: Examination, *, data: bool, engine: Engine, on_progress: ProgressSink
) -> tuple[VerifyReport, ...]:
    """Check archives; with ``data``, every message of the path too. A report for each, as they end.

    Raises NotFoundError if the path names a message and none of the archives holds it.
    """
    tasks = [
        VerifyTask(
            place=examination.places[one.archive],
            archives=examination.places,
            path=examination.path,
            data=data,
        )
        for one in examination.archives
    ]
    reports = []
    for outcome in engine(run_verify, tasks, on_progress):
        if outcome.report is not None:
            reports.append(outcome.report)
        else:
            error = outcome.failure()
            file = outcome.task.place.file
            reports.append(VerifyReport(file=file, damaged=(Skipped(file, error.code, error.message),)))
    path = examination.path
    names_message = path.uid is not None or path.name is not None
    if data and names_message and not any(one.messages or one.damaged for one in reports):
        raise NotFoundError(f"{path}: there is no such message", path=str(path))
    return tuple(reports)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """How many archives are in the catalog now; which are not, and why; what of the others is damaged."""

    archives: int
    refused: tuple[Skipped, ...]
    damaged: tuple[Skipped, ...]


def rebuild_catalog(staging: Path) -> RebuildReport:
    """Make the catalog again from the sealed archives of the staging area.

    Raises LockedError while a run goes on, StagingError if the catalog can't be written.
    """
    entered: list[ArchiveFacts] = []
    refused: list[Skipped] = []
    damaged: list[Skipped] = []
    with RunLock(staging):
        for file in sorted(staging.glob("[!.]*/*/*.mha")):
            try:
                facts, lost = facts_of(staging, file)
            except DamagedError as error:
                damaged.append(Skipped(str(file), error.code, error.message))
            except UnsupportedError as error:
                refused.append(Skipped(str(file), error.code, error.message))
            else:
                entered.append(facts)
                damaged += lost
        contradicting = rebuild(staging, entered)
    return RebuildReport(
        archives=len(entered) - len(contradicting),
        refused=(*refused, *contradicting),
        damaged=tuple(damaged),
    )
