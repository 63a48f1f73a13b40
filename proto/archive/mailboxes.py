"""The metadata of one mailbox: one MAILBOX frame, which is a checkpoint too, and the records it decodes to.

FORMAT.md, "MAILBOX". Every claim of a frame is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import msgpack

from ..errors import DamagedError
from ..records import (
    DIGEST_BYTES,
    ArchiveId,
    Attributes,
    Directory,
    DirectoryKind,
    Folder,
    MailboxSummary,
    Ownership,
    Piece,
    Skipped,
    StoredFile,
)
from . import claims
from .columns import clamped
from .contents import MailboxEntry

_KINDS = frozenset(one.value for one in DirectoryKind)


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A folder of a stored mailbox: how many messages, and in which of its mailbox's MESSAGES frames.

    ``mark`` is what the store made of the folder's state (``FolderReader.mark``); empty: not known.
    """

    folder: Folder
    messages: int
    frames: tuple[int, ...]
    mark: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A stored mailbox without its messages.

    ``place`` is its directory relative to the root of its partition, where that says more than the
    user's name. ``listed`` is what the store listed: the messages stored and those skipped. ``files_mark``
    is what the store made of the state of all ``files``; empty: not known. ``added``, ``vanished`` and
    ``changed`` compare it with the version before (``MailboxSummary``). ``archives`` are those that its
    messages and files refer to, the one that it is in too.
    """

    user: str
    place: bytes
    listed: int
    size_bytes: int
    folders: tuple[FolderEntry, ...]
    files: tuple[StoredFile, ...]
    skipped: tuple[Skipped, ...]
    files_mark: bytes = b""
    added: int = 0
    vanished: int = 0
    changed: bool = True
    archives: tuple[ArchiveId, ...] = ()

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
            added=self.added,
            vanished=self.vanished,
            changed=self.changed,
        )


def encode(mailbox: Mailbox) -> bytes:
    """The payload of the MAILBOX frame."""
    archives = {one: number for number, one in enumerate(mailbox.archives)}
    attributes = _AttributeTable()
    row: dict[str, object] = {
        "user": mailbox.user,
        "place": mailbox.place,
        "listed": mailbox.listed,
        "bytes": mailbox.size_bytes,
        "folders": [_folder_row(entry, attributes) for entry in mailbox.folders],
        "files": [_file_row(file, archives, attributes) for file in mailbox.files],
        "files_mark": mailbox.files_mark,
        "skipped": [[one.path, one.reason, one.detail] for one in mailbox.skipped],
        "added": mailbox.added,
        "vanished": mailbox.vanished,
        "changed": mailbox.changed,
    }
    row["attributes"] = list(attributes.numbers)
    row["archives"] = list(archives)
    return _packed(row)


class _AttributeTable:
    """The different attributes of a mailbox's files and directories, by the number that stands for them."""

    def __init__(self) -> None:
        self.numbers: dict[Attributes, int] = {}

    def number(self, attributes: Attributes) -> int | None:
        """None for none."""
        return self.numbers.setdefault(attributes, len(self.numbers)) if attributes else None


class TakenOver(NamedTuple):
    """A mailbox as the next archive tells of it if nothing has changed since: the payload of its MAILBOX
    frame, and the archives that it refers to."""

    payload: bytes
    archives: tuple[ArchiveId, ...]


def taken_over(payload: bytes, entry: MailboxEntry) -> TakenOver:
    """Of a MAILBOX frame, without decoding what it says. The payload is the same object where it can stay as
    it is. Raises DamagedError, also if it is not the one that the directory tells of."""
    row = claims.unpack_map(payload)
    if (row.get("user"), row.get("listed")) != (entry.user, entry.listed):
        raise DamagedError(f"directory and mailbox {claims.shown(entry.user)} disagree", reason="metadata")
    archives = tuple(map(claims.archive_id, claims.rows(row.get("archives"))))
    told = {"added": 0, "vanished": 0, "changed": False}
    return TakenOver(payload if row.items() >= told.items() else _packed({**row, **told}), archives)


def entry_of(mailbox: Mailbox, number: int, frames: tuple[int, ...], archive: ArchiveId) -> MailboxEntry:
    """The directory's entry of a mailbox of this archive, whose MAILBOX frames lie there. Where its MESSAGES
    frames lie is still to be told."""
    return MailboxEntry(
        number=number,
        user=mailbox.user,
        frames=frames,
        message_frames=(),
        folders=len(mailbox.folders),
        listed=mailbox.listed,
        stored=mailbox.stored,
        size_bytes=mailbox.size_bytes,
        place=mailbox.place,
        archives=tuple(one for one in mailbox.archives if one != archive),
        added=mailbox.added,
        vanished=mailbox.vanished,
        changed=mailbox.changed,
    )


def folder_bytes(entry: FolderEntry) -> int:
    """What a folder takes in the payload."""
    attributes = _AttributeTable()
    return len(_packed([_folder_row(entry, attributes), list(attributes.numbers)]))


def file_bytes(file: StoredFile) -> int:
    """What a file takes in the payload, at most."""
    archives: dict[ArchiveId, int] = {}
    attributes = _AttributeTable()
    return len(_packed([_file_row(file, archives, attributes), list(archives), list(attributes.numbers)]))


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value, unicode_errors="surrogateescape"))


