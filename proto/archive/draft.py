"""An archive that was not finished, whole up to the end of a mailbox: what a writer needs to go on behind it.

FORMAT.md, "Going on after a crash". Unlike ``salvage`` it takes nothing from behind the first damage.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from itertools import count

from ..errors import DamagedError, EncryptedError, UnsupportedError
from ..keys.records import NO_KEYS, Keyring
from ..records import ArchiveId
from ..structs import Record, field, replace
from . import contents, directory, frames, mailboxes
from .codec import PLAIN, FrameCodec, counter_of
from .contents import ArchiveDirectory, ArchiveHeader, MailboxEntry
from .files import RandomAccess
from .frames import Codec, FrameHeader, FrameType
from .framing import NO_CHAIN, chained
from .mailboxes import MailboxHead
from .places import BlockTable, FramePlace, MailboxPlace, MessagesPlace
from .pointers import MailboxPointer
from .reader import ArchiveReader
from .slots import codec_for, up_to
from .slots import decode as decode_slots

MOST_DRAFT_BYTES = 8 << 20
"""No encoded draft is larger: it stands for some hundred gigabytes of mail."""


class Draft(Record, kw_only=True):
    """What the first ``size_bytes`` of an archive hold, ``frames`` frames: a writer goes on behind them.

    ``directory`` names all mailboxes, blocks and index frames. There is at least one mailbox, and the last
    one has no copy of its MAILBOX frame yet. ``chain`` and ``used`` are those of an encrypted archive
    (``FrameWriter``).
    """

    header: ArchiveHeader
    directory: ArchiveDirectory
    size_bytes: int
    frames: int
    codec: FrameCodec = PLAIN
    chain: bytes = NO_CHAIN
    used: Mapping[int, int] = field(default_factory=dict)

    def over(self, file: RandomAccess) -> Unfinished:
        """The same, with the file that it is in."""
        archive = ArchiveReader(file, self.header, self.directory, codec=self.codec)
        return Unfinished(
            archive=archive,
            size_bytes=self.size_bytes,
            frames=self.frames,
            chain=self.chain,
            used=self.used,
        )


class Unfinished(Record, kw_only=True):
    """An archive up to the end of a draft, opened: ``archive`` reads what is there."""

    archive: ArchiveReader
    size_bytes: int
    frames: int
    chain: bytes = NO_CHAIN
    used: Mapping[int, int] = field(default_factory=dict)


class WholeFrames(Record, kw_only=True):
    """The frames with which a file begins: their archive (None: there is none), bytes, and number."""

    archive: ArchiveId | None
    size_bytes: int
    frames: int


def whole_frames(file: RandomAccess) -> WholeFrames:
    """The frames of a file up to the first that is damaged, missing or cut off."""
    found = WholeFrames(archive=None, size_bytes=0, frames=0)
    for at, header, stored in _walk(file):
        end = at + frames.HEADER_BYTES + len(stored)
        found = WholeFrames(archive=header.archive, size_bytes=end, frames=header.sequence + 1)
    return found


def read_draft(file: RandomAccess, keys: Keyring = NO_KEYS) -> Draft | None:
    """What a file holds up to the last mailbox before the first damage; None if there is no whole mailbox,
    a later version wrote it, or there is no structure key for it. Reads all of it once; a frame at a time is
    in memory."""
    found = _Found(keys)
    try:
        for at, header, stored in _walk(file):
            found.take(at, header, stored, f"{file.name} at {at}")
    except (DamagedError, UnsupportedError, EncryptedError):
        pass  # what was found before it counts
    return found.draft()


def mailboxes_end(file: RandomAccess) -> WholeFrames:
    """The frames of a file up to the last mailbox before the first damage, as their headers tell without any
    key: where an encrypted archive can be gone on with, if ``read_draft`` agrees. ``archive`` is None where
    there is no mailbox, or the archive is not encrypted."""
    found, mailboxes = WholeFrames(archive=None, size_bytes=0, frames=0), 0
    for at, header, stored in _walk(file):
        if not (header.sequence or header.flags):
            break
        if header.type is FrameType.MAILBOX and header.position >> 32 == mailboxes:
            mailboxes += 1
            end = at + frames.HEADER_BYTES + len(stored)
            found = WholeFrames(archive=header.archive, size_bytes=end, frames=header.sequence + 1)
    return found


def encode_draft(draft: Draft) -> bytes | None:
    """A draft for another host, without what is in the file; None if that takes more than MOST_DRAFT_BYTES,
    and of an encrypted archive: who has its keys reads the file."""
    header = draft.header
    if header.sealed:
        return None
    *earlier, last = directory.parts(draft.directory)
    payloads = [directory.encode(part) for part in earlier]
    payloads.append(directory.encode(last, contents.encode_header(header)))
    compressor = frames.Compressor(Codec.ZSTD)
    encoded = bytearray()
    for number, payload in enumerate(payloads):
        packed, stored = PLAIN.pack(FrameType.DIRECTORY, header.archive, compressor, payload)
        encoded += frames.pack_header(packed._replace(sequence=number, position=draft.frames))
        encoded += stored
        if len(encoded) > MOST_DRAFT_BYTES:
            return None
    return bytes(encoded)


def decode_draft(data: bytes, name: str, size_bytes: int) -> Draft:
    """The inverse of ``encode_draft``, of a file that ends where the draft ends.

    Raises DamagedError if it contradicts itself or the size of the file, UnsupportedError if a later version
    made it.
    """
    if len(data) > MOST_DRAFT_BYTES:
        raise DamagedError(f"{name}: a draft of {len(data)} bytes is not possible", reason="length")
    decoded = list(_directory_frames(data, f"{name}: draft"))
    if not decoded:
        raise DamagedError(f"{name}: the draft is empty", reason="metadata")
    header = contents.decode_header(decoded[-1][1].header)
    if header.sealed:
        raise DamagedError(f"{name}: a draft of an encrypted archive", reason="metadata")
    most_frames = size_bytes // frames.HEADER_BYTES
    whole = directory.join((frame.part for _, frame in decoded), most_frames)
    count = decoded[-1][0].position
    written = [MailboxPointer(header.archive, place.number) for place in whole.places]
    if (
        not written
        or [mailbox.home for mailbox in whole.mailboxes] != written
        or _end(whole) > size_bytes
        or not whole.frames < count <= most_frames
    ):
        raise DamagedError(f"{name}: the draft is not one of this file", reason="metadata")
    return Draft(header=header, directory=whole, size_bytes=size_bytes, frames=count)


def _walk(file: RandomAccess) -> Iterator[tuple[int, FrameHeader, bytes]]:
    """The frames of a file in order, with their payloads as stored, as long as they are whole."""
    at, owner = 0, None
    for sequence in count():
        try:
            header = frames.decode_header(file.read_at(at, frames.HEADER_BYTES), file.name, owner)
            stored = file.read_at(at + frames.HEADER_BYTES, header.stored_bytes)
        except (DamagedError, UnsupportedError):
            return
        in_order = header.sequence == sequence and (header.type is FrameType.HEADER or sequence > 0)
        whole = len(stored) == header.stored_bytes and frames.checksum(stored) == header.checksum
        if not in_order or not whole:
            return
        yield at, header, stored
        at += frames.HEADER_BYTES + len(stored)
        owner = header.archive


def _directory_frames(data: bytes, where: str) -> Iterator[tuple[FrameHeader, directory.DirectoryFrame]]:
    at, left = 0, directory.MOST_PLAIN_BYTES
    while at < len(data):
        header = frames.decode_header(data[at : at + frames.HEADER_BYTES], where)
        at += frames.HEADER_BYTES
        left -= header.plain_bytes
        if header.type is not FrameType.DIRECTORY or left < 0:
            raise DamagedError(f"{where}: not a directory", reason="frame-type")
        yield header, directory.decode(PLAIN.unpack(header, data[at : at + header.stored_bytes], where))
        at += header.stored_bytes


def _end(whole: ArchiveDirectory) -> int:
    """Behind all frames that a directory names."""
    ends = [at + size for at, size in zip(whole.blocks.file, whole.blocks.size, strict=True)]
    ends += [at + frames.HEADER_BYTES for at in whole.index_frames]
    for place in whole.places:
        ends += [sum(one) for one in (*place.metadata, *place.messages)]
    return max(ends)


class _Cut(Record):
    """The end of a mailbox: so many bytes, frames, blocks, bytes of data and index frames come before it."""

    size_bytes: int
    frames: int
    blocks: int
    data_bytes: int
    index_frames: int
    chain: bytes
    last_slot: int


class _Found:
    """What the frames of a file came to so far; ``draft`` is what of it ends with a mailbox."""

    def __init__(self, keys: Keyring) -> None:
        # KEYS frames of a draft repeat each other: what sidecars add is in none of them.
        self._keys = replace(keys, sidecars=())
        self._codec = PLAIN
        self._last_slot = 0
        self._keys_frames = 0
        self._chain = NO_CHAIN
        self._header: ArchiveHeader | None = None
        self._entries: list[MailboxEntry] = []
        self._places: list[MailboxPlace] = []
        self._block_data = array("Q")
        self._block_file = array("Q")
        self._block_size = array("I")
        self._data_bytes = 0
        self._index_frames: list[int] = []
        self._messages: list[MessagesPlace] = []
        self._parts: list[FramePlace] = []
        self._awaits_terms = False
        self._copies: list[FramePlace] = []
        self._departed: list[int] = []
        self._cut: _Cut | None = None
        self._used: dict[int, int] = {}  # up to the cut, and since
        self._used_since: dict[int, int] = {}

    def take(self, at: int, header: FrameHeader, stored: bytes, where: str) -> None:
        """The next frame. Raises DamagedError if no writer writes it there, UnsupportedError if a later one
        does."""
        kind, place = header.type, FramePlace(at, frames.HEADER_BYTES + header.stored_bytes)
        if self._header is None or self._header.sealed:
            self._chain = chained(self._chain, frames.pack_header(header))
        if header.flags:
            counter = counter_of((header, stored))
            self._used_since[header.slot] = max(self._used_since.get(header.slot, 0), counter + 1)
        if self._awaits_terms != (kind is FrameType.SEARCH):
            raise DamagedError(f"{where}: messages without their terms, or the reverse", reason="frame-type")
        if kind is FrameType.BLOCK:
            self._take_block(place, header, where)
        elif kind is FrameType.MESSAGES:
            self._check_position(header, len(self._messages), where)
            self._messages.append(MessagesPlace(*place, 0))
        elif kind is FrameType.SEARCH:
            self._check_position(header, len(self._messages) - 1, where)
            self._messages[-1] = self._messages[-1]._replace(search_bytes=place.size_bytes)
        elif kind is FrameType.INDEX:
            self._index_frames.append(at)
        elif kind in (FrameType.FOLDERS, FrameType.MAILBOX) and self._is_copy(header):
            self._copies.append(place)
        elif kind is FrameType.FOLDERS:
            self._check_position(header, len(self._parts), where)
            self._parts.append(place)
        elif kind is FrameType.MAILBOX:
            self._check_position(header, len(self._messages), where)
            payload = self._codec.unpack(header, stored, where)
            self._end_mailbox(place, header, mailboxes.decode_head(payload))
        elif kind is FrameType.DEPARTED:
            if header.sequence != header.position + 1 + self._keys_frames:
                raise DamagedError(f"{where}: who has departed comes first", reason="frame-type")
            self._departed.append(at)
        elif kind is FrameType.HEADER:
            found = _writable(self._codec.unpack(header, stored, where))
            if self._header not in (None, found):
                raise DamagedError(f"{where}: two headers that differ", reason="metadata")
            self._header = found
        elif kind is FrameType.KEYS:
            self._take_keys(header.archive, self._codec.unpack(header, stored, where), where)
        else:
            raise DamagedError(f"{where}: all mailboxes come before", reason="frame-type")
        self._awaits_terms = kind is FrameType.MESSAGES

    def draft(self) -> Draft | None:
        """None if there is no whole mailbox."""
        cut = self._cut
        if self._header is None or cut is None:
            return None
        whole = ArchiveDirectory(
            mailboxes=tuple(self._entries),
            places=tuple(self._places),
            blocks=BlockTable(
                data=self._block_data[: cut.blocks],
                file=self._block_file[: cut.blocks],
                size=self._block_size[: cut.blocks],
            ),
            data_bytes=cut.data_bytes,
            index_frames=tuple(self._index_frames[: cut.index_frames]),
            departed_frames=tuple((at,) for at in self._departed),
        )
        slots = up_to(self._codec.key_slots, cut.last_slot)
        return Draft(
            header=self._header,
            directory=whole,
            size_bytes=cut.size_bytes,
            frames=cut.frames,
            codec=codec_for(self._header.archive, slots, self._keys),
            chain=cut.chain if self._header.sealed else NO_CHAIN,
            used=self._used,
        )

    def _take_keys(self, archive: ArchiveId, payload: bytes, where: str) -> None:
        """All slots that are known there, or those that are new there."""
        if self._header is None or not self._header.sealed:
            raise DamagedError(f"{where}: not the keys of this archive", reason="keys")
        found = decode_slots(payload)
        if self._codec.seals:
            self._codec.learn(found)
        else:
            self._codec = codec_for(archive, found, self._keys)
        self._last_slot = max(self._last_slot, found.last)
        self._keys_frames += 1

    def _take_block(self, place: FramePlace, header: FrameHeader, where: str) -> None:
        if header.position != self._data_bytes or not header.plain_bytes:
            raise DamagedError(f"{where}: a block is not where it should be", reason="block")
        self._block_data.append(header.position)
        self._block_file.append(place.at)
        self._block_size.append(place.size_bytes)
        self._data_bytes += header.plain_bytes

    def _is_copy(self, header: FrameHeader) -> bool:
        """Whether a frame is the second one of the last mailbox: what it consists of comes in the same order
        again."""
        if not self._places:
            return False
        last, copied = self._places[-1], len(self._copies)
        if copied < len(last.parts):
            kind, number = FrameType.FOLDERS, copied
        else:
            kind, number = FrameType.MAILBOX, len(last.messages)
        expected = frames.mailbox_position(last.number, number)
        return copied <= len(last.parts) and (header.type, header.position) == (kind, expected)

    def _check_position(self, header: FrameHeader, number: int, where: str) -> None:
        if header.position != frames.mailbox_position(len(self._places), number):
            raise DamagedError(f"{where}: a frame of another mailbox", reason="frame-type")

    def _end_mailbox(self, place: FramePlace, header: FrameHeader, head: MailboxHead) -> None:
        if len(self._parts) != head.parts:
            raise DamagedError("a mailbox without some of its folders", reason="metadata")
        if self._places:
            last = self._places[-1]
            if len(self._copies) != len(last.parts) + 1:
                raise DamagedError("a mailbox without the copy of the one before it", reason="metadata")
            *parts, frame = self._copies
            self._places[-1] = replace(
                last,
                frames=(*last.frames, frame),
                parts=tuple((*one, copy) for one, copy in zip(last.parts, parts, strict=True)),
            )
        number = len(self._places)
        self._entries.append(mailboxes.entry_of(head, MailboxPointer(header.archive, number)))
        self._places.append(
            MailboxPlace(
                number=number,
                frames=(place,),
                parts=tuple((part,) for part in self._parts),
                messages=tuple(self._messages),
            )
        )
        self._messages.clear()
        self._parts.clear()
        self._copies.clear()
        for slot, counter in self._used_since.items():
            self._used[slot] = max(self._used.get(slot, 0), counter)
        self._used_since.clear()
        end = place.at + place.size_bytes
        self._cut = _Cut(
            size_bytes=end,
            frames=header.sequence + 1,
            blocks=len(self._block_data),
            data_bytes=self._data_bytes,
            index_frames=len(self._index_frames),
            chain=self._chain,
            last_slot=self._last_slot,
        )


def _writable(payload: bytes) -> ArchiveHeader:
    """Raises UnsupportedError if this version must not add to the archive, DamagedError if nobody must."""
    header = contents.decode_header(payload)
    if header.generation:
        raise DamagedError("an archive that is written anew is not continued", reason="metadata")
    if header.write_version > contents.WRITE_VERSION:
        raise UnsupportedError(f"the archive can be written only by a later version: {header.write_version}")
    return header
