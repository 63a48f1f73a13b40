"""What is on a volume, read from the volume: by its last catalog, and by walking over what lies behind.

Archives count that lie before a filemark, with a header and an end that fit. A header says which volume and
block it was written for, so data that looks like one is none.
"""

from __future__ import annotations

from contextlib import suppress

from ....proto.errors import DamagedError, PlaceError
from ....proto.structs import replace
from ...archives.names import check_file_name
from .contents import Contents, Entry, Label, data_records, decode_entry
from .drive import Drive, Mark
from .headers import Header, Kind, decode

_FIRST_FILE = 2
"""The block behind the label and its filemark."""
_MOST_ASKED = 8
"""So many archives are looked at to know a volume by them."""
_MOST_DAMAGED = 64
"""So many blocks in a row that can't be read are the end of what can be had of a volume."""


def scan(drive: Drive, label: Label, known: Contents | None = None) -> Contents:
    """What is committed on a volume: what is ``known``, and what is found behind it. Leaves the drive
    anywhere.

    Raises DamagedError (``volume``) if the volume ends before what is known of it: it is another state of it,
    or damaged; and PlaceError if too much of it can't be read.
    """
    if known is None:
        known = _by_catalog(drive, label) or Contents(end_block=_FIRST_FILE)
    walk = _Walk(drive, label, known)
    walk.run()
    return walk.contents


def holds(drive: Drive, label: Label, known: Contents) -> bool:
    """Whether this is the volume of that label, whose own label can't be read: the first archive that can be
    read, of those that are ``known`` to be on it, tells which volume it was written for. Leaves the drive
    anywhere."""
    for entry in known.entries[:_MOST_ASKED]:
        with suppress(DamagedError, PlaceError):
            header = _header_at(drive, label, entry.block)
            return header is not None and header.kind is Kind.ARCHIVE
    return False


def _by_catalog(drive: Drive, label: Label) -> Contents | None:
    """What the last catalog tells, where the end of the volume leads to one."""
    try:
        drive.locate_end()
        end = drive.position()
        if end is None or end < _FIRST_FILE + 2:
            return None
        last = _header_at(drive, label, end - 2)
        if last is None or drive.read_record() is not Mark.FILEMARK:
            return None
        if last.kind is Kind.VOLUME_END:
            return _catalog(drive, label, last.number("catalog"))
        if last.kind is Kind.CATALOG:
            return _catalog(drive, label, last.number("block") - last.number("part"))
    except (DamagedError, PlaceError):
        # Slower, but the walk needs nothing to be whole but the archives.
        return None
    return None


def _catalog(drive: Drive, label: Label, block: int) -> Contents | None:
    entries: list[Entry] = []
    number, parts = 0, 1
    while number < parts:
        header = _header_at(drive, label, block + number)
        if header is None or header.kind is not Kind.CATALOG or header.number("part") != number:
            return None
        parts = header.number("parts")
        entries += [decode_entry(document) for document in header.documents("archives")]
        number += 1
    if drive.read_record() is not Mark.FILEMARK:
        return None
    return Contents(
        entries=tuple(_named(entry) for entry in entries), end_block=block + parts + 1, catalog_block=block
    )


def _header_at(drive: Drive, label: Label, block: int) -> Header | None:
    drive.locate(block)
    record = drive.read_record()
    return _ours(record, label, block)


def _ours(record: bytes | Mark, label: Label, block: int) -> Header | None:
    """The header in a record, if it was written for this volume and block."""
    header = decode(record) if isinstance(record, bytes) else None
    if header is None or header.fields.get("volume") != label.volume or header.fields.get("block") != block:
        return None
    return header


def _named(entry: Entry) -> Entry:
    check_file_name(entry.name)
    return entry


class _Walk:
    """From one header to the next; what is found counts when the filemark behind it is."""

    def __init__(self, drive: Drive, label: Label, known: Contents) -> None:
        self._drive = drive
        self._label = label
        self._at = known.end_block
        self._in_file: list[Entry] = []
        self._begun: Entry | None = None
        self._finished = False
        self.contents = known

    def run(self) -> None:
        self._go_to_the_beginning()
        while (record := self._read()) is not Mark.END:
            header = _ours(record, self._label, self._at - 1)
            if record is Mark.FILEMARK:
                self._committed()
            elif header and header.kind is Kind.ARCHIVE:
                self._archive(header)
            elif header and header.kind is Kind.ARCHIVE_END:
                self._part(header)
            elif header and header.kind is Kind.VOLUME_END:
                self._finished = True

    def _go_to_the_beginning(self) -> None:
        try:
            self._drive.locate(self._at)
        except PlaceError as error:
            raise DamagedError(
                f"{self._drive.name}: volume {self._label.label!r} ends before block {self._at}, where more"
                " was written",
                reason="volume",
            ) from error

    def _read(self) -> bytes | Mark:
        """The next block that can be read."""
        for _ in range(_MOST_DAMAGED):
            try:
                record = self._drive.read_record()
            except DamagedError:
                self._at += 1
                self._drive.locate(self._at)
                continue
            self._at += record is not Mark.END
            return record
        raise PlaceError(f"{self._drive.name}: nothing can be read from block {self._at} on")

    def _committed(self) -> None:
        known = self.contents
        new = {entry.block for entry in self._in_file}
        self.contents = replace(
            known,
            entries=(*(one for one in known.entries if one.block not in new), *self._in_file),
            end_block=self._at,
            finished=known.finished or self._finished,
        )
        self._in_file = []

    def _archive(self, header: Header) -> None:
        """Look where the end of the archive should be. Where there is none, it was given up, or goes on on
        another volume; then the end of its part lies somewhere behind."""
        block = self._at - 1
        entry = self._begun = _named(decode_entry(header))
        left = data_records(entry.size_bytes - entry.offset_bytes, self._label.record_bytes)
        end = self._end_at(block, block + 1 + left)
        if end is None:
            self._drive.locate(self._at)
            return
        self._in_file.append(_ended(entry, end))

    def _part(self, end: Header) -> None:
        begun = self._begun
        if begun and end.number("archive") == begun.block:
            self._in_file.append(_ended(begun, end))

    def _end_at(self, block: int, at: int) -> Header | None:
        try:
            self._drive.locate(at)
            record = self._drive.read_record()
        except (DamagedError, PlaceError):
            return None
        header = _ours(record, self._label, at)
        if header is None or header.kind is not Kind.ARCHIVE_END or header.number("archive") != block:
            return None
        self._at = at + 1
        return header


def _ended(entry: Entry, end: Header) -> Entry:
    return replace(
        entry, bytes=end.number("bytes"), checksum=end.text("checksum", 64), written=end.text("written", 64)
    )
