"""Bytes for the gaps of a damaged archive, from elsewhere: from segments that other archives hold, and from
messages with the same content.

How a content is cut into stored bytes follows from the content and its recipes, so it can be cut again.
"""

from __future__ import annotations

import binascii
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from blake3 import blake3

from ...proto.archive import recipes
from ...proto.archive.assembly import Contents
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError, EncryptedError, PlaceError
from ...proto.records import DIGEST_BYTES, ArchiveId, Message, Piece, StoredFile, Stretch
from ...proto.structs import Record
from .examiner import Depth, Examiner
from .kept import KeptMailbox, contents_of
from .spares import Spare

_MOST_BYTES = 256 << 20
"""A filling is put together in memory; what is larger is not filled."""

_NOT_TO_BE_HAD = (DamagedError, EncryptedError, PlaceError)

Stored = Message | StoredFile


class Filling(Record):
    """``length`` bytes for ``offset`` of the data of an archive; ``read`` gives them, or raises DamagedError
    if they can't be had after all, EncryptedError if there is no key for them."""

    offset: int
    length: int
    read: Callable[[], bytes]


class Filler:
    """Gives the bytes of any stretch that fillings cover together."""

    def __init__(self, fillings: Sequence[Filling]) -> None:
        self._fillings: list[Filling] = []
        end = 0
        for filling in sorted(fillings, key=lambda one: (one.offset, -one.length)):
            # None lies within another: so the ends ascend as the beginnings do, and one look is enough.
            if filling.offset + filling.length > end:
                self._fillings.append(filling)
                end = filling.offset + filling.length

    def __call__(self, stretch: Stretch) -> bytes | None:
        """The bytes of a stretch; None if not all of them can be had."""
        found = bytearray()
        while len(found) < stretch.length:
            offset = stretch.offset + len(found)
            number = bisect_right(self._fillings, offset, key=lambda one: one.offset) - 1
            if number < 0:
                return None
            filling = self._fillings[number]
            try:
                more = filling.read()[offset - filling.offset :]
            except _NOT_TO_BE_HAD:
                return None
            if not more:
                return None
            found += more[: stretch.length - len(found)]
        return bytes(found)


def segment_fillings(
    spares: Sequence[Spare], open_archive: Callable[[ArchiveId], ArchiveReader]
) -> list[Filling]:
    """Fillings from segments that other archives hold. Each is checked against its digest when it is read."""
    contents = Contents(open_archive)

    def read(spare: Spare) -> bytes:
        data = contents.stored(Piece(spare.archive, spare.at, spare.length))
        key = open_archive(spare.archive).codec.digest_key
        hashed = blake3(data) if key is None else blake3(data, key=key)
        if hashed.digest(length=DIGEST_BYTES) != spare.digest:
            raise DamagedError("the segment does not match its digest", reason="content")
        return data

    return [
        Filling(one.offset, one.length, partial(read, one)) for one in spares if one.length <= _MOST_BYTES
    ]


def twin_fillings(
    archive: ArchiveId,
    mailboxes: Sequence[KeptMailbox],
    open_archive: Callable[[ArchiveId], ArchiveReader],
    broken: Mapping[ArchiveId, tuple[Stretch, ...]],
) -> list[Filling]:
    """Fillings for what messages and files of these mailboxes have lost in an archive, from others with the
    same content. Each content is read, and checked, once before it is believed."""
    work = Examiner(open_archive, broken, Depth())
    reader = _Reader(Contents(open_archive))
    found: dict[int, Filling] = {}
    for mailbox in mailboxes:
        poor: dict[bytes, dict[tuple[Piece, ...], Stored]] = {}
        for _, stored in contents_of(open_archive, mailbox):
            lack = work.lack(stored, set())
            if lack is not None and any(whose == archive for whose, _ in lack.stretches):
                poor.setdefault(stored.digest, {})[stored.pieces] = stored
        for _, stored in contents_of(open_archive, mailbox) if poor else ():
            if stored.digest in poor and stored.size <= _MOST_BYTES and work.lack(stored, set()) is None:
                for lost in poor.pop(stored.digest).values():
                    for filling in _from_twin(archive, lost, stored, reader):
                        found.setdefault(filling.offset, filling)
    return list(found.values())


def _from_twin(archive: ArchiveId, lost: Stored, twin: Stored, reader: _Reader) -> Iterator[Filling]:
    """What ``twin`` gives for the pieces of ``lost`` in an archive."""
    for run in runs_of(lost.pieces):
        at = 0
        for piece in run.pieces:
            if piece.archive == archive:
                filling = Filling(piece.offset, piece.length, reader.reading(twin, run, at, piece.length))
                try:
                    usable = len(filling.read()) == piece.length
                except _NOT_TO_BE_HAD:
                    usable = False
                if usable:
                    yield filling
            at += piece.length


class Run(Record):
    """Pieces that are encoded as a whole, and the stretch of the mail that they become."""

    pieces: tuple[Piece, ...]
    at: int
    length: int

    @property
    def recipe(self) -> int:
        """How all of them become mail."""
        return self.pieces[0].recipe


def runs_of(pieces: Sequence[Piece]) -> Iterator[Run]:
    """The runs of a content, in order: each raw piece is one."""
    at = start = 0
    for number in range(1, len(pieces) + 1):
        if number < len(pieces) and pieces[number].joined:
            continue
        run = tuple(pieces[start:number])
        length = recipes.encoded_length(sum(piece.length for piece in run), run[0].recipe)
        yield Run(run, at, length)
        at += length
        start = number


class _Reader:
    """Cuts stored bytes out of contents. Keeps the run that was cut last, as one after the other is read."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._content: tuple[bytes, bytes] = (b"", b"")
        self._cut: tuple[tuple[bytes, Run] | None, bytes] = (None, b"")

    def reading(self, twin: Stored, run: Run, at: int, length: int) -> Callable[[], bytes]:
        """Reads ``length`` stored bytes at ``at`` of a run, from the content of ``twin``."""
        return lambda: self._stored(twin, run)[at : at + length]

    def _stored(self, twin: Stored, run: Run) -> bytes:
        """The stored bytes of a run. Raises DamagedError if they can't be had."""
        key = (twin.digest, run)
        if self._cut[0] != key:
            if self._content[0] != twin.digest:
                self._content = twin.digest, b"".join(self._contents.message(twin))
            self._cut = key, stored_bytes(self._content[1][run.at : run.at + run.length], run.recipe)
        return self._cut[1]


def stored_bytes(text: bytes, recipe: int) -> bytes:
    """The stored bytes that become this mail by a recipe. Raises DamagedError if there are none."""
    if recipe == recipes.RAW:
        return text
    try:
        data = binascii.a2b_base64(text)
        if b"".join(recipes.encode([data], recipe)) == text:
            return data
    except ValueError:
        pass
    raise DamagedError("the content is not what its recipe says", reason="content")
