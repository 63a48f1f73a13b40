"""The messages of one Maildir folder in the order of their UIDs, compared with how they were stored.

The names of a folder, and the UIDs of its list, stay as they were read: byte strings and numbers. A stored
frame is made into such byte strings, and these are compared, many at a time; a record is made of a message
only where it differs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

from ...proto.archive.message_rows import Names, as_stored
from ...proto.records import Listed
from .keywords import FlagNames
from .listing import NO_KEYWORDS, Listing, entries_of, record
from .uidlist import UidList

_FASTER = 8
"""By so much more is compared at once when all so far was the same."""


class Numbering:
    """The messages of a listing, with their UIDs as a UID list has them (see ``ListedMessages``).
    ``duplicates`` counts UIDs that were given twice: the first message keeps it, the others have none.
    ``names`` is what flags mean; it is to be set once keywords are known, for they are read last."""

    def __init__(self, listing: Listing, uidlist: UidList | None) -> None:
        self.names = NO_KEYWORDS
        self._entries = listing.entries
        self._uids = array("I", bytes(4 * len(listing)))
        self._order = array("I")
        # Fields are rare. Where there are any: one after the other, and where those of an entry begin.
        self._fields = bytearray(b"\n")
        self._fields_at: array[int] | None = None
        self.duplicates = 0
        if uidlist is not None:
            self._read(uidlist)
        if len(self._order) < len(self._uids):
            self._order.extend([position for position, uid in enumerate(self._uids) if not uid])
        self._compared: tuple[Names | None, FlagNames, list[bytes]] = (None, NO_KEYWORDS, [])

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Listed]:
        """Every message in the order of UIDs, then those without one by name."""
        return map(self._record, self._order)

    def some(self, first: int, end: int) -> list[Listed]:
        """See ListedMessages."""
        return list(map(self._record, self._order[first:end]))

    def agreeing(self, first: int, names: Names, row: int) -> int:
        """See ListedMessages."""
        count = self._equal(first, names, row)
        # What is not the same to the byte may still mean the same (a keyword that only the server knows).
        rest = map(self._order.__getitem__, range(first + count, len(self)))
        return count + names.agreeing(row + count, map(as_stored, map(self._record, rest)))

    def _equal(self, first: int, names: Names, row: int) -> int:
        """How many of the messages are the same to the byte, at least."""
        entries, fields = self._stored(names), any(names.fields)
        most = min(len(self) - first, len(names) - row)
        count, step, faster = 0, 1, _FASTER
        while count < most:
            end = min(count + step, most)
            positions = self._order[first + count : first + end]
            uids = list(map(self._uids.__getitem__, positions))
            if (
                list(map(self._entries.__getitem__, positions)) == entries[row + count : row + end]
                and uids == list(names.uid[row + count : row + end])
                and self.names.are_told_by_suffixes(uids)
                and (
                    (not fields and self._fields_at is None)
                    or list(map(self._fields_of, positions)) == list(names.fields[row + count : row + end])
                )
            ):
                count = end
                step *= faster
            elif step == 1:
                break
            else:
                step, faster = max(1, step // _FASTER), 1
        return count

    def _stored(self, names: Names) -> list[bytes]:
        """The entries that a listing has of messages that are called so."""
        known, flags, entries = self._compared
        if known is not names or flags is not self.names:
            entries = entries_of(names, self.names)
            self._compared = names, self.names, entries
        return entries

    def _record(self, position: int) -> Listed:
        uid = self._uids[position]
        return record(self._entries[position], self.names, uid, self._fields_of(position) if uid else b"")

    def _read(self, uidlist: UidList) -> None:
        entries, numbers, order = self._entries, self._uids, self._order
        last, ordered = 0, True
        used: set[int] = set()
        for uids, notes, bases in uidlist.columns():
            for uid, fields, base in zip(uids, notes, bases, strict=True):
                key = base + b"\0"
                position = bisect_left(entries, key)
                if position == len(entries) or not entries[position].startswith(key):
                    continue
                if numbers[position]:
                    if numbers[position] == uid:
                        continue
                    # It has been given a new UID: the server, too, goes by the later entry.
                    ordered = False
                if uid <= last:
                    used = used or set(numbers)
                    if uid in used:
                        self.duplicates += 1
                        continue
                    ordered = False
                else:
                    last = uid
                numbers[position] = uid
                order.append(position)
                if used:
                    used.add(uid)
                if fields or self._fields_at is not None:
                    self._keep_fields(position, fields)
        if not ordered:
            numbered = (position for position, uid in enumerate(numbers) if uid)
            self._order = array("I", sorted(numbered, key=numbers.__getitem__))

    def _keep_fields(self, position: int, fields: bytes) -> None:
        if self._fields_at is None:
            self._fields_at = array("Q", bytes(8 * len(self._uids)))
        self._fields_at[position] = len(self._fields)
        self._fields += fields + b"\n"

    def _fields_of(self, position: int) -> bytes:
        if self._fields_at is None:
            return b""
        begin = self._fields_at[position]
        return bytes(self._fields[begin : self._fields.index(b"\n", begin)])
