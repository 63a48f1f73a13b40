"""Which restores go on, could be gone on with, or did not restore all: as their directories tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ...proto.errors import NotFoundError, StagingError
from ...proto.records import FOLDERS
from ...proto.structs import Record
from .journal import Journal, read_journal
from .record import RestoreState, directory_of, error_of, read_order, restores_of, state_of
from .report import TEXT, read_report

NOTHING = "nothing"
ALL = "all"


class Reached(Record):
    """So many mailboxes are there as far as that: ``NOTHING``, ``FOLDERS``, back to a date (ISO), ``ALL``."""

    reach: str
    mailboxes: int


class RestoreStatus(Record, kw_only=True):
    """A restore that is not done, or not wholly: so many mailboxes, messages and bytes are to be restored, so
    many are. What is under way in mailboxes that are not complete does not count. ``error`` is what stopped
    it. Where the newest mail comes first, ``reached`` says of how many mailboxes there is how much: nothing
    yet, the folders, mail back to which date, all. Of one that is done, so many things are ``absent``, and so
    many ``altered``: there, but not as they were; the file ``report`` lists them. ``undoes``: see Order."""

    restore: str
    state: RestoreState
    begun: datetime
    arguments: tuple[str, ...]
    mailboxes: int
    mailboxes_done: int
    messages: int
    messages_done: int
    size_bytes: int
    bytes_done: int
    error: str = ""
    reached: tuple[Reached, ...] = ()
    absent: int = 0
    altered: int = 0
    report: str = ""
    undoes: str = ""


def unfinished_restores(staging: Path) -> tuple[RestoreStatus, ...]:
    """Those that go on, and the newest one if it was ended early, or did not do all; what can't be read is
    left out."""
    known = restores_of(staging)
    found = (_status(staging, one, newest=one == known[-1]) for one in known)
    return tuple(status for status in found if status is not None)


def _status(staging: Path, restore: str, *, newest: bool) -> RestoreStatus | None:
    try:
        directory = directory_of(staging, restore)
        state = state_of(directory)
        if state != "running" and not newest:
            return None
        failures = read_report(directory).failures if state == "done" else ()
        if state == "done" and not failures:
            return None
        order = read_order(directory)
        journal = Journal(earlier=read_journal(directory / "journal.jsonl"))
    except (NotFoundError, StagingError):  # removed meanwhile, or just begun
        return None
    total = journal.total
    absent = sum(failure.again for failure in failures)
    return RestoreStatus(
        restore=restore,
        state=state,
        begun=order.begun,
        arguments=order.arguments,
        mailboxes=order.mailboxes,
        mailboxes_done=len(journal),
        messages=order.messages,
        messages_done=total.restored + total.present,
        size_bytes=order.size_bytes,
        bytes_done=total.size_bytes + total.present_bytes,
        error=error_of(directory),
        reached=_reached(journal, order.mailboxes),
        absent=absent,
        altered=len(failures) - absent,
        report=str(directory / TEXT) if failures else "",
        undoes=order.undoes,
    )


def reach_of_each(staging: Path) -> Iterator[tuple[str, str]]:
    """The path of each mailbox of the newest restore of which something is there, and how much: see
    ``Reached``. Raises NotFoundError, StagingError."""
    journal = Journal(earlier=read_journal(directory_of(staging, "latest") / "journal.jsonl"))
    return ((path, reach or ALL) for path, reach in sorted(journal.reaches()))


def _reached(journal: Journal, mailboxes: int) -> tuple[Reached, ...]:
    """The least first; nothing where no mailbox comes back in parts."""
    counts = Counter(reach for _, reach in journal.reaches())
    if not counts.keys() - {""}:
        return ()
    dates = sorted(counts.keys() - {"", FOLDERS}, reverse=True)
    begun = [Reached(one or ALL, counts[one]) for one in (FOLDERS, *dates, "") if counts[one]]
    rest = mailboxes - counts.total()
    return (*([Reached(NOTHING, rest)] if rest > 0 else []), *begun)
