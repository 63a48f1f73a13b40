"""Finding messages by what their headers say: sender, recipient, subject, Message-ID, date, attachments.

Works on the terms in the metadata, never on mail. Through many versions of a mailbox each frame is looked
at once, however many of them have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from ...proto.archive import claims
from ...proto.archive.pointers import FramePointer
from ...proto.archive.stored import StoredRows
from ...proto.errors import DamagedError
from ...proto.records import Message, RunId, Skipped, Terms
from ...proto.structs import Record, replace
from .header_text import file_name, header_date, header_text
from .metadata import MailboxFrames, lasting_key

_ATTACHMENTS = Terms._fields.index("attachments")


class Query(Record, kw_only=True):
    """What a message must be like: all of it. Texts are looked for as parts of the decoded values, in
    letters of any case; times are in seconds since 1970, and compared with the Date field (with the time
    of arrival where that tells none)."""

    sender: str = ""
    recipients: str = ""
    subject: str = ""
    message_id: str = ""
    attachments: str = ""
    since: float | None = None
    until: float | None = None


class Matcher:
    """A query made ready for many messages."""

    def __init__(self, query: Query) -> None:
        wanted = ((place, getattr(query, name, "")) for place, name in enumerate(Terms._fields))
        self._texts = [(place, " ".join(text.split()).casefold()) for place, text in wanted if text]
        self._since = -inf if query.since is None else query.since
        self._until = inf if query.until is None else query.until

    def may_match(self, payload: bytes) -> bool:
        """Whether a message of this SEARCH frame can match at all: False spares decoding the frame. Raises
        DamagedError."""
        columns = claims.unpack_map(payload)
        if columns.get("n") == 0:
            return True  # they were lost: who decodes them is told so
        for place, text in self._texts:
            column = columns.get(Terms._fields[place])
            if not isinstance(column, bytes):
                return column is not None
            if not _is_encoded(column) and not (text.isascii() and text.encode() in column.lower()):
                return False
        return True

    def rows(self, terms: Sequence[Terms]) -> list[int]:
        """The rows that match, as far as their terms tell: for one without a date ``is_in_time`` decides."""
        rows: Iterable[int] = range(len(terms))
        for place, text in self._texts:
            read = file_name if place == _ATTACHMENTS else header_text
            raw = text.encode() if text.isascii() else None
            rows = [row for row in rows if _holds(terms[row][place], text, raw, read)]
        if self._since > -inf or self._until < inf:
            dates = ((row, header_date(terms[row].date)) for row in rows)
            return [row for row, date in dates if date is None or self._between(date.timestamp())]
        return list(rows)

    def is_in_time(self, terms: Terms, arrived_ns: int) -> bool:
        """Whether the date matches, which may be that of arrival."""
        told = header_date(terms.date)
        return self._between(told.timestamp() if told else arrived_ns / 1e9)

    def _between(self, seconds: float) -> bool:
        return self._since <= seconds <= self._until


def _is_encoded(value: bytes) -> bool:
    """Whether texts may stand in a value in another form."""
    return b"=?" in value or b"'" in value or not value.isascii()


def _holds(value: bytes, text: str, raw: bytes | None, read: Callable[[bytes], str]) -> bool:
    if not _is_encoded(value):
        # Most values; what is not ASCII can't be in them.
        return raw is not None and raw in value.lower()
    return any(text in read(one).casefold() for one in value.split(b"\0"))


class Hit(Record):
    """A message that matches, as the last version tells of it that has it, and the first and the last moment
    at which it is in this folder."""

    folder: str
    message: Message
    terms: Terms
    first: RunId
    last: RunId


def _by_arrival(hit: Hit) -> tuple[int, RunId, str, int, bytes]:
    return hit.message.date_ns, hit.first, hit.folder, hit.message.uid, hit.message.base


class MailboxSearch:
    """The search through versions of one mailbox, newest first: what is there now is known before anything is
    told of what is not. ``damaged`` tells what could not be read."""

    def __init__(self, matcher: Matcher, where: str) -> None:
        self.damaged: list[Skipped] = []
        self._matcher = matcher
        self._where = where
        self._hits: dict[tuple[str, bytes], Hit] = {}
        self._known: dict[tuple[str, FramePointer], list[bytes]] = {}
        self._newest: MailboxFrames | None = None
        self._is_begun = False

    def departed(self) -> None:
        """The next version is that the mailbox has departed."""
        self._is_begun = True

    def look_at(
        self, mailbox: MailboxFrames, first: RunId, last: RunId, selects: Callable[[str], bool]
    ) -> None:
        """Search the folders that are selected of a version that is what these moments show."""
        if not self._is_begun:
            self._newest, self._is_begun = mailbox, True
        known: dict[tuple[str, FramePointer], list[bytes]] = {}
        for name, folder in mailbox.folders.items():
            if not selects(name):
                continue
            try:
                for frame in mailbox.frames(folder):
                    found = self._known.get((name, frame.pointer))
                    if found is None:
                        found = self._search(name, frame, first, last)
                    known[name, frame.pointer] = found
                    for key in found:
                        self._hits[name, key] = replace(self._hits[name, key], first=first)
            except DamagedError as error:
                self.damaged.append(Skipped(f"{self._where}/{name}", "metadata", error.message))
        # A frame that a version has not is in no earlier one.
        self._known = known

    def hits(self) -> list[Hit]:
        """All that was found, by date of arrival."""
        return sorted(self._hits.values(), key=_by_arrival)

    def deleted(self, newest: RunId) -> Iterator[Hit]:
        """What was found and is not in the mailbox any more as of its newest moment, in no folder and under
        no name. Of folders that were left out of the backup then nothing is known, and nothing told."""
        now = [one for one in self._hits.values() if one.last >= newest]
        bases = {lasting_key(one.message.uid, one.message.base) for one in now}
        digests = {one.message.digest for one in now}
        for hit in self.hits():
            if (
                hit.last < newest
                and not (self._newest and self._newest.leaves_out(hit.folder))
                and lasting_key(hit.message.uid, hit.message.base) not in bases
                and hit.message.digest not in digests
            ):
                yield hit

    def _search(self, folder: str, frame: StoredRows, first: RunId, last: RunId) -> list[bytes]:
        """Note what matches in a frame; returns by what these messages are known."""
        if not self._matcher.may_match(frame.search_payload()):
            return []
        terms = frame.terms()
        rows = self._matcher.rows(terms)
        if not rows:
            return []
        names = frame.names()
        if len(names.uid) != len(terms):
            raise DamagedError("terms of other messages", reason="terms")
        keys = [lasting_key(names.uid[row], names.base[row]) for row in rows]
        # Most of what is found was in the version behind, in another frame: it need not be decoded again.
        new = any((folder, key) not in self._hits for key in keys)
        messages = frame.messages() if new else []
        return [
            key
            for row, key in zip(rows, keys, strict=True)
            if self._note((folder, key), messages[row] if new else None, terms[row], first, last)
        ]

    def _note(
        self,
        key: tuple[str, bytes],
        message: Message | None,
        terms: Terms,
        first: RunId,
        last: RunId,
    ) -> bool:
        """Note a message whose texts match; returns whether its date does, too."""
        known = self._hits.get(key)
        if known is not None:
            self._hits[key] = replace(known, first=first)
            return True
        if message is None or not self._matcher.is_in_time(terms, message.date_ns):
            return False
        self._hits[key] = Hit(key[0], message, terms, first, last)
        return True
