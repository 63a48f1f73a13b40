"""The history of one mailbox or folder: every kept version that differs from the one before, and in what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from ...groups.paths import LogicalPath
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError, NotFoundError
from ...proto.records import ArchiveId, RunId, Skipped
from ...proto.structs import Record, replace
from ..history import Version
from .comparison import FolderDifference, folder_differences
from .metadata import MailboxFrames
from .past import Past
from .timeline import Span, Timeline, differs

UNKNOWN = -1
"""As a count: it can't be told any more, since what it would have to be compared with is not kept."""


class Entry(Record, kw_only=True):
    """A version: from the moment ``run``, which began at ``started``, to the moment ``last`` nothing changed.

    ``came``, ``went`` and ``flags`` count messages, compared with the entry before; UNKNOWN ones can't be
    told. ``what`` says in words what else happened.
    """

    run: RunId
    started: datetime | None
    last: RunId
    messages: int
    came: int
    went: int
    flags: int
    what: str


def mailbox_history(past: Past, timeline: Timeline) -> list[Entry]:
    """The history of a mailbox, oldest first. Reads no archive."""
    entries: list[Entry] = []
    before: Version | None = None
    for span in timeline.spans:
        version = span.version
        if before is None or differs(before, version):
            entries.append(_mailbox_entry(past.moments, before, span))
        elif entries:
            entries[-1] = _prolonged(entries[-1], span)
        before = version
    return entries


def _mailbox_entry(moments: Mapping[RunId, datetime], before: Version | None, span: Span) -> Entry:
    version = span.version
    held = before.stored if before and not before.departed else 0
    known = version.stored == held + version.added - version.vanished
    if version.departed:
        came, went, what = 0, held, f"departed: {version.departed}"
        what += f", {version.detail}" if version.detail else ""
    else:
        came, went = (version.added, version.vanished) if known else (UNKNOWN, UNKNOWN)
        what = _what_of_mailbox(before, version, came, went)
    return Entry(
        run=span.first,
        started=moments.get(span.first, version.started),
        last=span.last,
        messages=version.stored,
        came=came,
        went=went,
        flags=UNKNOWN,
        what=what,
    )


def _what_of_mailbox(before: Version | None, version: Version, came: int, went: int) -> str:
    if before is None:
        return "first kept"
    if before.departed:
        return "back again"
    if before.group != version.group:
        return f"now in group {version.group}"
    return "" if came or went else "flags, folders or other files"


def _prolonged(entry: Entry, span: Span) -> Entry:
    return replace(entry, last=span.last)


class FolderHistory:
    """The history of one folder. ``damaged`` tells what could not be read of it."""

    def __init__(self, archives: Callable[[ArchiveId], ArchiveReader], past: Past, path: LogicalPath) -> None:
        self.damaged: list[Skipped] = []
        self._archives = archives
        self._past = past
        self._path = path

    def entries(self, timeline: Timeline) -> list[Entry]:
        """Oldest first. Only versions that seem to differ are read. Raises NotFoundError."""
        found: list[Entry] = []
        before: MailboxFrames | None = None
        names: set[str] = set()
        for span, mailbox in self._versions(timeline):
            if mailbox is not None:
                names.update(mailbox.folders)
            path = self._path.resolve(names)
            entry = self._entry(path.folder or "", before, mailbox, span)
            if entry is not None:
                found.append(entry)
            elif found:
                found[-1] = _prolonged(found[-1], span)
            before = mailbox
        if not found:
            raise NotFoundError(
                f"{self._path}: the mailbox has had no such folder; it had: {', '.join(sorted(names))}",
                path=str(self._path),
            )
        return found

    def _versions(self, timeline: Timeline) -> Iterator[tuple[Span, MailboxFrames | None]]:
        """Each span whose version seems to differ, prolonged by those that don't."""
        before: Version | None = None
        mailbox: MailboxFrames | None = None
        for span in timeline.spans:
            version = span.version
            if before is None or differs(before, version):
                try:
                    mailbox = (
                        MailboxFrames(self._archives, version.archive, version.user)
                        if version.archive is not None
                        else None
                    )
                except DamagedError as error:
                    self.damaged.append(Skipped(f"{self._path} of {span.first}", "metadata", error.message))
                    continue
            before = version
            yield span, mailbox

    def _entry(
        self, folder: str, before: MailboxFrames | None, mailbox: MailboxFrames | None, span: Span
    ) -> Entry | None:
        if before is mailbox:
            return None
        try:
            told = folder_differences(before, mailbox, lambda name: name == folder)
        except DamagedError as error:
            self.damaged.append(Skipped(f"{self._path} of {span.first}", "metadata", error.message))
            return None
        if not told:
            return None
        (difference,) = told[:1]
        here = difference.name == folder
        return Entry(
            run=span.first,
            started=self._past.moments.get(span.first, span.version.started),
            last=span.last,
            messages=difference.messages if here else 0,
            came=difference.came if here else 0,
            went=difference.went if here else difference.messages,
            flags=difference.flags if here else 0,
            what=_what_of_folder(difference, span.version) if here else f"renamed to {difference.name}",
        )


def _what_of_folder(difference: FolderDifference, version: Version) -> str:
    told = []
    if difference.state == "came":
        told.append("not left out any more" if difference.left_out else "new")
    if difference.state == "went":
        gone = "left out of the backup" if difference.left_out else "gone"
        told.append(f"gone: the mailbox has departed ({version.departed})" if version.departed else gone)
    if difference.renamed_from:
        told.append(f"renamed from {difference.renamed_from}")
    if difference.remade:
        told.append(f"recreated: UIDVALIDITY {difference.remade[0]}, now {difference.remade[1]}")
    return "; ".join(told)
