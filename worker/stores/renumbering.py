"""The numbers that restored folders go on with: above all that a client may have seen since the backup.

After its last backup a server went on giving UIDs to new mail, and UIDVALIDITYs to new folders, and clients
remember them. A number that is given a second time hides new mail from these, and lets some delete it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ...proto.records import Folder, Renumbering
from ...proto.structs import replace
from .uidlist import MAX_UIDNEXT

COUNTER = b"dovecot-uidvalidity"
"""At the top of a mailbox: the UIDVALIDITY given out last, in hexadecimal. An empty file beside it has the
number in its name too; Dovecot renames that when it counts on."""

COURIER = frozenset((b"courierimapuiddb", b"courierpop3dsizelist"))
"""In a folder of Courier: its UIDs, and those of POP3, with the next number in the first line."""

_COUNTER_MARGIN = 1000
_MARKER = re.compile(re.escape(COUNTER) + rb"\.([0-9a-f]{8})")
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{8}")
_FIRST_LINES = {
    b"courierimapuiddb": re.compile(rb"1 (?P<uidvalidity>\d{1,10}) (?P<uidnext>\d{1,10})(?!\d)"),
    b"courierpop3dsizelist": re.compile(rb"/[12] (?P<uidnext>\d{1,10})(?: (?P<uidvalidity>\d{1,10}))?(?!\d)"),
}
_MAX_UIDVALIDITY = 0xFFFF_FFFF
_LONGEST_FIRST_LINE = 4096


class Renumberer:
    """The numbers of one mailbox that is restored at ``now`` (seconds since 1970)."""

    def __init__(self, how: Renumbering, now: int) -> None:
        self._how = how
        self._now = now
        self._given = 0
        self._counted = 0

    def folder(self, folder: Folder) -> Folder:
        """A folder with the numbers that it comes back with; unchanged if its numbers are not known.

        With a new UIDVALIDITY the UIDs go on above the margin, too: mbsync looks whether the messages are the
        old ones, and goes on with what it remembers if enough of them are. Where no UID is left above the
        margin, UIDVALIDITY is new, and UIDNEXT as it was.
        """
        if not folder.uidvalidity:
            return folder
        uidnext = max(folder.uidnext, 1) + self._how.uid_margin
        if self._how.new_uidvalidity or uidnext > MAX_UIDNEXT:
            folder = replace(folder, uidvalidity=self._new_uidvalidity(folder.uidvalidity))
        return replace(folder, uidnext=uidnext) if uidnext <= MAX_UIDNEXT else folder

    def takes(self, name: bytes, content: Iterable[bytes]) -> bool:
        """Whether a file at the top of the mailbox is the counter of UIDVALIDITYs, or its marker; then its
        number is taken note of, and ``counter_files`` has what is to be written instead."""
        if marker := _MARKER.fullmatch(name):
            self._counted = max(self._counted, int(marker[1], 16))
            return True
        if name == COUNTER:
            number = b"".join(content)[:8]
            self._counted = max(self._counted, int(number, 16) if _HEXADECIMAL.fullmatch(number) else 1)
            return True
        return False

    def counter_files(self) -> dict[bytes, bytes]:
        """The counter of UIDVALIDITYs and its marker, by name; nothing if the mailbox had none.

        Dovecot begins to count at the time and counts on by one for each folder, so the time is above all
        that it can have given out; unless the clock is wrong, or the counter came from elsewhere.
        """
        if not self._counted:
            return {}
        least = max(self._counted + _COUNTER_MARGIN, self._now, self._given)
        number = b"%08x" % min(least, _MAX_UIDVALIDITY)
        return {COUNTER: number, COUNTER + b"." + number: b""}

    def courier(self, name: bytes, content: Iterable[bytes]) -> Iterator[bytes]:
        """A file of Courier with the next UID, and where wanted the UIDVALIDITY, in its first line raised."""
        beginning, rest = b"", iter(content)
        while b"\n" not in beginning and len(beginning) < _LONGEST_FIRST_LINE:
            piece = next(rest, None)
            if piece is None:
                break
            beginning += piece
        yield self._courier_line(name, beginning)
        yield from rest

    def _courier_line(self, name: bytes, beginning: bytes) -> bytes:
        """What begins with the first line of a file of Courier, with its numbers raised."""
        found = _FIRST_LINES[name].match(beginning)
        if found is None:
            return beginning
        uidnext, uidvalidity = int(found["uidnext"]), int(found["uidvalidity"] or 0)
        raised = uidnext + self._how.uid_margin
        changed = {"uidnext": raised} if raised <= MAX_UIDNEXT else {}
        if uidvalidity and (self._how.new_uidvalidity or not changed):
            changed["uidvalidity"] = self._new_uidvalidity(uidvalidity)
        elif not changed:
            changed["uidnext"] = MAX_UIDNEXT
        for key in sorted(changed, key=found.start, reverse=True):
            beginning = beginning[: found.start(key)] + b"%d" % changed[key] + beginning[found.end(key) :]
        return beginning

    def _new_uidvalidity(self, old: int) -> int:
        """A UIDVALIDITY that no folder of this mailbox has had."""
        self._given = max(self._now, old, self._given) + 1
        if self._given > _MAX_UIDVALIDITY:
            self._given = self._now
        return self._given
