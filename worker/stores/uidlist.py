"""``dovecot-uidlist``: which message of a folder has which UID.

Version 3, as Dovecot writes it::

    3 V<uidvalidity> N<next uid> G<guid of the folder> [<key><value> ...]
    <uid> [<key><value> ...] :<file name as first seen>

Version 1 (``1 <uidvalidity> <next uid>``, then ``<uid> <file name>``) is read too. What Dovecot reads is
read here: lines may end with CR LF, and keys of other programs have values of any characters. A list may be
cut off or garbled: what can be read of it is kept, and how much could not is told.

``Mailhaul<uid>`` in the first line, which Dovecot keeps as it does all that it does not know: no message has
had a UID below that one. A restore made the folder before its mail (see ``reserved_uids``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain

from ...proto.records import Folder
from ...proto.structs import Record, replace

NAME = b"dovecot-uidlist"
MAX_UID = 0xFFFF_FFFE
MAX_UIDNEXT = 0xFFFF_FFFF

_READ_BYTES = 1 << 20
_LONGEST_LINE = 1 << 16
_LINES_AT_ONCE = 1000
_UID_DIGITS = 10
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HEADER_V1 = re.compile(rb"1 +(\d{1,10}) +(\d{1,10}) *")
_HEADER_V3 = re.compile(rb"3(?: +[^\x00-\x20\x7f]+)* *")
_NUMBERS = {key: re.compile(rb"(?<= )%s\d*(?= |$)" % key) for key in (b"V", b"N")}
_RESERVED = re.compile(rb" Mailhaul(\d{1,10})(?= |$)")
_GUID = re.compile(r"[0-9a-f]{32}")
_FIELDS = re.compile(rb"[A-Z][!-~]*( [A-Z][!-~]*)*")


Columns = tuple[list[int], list[bytes], list[bytes]]
"""UIDs, fields and lasting names of entries that follow each other."""


class UidListHeader(Record):
    """The first line, verbatim, and what it says. Zero or empty: it does not say."""

    line: bytes
    version: int = 0
    uidvalidity: int = 0
    uidnext: int = 0
    guid: str = ""
    reserved: int = 0


def parse_header(line: bytes) -> UidListHeader:
    """What the first line says; version 0 for a line that is none."""
    if found := _HEADER_V1.fullmatch(line):
        return UidListHeader(line, 1, int(found[1]), int(found[2]))
    if not _HEADER_V3.fullmatch(line):
        return UidListHeader(line)
    values = {field[:1]: field[1:] for field in line.split()[1:]}
    guid = values.get(b"G", b"").decode("ascii", "ignore")
    found = _RESERVED.search(line)
    reserved = int(found[1]) if found else 0
    return UidListHeader(line, 3, _number(values, b"V"), _number(values, b"N"), guid, reserved)


def _number(values: dict[bytes, bytes], key: bytes) -> int:
    value = values.get(key, b"")
    return int(value) if value.isdigit() and len(value) <= 10 else 0


def format_header(folder: Folder) -> bytes:
    """The first line of a folder's UID list: its own but for UIDVALIDITY, the next UID where that says less
    than is known, and what was reserved."""
    header = parse_header(folder.header)
    if header.version == 3 and header.uidvalidity:
        line = _with_number(with_reserved(folder.header, 0), b"V", folder.uidvalidity)
        return _with_number(line, b"N", folder.uidnext) if header.uidnext < folder.uidnext else line
    line = b"3 V%d N%d" % (folder.uidvalidity, max(1, folder.uidnext))
    return b"%s G%s" % (line, folder.guid.encode()) if _GUID.fullmatch(folder.guid) else line


def with_reserved(line: bytes, reserved: int) -> bytes:
    """The first line of a list in which no message has had a UID below this one; 0: that is not known."""
    line = _RESERVED.sub(b"", line)
    return line + b" Mailhaul%d" % reserved if reserved else line


def _with_number(line: bytes, key: bytes, number: int) -> bytes:
    field = b"%s%d" % (key, number)
    line, changed = _NUMBERS[key].subn(field, line, count=1)
    return line if changed else line + b" " + field


def format_line(uid: int, fields: bytes, base: bytes) -> bytes | None:
    """One entry; None if a line can't hold it. Fields that are none are left out."""
    if not 0 < uid <= MAX_UID or b"\n" in base or b"/" in base:
        return None
    if not fields or not _FIELDS.fullmatch(fields):
        return b"%d :%s\n" % (uid, base)
    return b"%d %s :%s\n" % (uid, fields, base)


