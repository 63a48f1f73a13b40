"""Checking one archive by itself: that each frame is as it was written, and what of its data is not.

Whether every message can still be put together from it and others is found out in ``losses``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from ...proto.archive.codec import PLAIN, FrameCodec
from ...proto.archive.contents import Seal, decode_header
from ...proto.archive.files import RandomAccess, read_stored
from ...proto.archive.frames import FrameType
from ...proto.archive.framing import NO_CHAIN, chained
from ...proto.archive.places import GONE, FramePlace
from ...proto.archive.reader import ArchiveReader, open_sealed, read_footer
from ...proto.archive.scanning import FOOTER_FRAME_BYTES, FoundFrame, damage_of, header_of, scan
from ...proto.errors import DamagedError, EncryptedError
from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Progress, Skipped, Stretch
from ...proto.structs import Record, replace
from ..archives.availability import block_stretches
from ..archives.opened import open_archive
from ..archives.stretches import merged

_PROGRESS_BYTES = 16 << 20

T = TypeVar("T")


class VerifyReport(Record, kw_only=True):
    """What was looked at of an archive, and what of it is damaged, by its place in the file.

    ``archive`` is whose frames they are and ``generation`` how often it was written anew; None and 0 where
    that can't be told any more. ``frames`` and ``size_bytes`` were checked; where that was only a sample,
    ``sampled_of`` is how many frames there are. ``broken`` are the stretches of its data that are damaged.
    ``locked_frames`` are encrypted, and were compared as they are stored, as there was no key for them.
    ``encrypted``: whether the archive is; None where that can't be told.
    ``unreadable`` tells why the system does not let it be read, if so: nothing else is known of it then.
    """

    file: str
    archive: ArchiveId | None = None
    generation: int = 0
    encrypted: bool | None = None
    frames: int = 0
    sampled_of: int | None = None
    size_bytes: int = 0
    damaged: tuple[Skipped, ...] = ()
    unreadable: str = ""
    locked_frames: int = 0
    broken: tuple[Stretch, ...] = ()


def verify_archive(file: RandomAccess, progress: ProgressSink, keys: Keyring = NO_KEYS) -> VerifyReport:
    """Check a whole archive: as ``verify_frames``; where that finds damage, also what of the data is hit.
    Raises UnsupportedError, EncryptedError."""
    report = verify_frames(file, progress, keys)
    try:
        archive = open_archive(file, keys=keys) if report.damaged else open_sealed(file, keys=keys)
    except DamagedError:
        return report  # which says so
    return replace(
        report,
        archive=archive.header.archive,
        generation=archive.header.generation,
        encrypted=archive.codec.seals,
        broken=broken_stretches(archive) if report.damaged else (),
    )


def verify_frames(
    file: RandomAccess, progress: ProgressSink = lambda _: None, keys: Keyring = NO_KEYS
) -> VerifyReport:
    """Read a file from front to back: every frame's checksum, their order without a gap, and that header,
    directory and footer make an archive of them. Of an encrypted one also that they are the frames that were
    encrypted for it, as far as there are keys: of mail and terms without a private key only that nothing was
    changed, left out, added or moved since all was written. Raises UnsupportedError; EncryptedError if there
    is no structure key for it."""
    unopened: list[Skipped] = []
    codec: FrameCodec = PLAIN
    seal: Seal | None = None
    try:
        archive = open_sealed(file, keys=keys)
        codec, seal = archive.codec, archive.directory.seal
    except DamagedError as error:
        unopened.append(Skipped(file.name, "archive", error.message))
    return _walked(file, progress, codec, seal, unopened)


def verify_stored(file: RandomAccess, progress: ProgressSink) -> VerifyReport:
    """Check of an encrypted archive what takes no key at all: every frame's checksum, their order without a
    gap, and that they end with a footer that counts as many. Whoever changes frames can make the checksums
    right again. Raises UnsupportedError."""
    unopened: list[Skipped] = []
    try:
        _, footer = read_footer(file)
        if footer.footer != file.size - FOOTER_FRAME_BYTES:
            unopened.append(Skipped(file.name, "archive", "bytes are missing in it, or there are more"))
    except DamagedError as error:
        unopened.append(Skipped(file.name, "archive", error.message))
    return _walked(file, progress, PLAIN, None, unopened)


def _walked(
    file: RandomAccess, progress: ProgressSink, codec: FrameCodec, seal: Seal | None, unopened: list[Skipped]
) -> VerifyReport:
    """The frames of a file from front to back, as far as the codec opens them, and whether they are those of
    the seal; ``unopened`` is what is known to be wrong."""
    damaged: list[Skipped] = []
    count, locked, chain = 0, 0, NO_CHAIN
    told = _PROGRESS_BYTES
    try:
        for found in scan(file, codec=codec):
            wrong = damage_of(file, found)
            if isinstance(found, FoundFrame):
                if wrong is None and found.header.sequence != count and not damaged:
                    wrong = Skipped(
                        f"{file.name} at {found.at}", "sequence", f"frame {count} is missing or out of place"
                    )
                count = found.header.sequence + 1
                locked += found.locked
                if seal is not None and found.at < seal.at:
                    chain = chained(chain, header_of(file, found))
                if found.header.type is FrameType.HEADER and found.damage is None:
                    decode_header(found.payload)
            if wrong is not None:
                damaged.append(wrong)
            if found.at >= told:
                progress(Progress(file.name, 0, found.at))
                told = found.at + _PROGRESS_BYTES
    except DamagedError as error:
        unopened = [Skipped(file.name, "archive", error.message)]
    damaged += unopened
    if seal is not None and chain != seal.chain and not damaged:
        damaged.append(Skipped(file.name, "forged", "it is not made of the frames that were sealed"))
    return VerifyReport(
        file=file.name, frames=count, size_bytes=file.size, damaged=tuple(damaged), locked_frames=locked
    )


def _check_block(archive: ArchiveReader, number: int) -> None:
    """Raise DamagedError if a block can't be read; where there is no key for it, if it is not as it was
    stored."""
    try:
        archive.block(number)
    except EncryptedError:
        archive.stored_block(number)


def broken_stretches(archive: ArchiveReader) -> tuple[Stretch, ...]:
    """The stretches of the data whose blocks can't be read, though the archive has a place for them."""
    lost = []
    for number, extent in enumerate(block_stretches(archive.directory)):
        try:
            _check_block(archive, number)
        except DamagedError:
            lost.append(extent)
    return tuple(merged(lost))


