"""The metadata of one mailbox: one MAILBOX frame, which is a checkpoint too, and the records it decodes to.

FORMAT.md, "MAILBOX". Every claim of a frame is checked before it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from ..records import (
    DIGEST_BYTES,
    ArchiveId,
    Directory,
    Folder,
    MailboxSummary,
    Ownership,
    Piece,
    Skipped,
    StoredFile,
)
from .messages import archive_id, piece, unpack_map


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A folder of a stored mailbox: how many messages, and in which of its mailbox's MESSAGES frames."""

    folder: Folder
    messages: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A stored mailbox without its messages.

    ``place`` is its directory relative to the root of its partition, where that says more than the
    user's name. ``listed`` is what the store listed: the messages stored and those skipped.
    """

    user: str
    place: bytes
    listed: int
    size_bytes: int
    folders: tuple[FolderEntry, ...]
    files: tuple[StoredFile, ...]
    skipped: tuple[Skipped, ...]

    @property
    def stored(self) -> int:
        """How many messages are stored."""
        return sum(entry.messages for entry in self.folders)

    def summary(self, partition: str, group: str) -> MailboxSummary:
        """The counts of this mailbox."""
        return MailboxSummary(
            partition=partition,
            group=group,
            user=self.user,
            folders=len(self.folders),
            listed=self.listed,
            stored=self.stored,
            skipped=self.listed - self.stored,
            size_bytes=self.size_bytes,
        )


def encode(mailbox: Mailbox) -> bytes:
    """The payload of the MAILBOX frame."""
    archives: dict[ArchiveId, int] = {}
    row = {
        "user": mailbox.user,
        "place": mailbox.place,
        "listed": mailbox.listed,
        "bytes": mailbox.size_bytes,
        "folders": [_folder_row(entry) for entry in mailbox.folders],
        "files": [_file_row(file, archives) for file in mailbox.files],
        "archives": list(archives),
        "skipped": [[one.path, one.reason, one.detail] for one in mailbox.skipped],
    }
    row["archives"] = list(archives)
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def decode(payload: bytes) -> Mailbox:
    """The mailbox of a MAILBOX frame. Raises DamagedError if it contradicts itself."""
    row: dict[str, Any] = unpack_map(payload)
    try:
        archives = [archive_id(value) for value in row["archives"]]
        mailbox = Mailbox(
            user=_text(row["user"]),
            place=_bytes(row["place"]),
            listed=_number(row["listed"]),
            size_bytes=_number(row["bytes"]),
            folders=tuple(_folder(one) for one in row["folders"]),
            files=tuple(_file(one, archives) for one in row["files"]),
            skipped=tuple(Skipped(_text(a), _text(b), _text(c)) for a, b, c in row["skipped"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(
            f"the metadata of a mailbox is not complete: {error!r}", reason="metadata"
        ) from error
    if mailbox.stored > mailbox.listed:
        raise DamagedError("a mailbox claims more messages than were listed", reason="metadata")
    return mailbox


def _folder_row(entry: FolderEntry) -> dict[str, object]:
    folder = entry.folder
    return {
        "name": folder.name,
        "path": folder.path,
        "uidvalidity": folder.uidvalidity,
        "uidnext": folder.uidnext,
        "guid": folder.guid,
        "modseq": folder.highest_modseq,
        "keywords": list(folder.keywords),
        "header": folder.header,
        "directories": [[one.path, *_owner_row(one.owner), one.mtime_ns] for one in folder.directories],
        "messages": entry.messages,
        "frames": list(entry.frames),
    }


def _folder(row: dict[str, Any]) -> FolderEntry:
    return FolderEntry(
        Folder(
            name=_text(row["name"]),
            path=_bytes(row["path"]),
            uidvalidity=_number(row["uidvalidity"]),
            uidnext=_number(row["uidnext"]),
            guid=_text(row["guid"]),
            highest_modseq=_number(row["modseq"]),
            keywords=tuple(_text(one) for one in row["keywords"]),
            header=_bytes(row["header"]),
            directories=tuple(
                Directory(_bytes(path), _owner(mode, uid, gid), _integer(mtime))
                for path, mode, uid, gid, mtime in row["directories"]
            ),
        ),
        _number(row["messages"]),
        tuple(_number(one) for one in row["frames"]),
    )


def _file_row(file: StoredFile, archives: dict[ArchiveId, int]) -> list[object]:
    pieces = [
        [archives.setdefault(one.archive, len(archives)), one.offset, one.length, one.recipe, one.joined]
        for one in file.pieces
    ]
    owner = _owner_row(file.owner)
    return [file.path, file.home, file.target, *owner, file.mtime_ns, file.size, file.digest, pieces]


def _file(row: list[Any], archives: list[ArchiveId]) -> StoredFile:
    path, home, target, mode, uid, gid, mtime_ns, size, digest, rows = row
    pieces: list[Piece] = []
    for index, offset, length, recipe, joined in rows:
        pieces.append(
            piece(archives[_number(index)], _number(offset), _number(length), _number(recipe), bool(joined))
        )
    if len(_bytes(digest)) != DIGEST_BYTES:
        raise ValueError("digest")
    return StoredFile(
        _bytes(path),
        bool(home),
        None if target is None else _bytes(target),
        _owner(mode, uid, gid),
        _integer(mtime_ns),
        _number(size),
        digest,
        tuple(pieces),
    )


def _owner_row(owner: Ownership) -> tuple[int, int, int]:
    return owner.mode, owner.uid, owner.gid


def _owner(mode: object, uid: object, gid: object) -> Ownership:
    return Ownership(_number(mode), _number(uid), _number(gid))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not text: {value!r}")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"not bytes: {value!r}")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"not a number: {value!r}")
    return value


def _number(value: object) -> int:
    number = _integer(value)
    if number < 0:
        raise ValueError(f"below zero: {number}")
    return number
