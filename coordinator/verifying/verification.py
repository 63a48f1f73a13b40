"""The table of contents of a verification: what is to be looked at, dispatched and added up.

each archive by itself                                              worker.verifying.verify
the mail of all kept versions of mailboxes                          worker.verifying.losses
where what is lost there could still be had                         worker.verifying.spares, remedies
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...groups.paths import LogicalPath
from ...proto.errors import NotFoundError, UnreadableError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Skipped, Stretch
from ...proto.structs import Record, field, replace
from ...worker.archives.holdings import Holdings
from ...worker.archives.opened import Unlock
from ...worker.archives.stretches import merged
from ...worker.tasks.verifying import LossesTask, SparesTask, VerifyTask, run_losses, run_spares, run_verify
from ...worker.verifying.examiner import Depth
from ...worker.verifying.kept import KeptMailbox
from ...worker.verifying.losses import Loss, LossReport
from ...worker.verifying.spares import Spares
from ...worker.verifying.verify import VerifyReport
from ..dispatch.engine import Engine
from ..history import ArchiveRecord, NamelessLoss
from ..unlocking import ReadSlots, refuse_useless, unlocked
from .checked import Wholeness
from .examination import Examination, Examinee, MailShare
from .remedies import Affected, affected

_PARTS = 16
_LEAST_PART = 16 << 20
_MOST_PART = 1 << 30
_MESSAGE_WEIGHT = 1000  # looking at where a message lies costs about as much as reading so many bytes

Broken = Mapping[ArchiveId, tuple[Stretch, ...]]


class MailPart(Record, kw_only=True):
    """Mailboxes that are looked at together; they are shares of these ``archives``."""

    label: str
    mailboxes: tuple[KeptMailbox, ...]
    archives: frozenset[ArchiveId]

    @property
    def messages(self) -> int:
        """How many there are, in all versions."""
        return sum(mailbox.messages for mailbox in self.mailboxes)

    @property
    def size_bytes(self) -> int:
        """Their size."""
        return sum(mailbox.size_bytes for mailbox in self.mailboxes)


class VerifyPlan(Record, kw_only=True):
    """What a verification will look at, and how closely: archives, and parts of the mail; and what opens
    them, if they are encrypted: without it mail is compared as it is stored."""

    examination: Examination
    depth: Depth
    archives: tuple[Examinee, ...]
    parts: tuple[MailPart, ...]
    unlock: Unlock | None = None
    slots: ReadSlots = field(default_factory=ReadSlots)

    def with_keys(self, holdings: Holdings) -> Holdings:
        """Archives, with the keys of just these, as far as they can be opened."""
        return unlocked(holdings, self.unlock, self.slots)


class Verification(Record, kw_only=True):
    """What was looked at: each archive with its report; ``messages`` of all versions, of which ``contents``
    different ones, ``size_bytes`` of them, were put together and compared. ``affected`` is what can't be
    restored, because of ``losses``; ``spares`` is what others hold of it. ``unread`` is what lies where it
    can't be read now, so that nothing is known of it."""

    reports: Mapping[ArchiveId, VerifyReport]
    messages: int
    contents: int
    size_bytes: int
    affected: tuple[Affected, ...]
    losses: tuple[Loss, ...]
    spares: Spares
    unread: tuple[Skipped, ...] = ()

    @property
    def damaged(self) -> tuple[Skipped, ...]:
        """What is damaged in archives, by its place in their files."""
        return tuple(skip for report in self.reports.values() for skip in report.damaged)

    @property
    def unreadable(self) -> tuple[Skipped, ...]:
        """The archives that can't be read: the system does not let them, or they are not where they could
        be."""
        refused = (
            Skipped(report.file, UnreadableError.code, report.unreadable)
            for report in self.reports.values()
            if report.unreadable
        )
        return (*refused, *self.unread)


def plan_verification(
    examination: Examination, depth: Depth, wholeness: Wholeness, unlock: Unlock | None = None
) -> VerifyPlan:
    """All that an examination names, but for what is known to be whole."""
    return VerifyPlan(
        examination=examination,
        depth=depth,
        archives=tuple(
            archive
            for archive in examination.archives
            if not (wholeness.has_archive(archive.archive) and _is_still_there(archive))
        ),
        parts=tuple(
            _mail_parts([share for share in examination.mail if not wholeness.has_mail(share.archive)], depth)
        ),
        unlock=unlock,
    )


