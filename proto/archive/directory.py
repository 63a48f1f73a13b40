"""The directory of an archive: where the frames of each mailbox and each block lie. FORMAT.md, "DIRECTORY".

It may be larger than a frame can be, so it is written in parts; the last one tells where the others lie.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from . import claims, columns
from .contents import ArchiveDirectory, BlockTable, MailboxEntry

_PART_BYTES = 1 << 20
_PART_BLOCKS = 1 << 16


def parts(directory: ArchiveDirectory) -> Iterator[ArchiveDirectory]:
    """A directory in parts that fit a frame each; the last one tells the size of the data."""
    data, file = directory.blocks.data, directory.blocks.file
    gathered: list[MailboxEntry] = []
    at = weight = 0
    while len(data) - at > _PART_BLOCKS:
        yield _part([], data[at : at + _PART_BLOCKS], file[at : at + _PART_BLOCKS])
        at += _PART_BLOCKS
    for one in directory.mailboxes:
        gathered.append(one)
        weight += 64 + 4 * len(one.user) + 9 * len(one.message_frames)
        if weight >= _PART_BYTES:
            yield _part(gathered, [], [])
            gathered, weight = [], 0
    yield _part(gathered, data[at:], file[at:], directory.data_bytes, directory.index_frames)


def _part(
    mailboxes: list[MailboxEntry],
    data: Sequence[int],
    file: Sequence[int],
    data_bytes: int = 0,
    index_frames: tuple[int, ...] = (),
) -> ArchiveDirectory:
    return ArchiveDirectory(
        mailboxes=tuple(mailboxes),
        blocks=BlockTable(data=data, file=file),
        data_bytes=data_bytes,
        index_frames=index_frames,
    )


def encode(part: ArchiveDirectory, header: bytes = b"", before: Iterable[int] = ()) -> bytes:
    """The payload of a DIRECTORY frame. The last one holds a copy of the payload of the HEADER frame, and
    where the frames with the earlier parts lie."""
    row = {
        "header": header,
        "parts": list(before),
        "first": part.mailboxes[0].number if part.mailboxes else 0,
        "mailboxes": [
            [
                one.user,
                list(one.frames),
                list(one.message_frames),
                one.folders,
                one.listed,
                one.stored,
                one.size_bytes,
            ]
            for one in part.mailboxes
        ],
        "blocks": len(part.blocks.data),
        "block_data": columns.pack_deltas(part.blocks.data),
        "block_file": columns.pack_deltas(part.blocks.file),
        "data_bytes": part.data_bytes,
        "index": list(part.index_frames),
    }
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


@dataclass(frozen=True, slots=True)
class DirectoryFrame:
    """What a DIRECTORY frame holds; ``header`` and ``before`` are empty but in the last one."""

    part: ArchiveDirectory
    header: bytes
    before: tuple[int, ...]


def decode(payload: bytes) -> DirectoryFrame:
    """One part of a directory; whether the parts fit together is checked by ``join``.
    Raises DamagedError if it contradicts itself."""
    row: dict[str, Any] = claims.unpack_map(payload)
    try:
        count = claims.number(row["blocks"])
        part = ArchiveDirectory(
            mailboxes=tuple(
                map(_mailbox_entry, itertools.count(claims.number(row["first"])), row["mailboxes"])
            ),
            blocks=BlockTable(
                data=columns.unpack_deltas(row["block_data"], count, "block_data"),
                file=columns.unpack_deltas(row["block_file"], count, "block_file"),
            ),
            data_bytes=claims.number(row["data_bytes"]),
            index_frames=_offsets(row["index"]),
        )
        return DirectoryFrame(part, claims.octets(row["header"]), _offsets(row["parts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"the directory is not complete: {claims.shown(error)}", reason="metadata"
        ) from error


def join(parts: Iterable[ArchiveDirectory], most_frames: int) -> ArchiveDirectory:
    """The whole directory from its parts in order. Raises DamagedError if they do not fit together, or
    name more frames than the archive can hold."""
    mailboxes: list[MailboxEntry] = []
    data, file = array("Q"), array("Q")
    index: list[int] = []
    data_bytes = 0
    for part in parts:
        mailboxes += part.mailboxes
        data.extend(part.blocks.data)
        file.extend(part.blocks.file)
        index += part.index_frames
        data_bytes = part.data_bytes
        most_frames -= part.frames
        if most_frames < 0:
            raise DamagedError("the directory names more frames than there are", reason="metadata")
    if any(one.number != number for number, one in enumerate(mailboxes)):
        raise DamagedError("the mailboxes are not in order", reason="metadata")
    first, last = (data[0], data[-1]) if data else (data_bytes, -1)
    if first != 0 or last >= data_bytes or not _ascending(data) or not _ascending(file):
        raise DamagedError("the table of blocks is not in order", reason="metadata")
    return _part(mailboxes, data, file, data_bytes, tuple(index))


def _ascending(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in itertools.pairwise(numbers)) and (not numbers or numbers[-1] < 1 << 63)


def _mailbox_entry(number: int, row: list[Any]) -> MailboxEntry:
    user, frames, message_frames, folders, listed, stored, size_bytes = row
    entry = MailboxEntry(
        number=number,
        user=claims.name(user),
        frames=_offsets(frames),
        message_frames=_offsets(message_frames),
        folders=claims.number(folders),
        listed=claims.number(listed),
        stored=claims.number(stored),
        size_bytes=claims.number(size_bytes),
    )
    if not entry.frames:
        raise ValueError("a mailbox without a frame")
    return entry


def _offsets(values: object) -> tuple[int, ...]:
    offsets = tuple(map(claims.number, claims.rows(values)))
    if not _ascending(offsets):
        raise ValueError("offsets out of order")
    return offsets
