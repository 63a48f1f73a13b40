"""The table of contents of a catalog's rebuild: read every archive, add what was purged, write it anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ..groups.paths import LogicalPath
from ..proto.archive.contents import MailboxEntry
from ..proto.archive.messages import archives_of
from ..proto.archive.reader import ArchiveReader
from ..proto.errors import DamagedError, UnsupportedError
from ..proto.records import ArchiveFacts, ArchiveId, RunId, Skipped
from ..worker.archives import ArchivePlace, open_place
from ..worker.staging.sealed import account_of
from .backup_set import reader_over
from .catalog import FoundArchive, PurgedMoments, rebuild
from .holds import read_holds
from .lock import RunLock
from .purging.doomed import read_doomed
from .purging.record import read_purged


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """How many archives are in the catalog now; which files are not, and why, or as a newer generation of the
    same archive is; what of the archives is damaged; and which others they refer to that are not there."""

    archives: int
    refused: tuple[Skipped, ...]
    superseded: tuple[str, ...]
    damaged: tuple[Skipped, ...]
    missing: tuple[Skipped, ...]


def rebuild_catalog(staging: Path) -> RebuildReport:
    """Make the catalog again from the sealed archives of the staging area.

    What was purged stays so, by the records that purges keep. Raises LockedError while a run goes on,
    StagingError if the catalog can't be written, DamagedError if a record of purges or holds is.
    """
    with RunLock(staging):
        holds = read_holds(staging)
        purged = [
            PurgedMoments(
                partition=one.partition,
                group=one.group,
                forgotten=one.forgotten,
                unchanged=one.unchanged,
                newest=max(one.kept, default=None),
                held=partial(holds.holds_user, one.partition, one.group),
            )
            for one in read_purged(staging)
        ]
        # What would tell that a mailbox in them had departed may be deleted already.
        dead = frozenset(one.file for one in read_doomed(staging) if not one.instead)
        search = _Search(staging, dead)
        rebuilt = rebuild(staging, search, purged, partial(_references, staging))
    return RebuildReport(
        archives=rebuilt.archives,
        refused=(*search.refused, *rebuilt.refused),
        superseded=rebuilt.superseded,
        damaged=tuple(search.damaged),
        missing=rebuilt.missing,
    )


@dataclass(slots=True)
class _Search:
    """The archives of a staging area but for ``dead`` ones, which a purge has yet to delete; and what was
    found on the way that is none or is damaged."""

    staging: Path
    dead: Collection[str]
    refused: list[Skipped] = field(default_factory=list)
    damaged: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[FoundArchive]:
        for file in sorted(self.staging.glob("[!.]*/*/*.mha")):
            if str(file.relative_to(self.staging)) in self.dead:
                continue
            try:
                facts, damage = facts_of(self.staging, file)
            except DamagedError as error:
                self.damaged.append(Skipped(str(file), error.code, error.message))
            except UnsupportedError as error:
                self.refused.append(Skipped(str(file), error.code, error.message))
            else:
                self.damaged += damage
                yield FoundArchive(facts=facts, damaged=bool(damage))


def facts_of(staging: Path, file: Path) -> tuple[ArchiveFacts, tuple[Skipped, ...]]:
    """What a sealed archive of the staging area says about itself, for the catalog; and what of that is
    lost, where the archive is damaged.

    Raises DamagedError if all is lost, UnsupportedError.
    """
    local = open_place(ArchivePlace(file=str(file)))
    try:
        damaged: list[Skipped] = []
        archive = reader_over(local, damaged)
        header, directory = archive.header, archive.directory
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
            mailboxes=account.mailboxes,
            skipped=account.skipped,
            unopened=directory.unopened,
            departed=directory.departed,
            references=_named(archive) if damaged else directory.references,
            holes=directory.holes,
            lost=archive.gone if damaged else directory.lost,
            generation=header.generation,
            sealed=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        )
        return facts, tuple(damaged)
    finally:
        local.close()


def _references(staging: Path, file: str, users: Collection[str]) -> set[ArchiveId]:
    """The other archives that the metadata of these users in an archive names."""
    local = open_place(ArchivePlace(file=str(staging / file)))
    try:
        damaged: list[Skipped] = []
        archive = reader_over(local, damaged)
        entries = [one for one in archive.directory.mailboxes if one.user in users]
        if damaged:
            return {other for entry in entries for other in _named_by(archive, entry)}
        return {other for entry in entries for other in entry.archives}
    finally:
        local.close()


def _named(archive: ArchiveReader) -> tuple[ArchiveId, ...]:
    """The other archives that the metadata names, where no directory tells it."""
    named = (other for entry in archive.directory.mailboxes for other in _named_by(archive, entry))
    return tuple(dict.fromkeys(named))


def _named_by(archive: ArchiveReader, entry: MailboxEntry) -> Iterator[ArchiveId]:
    """The other archives that what is whole of a mailbox's metadata names, each several times."""
    own = archive.header.archive
    with suppress(DamagedError):
        files = archive.mailbox(entry).files
        yield from (piece.archive for file in files for piece in file.pieces if piece.archive != own)
    for number in range(len(entry.message_frames)):
        with suppress(DamagedError):
            payload = archive.message_frame(entry, number)
            yield from (one for one in archives_of(payload) if one != own)
