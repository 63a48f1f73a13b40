"""The table of contents of a catalog's rebuild: begin with a snapshot, read the archives that it does not
know, add what was purged, write it anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.files import RandomAccess
from ..proto.archive.reader import ArchiveReader, open_sealed
from ..proto.archive.run_end import read_run_end
from ..proto.archive.stored import OpenArchive
from ..proto.errors import BackupError, DamagedError, EncryptedError, UnsupportedError
from ..proto.keys.records import Keyring
from ..proto.records import STAGING, ArchiveFacts, ArchiveId, Departed, Location, RunId, Skipped
from ..proto.run_ends import RunEnd
from ..proto.structs import Mutable, Record, field, replace
from ..worker.archives.excerpts import Excerpt
from ..worker.archives.holdings import EXCERPTS, Holdings
from ..worker.archives.names import archive_of_excerpt, excerpt_name, is_excerpt
from ..worker.archives.opened import OpenArchives, beginning_of, opened_archives
from ..worker.archives.places import open_local
from ..worker.archives.sealed import account_of
from .backup_set import reader_over
from .catalog import Base, Catalog, FoundArchive, Inventory, PurgedMoments, Start, newest_base, rebuild
from .erasing.progress import reopen
from .erasing.record import erased_mailboxes
from .fetching import Fetched
from .holds import Holds, read_holds
from .keepsakes import keep_catalog
from .lock import RunLock
from .purging.doomed import read_doomed
from .purging.record import PurgedScope, read_purged
from .readers import reading
from .run_archives import FOLDER, check_whole, run_archive
from .structure_keys import area_at
from .sweeping.locks import sweeping
from .unknown import archives_and_excerpts, is_behind

_ORPHAN = "its run ended before the catalog knew it, and what it refers to may have been purged since"


_IN_CLEAR = "it is in clear, though another file has the same archive encrypted, and it stays so"


class RebuildReport(Record, kw_only=True):
    """How many archives are in the catalog now, and from which snapshot it was begun (empty: from none);
    which files are not, and why, or as a newer generation of the same archive is; what of the archives is
    damaged; and which others they refer to that are not there."""

    archives: int
    origin: str
    refused: tuple[Skipped, ...]
    superseded: tuple[str, ...]
    damaged: tuple[Skipped, ...]
    missing: tuple[Skipped, ...]


def rebuild_catalog(
    staging: Path,
    *,
    every_archive: bool = False,
    fetch: Callable[[], Fetched] = Fetched,
    destinations: Iterable[str] = (),
) -> RebuildReport:
    """Make the catalog again from the sealed archives of the staging area. Where it is lost, or older than
    they are, only from those that the newest sound snapshot does not know, unless ``every_archive`` is to be
    read. ``fetch`` is called first, to bring what a destination has (see ``fetching``), and the structure
    keys that have been lost (``recovered_keys``). Nobody sweeps to the ``destinations`` meanwhile: a copy
    that is made or removed then would be in the catalog otherwise than at its place.

    What was purged stays so, by the records that purges keep, and what was erased; but erasures have to look
    at all archives and copies once more. Raises LockedError while a run or a sweep goes on, StagingError if
    the catalog can't be written, DamagedError if a record of purges or holds is; EncryptedError if archives
    are encrypted and no structure key is there.
    """
    with ExitStack() as stack:
        stack.enter_context(RunLock(staging))
        for name in destinations:
            stack.enter_context(sweeping(staging, name))
        fetched = fetch()
        every = every_archive or not _is_behind(staging)
        report = rebuild_locked(staging, every_archive=every, fetched=fetched)
    return replace(report, damaged=(*fetched.failed, *report.damaged))


def _is_behind(staging: Path) -> bool:
    try:
        return is_behind(staging)
    except DamagedError:
        return True


def rebuild_locked(
    staging: Path, *, every_archive: bool = False, fetched: Fetched | None = None
) -> RebuildReport:
    """``rebuild_catalog`` for who holds the run lock; whatever there is of the catalog."""
    with reading(staging):  # what is found here is not freed before it is in the catalog
        return _rebuilt(staging, every_archive=every_archive, fetched=fetched)


def _rebuilt(staging: Path, *, every_archive: bool, fetched: Fetched | None) -> RebuildReport:
    holds = read_holds(staging)
    recorded = read_purged(staging)
    newest = newest_base(staging, area_at(staging).keys)
    base, older = (None, newest) if every_archive else (newest, None)
    # What would tell that a mailbox in them had departed may be deleted already.
    dead = frozenset(doomed.file for doomed in read_doomed(staging) if not doomed.instead)
    search = _Search(staging, dead, frozenset(orphan for scope in recorded for orphan in scope.orphans), base)
    start = None if base is None else Start(base=base, gone=search.gone())
    rebuilt = rebuild(
        staging,
        search,
        [*_purged(recorded, holds, base)],
        partial(references, staging),
        search.ends,
        start,
        Inventory(place=fetched.place, copies=fetched.copies) if fetched and fetched.place else None,
        older,
        erased_mailboxes(staging),
    )
    reopen(staging)
    if older is not None:
        older.path.unlink(missing_ok=True)
    with Catalog.open(staging, write=True) as catalog:
        keep_catalog(staging, catalog)
    return RebuildReport(
        archives=rebuilt.archives,
        origin=base.origin if base else "",
        refused=(*search.refused, *rebuilt.refused),
        superseded=rebuilt.superseded,
        damaged=tuple(search.damaged),
        missing=rebuilt.missing,
    )


def _purged(recorded: Iterable[PurgedScope], holds: Holds, base: Base | None) -> Iterator[PurgedMoments]:
    """What was purged of each group, by the record of that and by the catalog that is begun with."""
    scopes = set(base.scopes if base else ())
    for scope in recorded:
        scopes.discard((scope.partition, scope.group))
        yield PurgedMoments(
            partition=scope.partition,
            group=scope.group,
            forgotten=scope.forgotten,
            unchanged=scope.unchanged,
            kept=scope.kept,
            held=partial(holds.holds_user, scope.partition, scope.group),
        )
    for partition, group in sorted(scopes):
        yield PurgedMoments(
            partition=partition,
            group=group,
            forgotten=(),
            held=partial(holds.holds_user, partition, group),
        )


class _Search(Mutable):
    """The archives of a staging area that its ``base`` does not know, but for ``dead`` ones, which a purge
    has yet to delete, and ``orphans`` (ids in hex): no catalog knew those when something was purged that they
    may refer to. And what was found on the way that is none or is damaged."""

    staging: Path
    dead: Collection[str]
    orphans: Collection[str]
    base: Base | None = None
    refused: list[Skipped] = field(default_factory=list)
    damaged: list[Skipped] = field(default_factory=list)
    ends: list[RunEnd] = field(default_factory=list)
    _runs: set[RunId] = field(default_factory=set)

    @property
    def keys(self) -> Keyring:
        """Those of the staging area."""
        return area_at(self.staging).keys

    def gone(self) -> frozenset[ArchiveId]:
        """The archives of the base that do not lie any more where they lay, or have another size."""
        known = self.base.staged if self.base else {}
        return frozenset(archive for name, (archive, size) in known.items() if self._size(name) != size)

    def _size(self, name: str) -> int:
        try:
            return (self.staging / name).stat().st_size
        except OSError:
            return -1

    def __iter__(self) -> Iterator[FoundArchive]:
        known = dict(self.base.staged) if self.base else {}
        known = {name: one for name, one in known.items() if self._size(name) == one[1]}
        known_excerpts = {excerpt_name(name) for name in self.base.names} if self.base else set()
        files = [
            file
            for file in archives_and_excerpts(self.staging)
            if (name := str(file.relative_to(self.staging))) not in self.dead
            and name not in known
            and name not in known_excerpts
        ]
        files = self._without_pretenders(files)
        at_hand = {archive: name for name, (archive, _) in known.items()}
        with opened_archives(_newest(self.staging, files, at_hand)) as archives:
            yield from self._found(files, archives)

    def _without_pretenders(self, files: list[Path]) -> list[Path]:
        """Some files without those in clear of an archive that is encrypted, which it is in all generations.
        Anybody can make one, and good copies of the archive would be removed for a later generation."""
        keys = self.keys
        if not keys.structures:
            return files
        clear = {file: told[0] for file in files if (told := _told_by(file, keys)) and not told[1]}
        others = filter(
            None, (_told_by(excerpt, keys) for excerpt in archives_and_excerpts(self.staging) if clear)
        )
        encrypted = {archive for archive, is_encrypted in others if is_encrypted}
        refused = {file for file, archive in clear.items() if archive in encrypted}
        self.refused += [Skipped(str(file), "clear", _IN_CLEAR) for file in sorted(refused)]
        return [file for file in files if file not in refused]

    def _found(self, files: list[Path], archives: OpenArchives) -> Iterator[FoundArchive]:
        for file in files:
            try:
                facts, damage = facts_of(self.staging, file, archives)
            except DamagedError as error:
                self.damaged.append(Skipped(str(file), error.code, error.message))
            except UnsupportedError as error:
                self.refused.append(Skipped(str(file), error.code, error.message))
            except EncryptedError as error:
                if not self.keys.structures:
                    raise
                self.refused.append(Skipped(str(file), error.code, error.message))
            else:
                if facts.archive.hex() in self.orphans:
                    self.refused.append(Skipped(str(file), "orphan", _ORPHAN))
                    continue
                self.damaged += damage
                self._runs.add(facts.run)
                staged = not is_excerpt(str(file.relative_to(self.staging)))
                yield FoundArchive(facts=facts, damaged=bool(damage), staged=staged)
        # An archive does not tell how its unit went: the end of its run is entered once more then.
        ended = self.base.ended if self.base else ()
        known = {run_archive(run, resumed) for run, resumed in ended if run not in self._runs}
        for file in sorted(self.staging.glob(f"{FOLDER}/*/*.mhr")):
            if str(file.relative_to(self.staging)) not in known:
                self._read_end(file)

    def _read_end(self, file: Path) -> None:
        """Keep what the archive of a run tells; of one whose archives are orphans nothing."""
        local = open_local(str(file))
        try:
            end = read_run_end(local, self.keys)
            if not any(unit.archive is not None and unit.archive.hex() in self.orphans for unit in end.units):
                self.ends.append(end)
        except (DamagedError, UnsupportedError, EncryptedError) as error:
            self.damaged.append(Skipped(str(file), error.code, f"how the run ended is lost: {error.message}"))
        else:
            self._tell_damage(file, local)
        finally:
            local.close()

    def _tell_damage(self, file: Path, local: RandomAccess) -> None:
        """What one that told all has lost all the same, such as its end."""
        try:
            check_whole(local)
        except DamagedError as error:
            told = f"it told how the run ended, but is not whole: {error.message}"
            self.damaged.append(Skipped(str(file), error.code, told))


def _told_by(file: Path, keys: Keyring) -> tuple[ArchiveId, bool] | None:
    """Which archive a file is one of, or an excerpt, and whether it is encrypted; None if that can't be told.
    Its HEADER alone says nothing that can be relied on."""
    with suppress(BackupError), closing(open_local(str(file))) as local:
        archive = open_sealed(Excerpt(local) if file.suffix == ".mhx" else local, keys=keys)
        return archive.header.archive, archive.directory.seal is not None
    return None


def _newest(staging: Path, files: Iterable[Path], known: Mapping[ArchiveId, str]) -> Holdings:
    """The newest generation of each archive, as far as the beginnings of the files tell, and those that are
    ``known``."""
    found: dict[ArchiveId, tuple[int, str]] = {}
    for file in files:
        with suppress(DamagedError, UnsupportedError):
            name = str(file.relative_to(staging))
            with closing(_opened(staging, name)) as opened:
                header = beginning_of(opened)
            if found.get(header.archive, (-1, ""))[0] < header.generation:
                found[header.archive] = header.generation, name
    names = {**known, **{archive: name for archive, (_, name) in found.items()}}
    return Holdings(
        locations={archive: (_location(name),) for archive, name in names.items()},
        places=(area_at(staging),),
    )


def _location(name: str) -> Location:
    """Where an archive is read, of which there is a file of this name in the staging area."""
    return Location(EXCERPTS, archive_of_excerpt(name)) if is_excerpt(name) else Location(STAGING, name)


def _opened(staging: Path, name: str) -> RandomAccess:
    """An archive of the staging area, or what its excerpt there has of it. Raises DamagedError."""
    if not is_excerpt(name):
        if (staging / name).exists():
            return open_local(str(staging / name))
        name = excerpt_name(name)
    file = open_local(str(staging / name))
    try:
        return Excerpt(file)
    except BaseException:
        file.close()
        raise


def facts_of(
    staging: Path, file: Path, open_archive: OpenArchive
) -> tuple[ArchiveFacts, tuple[Skipped, ...]]:
    """What a sealed archive of the staging area says about itself, for the catalog; and what of that is
    lost, where the archive is damaged. ``open_archive`` gives those that it refers to.

    Raises DamagedError if all is lost, UnsupportedError.
    """
    name = str(file.relative_to(staging))
    local = _opened(staging, name)
    try:
        damaged: list[Skipped] = []
        archive = reader_over(local, damaged, area_at(staging).keys)
        header, directory = archive.header, archive.directory
        account = account_of(archive, open_archive)
        damaged += [
            Skipped(str(LogicalPath(header.partition, header.group, user)), "metadata", f"in {file}")
            for user in account.unreadable
        ]
        gone = _departures(archive, damaged)
        facts = ArchiveFacts(
            archive=header.archive,
            run=RunId(header.run),
            started=datetime.fromtimestamp(header.run_started, UTC),
            partition=header.partition,
            group=header.group,
            shard=header.shard,
            name=archive_of_excerpt(name) if is_excerpt(name) else name,
            size_bytes=local.size,
            mailboxes=account.mailboxes,
            skipped=account.skipped,
            unopened=directory.unopened,
            departed=tuple(departed for departed in gone if not departed.run),
            carried=tuple(one for one in gone if one.run),
            references=directory.references,
            referred=tuple(map(archive.referred, directory.references)),
            holes=directory.holes,
            lost=archive.gone if damaged else directory.lost,
            generation=header.generation,
            sealed=datetime.fromtimestamp(file.stat().st_mtime, UTC),
            encrypted=archive.codec.seals,
        )
        return facts, tuple(damaged)
    finally:
        local.close()


def _departures(archive: ArchiveReader, damaged: list[Skipped]) -> tuple[Departed, ...]:
    """Who has departed, as an archive tells; that this can't be told is added to ``damaged``."""
    try:
        return archive.departures()
    except DamagedError as error:
        damaged.append(Skipped(archive.file.name, "departed", error.message))
        return ()


def references(staging: Path, file: str, users: Collection[str]) -> set[ArchiveId] | None:
    """The other archives that the metadata of these users in an archive names; None if nothing of it lies in
    the staging area any more."""
    try:
        local = _opened(staging, file)
    except DamagedError:
        return None
    try:
        archive = reader_over(local, [], area_at(staging).keys)
        entries = [mailbox for mailbox in archive.directory.mailboxes if mailbox.user in users]
        return {other for entry in entries for other in entry.archives}
    finally:
        local.close()