def verify_sample(
    file: RandomAccess, share: float, rng: random.Random, keys: Keyring = NO_KEYS
) -> VerifyReport:
    """Check header, directory and footer, and of the other frames a random share, at least one of each kind.
    Raises UnsupportedError; EncryptedError if there is no structure key for it."""
    try:
        archive = open_sealed(file, keys=keys)
    except DamagedError as error:
        return VerifyReport(file=file.name, damaged=(Skipped(file.name, "archive", error.message),))
    work = _Sample(archive, share, rng)
    work.blocks()
    places = archive.directory.places
    work.frames(FrameType.MAILBOX, [frame for place in places for frame in place.frames])
    work.frames(FrameType.FOLDERS, [copy for place in places for copies in place.parts for copy in copies])
    work.frames(
        FrameType.MESSAGES,
        [message.frame for place in places for message in place.messages if message != GONE],
    )
    work.frames(FrameType.INDEX, [FramePlace(at, 0) for at in archive.directory.index_frames])
    return VerifyReport(
        file=file.name,
        archive=archive.header.archive,
        generation=archive.header.generation,
        encrypted=archive.codec.seals,
        frames=work.checked,
        sampled_of=work.of,
        size_bytes=work.size_bytes,
        damaged=tuple(work.damaged),
        broken=tuple(merged(work.broken)),
    )


class _Sample:
    """The counts of a sample while it is taken."""

    def __init__(self, archive: ArchiveReader, share: float, rng: random.Random) -> None:
        self._archive = archive
        self._share = share
        self._rng = rng
        self.checked = self.of = self.size_bytes = 0
        self.damaged: list[Skipped] = []
        self.broken: list[Stretch] = []

    def blocks(self) -> None:
        """Some blocks, and that they hold the stretch of the data that they should."""
        table = self._archive.directory.blocks
        for number, extent in self._chosen(list(enumerate(block_stretches(self._archive.directory)))):
            self._frame(FrameType.BLOCK, table.place(number))
            try:
                _check_block(self._archive, number)
            except DamagedError:
                self.broken.append(extent)

    def frames(self, kind: FrameType, places: Sequence[FramePlace]) -> None:
        """Some frames of a kind."""
        for place in self._chosen(list(places)):
            self._frame(kind, place)

    def _frame(self, kind: FrameType, place: FramePlace) -> None:
        file, codec = self._archive.file, self._archive.codec
        try:
            header, stored = read_stored(file, place, kind, self._archive.header.archive)
            if codec.can_open(header):
                codec.unpack(header, stored, f"{file.name} at {place.at}")
            self.size_bytes += header.stored_bytes
        except DamagedError as error:
            self.damaged.append(Skipped(f"{file.name} at {place.at}", "frame", error.message))
        self.checked += 1

    def _chosen(self, those: list[T]) -> list[T]:
        self.of += len(those)
        return self._rng.sample(those, min(len(those), math.ceil(len(those) * self._share)))
