"""What can be restored: mailbox versions and the archives that hold them; from a catalog or bare files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.archive.files import LocalFile, RandomAccess
from ..proto.archive.reader import ArchiveReader, open_sealed
from ..proto.archive.salvage import salvage
from ..proto.archive.scanning import owner_of
from ..proto.archive.sidecars import folders_beside, with_sidecars
from ..proto.archive.slots import read_slots
from ..proto.archive.splitting import archives_in
from ..proto.errors import AccessError, BackupError, DamagedError, NotFoundError, UsageError
from ..proto.keys.records import NO_KEYS, Keyring
from ..proto.records import ArchiveId, Departed, Location, RunId, Skipped
from ..proto.structs import Record, field, replace
from ..worker.archives.holdings import NAMED_FILES, Holdings, NamedFiles, Stretched
from ..worker.archives.names import name_of
from ..worker.archives.opened import OpenArchives, Unlock, opened_archives
from ..worker.destinations.settings import Destination
from .absence import absence, last_seen
from .catalog import Catalog
from .good_moments import LATEST_GOOD, ChosenMoment, latest_good, told_of
from .history import MailboxVersion
from .holdings import holdings
from .streams import Streams
from .structure_keys import area_at
from .unlocking import ReadSlots, unlocked


class NeededFile(Record, kw_only=True):
    """The file of an archive that something needs: where it is, or what it is called (``""``: not known), as
    far as it is known how large it is (0: it is not), and whether it is ``there``. ``place`` is where its
    nearest copy lies, by the name of that place (``""``: there is none)."""

    archive: ArchiveId
    file: str
    size_bytes: int
    there: bool
    place: str = ""


class BackupSet(Record, kw_only=True, dict=True):
    """Mailboxes as they were at one time, and where the archives lie that are needed for them.

    ``archives`` are those that are at hand, ``names`` what the files of these and others are called, as far
    as that is known, and how large they are (0: not known). ``references`` are the others that one refers
    to; of an archive that is not in it that is not known. ``damaged`` are the files of which only a part
    could be read: there may have been more mailboxes. ``absent`` says of a path why nothing of it is there.
    ``moment`` is that of the catalog which it is of; ``departed`` tells of mailboxes that are as they were
    before that, since they had been removed by then.
    """

    versions: tuple[MailboxVersion, ...]
    archives: Holdings
    names: Mapping[ArchiveId, tuple[str, int]] = field(default_factory=dict)
    references: Mapping[ArchiveId, tuple[ArchiveId, ...]] = field(default_factory=dict)
    damaged: tuple[Skipped, ...] = ()
    absent: Mapping[LogicalPath, str] = field(default_factory=dict)
    moment: ChosenMoment | None = None
    departed: tuple[str, ...] = ()
    unlock: Unlock | None = None

    def matching(self, path: LogicalPath) -> Iterator[MailboxVersion]:
        """Every version that a path selects, older ones of a mailbox too."""
        for version in self.versions if path.user is None else self._versions_of(path.user):
            if (
                path.selects_partition(version.partition)
                and path.selects_group(version.group)
                and path.selects_user(version.user)
            ):
                yield version

    def _versions_of(self, user: str) -> Sequence[MailboxVersion]:
        return self._of_users.get(user, ())

    @cached_property
    def _of_users(self) -> Mapping[str, Sequence[MailboxVersion]]:
        """Those of each user. Whoever asks for one asks for many: they are sorted out once."""
        found: dict[str, list[MailboxVersion]] = {}
        for version in self.versions:
            found.setdefault(version.user, []).append(version)
        return found

    def select(self, path: LogicalPath) -> list[MailboxVersion]:
        """The versions that a path selects, one for each mailbox, the newest. Raises NotFoundError, or
        DamagedError where what is damaged may have held them."""
        newest = self.newest(path)
        if not newest:
            raise self.nothing(f"{path}: {self.absent.get(path, 'the backup holds nothing of it')}")
        return newest

    def newest(self, path: LogicalPath) -> list[MailboxVersion]:
        """The same; none where the backup holds nothing of it."""
        newest: dict[tuple[str, str], MailboxVersion] = {}
        for version in self.matching(path):
            # Of one run the group that was named is taken, so that paths come back as they were typed.
            known = newest.setdefault((version.partition, version.user), version)
            if (known.run, known.group == path.group) < (version.run, version.group == path.group):
                newest[version.partition, version.user] = version
        return list(newest.values())

    def nothing(self, told: str) -> BackupError:
        """The error for something that is not there: where archives are damaged, it may have been in them."""
        if self.damaged:
            return DamagedError(f"{told}; but {self.damaged[0].path} is damaged: {self.damaged[0].detail}")
        return NotFoundError(told)

    def needed_file(self, archive: ArchiveId) -> NeededFile:
        """The file of an archive."""
        name, size_bytes = self.names.get(archive, ("", 0))
        return NeededFile(
            archive=archive,
            file=self.archives.path(archive) or name,
            size_bytes=size_bytes,
            there=self.archives.are_there(archive),
            place=self.archives.nearest_place(archive),
        )

    def needed(self, archives: Iterable[ArchiveId]) -> Holdings:
        """These archives and all that they refer to, as far as they are at hand."""
        wanted: set[ArchiveId] = set()
        for archive in archives:
            wanted.add(archive)
            wanted.update(self.references.get(archive, self.archives.locations))
        found = self.archives.of(location for location in self.archives.locations if location in wanted)
        return unlocked(found, self.unlock, self.slots)

    @cached_property
    def slots(self) -> ReadSlots:
        """The slots of these archives, as far as they were asked for."""
        return ReadSlots()


def from_catalog(
    staging: Path,
    at: str,
    paths: Sequence[LogicalPath],
    destinations: Sequence[Destination] = (),
    only: str | None = None,
    *,
    departed: bool = False,
) -> BackupSet:
    """What was kept at a time (a run id, ``latest``, ``latest-good``, an ISO date or time), as far as
    ``holdings`` says that it can be read. With ``departed`` a mailbox that is named, and had been removed by
    then, is there as it was last. Raises NotFoundError, also where a run is named that was
    purged; a date means the newest moment of each group that is kept; UsageError for a destination that there
    is not.
    """
    with Catalog.open(staging) as catalog:

        def as_of(run: RunId, *, nearest: bool = True) -> BackupSet:
            return _as_of(catalog, staging, run, paths, destinations, only, nearest=nearest)

        if at == LATEST_GOOD:
            moment = latest_good(catalog, staging, paths, lambda run: _needed(as_of(run), paths))
            return replace(as_of(moment.run), moment=moment)
        run = catalog.resolve_time(at)
        moment = told_of(catalog, staging, run, paths)
        found = replace(as_of(run, nearest=at != run), moment=moment)
        return _with_departed(catalog, run, found) if departed else found


def _as_of(
    catalog: Catalog,
    staging: Path,
    run: RunId,
    paths: Sequence[LogicalPath],
    destinations: Sequence[Destination],
    only: str | None,
    *,
    nearest: bool,
) -> BackupSet:
    found = {path: _versions_of(catalog, run, path, nearest=nearest) for path in paths}
    versions = tuple({version: None for path in paths for version in found[path]})
    return BackupSet(
        versions=versions,
        archives=holdings(catalog, area_at(staging), destinations, only),
        names=catalog.names(),
        references=catalog.references({one.archive for one in versions}),
        absent={path: absence(catalog, run, path) for path in paths if not found[path]},
        damaged=tuple(_nameless(catalog, run, [path for path in paths if not (path.user and found[path])])),
    )


def _with_departed(catalog: Catalog, run: RunId, found: BackupSet) -> BackupSet:
    """The same, and each mailbox that is named and gone as it was last."""
    versions, told = dict.fromkeys(found.versions), []
    for path in found.absent:
        if last := last_seen(catalog, run, path):
            versions.update(dict.fromkeys(_versions_of(catalog, last.run, path, nearest=True)))
            told.append(last.told)
    if not told:
        return found
    references = catalog.references({version.archive for version in versions})
    return replace(found, versions=tuple(versions), references=references, departed=tuple(told))


def _needed(backup: BackupSet, paths: Sequence[LogicalPath]) -> frozenset[ArchiveId]:
    """The archives that it takes to restore paths; none for what is not there."""
    with opened(backup) as archives:
        return frozenset(
            need
            for path in paths
            for version in backup.newest(path)
            for need in needs_of(backup, archives, version)
        )


def needs_of(backup: BackupSet, archives: OpenArchives, version: MailboxVersion) -> tuple[ArchiveId, ...]:
    """The archives that a mailbox version lies in, as far as they are known."""
    with suppress(DamagedError):
        if (entry := archives(version.archive).entry(version.user)) is not None:
            return version.archive, *entry.archives
    return version.archive, *backup.references.get(version.archive, ())


def _nameless(catalog: Catalog, run: RunId, paths: Sequence[LogicalPath]) -> Iterator[Skipped]:
    """The groups in which these paths may mean mailboxes of which nothing is known any more. Without paths
    the catalog is not asked: it counts all its versions for that."""
    for loss in catalog.nameless_losses(run) if paths else ():
        if any(path.selects_partition(loss.partition) and path.selects_group(loss.group) for path in paths):
            yield Skipped(str(LogicalPath(loss.partition, loss.group)), "mailboxes", loss.detail)


def _versions_of(
    catalog: Catalog, run: RunId, path: LogicalPath, *, nearest: bool
) -> tuple[MailboxVersion, ...]:
    group = None if path.group == EVERYBODY else path.group
    return tuple(
        catalog.mailboxes_at(run, partition=path.partition, group=group, user=path.user, nearest=nearest)
    )


_WHY_ABSENT = "run {run} found it gone ({reason}); name no archive from then on to have it as it was before"


_Gone = dict[tuple[str, str | None, str], Departed]
"""Who has departed: by partition, group (None: all; one may be called as ``EVERYBODY`` is), and user."""


class _Copy(Record):
    """An archive that was found in a file, or in a stretch of one. ``generation`` is None where its header is
    gone; ``damage`` says why not all of it can be read."""

    file: Stretched
    generation: int | None
    damage: Skipped | None


def from_files(files: Iterable[Path], unlock: Unlock | None = None) -> BackupSet:
    """What bare archive files hold; a file may hold several, and a damaged one what is whole in it. Of two
    generations of an archive the greater one counts; copies of one are used together. A mailbox that has
    departed is there only as it was stored later: who wants it as it was before names no archive from after.

    Raises DamagedError for a file of which nothing is an archive, BackupError for one that can't be read.
    """
    found: dict[ArchiveId, list[_Copy]] = {}
    damaged: list[Skipped] = []
    for file in files:
        for archive, copy in _copies(file, damaged, unlock):
            found.setdefault(archive, []).append(copy)
    versions: list[MailboxVersion] = []
    there: dict[ArchiveId, tuple[Stretched, ...]] = {}
    references: dict[ArchiveId, tuple[ArchiveId, ...]] = {}
    names: dict[ArchiveId, tuple[str, int]] = {}
    gone: _Gone = {}
    streams = Streams()
    for archive, copies in found.items():
        newest = max((one.generation or 0 for one in copies), default=0)
        first, *others = [one for one in copies if one.generation in (None, newest)]
        there[archive] = tuple(one.file for one in (first, *others))
        with opened_archives(_holdings({archive: there[archive]}), unlock=unlock) as archives:
            try:
                reader = archives(archive)
            except DamagedError as error:
                damaged += [one.damage for one in copies if one.damage] or [
                    Skipped(first.file.path, "archive", error.message)
                ]
                del there[archive]
                continue
            _note_departures(reader, gone)
            streams.look(reader, first.file.path, unlock(reader.codec.slots) if unlock else NO_KEYS)
        names.update(_names_told(reader))
        versions += _versions_in(reader)
        if reader.damage:
            damaged += [one.damage for one in (first, *others) if one.damage]
        else:
            references[archive] = reader.directory.references
    damaged += streams.cut(found)
    if not there and damaged:
        skip = damaged[-1]
        raise DamagedError(f"{skip.path}: nothing of it can be read: {skip.detail}", reason="archive")
    later = {
        version: gone_since for version in versions if (gone_since := _gone_since(version, gone)) is not None
    }
    hidden = {
        LogicalPath(mailbox_version.partition, mailbox_version.group, mailbox_version.user): since
        for mailbox_version, since in later.items()
    }
    for archive, (best, *_) in there.items():
        names[archive] = best.path, best.size_bytes or os.stat(best.path).st_size
    return BackupSet(
        versions=tuple(one for one in versions if one not in later),
        archives=_holdings(there),
        names=names,
        references=references,
        damaged=tuple(damaged),
        unlock=unlock,
        absent={
            path: _WHY_ABSENT.format(run=departed.run, reason=departed.reason)
            for path, departed in {**_paths(gone), **hidden}.items()
        },
    )


def _names_told(archive: ArchiveReader) -> Iterator[tuple[ArchiveId, tuple[str, int]]]:
    """What the files of others are called, as an archive that refers to them tells."""
    for other in archive.directory.references:
        told = archive.referred(other)
        with suppress(AccessError):
            if name := name_of(told):
                yield other, (name, told.size_bytes)


def _holdings(files: Mapping[ArchiveId, Sequence[Stretched]]) -> Holdings:
    """The archives that were found in files, with all copies of each."""
    every: list[Stretched] = []
    locations = {}
    for archive, copies in files.items():
        numbers = range(len(every), len(every) + len(copies))
        locations[archive] = tuple(Location(NAMED_FILES, str(number)) for number in numbers)
        every += copies
    folders = dict.fromkeys(folder for stretched in every for folder in folders_beside(Path(stretched.path)))
    return Holdings(
        locations=locations,
        places=(NamedFiles(files=tuple(every)),),
        unlocked=Keyring(sidecars=tuple(folders)),
    )


def _note_departures(archive: ArchiveReader, gone: _Gone) -> None:
    """Note who has departed, as an archive tells, each as of the latest run that found it."""
    header = archive.header
    with suppress(DamagedError):
        for departure in archive.departures():
            departure = replace(departure, run=departure.run or header.run)
            groups = (header.group, None) if departure.from_partition else (header.group,)
            for scope in ((header.partition, group, departure.user) for group in groups):
                if scope not in gone or gone[scope].run < departure.run:
                    gone[scope] = departure


def _gone_since(version: MailboxVersion, gone: _Gone) -> Departed | None:
    """The departure that hides a version."""
    scopes = ((version.partition, group, version.user) for group in (version.group, None))
    return next((gone[scope] for scope in scopes if scope in gone and gone[scope].run > version.run), None)


def _paths(gone: _Gone) -> dict[LogicalPath, Departed]:
    """Departures by the path that a person would name."""
    return {
        LogicalPath(partition, EVERYBODY if group is None else group, user): departed
        for (partition, group, user), departed in gone.items()
    }


def _versions_in(archive: ArchiveReader) -> Iterator[MailboxVersion]:
    header = archive.header
    for entry in archive.directory.mailboxes:
        yield MailboxVersion(
            partition=header.partition,
            group=header.group,
            user=entry.user,
            run=header.run,
            shard=header.shard,
            archive=header.archive,
            folders=entry.folders,
            listed=entry.listed,
            stored=entry.stored,
            skipped=entry.listed - entry.stored,
            size_bytes=entry.size_bytes,
            added=entry.added,
            vanished=entry.vanished,
            changed=entry.changed,
        )


def archives_of(file: Path) -> list[LocalFile]:
    """The archives in a file that somebody named: see ``archives_in``. Raises NotFoundError, BackupError;
    DamagedError if there is none in it, UsageError for a directory."""
    try:
        return archives_in(str(file))
    except FileNotFoundError as error:
        raise NotFoundError(f"{file}: there is no such file", file=str(file)) from error
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror}", file=str(file)) from error
    except DamagedError as error:
        if file.is_dir():
            raise UsageError(f"{file} is a directory: name the archive files in it") from error
        raise DamagedError(f"{file}: nothing of it can be read: {error.message}", reason="archive") from error


def _copies(file: Path, damaged: list[Skipped], unlock: Unlock | None) -> Iterator[tuple[ArchiveId, _Copy]]:
    """The archives that a file holds; what of it is none is added to ``damaged``."""
    for archive in archives_of(file):
        place = Stretched(path=str(file), start=archive.start, size_bytes=archive.size)
        told: list[Skipped] = []
        try:
            beside = Keyring(sidecars=folders_beside(file))
            keys = unlock(with_sidecars(read_slots(archive), beside)) if unlock else NO_KEYS
            header = reader_over(archive, told, keys).header
            yield header.archive, _Copy(place, header.generation, told[0] if told else None)
        except DamagedError as error:
            damage = Skipped(archive.name, str(error.facts.get("reason", "damaged")), error.message)
            try:
                yield owner_of(archive), _Copy(place, None, damage)
            except DamagedError:
                damaged.append(damage)
        finally:
            archive.close()


def reader_over(file: RandomAccess, damaged: list[Skipped], keys: Keyring = NO_KEYS) -> ArchiveReader:
    """A reader over an archive, or over what is whole in it; then why that is not all is added."""
    try:
        return open_sealed(file, keys=keys)
    except DamagedError as error:
        archive = salvage(file, keys)
        damaged.append(Skipped(file.name, str(error.facts.get("reason", "damaged")), error.message))
        return archive


@contextmanager
def opened(backup: BackupSet) -> Iterator[OpenArchives]:
    """Readers over the archives of a set; closed at the end."""
    with opened_archives(backup.archives, unlock=backup.unlock) as archives:
        yield archives
