"""What looks like a loss and not like everyday work: pure decisions on what a run has found.

An alarm is told loudly, and its mailboxes are held, so that retention does not take away what may be the last
copy, until somebody has looked and released them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..groups.paths import EVERYBODY, LogicalPath
from ..proto.records import MailboxSummary, Unit, UnitReport
from ..proto.structs import Record

FEWEST_MESSAGES = 10
"""In a smaller mailbox no share of the messages means anything, short of all."""


class Alarm(Record, kw_only=True):
    """What happened (``reason`` is for programs, ``detail`` for people) to what, and the paths of the
    mailboxes that are held for it."""

    path: str
    reason: str
    detail: str
    held: tuple[str, ...]


def alarms_of_unit(report: UnitReport, share: float) -> Iterator[Alarm]:
    """The mailboxes of a unit that are empty now and were not, or that have lost more than this share of
    their messages; and the folders of which more than this share went while they were read. None if the share
    is all of them (1).

    What was only moved within a mailbox, out of one folder into another, is not lost; so what came counts
    against what went.
    """
    for mailbox in report.mailboxes:
        before = mailbox.stored - mailbox.added + mailbox.vanished
        lost = before - mailbox.listed
        if lost <= share * before:
            continue
        if not mailbox.listed:
            yield _alarm(mailbox, "mailbox-emptied", f"it is empty, and had {_messages(before)}")
        elif before >= FEWEST_MESSAGES:
            yield _alarm(mailbox, "mailbox-shrunk", f"it has {_messages(mailbox.listed)}, and had {before:,}")
    for loss in report.losses:
        if loss.gone >= FEWEST_MESSAGES and loss.gone > share * loss.listed:
            path = LogicalPath.parse(loss.path)
            held = str(LogicalPath(path.partition, path.group, path.user))
            detail = f"{loss.gone:,} of {_messages(loss.listed)} were gone when they were to be read"
            yield Alarm(path=loss.path, reason="folder-vanished", detail=detail, held=(held,))


def alarms_of_archives(unit: Unit, gone: Sequence[str]) -> Iterator[Alarm]:
    """The archives that a unit starts from and whose files are not there, or hold something else. Nothing is
    held: it is what they held that is lost."""
    if gone:
        more = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
        yield Alarm(
            path=str(LogicalPath(unit.partition.name, unit.group)),
            reason="archive-missing",
            detail=f"archive {gone[0]}{more} is not there, or another one has its name: what it held is read "
            "again where the mailboxes still have it, the rest is lost unless it is brought back; "
            "`mailhaul verify` tells what that is",
            held=(),
        )


def alarm_of_catalog(archives: int) -> Alarm:
    """The catalog did not know the archives, and was made again from so many."""
    return Alarm(
        path="/",
        reason="catalog-lost",
        detail="the catalog was lost, or an old copy of it came back: it was made again, from "
        f"{archives:,} archive{'s' * (archives != 1)}, as by `mailhaul catalog rebuild`",
        held=(),
    )


def alarm_of_recipients(unit: Unit, name: str, wrong: str) -> Alarm:
    """An archive that was written for others than it should be. Nothing is held: the mail is in it."""
    return Alarm(
        path=str(LogicalPath(unit.partition.name, unit.group)),
        reason="recipients",
        detail=f"{name} is not encrypted for just the configured recipients: {wrong} (who is missing can "
        "open it after `mailhaul keys recipient add`)",
        held=(),
    )


def alarm_of_partition(
    partition: str, known: Collection[str], gone: Collection[str], share: float
) -> Alarm | None:
    """Whether more than this share of the mailboxes that are known is gone from the store at once."""
    if not gone or len(gone) <= share * len(known):
        return None
    return Alarm(
        path=str(LogicalPath(partition)),
        reason="mailboxes-gone",
        detail=f"{len(gone):,} of {len(known):,} mailboxes are gone from the store",
        held=tuple(str(LogicalPath(partition, EVERYBODY, user)) for user in sorted(gone)),
    )


def _alarm(summary: MailboxSummary, reason: str, detail: str) -> Alarm:
    path = str(LogicalPath(summary.partition, summary.group, summary.user))
    return Alarm(path=path, reason=reason, detail=detail, held=(path,))


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
