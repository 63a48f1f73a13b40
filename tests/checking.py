"""Checking single archives in tests: every frame, and every message and file of every mailbox."""

from __future__ import annotations

from pathlib import Path

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import ArchiveId
from mailhaul.worker.verifying.examiner import Depth
from mailhaul.worker.verifying.kept import KeptMailbox, KeptVersion
from mailhaul.worker.verifying.losses import LossReport, find_losses
from mailhaul.worker.verifying.verify import verify_frames


def check_archive(path: Path) -> int:
    """A sealed archive that refers to no other one is whole; returns how many messages it holds."""
    file = LocalFile(str(path))
    try:
        assert verify_frames(file).damaged == ()
        report = losses_of(open_sealed(file))
    finally:
        file.close()
    assert report.losses == ()
    return report.messages


def losses_of(
    archive: ArchiveReader, path: str = "/", progress: ProgressSink = lambda _: None, *, damaged: bool = False
) -> LossReport:
    """What can't be put together of the mailboxes of an archive that a path selects. ``damaged``: it is known
    not to be whole."""

    def only(wanted: ArchiveId) -> ArchiveReader:
        if wanted != archive.header.archive:
            raise DamagedError("no such archive", reason="missing")
        return archive

    asked = LogicalPath.parse(path)
    mailboxes = [mailbox for mailbox in kept_mailboxes(archive) if asked.selects_user(mailbox.user)]
    broken = {archive.header.archive: ()} if damaged else {}
    return find_losses(mailboxes, only, broken, Depth(path=asked, data=True), progress, archive.file.name)


def kept_mailboxes(*archives: ArchiveReader) -> list[KeptMailbox]:
    """The mailboxes of archives of the same unit, oldest first: each archive is a moment."""
    users = {entry.user: None for archive in archives for entry in archive.directory.mailboxes}
    return [
        KeptMailbox(
            partition=archives[0].header.partition,
            user=user,
            versions=tuple(
                KeptVersion(
                    group=archive.header.group,
                    archive=archive.header.archive,
                    first=archive.header.run,
                    last=archive.header.run,
                    current=archive is archives[-1],
                )
                for archive in archives
                if archive.entry(user) is not None
            ),
        )
        for user in users
    ]
