"""From the bytes of a message to pieces of an archive: cut, look up, store what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from blake3 import blake3

from ...proto.archive.contents import IndexRow
from ...proto.archive.messages import join_pieces
from ...proto.archive.reader import ArchiveReader
from ...proto.archive.writer import ArchiveWriter
from ...proto.errors import MessageUnavailable
from ...proto.ports import OpenedFile
from ...proto.records import DIGEST_BYTES, ArchiveId, Piece, Terms
from .dedup import SegmentIndex
from .hot_path import scan
from .scanning import Parts, continued_parts
from .segments import Cutter

WINDOW_BYTES = 8 << 20
"""Larger messages are read, cut and stored in windows of this size, so that memory stays bounded."""

MOST_PIECES = 1 << 16
"""A content that comes to more pieces is not cut any further: its list must fit the archive's frames."""

_MOST_LINKS = 100_000

_piece = partial(tuple.__new__, Piece)
"""A piece of a tuple: ``Piece`` itself takes three times as long."""

Packed = tuple[int, bytes, tuple[Piece, ...]]
"""Size in bytes, digest, pieces."""

Segments = Iterable[tuple[ArchiveId, IndexRow]]
"""What archives remember of their segments."""


class Packer:
    """Stores contents in one archive, each segment once; where mailboxes are erasable, what several have once
    for the first, and once for all others. Remembers all that it stored.

    ``earlier`` gives the segments of other archives that pieces may refer to; it is asked when the first
    segment is to be stored.
    """

    def __init__(self, archive: ArchiveWriter, earlier: Callable[[], Segments] = lambda: ()) -> None:
        self._archive = archive
        self._earlier: Callable[[], Segments] | None = earlier
        self._index = SegmentIndex()
        key = archive.digest_key
        self._hashed = blake3 if key is None else partial(blake3, key=key)
        self._cutter = Cutter()
        self._links: dict[tuple[int, ...], tuple[Packed, Terms]] = {}

    def recall(self, attempt: ArchiveReader) -> None:
        """Know the segments that an earlier attempt stored in this archive. Raises DamagedError."""
        for row in attempt.index():
            self._index.extend(attempt.header.archive, row.digests, row.offsets, row.owner)

    def store(self, opened: OpenedFile, known: Packed | None = None) -> Packed:
        """Store the whole content; one that is as ``known`` is not stored again, and has its pieces.

        Raises MessageUnavailable: ``changed`` if its size was not what the file system said, else whatever
        reading raised; what was stored by then is left unused."""
        return self._store(opened, known)[0]

    def store_message(self, opened: OpenedFile, known: Packed | None = None) -> tuple[Packed, Terms]:
        """The same for a message, and what it can be found by."""
        identity = _identity(opened)
        if identity is not None and self._archive.owner is not None:
            identity = (*identity, int.from_bytes(self._archive.owner))
        if identity is not None and (linked := self._links.get(identity)):
            return linked
        stored = self._store(opened, known)
        if identity is not None:
            if len(self._links) >= _MOST_LINKS:
                self._links.clear()
            self._links[identity] = stored
        return stored

    def _store(self, opened: OpenedFile, known: Packed | None) -> tuple[Packed, Terms]:
        size = opened.stat.size
        pieces: list[Piece] = []
        if size <= WINDOW_BYTES:
            # One byte more than there should be: a full read proves that the file did not grow.
            data = opened.read(size + 1)
            digest = blake3(data).digest(length=DIGEST_BYTES)
            read = len(data)
            terms, parts = scan(data)
            if known is not None and known[:2] == (read, digest):
                return known, terms
            self._window(data, parts, pieces)
        else:
            read, digest, terms = self._windows(opened, pieces)
        if read != size:
            raise MessageUnavailable(f"{read} bytes read where {size} were announced", reason="changed")
        return (size, digest, tuple(pieces)), terms

    def _windows(self, opened: OpenedFile, pieces: list[Piece]) -> tuple[int, bytes, Terms]:
        digest, read, rest, terms = blake3(), 0, b"", Terms()
        while data := opened.read(WINDOW_BYTES):
            is_first = not read
            read += len(data)
            if read > opened.stat.size:
                break
            digest.update(data)
            # A window ends where a line ends, so that base64 stays in step.
            data = rest + data
            end = data.rfind(b"\n") + 1 or len(data)
            window, rest = data[:end], data[end:]
            if is_first:
                terms, parts = scan(window)
            else:
                parts = continued_parts(window)
            self._window(window, parts, pieces)
        self._window(rest, continued_parts(rest), pieces)
        return read, digest.digest(length=DIGEST_BYTES), terms

    def _window(self, data: bytes, parts: Parts, pieces: list[Piece]) -> None:
        archive, index, hashed = self._archive, self._index, self._hashed
        own = archive.header.archive
        if len(pieces) >= MOST_PIECES:
            join_pieces(pieces, Piece(own, archive.append(data), len(data)))
            return
        append = archive.append
        is_erasable, owner = archive.owner is not None, archive.owner or b""
        for segment, recipe, indexed, joined in self._cutter.cut(data, parts):
            length = len(segment)
            name = own
            if indexed:
                key = hashed(segment).digest(DIGEST_BYTES)
                if self._earlier is not None:
                    self._learn_earlier()
                found = index.find(key, owner)
                if found is not None:
                    name, offset = found
                    if name == own:
                        offset = archive.settled(offset)
                elif is_erasable and index.find(key, whoever=True):
                    # Another mailbox has it, too: from now on any may refer to it.
                    offset = archive.append_shared(segment)
                    index.add(own, key, offset)
                    archive.index.remember(key, offset, length)
                else:
                    offset = append(segment)
                    index.add(own, key, offset, owner)
                    archive.index.remember(key, offset, length, owner)
            else:
                offset = append(segment)
            join_pieces(pieces, _piece((name, offset, length, recipe, joined)))

    def _learn_earlier(self) -> None:
        if self._earlier is not None:
            for archive, row in self._earlier():
                self._index.extend(archive, row.digests, row.offsets, row.owner)
            self._earlier = None


def terms_of(opened: OpenedFile) -> Terms:
    """What a message can be found by, as ``store_message`` tells it. Raises whatever reading raises."""
    size = opened.stat.size
    if size <= WINDOW_BYTES:
        return scan(opened.read(size + 1))[0]
    window = opened.read(WINDOW_BYTES)
    return scan(window[: window.rfind(b"\n") + 1 or len(window)])[0]


def _identity(opened: OpenedFile) -> tuple[int, ...] | None:
    """What names of one file have in common: the number of an inode is given away again when its last name
    is gone; its time is not."""
    stat = opened.stat
    return stat.identity and (*stat.identity, stat.size, stat.mtime_ns)
