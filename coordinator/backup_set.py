"""What can be restored: mailbox versions and the archives that hold them; from a catalog or bare files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..groups.paths import LogicalPath
from ..proto.archive.contents import MailboxEntry
from ..proto.archive.mailboxes import Mailbox
from ..proto.archive.reader import ArchiveReader, LocalFile, archives_in, open_sealed
from ..proto.archive.salvage import salvage
from ..proto.errors import BackupError, DamagedError, NotFoundError, UsageError
from ..proto.records import ArchiveFacts, ArchiveId, RunId, Skipped
from ..worker.archives import ArchivePlace, OpenArchives, open_place, opened_archives
from ..worker.staging.sealed import account_of
from .catalog import Catalog
from .history import MailboxVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSet:
    """Mailboxes as they were at one time, and where the archives lie that are needed for them.

    ``damaged`` are the files of which only a part could be read: there may have been more mailboxes.
    """

    versions: tuple[MailboxVersion, ...]
    places: Mapping[ArchiveId, ArchivePlace]
    damaged: tuple[Skipped, ...] = ()

    def matching(self, path: LogicalPath) -> Iterator[MailboxVersion]:
        """Every version that a path selects, older ones of a mailbox too."""
        for one in self.versions:
            if (
                path.selects_partition(one.partition)
                and path.selects_group(one.group)
                and path.selects_user(one.user)
            ):
                yield one

    def select(self, path: LogicalPath) -> list[MailboxVersion]:
        """The versions that a path selects, one for each mailbox, the newest. Raises NotFoundError."""
        newest: dict[tuple[str, str], MailboxVersion] = {}
        for one in self.matching(path):
            # Of one run the group that was named is taken, so that paths come back as they were typed.
            known = newest.setdefault((one.partition, one.user), one)
            if (known.run, known.group == path.group) < (one.run, one.group == path.group):
                newest[one.partition, one.user] = one
        if not newest:
            raise NotFoundError(f"{path}: the backup holds nothing of it", path=str(path))
        return list(newest.values())


def from_catalog(staging: Path, at: str, paths: Sequence[LogicalPath]) -> BackupSet:
    """What was kept at a time (a run id, ``latest``, an ISO date or time). Raises NotFoundError."""
    with Catalog.open(staging) as catalog:
        run = catalog.resolve_time(at)
        versions = {
            one: None
            for path in paths
            for one in catalog.mailboxes_at(
                run,
                partition=path.partition,
                group=None if path.group == "user" else path.group,
                user=path.user,
            )
        }
        places = {one.archive: ArchivePlace(file=str(staging / one.file)) for one in catalog.archives()}
    return BackupSet(versions=tuple(versions), places=places)


def from_files(files: Iterable[Path]) -> BackupSet:
    """What bare archive files hold; a file may hold several, and a damaged one what is whole in it.

    Raises DamagedError for a file of which nothing is an archive, BackupError for one that can't be read.
    """
    versions: list[MailboxVersion] = []
    places: dict[ArchiveId, ArchivePlace] = {}
    damaged: list[Skipped] = []
    for file in files:
        for place, archive in _readers(file, damaged):
            header = archive.header
            places[header.archive] = place
            versions += [
                MailboxVersion(
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
                )
                for entry in archive.directory.mailboxes
            ]
    return BackupSet(versions=tuple(versions), places=places, damaged=tuple(damaged))


def _readers(file: Path, damaged: list[Skipped]) -> Iterator[tuple[ArchivePlace, ArchiveReader]]:
    try:
        found = archives_in(str(file))
    except FileNotFoundError as error:
        raise NotFoundError(f"{file}: there is no such file", file=str(file)) from error
    except OSError as error:
        raise BackupError(f"{file}: {error.strerror}", file=str(file)) from error
    except DamagedError as error:
        if file.is_dir():
            raise UsageError(f"{file} is a directory: name the archive files in it") from error
        found = [open_place(ArchivePlace(file=str(file)))]
    readable = 0
    for one in found:
        try:
            place = ArchivePlace(file=str(file), start=one.start, size_bytes=one.size)
            archive = _reader(one, damaged)
        except DamagedError as error:
            damaged.append(Skipped(one.name, str(error.facts.get("reason", "damaged")), error.message))
        else:
            readable += 1
            yield place, archive
        finally:
            one.close()
    if not readable:
        raise DamagedError(f"{file}: nothing of it can be read: {damaged[-1].detail}", reason="archive")


def _reader(file: LocalFile, damaged: list[Skipped]) -> ArchiveReader:
    """A reader over an archive, or over what is whole in it; then why that is not all is added."""
    try:
        return open_sealed(file)
    except DamagedError as error:
        archive = salvage(file)
        damaged.append(Skipped(file.name, str(error.facts.get("reason", "damaged")), error.message))
        return archive


def facts_of(staging: Path, file: Path) -> tuple[ArchiveFacts, tuple[Skipped, ...]]:
    """What a sealed archive of the staging area says about itself, for the catalog; and what of that is
    lost, where the archive is damaged.

    Raises DamagedError if all is lost, UnsupportedError.
    """
    local = open_place(ArchivePlace(file=str(file)))
    try:
        damaged: list[Skipped] = []
        archive = _reader(local, damaged)
        header = archive.header
        account = account_of(archive)
        damaged += [
            Skipped(str(LogicalPath(header.partition, header.group, user)), "metadata", f"in {file}")
            for user in account.unreadable
        ]
        facts = ArchiveFacts(
            archive=header.archive,
            run=RunId(header.run),
            started=datetime.fromtimestamp(header.run_started, UTC),
            partition=header.partition,
            group=header.group,
            shard=header.shard,
            file=str(file.relative_to(staging)),
            size_bytes=local.size,
            sealed=datetime.fromtimestamp(file.stat().st_mtime, UTC),
            mailboxes=account.mailboxes,
            skipped=account.skipped,
        )
        return facts, tuple(damaged)
    finally:
        local.close()


@contextmanager
def opened(backup: BackupSet) -> Iterator[OpenArchives]:
    """Readers over the archives of a set; closed at the end."""
    with opened_archives(backup.places) as archives:
        yield archives


class MailboxMetadata(NamedTuple):
    """The metadata of a mailbox version, and the archive it came from."""

    archive: ArchiveReader
    entry: MailboxEntry
    mailbox: Mailbox


def read_mailbox(archives: OpenArchives, version: MailboxVersion) -> MailboxMetadata:
    """Read the metadata of a mailbox version. Raises DamagedError."""
    archive = archives(version.archive)
    entry = archive.entry(version.user)
    if entry is None:
        raise DamagedError(
            f"{archive.file.name}: the metadata of {version.user!r} is gone", reason="metadata"
        )
    return MailboxMetadata(archive, entry, archive.mailbox(entry))
