"""The decoder: opens a sealed archive at its end, finds what is asked for, reads no more than that.

Reads through ``RandomAccess``, so that an archive may be a local file, a stretch of one, or an object
in remote storage. Nothing that a file claims is believed before it was checked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

from blake3 import blake3

from ..errors import DamagedError, EncryptedError, PlaceError
from ..keys.records import NO_KEYS, Keyring, KeySlots
from ..records import ArchiveId, Departed, Losses, Referred, RunId, Skipped, Stretch
from ..structs import replace
from . import contents, departed, directory, frames, messages
from .codec import PLAIN, FrameCodec
from .contents import LAST, ArchiveDirectory, ArchiveHeader, IndexRow, MailboxEntry, frames_gone
from .files import RandomAccess, ReadAhead, ReadTail, Twins, read_frame, read_stored
from .frames import FrameHeader, FrameType
from .mailboxes import Mailbox, MailboxFrames
from .places import GONE, FramePlace, MailboxPlace, MessagesPlace
from .pointers import LOW
from .scanning import FOOTER_FRAME_BYTES, any_header_at
from .slots import codec_for, keys_behind
from .slots import decode as decode_slots
from .whereabouts import Whereabouts

_TAIL_BYTES = 64 << 10
_TAIL_SHARE = 1 << 12  # so much of an ordinary archive is its directory
_MOST_TAIL_BYTES = 8 << 20

_Stored = tuple[FrameHeader, bytes]
_Read = Callable[[RandomAccess, FramePlace, FrameType, ArchiveId], _Stored]


class ArchiveReader:
    """One archive whose header and directory are known. Methods raise DamagedError wherever the file is not
    what a writer wrote. ``open_sealed`` makes one from a whole file, ``salvage`` from a broken one;
    ``damage`` is what salvaging found to be broken; with ``cut`` nobody knows where its data ended. A frame
    that is not where the directory says, or not whole, is looked for at the same place of its twins, and in
    all of ``copies``: the file itself, and others that hold the same archive.
    """

    def __init__(
        self,
        file: RandomAccess,
        header: ArchiveHeader,
        directory: ArchiveDirectory,
        damage: tuple[Skipped, ...] = (),
        copies: RandomAccess | None = None,
        *,
        cut: bool = False,
        codec: FrameCodec = PLAIN,
    ) -> None:
        self.file = file
        self.header = header
        self.directory = directory
        self.damage = damage
        self.cut = cut
        self.codec = codec
        self.copies = copies
        # All of a file is searched only where that is near: of twins the first.
        near = file.files[0] if isinstance(file, Twins) else file
        self._elsewhere = Whereabouts(copies or near, header.archive, codec)
        # Frames of metadata are small and lie side by side; blocks are large.
        self._metadata = ReadAhead(file)
        self._entries: dict[str, MailboxEntry] | None = None
        self._places: dict[int, MailboxPlace] | None = None
        self._referred: dict[ArchiveId, Referred] | None = None

    def entry(self, user: str) -> MailboxEntry | None:
        """The directory's entry of a user's mailbox, or None."""
        if self._entries is None:
            self._entries = {mailbox.user: mailbox for mailbox in self.directory.mailboxes}
        return self._entries.get(user)

    def referred(self, archive: ArchiveId) -> Referred:
        """What the directory tells of an archive that is referred to."""
        if self._referred is None:
            own = self.header
            self._referred = {
                one.archive: replace(
                    one, partition=one.partition or own.partition, group=one.group or own.group
                )
                for one in self.directory.referred
            }
        return self._referred.get(archive, Referred(archive=archive))

    @property
    def behind(self) -> tuple[Stretch, ...]:
        """The data behind the end that is known, as far as there may have been some."""
        end = self.directory.data_bytes
        if self.cut:
            return (Stretch(end, LAST - end),)
        lost = (
            (max(end, stretch.offset), stretch.offset + stretch.length)
            for stretch in self.directory.lost.data
        )
        return tuple(Stretch(begin, stop - begin) for begin, stop in lost if begin < stop)

    @property
    def gone(self) -> Losses:
        """What is not there of data and metadata: of a damaged archive all that may be lost."""
        return Losses((*self.directory.holes, *self.behind), frames_gone(self.directory.places))

    def frame(
        self, place: FramePlace, kind: FrameType, position: int | None = None
    ) -> tuple[FrameHeader, bytes]:
        """The frame of this kind (and position) at a place, or wherever it is, checked and decompressed. The
        size of the place may be 0 where it is not known."""
        return self._found(partial(read_frame, codec=self.codec), place, kind, position)

    def stored_frame(self, place: FramePlace, kind: FrameType, position: int | None = None) -> _Stored:
        """The same as it is stored, checked and not decompressed: for copying."""
        return self._found(read_stored, place, kind, position)

    def _found(self, read: _Read, place: FramePlace, kind: FrameType, position: int | None) -> _Stored:
        archive = self.header.archive
        try:
            found = read(self._file(kind), place, kind, archive)
            if position in (None, found[0].position):
                return found
            error = DamagedError(
                f"{self.file.name} at {place.at}: a {kind.name} frame of another place", reason="frame-type"
            )
        except DamagedError as damage:
            error = damage
        if isinstance(self.file, Twins):
            worse = []
            for twin in self.file.files:
                with suppress(PlaceError):
                    try:
                        found = read(twin, place, kind, archive)
                    except DamagedError:
                        worse.append(twin)
                        continue
                    if position in (None, found[0].position):
                        self.file.note_damage(worse)
                        return found
        other = self._elsewhere.offset(kind, position) if position is not None else None
        if other is None:
            raise error
        return read(self._elsewhere.file, FramePlace(other, 0), kind, archive)

    def _file(self, kind: FrameType) -> RandomAccess:
        return self.file if kind is FrameType.BLOCK else self._metadata

    def place(self, number: int) -> MailboxPlace:
        """Where the frames of the mailbox with this number lie."""
        if self._places is None:
            self._places = {mailbox_place.number: mailbox_place for mailbox_place in self.directory.places}
        place = self._places.get(number)
        if place is None:
            raise DamagedError(f"{self.file.name}: mailbox {number} is not in it", reason="metadata")
        return place

    def mailbox(self, number: int) -> Mailbox:
        """The metadata of the mailbox with this number, without its messages; from its frames or the copies
        of them."""
        return self.mailbox_frames(number).mailbox()

    def mailbox_frames(self, number: int) -> MailboxFrames:
        """The same, of which no more is decoded than is asked for."""
        return MailboxFrames([payload for _, payload in self._mailbox_frames(number, self.frame)])

    def stored_mailbox(self, number: int) -> list[_Stored]:
        """The FOLDERS frames of a mailbox and its MAILBOX frame, or the copies of them, as they are stored.
        Only their places are checked."""
        return list(self._mailbox_frames(number, self.stored_frame))

    def _mailbox_frames(
        self, number: int, read: Callable[[FramePlace, FrameType, int], _Stored]
    ) -> Iterator[_Stored]:
        place = self.place(number)
        for part, copies in enumerate(place.parts):
            yield self._any_of(copies, FrameType.FOLDERS, frames.mailbox_position(number, part), read)
        last = frames.mailbox_position(number, len(place.messages))
        yield self._any_of(place.frames, FrameType.MAILBOX, last, read)

    def _any_of(
        self,
        copies: Sequence[FramePlace],
        kind: FrameType,
        position: int,
        read: Callable[[FramePlace, FrameType, int], _Stored],
    ) -> _Stored:
        damage: DamagedError | None = None
        for copy in copies:
            try:
                return read(copy, kind, position)
            except DamagedError as error:
                damage = damage or error
        raise damage or DamagedError(
            f"{self.file.name}: the metadata of mailbox {position >> 32} is gone", reason="metadata"
        )

    def message_frame(self, position: int) -> bytes:
        """The payload of a MESSAGES frame."""
        _, payload = self.frame(self.messages_place(position).frame, FrameType.MESSAGES, position)
        self._refuse_lost(payload, position)
        return payload

    def _refuse_lost(self, payload: bytes, position: int) -> None:
        if messages.is_lost(payload):
            raise DamagedError(
                f"{self.file.name}: frame {position & LOW} of the messages of mailbox {position >> 32} was "
                "damaged, and lost when the archive was written anew",
                reason="metadata",
            )

    def stored_messages(self, position: int) -> tuple[_Stored, _Stored | None]:
        """A MESSAGES frame and the SEARCH frame behind it as they are stored; None for that if it is
        damaged."""
        place = self.messages_place(position)
        header, stored = self.stored_frame(place.frame, FrameType.MESSAGES, position)
        if header.plain_bytes <= messages.MOST_LOST_BYTES and self.codec.can_open(header):
            self._refuse_lost(self.codec.unpack(header, stored, self.file.name), position)
        try:
            return (header, stored), self.stored_frame(place.search, FrameType.SEARCH, position)
        except DamagedError:
            return (header, stored), None

    def search_frame(self, position: int) -> bytes:
        """The payload of the SEARCH frame behind a MESSAGES frame."""
        bound = self.codec.binding(self.message_frame(position)) if self.codec.seals else b""
        read = partial(read_frame, codec=self.codec, bound=bound)
        return self._found(read, self.messages_place(position).search, FrameType.SEARCH, position)[1]

    def opens(self, place: FramePlace, kind: FrameType) -> bool:
        """Whether no key is missing for the frame of this kind at a place; also where it is damaged."""
        if not self.codec.seals:
            return True
        try:
            header, _ = self._found(read_stored, place, kind, None)
        except DamagedError:
            return True
        return self.codec.can_open(header)

    def messages_place(self, position: int) -> MessagesPlace:
        """Where a MESSAGES frame lies."""
        number, messages = position & LOW, self.place(position >> 32).messages
        place = messages[number] if number < len(messages) else GONE
        if place == GONE:
            raise DamagedError(
                f"{self.file.name}: frame {number} of the messages of mailbox {position >> 32} is gone",
                reason="metadata",
            )
        return place

    def departures(self) -> tuple[Departed, ...]:
        """The mailboxes that are gone as of its run, as far as that can be told from any copy. Raises
        DamagedError if it can't be told of all."""
        found: dict[tuple[str, RunId], Departed] = {}
        for part, copies in enumerate(self.directory.departed_frames):
            payload = self._departed_part(part, copies)
            found.update(((one.user, one.run), one) for one in departed.decode(payload))
            if len(found) > departed.MOST_DEPARTED:
                raise DamagedError("too many mailboxes are named as gone", reason="metadata")
        return tuple(found.values())

    def _departed_part(self, part: int, copies: tuple[int, ...]) -> bytes:
        for at in copies[:-1]:
            with suppress(DamagedError):
                header, payload = read_frame(
                    self._metadata,
                    FramePlace(at, 0),
                    FrameType.DEPARTED,
                    self.header.archive,
                    self.codec,
                )
                if header.position == part:
                    return payload
        last = FramePlace(copies[-1] if copies else 0, 0)
        return self.frame(last, FrameType.DEPARTED, part)[1]

    def index(self, *, lost: bool = False) -> Iterator[IndexRow]:
        """The segments that the archive holds, an INDEX frame at a time; with ``lost`` also those that lie in
        a hole. Those of mailboxes whose secret is not at hand, and frames that are damaged, are left out;
        DamagedError is raised after the last row then."""
        damage: DamagedError | None = None
        for at in self.directory.index_frames:
            try:
                header, payload = self.frame(FramePlace(at, 0), FrameType.INDEX)
                owner = self.codec.owner_of(header.slot)
                row = replace(contents.decode_index(payload), owner=owner)
                held = self.directory.held(row)
            except EncryptedError:
                continue  # of a mailbox whose secret is not at hand
            except DamagedError as error:
                damage = damage or error
            else:
                yield row if lost else held
        if damage:
            raise damage

    def block_at(self, offset: int) -> int:
        """The number of the block that holds this offset of the data."""
        if not 0 <= offset < self.directory.data_bytes:
            raise DamagedError(f"{self.file.name}: no data at {offset}", reason="metadata")
        if self.directory.hole_at(offset) is not None:
            raise DamagedError(f"{self.file.name}: the data at {offset} is not kept any more", reason="hole")
        return bisect_right(self.directory.blocks.data, offset) - 1

    def block(self, number: int) -> bytes:
        """The plain data of a block."""
        table = self.directory.blocks
        header, plain = self.frame(table.place(number), FrameType.BLOCK, table.data[number])
        self._check_block(header, number)
        return plain

    def stored_block(self, number: int) -> _Stored:
        """The frame of a block as it is stored."""
        table = self.directory.blocks
        header, stored = self.stored_frame(table.place(number), FrameType.BLOCK, table.data[number])
        self._check_block(header, number)
        return header, stored

    def block_header(self, number: int) -> FrameHeader | None:
        """The header of the frame of a block, be its payload damaged; None if it is, too."""
        found = any_header_at(self.file, self.directory.blocks.file[number], self.header.archive)
        is_block = found is not None and found[0].type is FrameType.BLOCK
        return found[0] if found is not None and is_block else None

    def _check_block(self, header: FrameHeader, number: int) -> None:
        start, end = self.directory.blocks.data[number], self.directory.block_end(number)
        if (header.position, header.position + header.plain_bytes) != (start, end):
            raise DamagedError(f"{self.file.name}: block {number} is not where it should be", reason="block")

    def close(self) -> None:
        """Close the file. Repeatable."""
        self.file.close()


