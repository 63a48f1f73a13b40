"""Chains of incremental archives in a staging area, with their catalog, made without a mail store: for tests
of what is done to archives afterwards. Written by the real writer, as a backup does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from mailhaul import __version__
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.catalog.snapshots import FOLDER
from mailhaul.coordinator.departures import with_carried
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.stored import OpenArchive, StoredMailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.records import (
    ArchiveId,
    Departed,
    Folder,
    MailboxSummary,
    Partition,
    Piece,
    Referred,
    RunId,
    Unit,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.holdings import Holdings, staged
from mailhaul.worker.archives.names import archive_name
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.archives.places import open_local
from mailhaul.worker.keepsake.readme import README, reader_name
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.staging.sinks import StagedFile

from .archives import MemoryOpened, archive_header, message

Mail = Mapping[str, Mapping[str, tuple[bytes, ...]]]
"""User -> folder -> messages."""

State = dict[str, dict[str, tuple[bytes, ...]]]

STARTED = datetime(2026, 8, 1, 2, 0, tzinfo=UTC)
PARTITION = Partition(name="primary", format="maildir", path="/srv/mail")


def is_keepsake(path: Path) -> bool:
    """Whether this is laid beside archives, or a part of making it."""
    beside = (README, reader_name(__version__), "area-id", "snapshot.new")
    return FOLDER in path.parts or path.name in beside


class StagedChain:
    """A staging area to which runs are added, one a day, each over one group."""

    def __init__(self, staging: Path, group: str = "user") -> None:
        self.staging = staging
        self.group = group
        self.moments: dict[RunId, State] = {}
        self.days_off = 0  # days without a run, so far
        self._stored: dict[bytes, tuple[int, bytes, tuple[Piece, ...]]] = {}
        self._newest: dict[str, ArchiveId] = {}
        self._state: State = {}
        Catalog.open(staging, write=True).close()

    def moved(self, staging: Path) -> StagedChain:
        """The same runs in a copy of the staging area; for reading."""
        copy = StagedChain(staging, self.group)
        copy.moments = self.moments
        return copy

    def run(self, mail: Mail, departed: Iterable[str] = (), *, paths: str = "/") -> RunId:
        """A run that finds this mail; users that it does not name are not touched."""
        started = STARTED + timedelta(days=len(self.moments) + self.days_off)
        run = RunId(started.strftime("%Y%m%dT%H%M%SZ-0000"))
        gone = tuple(Departed(user, "removed") for user in departed)
        archive = ArchiveId(sha256(f"{run}/{self.group}".encode()).digest()[:16])
        unit = Unit(
            run=run,
            partition=PARTITION,
            group=self.group,
            shard=0,
            users=tuple(mail),
            archive=archive,
            departed=gone,
        )
        with Catalog.open(self.staging, write=True) as catalog:
            told = {(PARTITION.name, self.group): catalog.carried(PARTITION.name, self.group)}
            (unit,) = with_carried([unit], told)
            catalog.begin_run(run, started, paths=paths)
            catalog.plan_units([unit])
            changed = {user for user, folders in mail.items() if self._state.get(user) != folders}
            report = _report(unit, mail)
            if changed or gone:
                report = self._write(report, archive, mail, changed, started, catalog)
            catalog.commit_unit(report, sealed=started)
            catalog.end_run(run, started + timedelta(minutes=5))
        for one in gone:
            self._state.pop(one.user)
        self._state.update({user: dict(folders) for user, folders in mail.items()})
        self.moments[run] = dict(self._state)
        return run

    def forget(self, user: str) -> None:
        """The next run finds a mailbox of this name for the first time."""
        self._newest.pop(user)
        self._state.pop(user)

    def _write(
        self,
        report: UnitReport,
        archive: ArchiveId,
        mail: Mail,
        changed: set[str],
        started: datetime,
        catalog: Catalog,
    ) -> UnitReport:
        # As a backup: what no newest version of a mailbox has may be purged at any time.
        self._stored = {
            data: self._stored[data]
            for folders in self._state.values()
            for folder in folders.values()
            for data in folder
        }
        header = replace(
            archive_header(archive), run=report.run, run_started=started.timestamp(), group=self.group
        )
        file = archive_name("primary", self.group, report.run, 0, archive)
        sink = StagedFile(self.staging / file)
        sink.begin()
        writer = ArchiveWriter(sink, header, departed=(*report.departed, *report.carried))
        packer = Packer(writer)
        with opened_archives(self._holdings(catalog)) as archives:
            for user, folders in mail.items():
                known = StoredMailbox(archives, self._newest[user], user) if user in self._state else None
                if known is None or user in changed:
                    self._mailbox(writer, packer, user, folders, known)
                else:
                    writer.refer_mailbox(known.entry)
        told = {
            record.archive: Referred(
                archive=record.archive,
                partition=record.partition,
                group=record.group,
                run=record.run,
                shard=record.shard,
                size_bytes=record.size_bytes,
            )
            for record in catalog.archives()
        }
        totals = writer.finish(known=lambda archive_id: told.get(archive_id, Referred(archive=archive_id)))
        sink.seal()
        self._newest.update(dict.fromkeys(mail, archive))
        return replace(
            report,
            archive=archive,
            name=file,
            archive_bytes=totals.archive_bytes,
            encrypted=writer.header.sealed,
            references=writer.references,
        )

    def _mailbox(
        self,
        writer: ArchiveWriter,
        packer: Packer,
        user: str,
        folders: Mapping[str, tuple[bytes, ...]],
        known: StoredMailbox | None,
    ) -> None:
        """A folder in which nothing has changed is referred to."""
        uid = size_bytes = 0
        before = {folder.folder.name: folder for folder in known.mailbox.folders} if known else {}
        for name, contents in folders.items():
            if name in before and self._state[user].get(name) == contents:
                for pointer in before[name].frames:
                    writer.refer(pointer)
                    uid += pointer.messages
                    size_bytes += pointer.size_bytes
                writer.end_folder(before[name].folder)
                continue
            for data in contents:
                uid += 1
                stored = self._stored.get(data)
                if stored is None:
                    stored = self._stored[data] = packer.store(MemoryOpened(data))
                writer.add_message(message(uid, data, stored[2], stored[1]))
                size_bytes += len(data)
            writer.end_folder(Folder(name=name, path=b"." + name.encode()))
        writer.end_mailbox(user, user.encode(), uid, size_bytes, ())

    def _holdings(self, catalog: Catalog) -> Holdings:
        names = {archive.archive: archive.name for archive in catalog.archives()}
        return staged(StagingArea(path=str(self.staging)), names)

    def read(self, run: RunId) -> State:
        """All mail as it was at a run, read from the archives. Raises DamagedError, NotFoundError."""
        with Catalog.open(self.staging) as catalog, opened_archives(self._holdings(catalog)) as archives:
            contents = Contents(archives)
            state: State = {}
            for version in catalog.mailboxes_at(run, partition="primary", group=self.group):
                state[version.user] = _mail(archives, version.archive, contents, version.user)
        return state

    def read_user(self, run: RunId, user: str) -> dict[str, tuple[bytes, ...]]:
        """One mailbox as it was stored in a run, whether or not that is kept as a moment."""
        with Catalog.open(self.staging) as catalog, opened_archives(self._holdings(catalog)) as archives:
            (version,) = [history for history in catalog.histories(user=user) if history.run == run]
            assert version.archive is not None
            return _mail(archives, version.archive, Contents(archives), user)

    def files(self) -> set[str]:
        """All that lies in the staging area, but for locks, the catalog, and what is kept beside archives."""
        return {
            str(path.relative_to(self.staging))
            for path in self.staging.rglob("*")
            if path.is_file() and not {".mailhaul", "_ready"} & {*path.parts} and not is_keepsake(path)
        }

    def size_bytes(self) -> int:
        """What all archives take."""
        return sum((self.staging / file).stat().st_size for file in self.files())

    def archive(self, file: str) -> ArchiveReader:
        """One archive, whole. Close it."""
        return open_sealed(open_local(str(self.staging / file)))


def _report(unit: Unit, mail: Mail) -> UnitReport:
    """The report of a unit that wrote nothing yet."""
    sizes = {
        user: [len(data) for folder in folders.values() for data in folder] for user, folders in mail.items()
    }
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=None,
        name="",
        mailboxes=tuple(
            MailboxSummary(
                partition=unit.partition.name,
                group=unit.group,
                user=user,
                folders=len(folders),
                listed=len(sizes[user]),
                stored=len(sizes[user]),
                skipped=0,
                size_bytes=sum(sizes[user]),
            )
            for user, folders in mail.items()
        ),
        skipped=(),
        departed=unit.departed,
        carried=unit.carried,
        messages=sum(map(len, sizes.values())),
        size_bytes=sum(map(sum, sizes.values())),
        new_bytes=0,
        archive_bytes=0,
        seconds=0.0,
        cpu_seconds=0.0,
    )


def _mail(
    open_archive: OpenArchive, archive: ArchiveId, contents: Contents, user: str
) -> dict[str, tuple[bytes, ...]]:
    stored = StoredMailbox(open_archive, archive, user)
    return {
        folder.folder.name: tuple(b"".join(contents.message(one)) for one in stored.messages(folder))
        for folder in stored.mailbox.folders
    }
