"""Chains of runs over one mail store, in memory: each run starts from the archives of those before it, as the
catalog would have it, and what it stored can be read back as it was then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailhaul.groups.selection import EVERYTHING, Selection
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.ports import ArchiveSink, MailStore
from mailhaul.proto.records import (
    ArchiveId,
    BackupMode,
    Departed,
    Folder,
    Location,
    Losses,
    Message,
    Parents,
    Partition,
    Progress,
    RunId,
    StoredFile,
    Stretch,
    Unit,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import MemoryFile, MemorySink
from mailhaul.worker.backup import back_up
from mailhaul.worker.comparing.known import OpenParents
from mailhaul.worker.packing.settings import ArchiveSettings

PARTITION = Partition(name="primary", format="maildir", path="mail")

Stored = tuple[Folder, dict[bytes, tuple[Message, bytes]]]
"""A folder, and its messages with their bytes by lasting name; of the messages no pieces."""


@dataclass(frozen=True)
class Moment:
    """One run of a chain."""

    report: UnitReport
    data: bytes
    newest: Mapping[str, ArchiveId]
    """Where each mailbox is as of this run."""


@dataclass
class Chain:
    """Runs one after the other. ``archives`` may be damaged or removed in between."""

    partition: Partition = PARTITION
    group: str = "user"
    archives: dict[ArchiveId, bytes] = field(default_factory=dict)
    newest: dict[str, ArchiveId] = field(default_factory=dict)
    lost: dict[ArchiveId, tuple[Stretch, ...]] = field(default_factory=dict)
    lost_frames: dict[ArchiveId, tuple[Stretch, ...]] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    opened: list[ArchiveId] = field(default_factory=list)

    def run(
        self,
        store: MailStore,
        users: Iterable[str],
        *,
        mode: BackupMode | None = None,
        selection: Selection = EVERYTHING,
        departed: tuple[Departed, ...] = (),
        carried: tuple[Departed, ...] = (),
        sink: ArchiveSink | None = None,
        **changes: Any,
    ) -> UnitReport:
        """Back up these users; ``changes`` are fields of the unit."""
        number = len(self.moments) + 1
        unit = replace(
            Unit(
                run=RunId(f"20261121T{number:06}Z-0001"),
                partition=self.partition,
                group=self.group,
                shard=0,
                users=tuple(users),
                archive=ArchiveId(number.to_bytes(16, "big")),
                departed=departed,
                carried=carried,
            ),
            **changes,
        )
        settings = ArchiveSettings(run_started=1.8e9 + number)
        into = sink or MemorySink()
        told: list[Progress] = []
        parents = OpenParents(self.parents(unit.users), self.open_copy)
        report = back_up(
            unit,
            store,
            into,
            settings,
            told.append,
            mode=mode or BackupMode(),
            parents=parents,
            selection=selection,
        )
        parents.close()
        data = bytes(into.data) if isinstance(into, MemorySink) else b""
        self.take(report, data)
        assert [one.messages for one in told] == sorted(one.messages for one in told)
        return report

    def take(self, report: UnitReport, data: bytes) -> None:
        """Commit what a run came to."""
        if report.archive is not None:
            self.archives[report.archive] = data
            for mailbox in report.mailboxes:
                self.newest[mailbox.user] = report.archive
        for gone in report.departed:
            self.newest.pop(gone.user, None)
        self.moments.append(Moment(report, data, dict(self.newest)))

    def forget(self) -> Moment:
        """Undo the last run, which is returned: the next one starts from what was before it."""
        moment = self.moments.pop()
        if moment.report.archive is not None:
            del self.archives[moment.report.archive]
        self.newest = dict(self.moments[-1].newest)
        return moment

    def parents(self, users: Iterable[str]) -> Parents:
        """What a unit of these users starts from."""
        mailboxes = {user: self.newest[user] for user in users if user in self.newest}
        return Parents(
            mailboxes=mailboxes,
            locations={archive: (Location("memory", archive.hex()),) for archive in self.archives},
            lost={
                archive_id: Losses(self.lost.get(archive_id, ()), self.lost_frames.get(archive_id, ()))
                for archive_id in self.lost.keys() | self.lost_frames.keys()
            },
        )

    def open_copy(self, location: Location) -> MemoryFile:
        """See OpenParents."""
        archive = ArchiveId(bytes.fromhex(location.name))
        self.opened.append(archive)
        if archive not in self.archives:
            raise DamagedError("it is gone", reason="missing")
        return MemoryFile(self.archives[archive])

    def reader(self, archive: ArchiveId) -> ArchiveReader:
        """Raises DamagedError if it is not there."""
        if archive not in self.archives:
            raise DamagedError("it is gone", reason="missing")
        return open_sealed(MemoryFile(self.archives[archive]))

    def mailbox(self, user: str, moment: int = -1) -> dict[bytes, Stored]:
        """A mailbox as of a run, by the paths of its folders."""
        stored = StoredMailbox(self.reader, self.moments[moment].newest[user], user)
        contents = Contents(self.reader)
        found: dict[bytes, Stored] = {}
        for folder in stored.mailbox.folders:
            messages = list(stored.messages(folder))
            assert len({message.base for message in messages}) == len(messages)
            found[folder.folder.path] = (
                folder.folder,
                {one.base: (replace(one, pieces=()), b"".join(contents.message(one))) for one in messages},
            )
        return found

    def files(self, user: str, moment: int = -1) -> dict[tuple[bool, bytes], tuple[StoredFile, bytes]]:
        """The other files of a mailbox as of a run."""
        stored = StoredMailbox(self.reader, self.moments[moment].newest[user], user)
        contents = Contents(self.reader)
        return {
            (file.home, file.path): (
                replace(file, pieces=()),
                b"" if file.target is not None else b"".join(contents.message(file)),
            )
            for file in stored.mailbox.files
        }
