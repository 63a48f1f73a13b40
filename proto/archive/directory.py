"""The directory of an archive: where the frames of each mailbox and each block lie. FORMAT.md, "DIRECTORY".

It may be larger than a frame can be, so it is written in parts; the last one tells where the others lie.
"""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from ..records import ArchiveId, Losses, Referred, Skipped, Stretch
from ..structs import Record, astuple, replace
from . import claims, columns
from .contents import HASH_BYTES, LAST, ArchiveDirectory, MailboxEntry, Seal
from .places import BlockTable, FramePlace, MailboxPlace, MessagesPlace
from .pointers import MailboxPointer

MOST_UNOPENED = 1 << 18
"""Mailboxes that a directory may name as unopened: nothing else bounds their number."""

MOST_LOST = 1 << 16
"""Stretches that a directory may name as lost, of data and of frames each."""

MOST_PLAIN_BYTES = 256 << 20
"""What the parts of a directory may come to, decompressed; of a large file more, see ``most_plain_bytes``."""

_FILE_SHARE = 1 << 11  # of 128 KiB in a file, and less, a directory tells in a row of 20 bytes

_PART_BYTES = 1 << 20
_EMPTY = ArchiveDirectory(
    mailboxes=(),
    blocks=BlockTable(data=array("Q"), file=array("Q"), size=array("I")),
    data_bytes=0,
    index_frames=(),
)

_Rows = tuple[str, Sequence[Any], Callable[[Any], int]]
"""A field of the directory, what it holds row by row, and how many bytes a row takes at most."""


def only(mailboxes: Iterable[MailboxEntry]) -> ArchiveDirectory:
    """A directory of these mailboxes and nothing else."""
    return replace(_EMPTY, mailboxes=tuple(mailboxes))


