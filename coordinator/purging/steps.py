"""The steps of a purge that change something, in the order that makes a crash harmless at any time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ...proto.archive.frames import Codec
from ...proto.archive.rewriting import Rewritten
from ...proto.directories import sync_directory
from ...proto.errors import BackupError, LockedError, StagingError
from ...proto.keys.records import Keyring
from ...proto.records import Skipped
from ...worker.archives.holdings import Holdings
from ...worker.archives.names import excerpt_name
from ...worker.archives.opened import Unlock
from ...worker.staging.area import StagingArea
from ...worker.staging.sinks import PARTIAL
from ...worker.tasks.purging import CompactionTask, run_compaction
from ..catalog import Catalog
from ..dispatch.engine import Engine
from ..readers import exclusive
from ..ready import withdrawn
from ..settings import ArchiveConfig
from ..sidecars import sidecars_of
from ..structure_keys import area_at
from ..sweeping.policy import name_in_places
from ..unlocking import ReadSlots, unlocked
from .doomed import Doomed, read_doomed, write_doomed
from .plan import ArchivesPlan, Compaction
from .report import Compacted, PurgeObserver


class Steps:
    """The steps, on one staging area with its catalog; whoever takes them holds the run lock."""

    def __init__(self, staging: Path, catalog: Catalog, observer: PurgeObserver) -> None:
        self._staging = staging
        self._catalog = catalog
        self._observer = observer
        self._doomed = read_doomed(staging)

    def remove(self, plan: ArchivesPlan) -> None:
        """Record what is to be deleted, beside what earlier purges left. The catalog forgets the archives
        that nobody needs, and their files are deleted if nobody reads archives just now: there may be no room
        for what is written next. New files that were never brought into use go first."""
        # An archive that somebody has renamed, and that was freed, left its excerpt under its own name.
        dead = (
            Doomed(name)
            for record in plan.dead
            for name in dict.fromkeys((record.name, name_in_places(record)))
        )
        # Those of archives that were purged before, too: they may have come back from a destination.
        gone = {archive_record.archive for archive_record in plan.dead} | self._catalog.purged_archives()
        sidecars = map(Doomed, sidecars_of(self._staging, gone))
        replaced = (Doomed(compaction.record.name, compaction.new_file) for compaction in plan.compactions)
        self._doomed = tuple(dict.fromkeys((*self._doomed, *dead, *sidecars, *replaced)))
        write_doomed(self._staging, self._doomed)
        self._remove_unfinished()
        self._catalog.remove_archives([one.archive for one in plan.dead])
        self._delete(0.0)

    def compact(
        self,
        compactions: Sequence[Compaction],
        settings: ArchiveConfig,
        engine: Engine,
        unlock: Unlock | None = None,
    ) -> tuple[tuple[Compacted, ...], tuple[Skipped, ...]]:
        """Write archives anew, and let the catalog point to each as soon as it is there; they are read from
        the staging area. Also returns what could not be done: such an archive stays as it is. ``unlock``
        opens what is encrypted."""
        done: list[Compacted] = []
        failed: list[Skipped] = []
        area = area_at(self._staging)
        for compaction, written in rewritten(
            compactions, area, settings, engine, self._observer, unlock=unlock
        ):
            if isinstance(written, BackupError):
                failed.append(Skipped(compaction.record.name, written.code, written.message))
                continue
            self._catalog.replace_archive(
                compaction.record.archive,
                name=compaction.new_file,
                size_bytes=written.archive_bytes,
                generation=written.generation,
                holes=written.holes,
                references=written.references,
                lost=compaction.record.lost,
            )
            done.append(compacted(compaction, written))
        return tuple(done), tuple(failed)

    def delete(self, patience_seconds: float) -> tuple[str, ...]:
        """Delete what is to be deleted, when nobody reads archives; returns the files for which that could
        not be waited for. They stay recorded."""
        self._remove_unfinished()
        left = self._delete(patience_seconds)
        if not left:
            write_doomed(self._staging, ())
        return left

    def _delete(self, patience_seconds: float) -> tuple[str, ...]:
        outdated = self._files(Doomed.outdated)
        if outdated:
            try:
                with exclusive(self._staging, patience_seconds, self._observer.waiting):
                    self._unlink(outdated)
            except LockedError:
                return tuple(outdated)
        return ()

    def _remove_unfinished(self) -> None:
        """Nobody has ever been told of these files: they can go at any time, and must before they are
        written again."""
        unfinished = self._files(Doomed.unfinished)
        partial = [
            str(path.relative_to(self._staging))
            for file in unfinished
            for path in (self._staging / file).parent.glob(f"{Path(file).name}.*{PARTIAL}")
        ]
        self._unlink((*unfinished, *partial))

    def _files(self, which: Callable[[Doomed, Collection[str]], str]) -> list[str]:
        known = {archive.name for archive in self._catalog.archives()}
        return [file for doomed in self._doomed if (file := which(doomed, known))]

    def _unlink(self, files: Iterable[str]) -> None:
        """Durably; those that are gone already are gone."""
        directories = set()
        going = tuple(files)
        with withdrawn(self._staging, going):
            for file in going:
                path = self._staging / file
                try:
                    path.unlink(missing_ok=True)
                    (self._staging / excerpt_name(file)).unlink(missing_ok=True)
                except OSError as error:
                    raise StagingError(
                        f"{path}: can't be deleted: {error.strerror}", path=str(path)
                    ) from error
                directories.add(path.parent)
        for directory in directories:
            with suppress(OSError):  # a file that is there again after a crash is deleted again
                sync_directory(directory)


def rewritten(
    compactions: Sequence[Compaction],
    area: StagingArea,
    settings: ArchiveConfig,
    engine: Engine,
    observer: PurgeObserver,
    *,
    write: bool = True,
    unlock: Unlock | None = None,
) -> Iterator[tuple[Compaction, Rewritten | BackupError]]:
    """Have archives of a staging area written anew, and what became of each; or, if not to ``write``, what
    would."""
    by_file = {compaction.record.name: compaction for compaction in compactions}
    codec = Codec.ZSTD if settings.codec == "zstd" else Codec.LZ4
    tasks = [
        CompactionTask(
            label=file,
            remains=one.remains,
            codec=codec,
            level=settings.level,
            staging=area,
            name=one.new_file if write else "",
            unlocked=_keys_of(one, area, unlock),
            encrypted=bool(one.record.encrypted),
        )
        for file, one in by_file.items()
    ]
    if tasks:
        observer.compacting({file: one.record.size_bytes for file, one in by_file.items()})
    for outcome in engine(run_compaction, tasks, observer.progress):
        result = outcome.report or outcome.failure()
        file = outcome.task.label
        observer.compacted(file, result.archive_bytes if isinstance(result, Rewritten) else 0)
        yield by_file[file], result


def _keys_of(compaction: Compaction, area: StagingArea, unlock: Unlock | None) -> Keyring:
    """The content keys of an archive that is to be written anew, as far as they can be opened."""
    copies = {compaction.record.archive: (compaction.remains.location,)}
    return unlocked(Holdings(locations=copies, places=(area,)), unlock, ReadSlots()).unlocked


def compacted(compaction: Compaction, written: Rewritten) -> Compacted:
    """What an archive was and is, for the report."""
    return Compacted(
        file=compaction.record.name,
        new_file=compaction.new_file,
        size_bytes=compaction.record.size_bytes,
        new_bytes=written.archive_bytes,
    )