def decode(payload: bytes) -> Mailbox:
    """The mailbox of a MAILBOX frame. Raises DamagedError if it contradicts itself."""
    row: dict[str, Any] = claims.unpack_map(payload)
    try:
        archives = [claims.archive_id(value) for value in row["archives"]]
        attributes = [claims.attributes(value) for value in row["attributes"]]
        mailbox = Mailbox(
            user=claims.name(row["user"]),
            place=claims.octets(row["place"]),
            listed=claims.number(row["listed"]),
            size_bytes=claims.number(row["bytes"]),
            folders=tuple(_folder(one, attributes) for one in row["folders"]),
            files=tuple(_file(one, archives, attributes) for one in row["files"]),
            skipped=tuple(
                Skipped(claims.text(a), claims.text(b), claims.text(c)) for a, b, c in row["skipped"]
            ),
            files_mark=claims.octets(row["files_mark"]),
            added=claims.number(row["added"]),
            vanished=claims.number(row["vanished"]),
            changed=claims.boolean(row["changed"]),
            archives=tuple(archives),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(
            f"the metadata of a mailbox is not complete: {claims.shown(error)}", reason="metadata"
        ) from error
    if mailbox.stored > mailbox.listed:
        raise DamagedError("a mailbox claims more messages than were listed", reason="metadata")
    return mailbox


def _folder_row(entry: FolderEntry, attributes: _AttributeTable) -> dict[str, object]:
    folder = entry.folder
    return {
        "name": folder.name,
        "path": folder.path,
        "uidvalidity": _known(folder.uidvalidity),
        "uidnext": _known(folder.uidnext),
        "guid": folder.guid,
        "modseq": _known(folder.highest_modseq),
        "keywords": list(folder.keywords),
        "header": folder.header,
        "directories": [
            [
                one.kind.value,
                one.path,
                *_owner_row(one.owner),
                clamped(one.mtime_ns),
                attributes.number(one.attributes),
            ]
            for one in folder.directories
        ],
        "messages": entry.messages,
        "frames": list(entry.frames),
        "mark": entry.mark,
    }


def _known(number: int) -> int:
    """A store's own number; 0 where it can't be one."""
    return number if 0 <= number < 1 << 63 else 0


def _folder(row: dict[str, Any], attributes: Sequence[Attributes]) -> FolderEntry:
    frames = tuple(claims.number(one) for one in row["frames"])
    if any(a >= b for a, b in pairwise(frames)):
        raise ValueError("frames out of order")
    return FolderEntry(
        Folder(
            name=claims.name(row["name"]),
            path=claims.octets(row["path"]),
            uidvalidity=claims.number(row["uidvalidity"]),
            uidnext=claims.number(row["uidnext"]),
            guid=claims.text(row["guid"]),
            highest_modseq=claims.number(row["modseq"]),
            keywords=tuple(claims.text(one) for one in row["keywords"]),
            header=claims.octets(row["header"]),
            directories=tuple(_directory(one, attributes) for one in row["directories"] if _is_known(one[0])),
        ),
        claims.number(row["messages"]),
        frames,
        claims.octets(row["mark"]),
    )


def _is_known(kind: object) -> bool:
    """Whether a row is of a kind that this version knows; later ones may have others."""
    return claims.text(kind) in _KINDS


def _directory(row: list[Any], attributes: Sequence[Attributes]) -> Directory:
    kind, path, mode, uid, gid, mtime_ns, named = row
    return Directory(
        claims.octets(path),
        claims.ownership(mode, uid, gid),
        claims.integer(mtime_ns),
        DirectoryKind(kind),
        _attributes(named, attributes),
    )


def _attributes(named: object, attributes: Sequence[Attributes]) -> Attributes:
    return () if named is None else attributes[claims.number(named)]


def _file_row(file: StoredFile, archives: dict[ArchiveId, int], attributes: _AttributeTable) -> list[object]:
    pieces = [
        [archives.setdefault(one.archive, len(archives)), one.offset, one.length, one.recipe, one.joined]
        for one in file.pieces
    ]
    owner = _owner_row(file.owner)
    contents = [clamped(file.mtime_ns), file.size, file.digest, pieces]
    return [file.path, file.home, file.target, *owner, *contents, attributes.number(file.attributes)]


def _file(row: list[Any], archives: list[ArchiveId], attributes: Sequence[Attributes]) -> StoredFile:
    path, home, target, mode, uid, gid, mtime_ns, size, digest, pieces, named = row
    if len(claims.octets(digest)) != DIGEST_BYTES:
        raise ValueError("digest")
    return StoredFile(
        claims.octets(path),
        bool(home),
        None if target is None else claims.octets(target),
        claims.ownership(mode, uid, gid),
        claims.integer(mtime_ns),
        claims.number(size),
        digest,
        tuple(_piece(one, archives) for one in pieces),
        _attributes(named, attributes),
    )


def _piece(row: list[Any], archives: list[ArchiveId]) -> Piece:
    index, offset, length, recipe, joined = row
    archive = archives[claims.number(index)]
    offset, length, recipe = claims.number(offset), claims.number(length), claims.number(recipe)
    return claims.piece(archive, offset, length, recipe, bool(joined))


def _owner_row(owner: Ownership) -> tuple[int, int, int]:
    return owner.mode, owner.uid, owner.gid