class UidList:
    """A UID list as it was when it was opened: later entries are not read, a new list is another file."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self.garbled = 0
        self._blocks = self._read_blocks()
        first, *self._first_lines = next(self._blocks, [b""])
        self.header = parse_header(first)
        self.next_uid = self.header.uidnext

    def entries(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(UID, fields, lasting name) of every entry that can be read, in the order of the list.

        ``next_uid`` and ``garbled`` (lines that could not be read, or not to their end) are complete when
        it ends. Raises OSError.
        """
        for columns in self.columns():
            yield from zip(*columns, strict=True)

    def columns(self) -> Iterator[Columns]:
        """The same entries by columns, so many at a time as stand in a block of the file."""
        for lines in chain((self._first_lines,), self._blocks):
            uids, fields, bases = self._usual(lines) or self._each(lines)
            if uids:
                self.next_uid = max(self.next_uid, max(uids) + 1)
            yield uids, fields, bases

    def _usual(self, lines: list[bytes]) -> Columns | None:
        """Lines of a number and a name each; None if any is not exactly that."""
        parts = [line.partition(b" :") for line in lines]
        numbers = [part[0] for part in parts]
        bases = [one[2].partition(b":")[0] for one in parts]
        if self.header.version == 1 or not all(numbers) or not all(bases) or not b"".join(numbers).isdigit():
            return None
        if b"/" in (text := b"".join(lines)) or b"\0" in text:
            return None
        if max(map(len, numbers), default=0) > _UID_DIGITS:
            return None
        uids = list(map(int, numbers))
        if uids and not 0 < min(uids) <= max(uids) <= MAX_UID:
            return None
        return uids, [b""] * len(uids), bases

    def _each(self, lines: list[bytes]) -> Columns:
        old = self.header.version == 1
        uids, notes, bases = [], [], []
        for line in lines:
            number, _, rest = line.partition(b" ")
            fields = b""
            if rest.startswith(b":"):
                name = rest[1:]
            elif old:
                name = rest
            else:
                fields, _, name = (b" " + rest.lstrip(b" ")).partition(b" :")
            base = name.partition(b":")[0]
            if not base or b"\0" in line or b"/" in name or not 0 < (uid := _uid(number)) <= MAX_UID:
                self.garbled += bool(line)
                continue
            uids.append(uid)
            notes.append(fields.strip(b" "))
            bases.append(base)
        return uids, notes, bases

    def _read_blocks(self) -> Iterator[list[bytes]]:
        """The lines, some at a time; never none."""
        rest, position = b"", 0
        while position < self._size:
            block = os.pread(self._fd, min(_READ_BYTES, self._size - position), position)
            if not block:
                break
            position += len(block)
            text = rest + block
            *lines, rest = text.split(b"\n")
            if lines:
                yield [line.removesuffix(b"\r") for line in lines] if b"\r\n" in text else lines
            # What is longer is no line of a UID list, and must not fill the memory.
            rest = rest[:_LONGEST_LINE]
        if rest:
            # The server may have been writing this line when the list was opened.
            line, ended, _ = (rest + os.pread(self._fd, _LONGEST_LINE, position)).partition(b"\n")
            self.garbled += not ended
            yield [line.removesuffix(b"\r")]


def _uid(number: bytes) -> int:
    if len(number) > _UID_DIGITS:
        number = number.lstrip(b"0")
    return int(number) if number.isdigit() and len(number) <= _UID_DIGITS else 0


class UidListWriter:
    """Writes the list of a folder that is restored, in an open directory; with ``reserved`` no message has
    had a UID below that, or below the lowest that is entered. Raises OSError, FileExistsError."""

    def __init__(self, directory: int, folder: Folder, reserved: int = 0) -> None:
        header = with_reserved(format_header(folder), reserved)
        self._header_bytes = len(header) + 1
        self._folder = folder
        self._reserved = reserved
        self._next = parse_header(header).uidnext
        self._last = self._lowest = 0
        self._ordered = True
        self._lines = [header + b"\n"]
        self.fd = os.open(NAME, _NEW_FILE, 0o600, dir_fd=directory)

    def add(self, uid: int, fields: bytes, base: bytes) -> bool:
        """Enter a message; False if the list can't hold it."""
        line = format_line(uid, fields, base)
        if line is None:
            return False
        self._lowest = min(uid, self._lowest or uid)
        self._ordered = self._ordered and uid > self._last
        self._last = max(uid, self._last)
        self._lines.append(line)
        if len(self._lines) >= _LINES_AT_ONCE:
            self._flush()
        return True

    def finish(self) -> None:
        """Write the rest. The first message keeps a UID that several claim."""
        self._flush()
        lowered = 0 < self._lowest < self._reserved
        if self._ordered and self._last < self._next and not lowered:
            return
        size = os.fstat(self.fd).st_size
        by_uid: dict[int, bytes] = {}
        for line in os.pread(self.fd, size, self._header_bytes).splitlines(keepends=True):
            by_uid.setdefault(int(line.partition(b" ")[0]), line)
        folder = replace(self._folder, uidnext=max(self._folder.uidnext, self._last + 1))
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        reserved = self._lowest if lowered else self._reserved
        header = with_reserved(format_header(folder), reserved if reserved > 1 else 0)
        self._lines = [header + b"\n", *(by_uid[uid] for uid in sorted(by_uid))]
        self._flush()

    def close(self) -> None:
        """Repeatable."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _flush(self) -> None:
        rest = memoryview(b"".join(self._lines))
        self._lines = []
        while rest:
            rest = rest[os.write(self.fd, rest) :]
