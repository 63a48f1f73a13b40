"""Writing on a volume: archives one behind the other, a catalog and a filemark at each commit, and what is
done when the tape ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from blake3 import blake3

from ....proto.errors import PlaceError
from ....proto.structs import Record, replace
from .contents import Contents, Entry, Label, encode_catalog, entry_fields
from .drive import Drive, EndOfTapeError
from .headers import Kind, encode

_TRIES = 2
"""How often a small record or a filemark is written when the drive warns: every second write goes through."""


class Part(Record, kw_only=True):
    """What is to be written of an archive: from ``offset_bytes`` on to its end, or to that of the tape.
    ``first`` is the address of the first part, if this is a later one."""

    name: str
    size_bytes: int
    offset_bytes: int = 0
    first: str = ""


class VolumeWriter:
    """Appends to a volume, behind its ``contents``.

    Written is what has an entry; it counts when ``commit`` has returned. When the drive warns of the end of
    the tape (EndOfTapeError), ``finish`` is what is left to do. ``failed``: the drive did not write, what is
    pending is lost.
    """

    def __init__(self, drive: Drive, label: Label, contents: Contents, now: Callable[[], str]) -> None:
        self._drive = drive
        self._now = now
        self.label = label
        self.contents = contents
        self.pending: tuple[Entry, ...] = ()
        self.warned = False
        self._at = contents.end_block
        self._part_bytes = 0
        self._begun: Entry | None = None
        self.failed = False
        if label.worm:
            self._pass_over()

    @property
    def empty(self) -> bool:
        """Whether there is nothing on the volume."""
        return not self.contents.entries and not self.pending

    def write(self, part: Part, pieces: Iterable[bytes], whole: blake3) -> Entry:
        """Write an archive, or the part of it that is left. ``pieces`` are its data in records, the last one
        shorter; ``whole`` takes in what is written, and has what was before.

        Raises EndOfTapeError; then ``keep_part`` makes a part of what was written, or it is given up, as it
        is when ``pieces`` raise.
        """
        self._return()
        begin = self._at
        self._part_bytes = 0
        entry = Entry(
            name=part.name,
            block=begin,
            size_bytes=part.size_bytes,
            offset_bytes=part.offset_bytes,
            first=part.first,
        )
        self._begun = entry
        try:
            self._small(Kind.ARCHIVE, entry_fields(entry))
            for piece in pieces:
                self._refuse_when_warned()
                self._record(piece.ljust(self.label.record_bytes, b"\0"))
                whole.update(piece)
                self._part_bytes += len(piece)
            return self._end_archive(entry, whole.hexdigest())
        except EndOfTapeError:
            raise
        except BaseException:
            if not self.label.worm:
                # Overwritten by what is written next.
                self._at = begin
            raise

    def keep_part(self) -> Entry | None:
        """After EndOfTapeError: what was written of the archive is a part of it, if it is anything. What the
        drive refused is not counted, though it may be there."""
        if self._begun is None or not self._part_bytes:
            return None
        try:
            return self._end_archive(self._begun, "")
        except EndOfTapeError:
            return None

    def commit(self) -> None:
        """What is pending is durable, and part of ``contents``. Raises PlaceError if it may not be: then none
        of it is. At the end of the tape it finishes the volume."""
        if not self.pending:
            return
        self._return()
        entries = (*self.contents.entries, *self.pending)
        catalog = self._at
        try:
            for record in encode_catalog(self.label, entries, catalog):
                self._record(record)
        except EndOfTapeError:
            self.finish()
            return
        self._mark()
        self._committed(catalog)
        if self.warned:
            self.finish()

    def finish(self) -> None:
        """Nothing more goes on this volume: commit what is pending, and say so on it. Raises PlaceError if
        that can't be done."""
        self._mark()
        self._committed(self.contents.catalog_block)
        self.contents = replace(self.contents, finished=True)
        end = {"catalog": self.contents.catalog_block, "archives": len(self.contents.entries)}
        # All that counts is on the tape: this only makes it quick to read.
        with suppress(PlaceError):
            self._small(Kind.VOLUME_END, end)
            self._mark()

    def _return(self) -> None:
        """Go to where is written next, if the drive is anywhere else."""
        if self._drive.position() != self._at:
            self._drive.locate(self._at)

    def _pass_over(self) -> None:
        """What was left unfinished on a volume that is written only once can't be overwritten."""
        self._drive.locate_end()
        end = self._drive.position()
        if end is not None and end > self._at:
            self._at = end
            self._mark()

    def _committed(self, catalog: int) -> None:
        self.contents = replace(
            self.contents,
            entries=(*self.contents.entries, *self.pending),
            end_block=self._at,
            catalog_block=catalog,
        )
        self.pending = ()

    def _end_archive(self, begun: Entry, checksum: str) -> Entry:
        entry = replace(begun, bytes=self._part_bytes, checksum=checksum, written=self._now())
        end = {"archive": begun.block, "bytes": entry.bytes, "checksum": checksum, "written": entry.written}
        self._small(Kind.ARCHIVE_END, end)
        self.pending = (*self.pending, entry)
        self._begun = None
        return entry

    def _small(self, kind: Kind, fields: Mapping[str, object]) -> None:
        """A record that tells something. When the drive warns, it is tried once more."""
        for last in (False, True):
            address = {"volume": self.label.volume, "block": self._at}
            record = encode(kind, {**fields, **address}, self.label.record_bytes)
            try:
                self._record(record)
            except EndOfTapeError:
                if last:
                    raise
                continue
            return

    def _record(self, record: bytes) -> None:
        try:
            self._drive.write_record(record)
        except EndOfTapeError:
            self.warned = True
            if self._drive.position() != self._at + 1:
                raise
        except PlaceError:
            self.failed = True
            raise
        self._at += 1

    def _refuse_when_warned(self) -> None:
        if self.warned:
            raise EndOfTapeError(f"{self._drive.name}: the end of the tape is near", volume=self.label.volume)

    def _mark(self) -> None:
        """A filemark that surely is on the tape, and with it all before."""
        for _ in range(_TRIES):
            try:
                self._drive.write_filemark()
            except EndOfTapeError:
                self.warned = True
                if self._drive.position() != self._at + 1:
                    continue
            except PlaceError:
                self.failed = True
                raise
            self._at += 1
            return
        self.failed = True
        raise PlaceError(
            f"{self._drive.name}: no filemark can be written on volume {self.label.label!r}: what was not"
            " committed to it counts for nothing",
            volume=self.label.volume,
        )
