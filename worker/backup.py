"""The table of contents of a backup: one unit, from its mailboxes to a sealed archive.

    for each mailbox of the unit
      known     how it was stored last                            comparing/
      for each folder                                             mailbox_backup
        unchanged: take over what is stored                       stores/
        list    its messages, with their UIDs                     stores/
        match   which of them are stored already                  comparing/
        read    each one that is not                              folder_backup, stores/
        cut     header | body | MIME parts                        packing/
        dedup   seen in this group? keep a reference              packing/
        pack    append to the block; full: compress, frame        proto.archive.writer
      keep      the mailbox's other files                         file_backup
      mark      a checkpoint: this mailbox is complete            unit_archive
    nothing has changed: no archive; what was stored before tells of the unit
    else directory, footer, seal                                  staging/sinks

The archive is begun at the first thing that is not stored yet, behind what an earlier attempt left of it, if
one did. ``tasks`` is how engines dispatch it. It prints nothing and knows of no engine.
"""

from __future__ import annotations

import resource
import time

from ..groups.paths import LogicalPath
from ..groups.selection import EVERYTHING, Selection, Verdict
from ..proto.archive.files import RandomAccess
from ..proto.errors import DamagedError, StoreError
from ..proto.keys.records import Sealing
from ..proto.ports import ArchiveSink, MailStore, ProgressSink
from ..proto.records import (
    BackupMode,
    FolderLoss,
    Location,
    MailboxSummary,
    Parents,
    Progress,
    Skipped,
    Unit,
    UnitReport,
)
from ..proto.structs import replace
from .archives.sealed import Account
from .comparing.known import KnownVersion, OpenParents
from .folder_backup import Reliance
from .mailbox_backup import Approach, MailboxBackup, MailboxOutcome
from .packing.settings import ArchiveSettings
from .unit_archive import AlreadyStored, LateMailbox, UnitArchive

_PROGRESS_MESSAGES = 64
_USUAL = BackupMode()


def _nothing_stored(_location: Location) -> RandomAccess:
    raise DamagedError("nothing was stored before", reason="missing")


