"""What a sealed archive tells of the unit that wrote it: for an answer that was lost, and for the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError
from ...proto.records import MailboxSummary, Skipped, UnitReport


@dataclass(frozen=True, slots=True)
class Account:
    """The counts of each mailbox, all that was skipped, and the users whose metadata can't be read."""

    mailboxes: tuple[MailboxSummary, ...]
    skipped: tuple[Skipped, ...]
    unreadable: tuple[str, ...]


def account_of(archive: ArchiveReader) -> Account:
    """Read the metadata of every mailbox; a damaged one does not keep the others out."""
    header = archive.header
    mailboxes: list[MailboxSummary] = []
    skipped: list[Skipped] = []
    unreadable: list[str] = []
    for entry in archive.directory.mailboxes:
        try:
            mailbox = archive.mailbox(entry)
        except DamagedError:
            unreadable.append(entry.user)
            continue
        mailboxes.append(mailbox.summary(header.partition, header.group))
        skipped += mailbox.skipped
    return Account(tuple(mailboxes), tuple(skipped), tuple(unreadable))


def report_of(archive: ArchiveReader) -> UnitReport:
    """The report of the unit that wrote a sealed archive, as far as the archive tells: what the work
    cost is not known any more, nor which mailboxes could not be opened at all."""
    header, account = archive.header, account_of(archive)
    return UnitReport(
        run=header.run,
        partition=header.partition,
        group=header.group,
        shard=header.shard,
        archive=header.archive,
        file=archive.file.name,
        mailboxes=account.mailboxes,
        skipped=account.skipped,
        messages=sum(one.stored for one in account.mailboxes),
        size_bytes=sum(one.size_bytes for one in account.mailboxes),
        new_bytes=archive.directory.data_bytes,
        archive_bytes=archive.file.size,
        seconds=0.0,
        cpu_seconds=0.0,
    )