def read_footer(file: RandomAccess) -> tuple[FrameHeader, contents.Footer]:
    """The footer at the end of a file; it says where the archive begins. Raises DamagedError."""
    at = file.size - FOOTER_FRAME_BYTES
    try:
        header, payload = read_frame(file, FramePlace(at, FOOTER_FRAME_BYTES), FrameType.FOOTER)
    except DamagedError as error:
        raise DamagedError(
            f"{file.name}: the archive has no end: it was cut off, damaged there, or never sealed",
            reason="no-footer",
        ) from error
    footer = contents.decode_footer(payload)
    if footer.footer > at:
        raise DamagedError(f"{file.name}: the footer tells of more than the file holds", reason="footer")
    if header.sequence + 1 != footer.frames:
        raise DamagedError(f"{file.name}: the footer counts other frames", reason="sequence")
    return header, footer


def open_sealed(
    file: RandomAccess, copies: RandomAccess | None = None, keys: Keyring = NO_KEYS
) -> ArchiveReader:
    """A whole archive: footer and directory, with the copy of the header in it, are read and checked. That
    takes one read, but where the directory is unusually large. ``copies``: see ArchiveReader. Raises
    DamagedError, UnsupportedError; EncryptedError if there is no structure key for it."""
    tail = ReadTail(file, min(max(_TAIL_BYTES, file.size // _TAIL_SHARE), _MOST_TAIL_BYTES))
    try:
        end, footer = read_footer(tail)
        header, whole, codec = _directory(tail, footer, end, keys)
    except DamagedError:
        _refuse_newer(file)
        raise
    if footer.footer != file.size - FOOTER_FRAME_BYTES or header.archive != end.archive:
        raise DamagedError(f"{file.name}: header and footer do not belong together", reason="footer")
    return ArchiveReader(file, header, whole, copies=copies, codec=codec)


def _refuse_newer(file: RandomAccess) -> None:
    """What a later version wrote may end as nothing does that this one knows. Raises UnsupportedError."""
    with suppress(DamagedError):
        contents.decode_header(read_frame(file, FramePlace(0, 0), FrameType.HEADER)[1])


def _directory(
    file: RandomAccess, footer: contents.Footer, end: FrameHeader, keys: Keyring
) -> tuple[ArchiveHeader, ArchiveDirectory, FrameCodec]:
    left, archive = directory.most_plain_bytes(file.size), end.archive
    first = any_header_at(file, footer.directory, archive)
    sealed = first is not None and first[0].flags > 0
    slots = keys_behind(file, first[0], footer.directory) if first is not None and sealed else b""
    codec = codec_for(archive, decode_slots(slots) if sealed else KeySlots(), keys)

    def part(at: int) -> directory.DirectoryFrame:
        nonlocal left
        header, payload = read_frame(file, FramePlace(at, 0), FrameType.DIRECTORY, archive, codec)
        left -= header.plain_bytes
        if left < 0:
            raise DamagedError(f"{file.name}: the directory is too large to be one", reason="length")
        return directory.decode(payload)

    last = part(footer.directory)
    if last.part.seal is not None:
        codec.limit(last.part.seal.used)
    # Each frame has a header, so a small file can't name many frames: nothing grows beyond its size.
    most_frames = min(footer.frames, file.size // frames.HEADER_BYTES)
    whole = directory.join(chain((part(at).part for at in last.before), (last.part,)), most_frames)
    header = contents.decode_header(last.header)
    seal = whole.seal
    if header.sealed != sealed or (seal is not None) != sealed:
        raise DamagedError(f"{file.name}: the directory of another archive", reason="metadata")
    if seal is not None:
        told = (seal.at, seal.sequence + 2, seal.keys)
        if told != (footer.directory, end.sequence, blake3(slots).digest()):
            raise DamagedError(f"{file.name}: the end is not the one that was written", reason="forged")
    return header, whole, codec