def back_up(
    unit: Unit,
    store: MailStore,
    sink: ArchiveSink,
    settings: ArchiveSettings,
    progress: ProgressSink,
    *,
    mode: BackupMode = _USUAL,
    parents: OpenParents | None = None,
    selection: Selection = EVERYTHING,
    sealing: Sealing | None = None,
) -> UnitReport:
    """Store all mailboxes of a unit in one archive and seal it, with a ``sealing`` encrypted. What its
    ``parents`` have already is not read again; without any, all is. If there is nothing to write, no archive
    is: the report has none then.

    Mailboxes that an earlier attempt completed are not read again either; the archive keeps the id that it
    got then, and the report tells of all of it, except for the time that it took. A mailbox, message or file
    that can't be read is listed in the report and the rest goes on. Raises StagingError if the archive can't
    be written; nothing with a final name is left then.
    """
    began, cpu_began = time.monotonic(), time.process_time()
    work = _UnitBackup(unit, store, sink, settings, progress, mode, parents, selection, sealing)
    try:
        work.run()
        report = work.report() if not work.to_write else work.seal(sink)
    finally:
        sink.abort()
    return replace(
        report,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - cpu_began,
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


class _UnitBackup:
    """The counts of a unit while its mailboxes pass by. ``to_write``: there is something to write."""

    def __init__(
        self,
        unit: Unit,
        store: MailStore,
        sink: ArchiveSink,
        settings: ArchiveSettings,
        progress: ProgressSink,
        mode: BackupMode,
        parents: OpenParents | None,
        selection: Selection,
        sealing: Sealing | None,
    ) -> None:
        # Without parents nobody could tell of what is stored: a stream has to be an archive of its own. What
        # later runs refer to has whole mailboxes, a stream only the folders that were asked for.
        self.to_write = parents is None or bool(unit.departed) or mode.apart
        self._unit = unit
        self._store = store
        self._progress = progress
        self._mode = mode
        self._takes_all = mode.self_contained and parents is not None
        self._parents = parents or OpenParents(Parents(), _nothing_stored)
        self._selection = selection
        segments = (lambda: ()) if mode.self_contained or mode.apart else self._parents.segments
        self._archive = UnitArchive(
            unit,
            sink,
            settings,
            self._parents,
            segments,
            self._take_up,
            refer=not (mode.full or mode.self_contained),
            sealing=sealing,
        )
        self._reliance = Reliance(
            reuse=not (mode.full or mode.self_contained),
            refer=not mode.self_contained,
            thorough=mode.thorough,
            since=mode.since,
        )
        self._mailboxes: dict[str, MailboxSummary] = {}
        self._skipped: dict[str, tuple[Skipped, ...]] = {}
        self._losses: list[FolderLoss] = []
        self._unopened: dict[str, Skipped] = {}
        self._messages = self._size_bytes = self._read = self._told = 0

    def run(self) -> None:
        """Put each mailbox into the archive."""
        for user in self._unit.users:
            self._back_up(user)
        if self.to_write:
            self._archive.begin()
        unreadable = self._archive.unreadable
        while unreadable:
            self._back_up_unknown(unreadable.pop())

    def seal(self, sink: ArchiveSink) -> UnitReport:
        """The report of the archive, which is sealed then."""
        unopened = self._told_unopened()
        writer, totals = self._archive.finish(unopened)
        return replace(
            self.report(),
            archive=writer.header.archive,
            name=sink.seal(),
            references=writer.references,
            new_bytes=totals.data_bytes,
            archive_bytes=totals.archive_bytes,
            encrypted=writer.header.sealed,
        )

    def report(self) -> UnitReport:
        """The report of a unit that needs no archive."""
        unit = self._unit
        mailboxes, unopened = tuple(self._mailboxes.values()), self._told_unopened()
        return UnitReport(
            run=unit.run,
            partition=unit.partition.name,
            group=unit.group,
            shard=unit.shard,
            archive=None,
            name="",
            mailboxes=mailboxes,
            skipped=(*unopened, *(skip for skipped in self._skipped.values() for skip in skipped)),
            unopened=unopened,
            departed=unit.departed,
            carried=unit.carried,
            losses=tuple(self._losses),
            messages=sum(mailbox.stored for mailbox in mailboxes),
            read=self._read,
            size_bytes=sum(summary.size_bytes for summary in mailboxes),
            new_bytes=0,
            archive_bytes=0,
            seconds=0.0,
            cpu_seconds=0.0,
        )

    def _back_up(self, user: str) -> None:
        known = self._parents.mailbox(self._unit.partition.name, user)
        if known is None:
            # There will be an archive: an earlier attempt may have completed this mailbox.
            self._archive.begin()
        if user in self._archive.done:
            return
        try:
            if known is not None and not known.accounted:
                self._back_up_unknown(user)
                return
            self._mailbox(user, known, whole=known is None and self._parents.knows(user))
        except DamagedError:
            self._back_up_unknown(user)

    def _back_up_unknown(self, user: str) -> None:
        """What was stored of it last is damaged: nothing of that is used, and all of it is read."""
        self._archive.drop_mailbox()
        self._mailbox(user, None, whole=True)

    def _mailbox(self, user: str, known: KnownVersion | None, *, whole: bool) -> None:
        path = LogicalPath(self._unit.partition.name, self._unit.group, user)

        def judge(folder: str) -> Verdict:
            verdict = self._selection.judge(path.partition or "", path.group or "", user, folder)
            takes_all = whole or self._takes_all
            return Verdict.TAKEN if takes_all and verdict is Verdict.PASSED_OVER else verdict

        approach = Approach(judge=judge, reliance=self._reliance, told=lambda late: self._tell(user, late))
        compared = known if self._reliance.reuse else None
        try:
            with self._store.open_mailbox(
                user, compared, lambda folder: judge(folder) is Verdict.TAKEN
            ) as mailbox:
                outcome = MailboxBackup(mailbox, path, known, self._archive, approach).run()
        except StoreError as error:
            self._archive.drop_mailbox()
            self._unopened[user] = Skipped(str(path), "mailbox", error.message)
        except AlreadyStored:
            pass
        else:
            self._count(user, outcome)

    def _count(self, user: str, outcome: MailboxOutcome) -> None:
        self._mailboxes[user] = outcome.summary
        self._skipped[user] = outcome.skipped
        self._losses += outcome.losses
        self._read += outcome.read
        self.to_write = self.to_write or outcome.to_write
        self._messages += outcome.summary.stored
        self._size_bytes += outcome.summary.size_bytes
        self._send(user, self._messages, self._size_bytes)

    def _take_up(self, account: Account) -> None:
        """Count what an earlier attempt completed as done."""
        self.to_write = True
        for mailbox in account.mailboxes:
            self._mailboxes[mailbox.user] = mailbox
            self._skipped[mailbox.user] = account.skipped_of.get(mailbox.user, ())
        self._messages = sum(summary.stored for summary in self._mailboxes.values())
        self._size_bytes = sum(mailbox_summary.size_bytes for mailbox_summary in self._mailboxes.values())
        self._send("", self._messages, self._size_bytes)

    def _told_unopened(self) -> tuple[Skipped, ...]:
        return tuple(skip for user, skip in self._unopened.items() if user not in self._mailboxes)

    def _tell(self, user: str, late: LateMailbox) -> None:
        """Now and then tell how far it is, in the middle of a mailbox."""
        messages = self._messages + late.messages
        if messages // _PROGRESS_MESSAGES != self._told // _PROGRESS_MESSAGES:
            self._send(user, messages, self._size_bytes + late.size_bytes)

    def _send(self, user: str, messages: int, size_bytes: int) -> None:
        self._told = messages
        label = self._unit.label
        self._progress(Progress(label, messages, size_bytes, user, *self._archive.sizes))
