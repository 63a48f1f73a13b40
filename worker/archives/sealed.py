"""What a sealed archive tells of the unit that wrote it: for an answer that was lost, and for the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from ...proto.archive.reader import ArchiveReader
from ...proto.archive.stored import OpenArchive, read_mailbox
from ...proto.errors import DamagedError, ErasedError
from ...proto.records import MailboxSummary, Skipped, UnitReport
from ...proto.structs import Record


class Account(Record):
    """The counts of each mailbox, all that was skipped of it, by user, and the users whose metadata can't be
    read."""

    mailboxes: tuple[MailboxSummary, ...]
    skipped_of: Mapping[str, tuple[Skipped, ...]]
    unreadable: tuple[str, ...]

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """All that was skipped."""
        return tuple(skip for skipped in self.skipped_of.values() for skip in skipped)


def account_of(archive: ArchiveReader, open_archive: OpenArchive) -> Account:
    """Read the metadata of every mailbox; one that is damaged or was erased does not keep the others out.
    ``open_archive`` gives the archives in which it lies; what was skipped of a mailbox that is written in one
    that is not at hand is not known."""
    header = archive.header
    mailboxes: list[MailboxSummary] = []
    skipped: dict[str, tuple[Skipped, ...]] = {}
    unreadable: list[str] = []
    for entry in archive.directory.mailboxes:
        own = entry.home.archive == header.archive
        try:
            mailbox = read_mailbox(_only(archive) if own else open_archive, entry)
            skipped[entry.user] = mailbox.skipped
        except ErasedError:
            pass  # what the directory tells of it is all that there is
        except DamagedError:
            if own:
                unreadable.append(entry.user)
                continue
        mailboxes.append(entry.summary(header.partition, header.group))
    return Account(tuple(mailboxes), skipped, tuple(unreadable))


def _only(archive: ArchiveReader) -> OpenArchive:
    return lambda _: archive


def report_of(archive: ArchiveReader, open_archive: OpenArchive) -> UnitReport:
    """The report of the unit that wrote a sealed archive, as far as the archive tells, and those that it
    refers to: what the work cost is not known any more, nor how many messages it had to read. Raises
    DamagedError if it can't be told who has departed."""
    header, directory = archive.header, archive.directory
    account = account_of(archive, open_archive)
    gone = archive.departures()
    return UnitReport(
        run=header.run,
        partition=header.partition,
        group=header.group,
        shard=header.shard,
        archive=header.archive,
        name=archive.file.name,
        mailboxes=account.mailboxes,
        skipped=(*directory.unopened, *account.skipped),
        unopened=directory.unopened,
        departed=tuple(departed for departed in gone if not departed.run),
        carried=tuple(one for one in gone if one.run),
        references=directory.references,
        messages=sum(mailbox.stored for mailbox in account.mailboxes),
        size_bytes=sum(summary.size_bytes for summary in account.mailboxes),
        new_bytes=directory.data_bytes,
        archive_bytes=archive.file.size,
        encrypted=directory.seal is not None,
        seconds=0.0,
        cpu_seconds=0.0,
    )