def _is_still_there(examinee: Examinee) -> bool:
    """Whether the file of an archive that was whole has not gone since, and has kept its size."""
    try:
        size_bytes = os.stat(examinee.file).st_size
    except OSError:
        return False
    return examinee.location.size_bytes in (0, size_bytes)


def _mail_parts(shares: Sequence[MailShare], depth: Depth) -> Iterator[MailPart]:
    """Parts of about the same size. A mailbox is never divided; neighbours stay together, as they need the
    same archives."""

    def weight(mailbox: KeptMailbox) -> int:
        return mailbox.size_bytes if depth.data else mailbox.messages * _MESSAGE_WEIGHT

    whole = sum(weight(kept_mailbox) for share in shares for kept_mailbox in share.mailboxes)
    limit = min(max(whole // _PARTS, _LEAST_PART), _MOST_PART)
    part: list[KeptMailbox] = []
    archives: set[ArchiveId] = set()
    size = number = 0
    for share in shares:
        for mailbox in share.mailboxes:
            if part and size + weight(mailbox) > limit:
                number += 1
                yield MailPart(label=f"mail {number}", mailboxes=tuple(part), archives=frozenset(archives))
                part, archives, size = [], set(), 0
            part.append(mailbox)
            archives.add(share.archive)
            size += weight(mailbox)
    if part:
        yield MailPart(label=f"mail {number + 1}", mailboxes=tuple(part), archives=frozenset(archives))


def verify(plan: VerifyPlan, engine: Engine, on_progress: ProgressSink, wholeness: Wholeness) -> Verification:
    """Carry a plan out. What is found whole is told to ``wholeness`` at once.

    Raises NotFoundError if the path names a message and no version has it, EncryptedError if archives are
    encrypted and the private key that was given opens none.
    """
    examination = plan.examination
    if plan.unlock is not None:
        looked_at = examination.holdings.of([examinee.archive for examinee in plan.archives])
        refuse_useless(plan.with_keys(looked_at), plan.slots)
    reports = _check_archives(plan, engine, on_progress, wholeness)
    broken = broken_of(examination, reports)
    mail = _check_mail(plan, broken, engine, on_progress, wholeness)
    path = examination.path
    names_message = path.uid is not None or path.name is not None
    if names_message and not mail.messages and not mail.losses:
        raise NotFoundError(f"{path}: there is no such message", path=str(path))
    files = {archive: examination.holdings.path(archive) for archive in examination.holdings.locations}
    # Of what an archive holds that can't be read nobody knows whether it is lost.
    unreadable = {archive for archive, report in reports.items() if report.unreadable}
    losses = (
        *(one for one in mail.losses if one.archive not in unreadable),
        *map(_nameless, examination.nameless),
    )
    spares = _find_spares(examination, losses, broken, engine, on_progress)
    return Verification(
        reports=reports,
        messages=mail.messages,
        contents=mail.contents,
        size_bytes=mail.size_bytes,
        affected=tuple(affected(loss, spares, files) for loss in losses),
        losses=losses,
        spares=spares,
        unread=mail.unread,
    )


def _nameless(loss: NamelessLoss) -> Loss:
    return Loss(
        mailbox=(loss.partition, ""),
        path=str(LogicalPath(loss.partition, loss.group)),
        first=loss.run,
        last=loss.run,
        archive=loss.archive,
        reason="mailboxes",
        detail=loss.detail,
    )


def _check_archives(
    plan: VerifyPlan, engine: Engine, on_progress: ProgressSink, wholeness: Wholeness
) -> dict[ArchiveId, VerifyReport]:
    """A report of each archive, checked by itself and against what the catalog says of it."""
    depth = plan.depth
    wanted = {
        VerifyTask(
            location=one.location,
            places=plan.examination.places,
            unlocked=plan.with_keys(plan.examination.holdings.of([one.archive])).unlocked,
            share=depth.share,
            seed=depth.seed + number,
        ): one
        for number, one in enumerate(plan.archives)
    }
    reports: dict[ArchiveId, VerifyReport] = {}
    for outcome in engine(run_verify, list(wanted), on_progress):
        examinee = wanted[outcome.task]
        if outcome.report is not None:
            report = compared(outcome.report, examinee)
        else:
            error = outcome.failure()
            if isinstance(error, UnreadableError):
                reports[examinee.archive] = VerifyReport(file=examinee.file, unreadable=error.message)
                continue
            reason = str(error.facts.get("reason", error.code))
            lost = Skipped(examinee.file, reason, error.message)
            report = VerifyReport(file=examinee.file, damaged=(lost,))
        reports[examinee.archive] = report
        if report.damaged:
            wholeness.archive_damaged(examinee.archive)
        else:
            wholeness.archive_whole(examinee.archive)
    return reports


def compared(report: VerifyReport, examinee: Examinee) -> VerifyReport:
    """The report of an archive, and what is otherwise than the catalog says."""
    record = examinee.record
    if report.archive is None:
        return report
    wrong = None
    if report.archive != examinee.archive:
        wrong = Skipped(
            report.file, "foreign", f"it is archive {report.archive.hex()}, not {examinee.archive.hex()}"
        )
    elif record is not None:
        wrong = _difference(report, record)
    return report if wrong is None else replace(report, damaged=(*report.damaged, wrong))


def _difference(report: VerifyReport, record: ArchiveRecord) -> Skipped | None:
    if record.missing and not report.damaged:
        return Skipped(report.file, "missing", "it was recorded as missing, and is there now")
    if record.encrypted and report.encrypted is False:
        return Skipped(report.file, "clear", "it is in clear, where the catalog knows an encrypted archive")
    if report.generation != record.generation:
        told = f"generation {report.generation}, where the catalog knows {record.generation}"
        return Skipped(report.file, "generation", told)
    if report.sampled_of is None and report.size_bytes != record.size_bytes and not report.damaged:
        told = f"{report.size_bytes} bytes, where the catalog knows {record.size_bytes}"
        return Skipped(report.file, "size", told)
    return None


def broken_of(examination: Examination, reports: Mapping[ArchiveId, VerifyReport]) -> Broken:
    """The archives that are damaged, and what is broken of their data."""
    broken = {archive: lost.data for archive, lost in examination.lost.items()}
    for archive, report in reports.items():
        if report.damaged:
            broken[archive] = tuple(merged((*broken.get(archive, ()), *report.broken)))
    return broken


def _check_mail(
    plan: VerifyPlan, broken: Broken, engine: Engine, on_progress: ProgressSink, wholeness: Wholeness
) -> LossReport:
    """What is lost of the mail, with the counts of all."""
    parts = {mail_part.label: mail_part for mail_part in plan.parts}
    left = Counter(archive for part in plan.parts for archive in part.archives)
    tasks = [_loss_task(plan, part, broken, number) for number, part in enumerate(plan.parts)]
    total = LossReport()
    for outcome in engine(run_losses, tasks, on_progress):
        if outcome.report is None:
            raise outcome.failure()
        report = outcome.report
        total = LossReport(
            messages=total.messages + report.messages,
            contents=total.contents + report.contents,
            size_bytes=total.size_bytes + report.size_bytes,
            losses=(*total.losses, *report.losses),
            unread=tuple(dict.fromkeys((*total.unread, *report.unread))),
        )
        if not (report.losses or report.unread):  # else none of its archives ever comes to 0
            left.subtract(parts[outcome.task.label].archives)
            for archive in parts[outcome.task.label].archives:
                if not left[archive]:
                    wholeness.mail_whole(archive)
    return total


def _loss_task(plan: VerifyPlan, part: MailPart, broken: Broken, number: int) -> LossesTask:
    needed = plan.with_keys(needed_archives(plan.examination, part.mailboxes))
    return LossesTask(
        mailboxes=part.mailboxes,
        archives=needed,
        broken={archive: broken[archive] for archive in needed.locations if archive in broken},
        depth=replace(plan.depth, seed=plan.depth.seed + number),
        label=part.label,
    )


def needed_archives(examination: Examination, mailboxes: Iterable[KeptMailbox]) -> Holdings:
    """All archives that mailboxes may need."""
    telling = {version.archive: None for mailbox in mailboxes for version in mailbox.versions}
    referred = (other for archive in telling for other in examination.references.get(archive, ()))
    return examination.holdings.of(dict.fromkeys((*telling, *referred)))


def _find_spares(
    examination: Examination,
    losses: Sequence[Loss],
    broken: Broken,
    engine: Engine,
    on_progress: ProgressSink,
) -> Spares:
    lost: dict[ArchiveId, list[Stretch]] = {}
    for loss in losses:
        for archive, stretch in loss.lacking:
            lost.setdefault(archive, []).append(stretch)
    if not lost:
        return {}
    task = SparesTask(
        lost={archive: tuple(merged(stretches)) for archive, stretches in lost.items()},
        copies={archive: examination.copies_of(archive) for archive in lost},
        places=examination.places,
        archives=examination.holdings,
        broken=broken,
    )
    for outcome in engine(run_spares, [task], on_progress):
        if outcome.report is None:
            raise outcome.failure()
        return outcome.report
    return {}
