"""The messages of a folder as people look through them: the newest first, some at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from ...groups.paths import LogicalPath, message_path, whole_name
from ...proto.archive.stored import StoredRows
from ...proto.errors import DamagedError, EncryptedError, ErasedError
from ...proto.records import Message, Terms
from ...proto.structs import Record
from .header_text import file_name, header_date, header_text
from .levels import branches, flag_names, time_ns
from .metadata import MailboxFrames


class ListedMessage(Record, kw_only=True):
    """A message of a folder. ``date`` is what its header says (or when it came, if that says none); the texts
    are what its header says, as it says it."""

    path: str
    uid: int
    date: datetime | None
    size_bytes: int
    flags: tuple[str, ...]
    sender: str
    recipients: str
    subject: str
    attachments: tuple[str, ...]


class MessagePage(Record, kw_only=True):
    """Some messages of a folder, after ``skipped`` newer ones of ``messages`` in all. ``unreadable`` of them
    are lost to damage. ``locked``: what the headers of some say is encrypted, and no key is here; it is left
    empty."""

    messages: tuple[ListedMessage, ...]
    skipped: int
    total: int
    unreadable: int = 0
    locked: bool = False

    @property
    def next(self) -> int | None:
        """How many to skip for the next page; None if this is the last."""
        end = self.skipped + len(self.messages) + self.unreadable
        return end if end < self.total else None


def message_page(
    mailbox: MailboxFrames, whose: LogicalPath, folder: str, skipped: int, most: int
) -> MessagePage:
    """At most so many messages of a folder that there is, the last ones first. Only the frames that tell of
    them are read."""
    entry = mailbox.folders[folder]
    taken = branches(mailbox.folders)
    found: list[ListedMessage] = []
    unreadable, left, wanted, locked = 0, skipped, most, False
    for frame in reversed(mailbox.frames(entry)):
        count = frame.pointer.messages
        if left >= count:
            left -= count
            continue
        if wanted <= 0:
            break
        try:
            rows, is_locked = _last(frame, left, wanted)
        except DamagedError:
            unreadable += min(count - left, wanted)
            wanted -= min(count - left, wanted)
        else:
            found += (_listed(whose, folder, message, terms, taken) for message, terms in rows)
            wanted -= len(rows)
            locked = locked or is_locked
        left = 0
    return MessagePage(
        messages=tuple(found),
        skipped=skipped,
        total=entry.messages,
        unreadable=unreadable,
        locked=locked,
    )


def _last(frame: StoredRows, skipped: int, most: int) -> tuple[list[tuple[Message, Terms]], bool]:
    """The last rows of a frame, the last one first; and whether their terms need a key that is not here."""
    locked = False
    try:
        rows = list(frame.rows())
    except ErasedError:
        raise
    except EncryptedError:
        rows, locked = [(message, Terms()) for message in frame.messages()], True
    rows.reverse()
    return rows[skipped : skipped + most], locked


def _listed(
    whose: LogicalPath, folder: str, message: Message, terms: Terms, taken: Collection[str]
) -> ListedMessage:
    name = message.uid or whole_name(message.base, message.suffix, message.place)
    return ListedMessage(
        path=message_path(
            whose.partition or "",
            whose.group or "",
            whose.user or "",
            folder,
            name,
            ambiguous=f"{folder}/{message.uid}" in taken,
        ),
        uid=message.uid,
        date=header_date(terms.date) or time_ns(message.date_ns),
        size_bytes=message.size,
        flags=flag_names(message.flags, message.keywords),
        sender=header_text(terms.sender),
        recipients=", ".join(_texts(terms.recipients)),
        subject=header_text(terms.subject),
        attachments=tuple(file_name(one) for one in terms.attachments.split(b"\0") if one),
    )


def _texts(values: bytes) -> Iterator[str]:
    return (header_text(one) for one in values.split(b"\0") if one)