def most_plain_bytes(file_bytes: int) -> int:
    """What the parts of a directory may come to, decompressed, in a file of this size: it may well be
    hundreds of times as large as they are stored, but not larger than a writer makes it."""
    return max(MOST_PLAIN_BYTES, file_bytes // _FILE_SHARE)


def parts(whole: ArchiveDirectory) -> Iterator[ArchiveDirectory]:
    """A directory in parts that fit a frame each; the last one tells the size of the data."""
    gathered: dict[str, Any] = {}
    weight = 0
    for name, rows, row_bytes in _fields(whole):
        begin = 0
        for end, row in enumerate(rows, 1):
            weight += row_bytes(row)
            if weight >= _PART_BYTES:
                yield _part(whole, {**gathered, name: slice(begin, end)})
                gathered, weight, begin = {}, 0, end
        gathered[name] = slice(begin, len(rows))
    yield replace(_part(whole, gathered), data_bytes=whole.data_bytes, lost=_fitting(whole.lost))


def _fitting(lost: Losses) -> Losses:
    """Where there are too many stretches, all from the last one on counts as lost."""
    return Losses(_at_most(lost.data), _at_most(lost.frames))


def _at_most(stretches: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    if len(stretches) <= MOST_LOST:
        return stretches
    begin = stretches[MOST_LOST - 1].offset
    return (*stretches[: MOST_LOST - 1], Stretch(begin, LAST - begin))


def _fields(whole: ArchiveDirectory) -> Iterator[_Rows]:
    yield "blocks", whole.blocks.data, lambda _: 20
    yield "holes", whole.holes, lambda _: 16
    yield "index_frames", whole.index_frames, lambda _: 9
    yield "departed_frames", whole.departed_frames, lambda one: 4 + 9 * len(one)
    yield "unopened", whole.unopened, lambda one: 16 + 4 * len(one.path + one.reason + one.detail)
    yield "places", whole.places, lambda one: 40 + 14 * sum(map(len, one.parts)) + 19 * len(one.messages)
    yield "mailboxes", whole.mailboxes, _entry_bytes
    yield "referred", whole.referred, lambda one: 48 + 4 * len(one.partition + one.group + one.run)


def _entry_bytes(entry: MailboxEntry) -> int:
    """An archive that it refers to takes its id, once in a part, and an index."""
    return 80 + 4 * len(entry.user) + len(entry.place) + 23 * len(entry.archives) + 32 * len(entry.rows)


def _part(whole: ArchiveDirectory, taken: dict[str, slice]) -> ArchiveDirectory:
    """The rows of a directory that are taken, by field."""
    fields: dict[str, Any] = {name: getattr(whole, name)[rows] for name, rows in taken.items()}
    return replace(_EMPTY, **fields)


def encode(part: ArchiveDirectory, header: bytes = b"", before: Iterable[int] = ()) -> bytes:
    """The payload of a DIRECTORY frame. The last one holds a copy of the payload of the HEADER frame, and
    where the frames with the earlier parts lie."""
    archives: dict[ArchiveId, int] = {}
    row = {
        "header": header,
        "parts": list(before),
        "places": [_place_row(place) for place in part.places],
        "mailboxes": [_entry_row(mailbox, archives) for mailbox in part.mailboxes],
        "archives": list(archives),
        "referred": list(map(_referred_row, part.referred)),
        "blocks": len(part.blocks.data),
        "block_data": columns.pack_deltas(part.blocks.data),
        "block_file": columns.pack_deltas(part.blocks.file),
        "block_size": columns.pack("I", part.blocks.size),
        "holes": len(part.holes),
        "hole_data": columns.pack_deltas([hole.offset for hole in part.holes]),
        "hole_length": columns.pack("Q", [stretch.length for stretch in part.holes]),
        "data_bytes": part.data_bytes,
        "index": list(part.index_frames),
        "departed": list(map(list, part.departed_frames)),
        "unopened": [[skip.path, skip.reason, skip.detail] for skip in part.unopened],
        "lost": list(map(list, part.lost.data)),
        "lost_frames": list(map(list, part.lost.frames)),
        **({"seal": list(astuple(part.seal))} if part.seal else {}),
    }
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def _entry_row(entry: MailboxEntry, archives: dict[ArchiveId, int]) -> list[object]:
    return [
        entry.user,
        archives.setdefault(entry.home.archive, len(archives)),
        entry.home.number,
        entry.folders,
        entry.listed,
        entry.stored,
        entry.size_bytes,
        entry.place,
        [archives.setdefault(archive, len(archives)) for archive in entry.archives],
        [[archives.setdefault(archive, len(archives)), rows] for archive, rows in entry.rows],
        entry.added,
        entry.vanished,
        entry.changed,
    ]


def _referred_row(referred: Referred) -> list[object]:
    return [
        referred.archive,
        referred.run,
        referred.shard,
        referred.size_bytes,
        referred.partition,
        referred.group,
    ]


def _place_row(place: MailboxPlace) -> list[object]:
    frames, messages = itertools.chain(*place.frames), itertools.chain(*place.messages)
    return [
        place.number,
        list(frames),
        [list(itertools.chain(*copies)) for copies in place.parts],
        list(messages),
    ]


def encode_unchanged(part: ArchiveDirectory) -> bytes:
    """The payload of an UNCHANGED frame: what the directory tells of these mailboxes, and nothing else."""
    archives: dict[ArchiveId, int] = {}
    row = {
        "mailboxes": [_entry_row(mailbox, archives) for mailbox in part.mailboxes],
        "archives": list(archives),
    }
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def decode_unchanged(payload: bytes) -> tuple[MailboxEntry, ...]:
    """The mailboxes of an UNCHANGED frame. Raises DamagedError."""
    row: dict[str, Any] = claims.unpack_map(payload)
    try:
        return _mailbox_entries(row)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(
            f"the unchanged mailboxes contradict themselves: {claims.shown(error)}", reason="metadata"
        ) from error


class DirectoryFrame(Record):
    """What a DIRECTORY frame holds; ``header`` and ``before`` are empty but in the last one."""

    part: ArchiveDirectory
    header: bytes
    before: tuple[int, ...]


def decode(payload: bytes) -> DirectoryFrame:
    """One part of a directory; whether the parts fit together is checked by ``join``.
    Raises DamagedError if it contradicts itself."""
    row: dict[str, Any] = claims.unpack_map(payload)
    try:
        part = ArchiveDirectory(
            mailboxes=_mailbox_entries(row),
            places=tuple(map(_place, row["places"])),
            blocks=_block_table(row),
            data_bytes=claims.number(row["data_bytes"]),
            index_frames=_offsets(row["index"]),
            departed_frames=tuple(map(_offsets, row["departed"])),
            unopened=tuple(Skipped(*_texts(one)) for one in row["unopened"]),
            holes=_holes(row),
            lost=Losses(_stretches(row["lost"]), _stretches(row["lost_frames"])),
            referred=tuple(map(_referred, row["referred"])),
            seal=_seal(row["seal"]) if "seal" in row else None,
        )
        return DirectoryFrame(part, claims.octets(row["header"]), _offsets(row["parts"]))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(
            f"the directory is not complete: {claims.shown(error)}", reason="metadata"
        ) from error


def join(joined: Iterable[ArchiveDirectory], most_frames: int) -> ArchiveDirectory:
    """The whole directory from its parts in order. Raises DamagedError if they do not fit together, or
    name more frames than the archive can hold."""
    mailboxes: list[MailboxEntry] = []
    places: list[MailboxPlace] = []
    data, file, size = array("Q"), array("Q"), array("I")
    index: list[int] = []
    departed_frames: list[tuple[int, ...]] = []
    unopened: list[Skipped] = []
    holes: list[Stretch] = []
    referred: list[Referred] = []
    lost = Losses()
    seal = None
    data_bytes = 0
    most_holes = most_frames + 1
    for part in joined:
        mailboxes += part.mailboxes
        places += part.places
        data.extend(part.blocks.data)
        file.extend(part.blocks.file)
        size.extend(part.blocks.size)
        index += part.index_frames
        departed_frames += part.departed_frames
        unopened += part.unopened
        holes += part.holes
        referred += part.referred
        lost = part.lost
        seal = part.seal
        data_bytes = part.data_bytes
        most_frames -= part.frames
        if most_frames < 0 or len(holes) > most_holes:
            raise DamagedError("the directory names more frames than there are", reason="metadata")
        if len(unopened) > MOST_UNOPENED or len(departed_frames) > MOST_UNOPENED:
            raise DamagedError("the directory names too many mailboxes as unopened", reason="metadata")
    if not _ascending([place.number for place in places]):
        raise DamagedError("the mailboxes are not in order", reason="metadata")
    if not _ascending(data) or not _ascending(file) or not _covered(data, holes, data_bytes):
        raise DamagedError("the table of blocks is not in order", reason="metadata")
    return ArchiveDirectory(
        mailboxes=tuple(mailboxes),
        places=tuple(places),
        blocks=BlockTable(data=data, file=file, size=size),
        data_bytes=data_bytes,
        index_frames=tuple(index),
        departed_frames=tuple(departed_frames),
        unopened=tuple(unopened),
        holes=tuple(holes),
        lost=lost,
        referred=tuple(referred),
        seal=seal,
    )


def _ascending(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(numbers)) and (not numbers or numbers[-1] < 1 << 63)


def _covered(data: Sequence[int], holes: Sequence[Stretch], data_bytes: int) -> bool:
    """Whether blocks and holes follow each other from the start of the data to its end, without overlap. A
    block ends where the next one, a hole, or nothing begins; a hole where a block begins, or nothing."""
    at = block = 0
    beside = False
    for hole in holes:
        following = bisect_left(data, hole.offset)
        # Between two holes there is a block, before the first one there may be.
        begins = data[block] if following > block else hole.offset
        end = hole.offset + hole.length
        if begins != at or (following < len(data) and data[following] < end):
            return False
        if not hole.length or (beside and following == block):
            return False
        at, block, beside = end, following, True
    begins, last = (data[block], data[-1]) if block < len(data) else (data_bytes, -1)
    return begins == at and last < data_bytes < 1 << 63


def _mailbox_entries(row: dict[str, Any]) -> tuple[MailboxEntry, ...]:
    archives = [claims.archive_id(value) for value in row["archives"]]
    return tuple(_mailbox_entry(mailbox, archives) for mailbox in row["mailboxes"])


def _mailbox_entry(row: list[Any], archives: list[ArchiveId]) -> MailboxEntry:
    user, home, number, folders, listed, stored, size_bytes, place, *more = row
    others, rows, added, vanished, changed = more
    return MailboxEntry(
        user=claims.name(user),
        home=MailboxPointer(archives[claims.number(home)], claims.number(number)),
        folders=claims.number(folders),
        listed=claims.number(listed),
        stored=claims.number(stored),
        size_bytes=claims.number(size_bytes),
        place=claims.octets(place),
        archives=tuple(archives[claims.number(index)] for index in others),
        rows=tuple((archives[claims.number(index)], claims.number(count)) for index, count in rows),
        added=claims.number(added),
        vanished=claims.number(vanished),
        changed=claims.boolean(changed),
    )


def _seal(row: list[Any]) -> Seal:
    chain, at, sequence, keys, used = row
    return Seal(
        _hash(chain),
        claims.number(at),
        claims.number(sequence),
        _hash(keys),
        tuple((claims.number(slot), claims.number(counter)) for slot, counter in used),
    )


def _hash(value: object) -> bytes:
    if len(found := claims.octets(value)) != HASH_BYTES:
        raise ValueError("not a hash")
    return found


def _referred(row: list[Any]) -> Referred:
    archive, run, shard, size_bytes, partition, group = row
    return Referred(
        archive=claims.archive_id(archive),
        partition=claims.text(partition),
        group=claims.text(group),
        run=claims.text(run),
        shard=claims.number(shard),
        size_bytes=claims.number(size_bytes),
    )


def _place(row: list[Any]) -> MailboxPlace:
    number, frames, parts, messages = row
    if claims.number(number) >= 1 << 31:
        raise ValueError("a mailbox beyond all numbers")
    return MailboxPlace(
        number=number,
        frames=_frame_places(frames),
        parts=tuple(map(_frame_places, parts)),
        messages=tuple(itertools.starmap(MessagesPlace, _tuples(messages, 3))),
    )


def _frame_places(row: object) -> tuple[FramePlace, ...]:
    return tuple(itertools.starmap(FramePlace, _tuples(row, 2)))


def _tuples(row: object, width: int) -> Iterator[tuple[int, ...]]:
    """Numbers that stand side by side."""
    numbers = list(map(claims.number, claims.rows(row)))
    return zip(*(numbers[at::width] for at in range(width)), strict=True)


def _block_table(row: dict[str, Any]) -> BlockTable:
    count = claims.number(row["blocks"])
    return BlockTable(
        data=columns.unpack_deltas(row["block_data"], count, "block_data"),
        file=columns.unpack_deltas(row["block_file"], count, "block_file"),
        size=columns.unpack("I", row["block_size"], count, "block_size"),
    )


def _holes(row: dict[str, Any]) -> tuple[Stretch, ...]:
    count = claims.number(row["holes"])
    offsets = columns.unpack_deltas(row["hole_data"], count, "hole_data")
    return tuple(map(Stretch, offsets, columns.unpack("Q", row["hole_length"], count, "hole_length")))


def _stretches(rows: Iterable[Any]) -> tuple[Stretch, ...]:
    """What is lost: not too many, each behind the one before."""
    found = tuple(Stretch(claims.number(offset), claims.number(length)) for offset, length in rows)
    ends = [0, *(stretch.offset + stretch.length for stretch in found)]
    if len(found) > MOST_LOST or ends[-1] > LAST:
        raise ValueError("too much is lost")
    if any(one.offset < end or not one.length for one, end in zip(found, ends, strict=False)):
        raise ValueError("stretches out of order")
    return found


def _texts(row: list[Any]) -> tuple[str, str, str]:
    first, reason, detail = row
    return claims.text(first), claims.text(reason), claims.text(detail)


def _offsets(values: object) -> tuple[int, ...]:
    offsets = tuple(map(claims.number, claims.rows(values)))
    if not _ascending(offsets):
        raise ValueError("offsets out of order")
    return offsets
