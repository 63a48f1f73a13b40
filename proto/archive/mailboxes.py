"""The metadata of one mailbox: one MAILBOX frame, which is a checkpoint too, before it FOLDERS frames for
what is too much for one, and the records they decode to.

FORMAT.md, "MAILBOX". Every claim of a frame is checked before it is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from ..records import (
    DIGEST_BYTES,
    ArchiveId,
    Attributes,
    Directory,
    DirectoryKind,
    Folder,
    ListedFile,
    MailboxSummary,
    Ownership,
    Piece,
    Skipped,
    StoredFile,
)
from ..structs import Record
from . import claims, pointers
from .columns import clamped
from .contents import MailboxEntry
from .pointers import FramePointer, MailboxPointer

MOST_PARTS = 32
"""FOLDERS frames of one mailbox, at most: with the largest frames some 250 MB, decompressed."""

PART_BYTES = 4 << 20
"""A FOLDERS frame is closed when it comes to this, decompressed: a mailbox with less needs none."""

_KINDS = frozenset(directory_kind.value for directory_kind in DirectoryKind)


class FolderEntry(Record):
    """A folder of a stored mailbox: where its messages are told of, in their order.

    ``mark`` is what the store made of the folder's state (``FolderReader.mark``); empty: not known.
    """

    folder: Folder
    frames: tuple[FramePointer, ...]
    mark: bytes = b""

    @property
    def messages(self) -> int:
        """How many messages are stored."""
        return sum(frame.messages for frame in self.frames)


class Mailbox(Record, kw_only=True):
    """A stored mailbox without its messages.

    ``place`` is its directory relative to the root of its partition, where that says more than the
    user's name. ``listed`` is what the store listed: the messages stored and those skipped. ``files_mark``
    is what the store made of the state of all ``files``, ``mark`` of all its directories
    (``MailboxReader.mark``); empty: not known. ``added``, ``vanished`` and
    ``changed`` compare it with the version before (``MailboxSummary``). ``archives`` are those in which its
    messages and files and their metadata lie, perhaps the one that it is in, too.
    """

    user: str
    place: bytes
    listed: int
    size_bytes: int
    folders: tuple[FolderEntry, ...]
    files: tuple[StoredFile, ...]
    skipped: tuple[Skipped, ...]
    files_mark: bytes = b""
    mark: bytes = b""
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


class _AttributeTable:
    """The different attributes of a mailbox's files and directories, by the number that stands for them."""

    def __init__(self) -> None:
        self.numbers: dict[Attributes, int] = {}

    def number(self, attributes: Attributes) -> int | None:
        """None for none."""
        return self.numbers.setdefault(attributes, len(self.numbers)) if attributes else None


class MailboxHead(Record, kw_only=True):
    """What the MAILBOX frame of a mailbox alone tells: ``folders`` and ``stored`` messages are counts, so
    many ``parts`` (FOLDERS frames) come before it. ``rows``: see ``MailboxEntry``, without the archive of the
    frame where no message is told of in it."""

    user: str
    place: bytes
    listed: int
    stored: int
    size_bytes: int
    folders: int
    parts: int
    files_mark: bytes
    mark: bytes
    added: int
    vanished: int
    changed: bool
    archives: tuple[ArchiveId, ...]
    rows: tuple[tuple[ArchiveId, int], ...]


def head_of(mailbox: Mailbox, parts: int) -> MailboxHead:
    """What the MAILBOX frame of a mailbox alone tells if so many FOLDERS frames come before it."""
    rows = Counter[ArchiveId]()
    for folder in mailbox.folders:
        for frame in folder.frames:
            rows[frame.archive] += frame.messages
    return MailboxHead(
        user=mailbox.user,
        place=mailbox.place,
        listed=mailbox.listed,
        stored=mailbox.stored,
        size_bytes=mailbox.size_bytes,
        folders=len(mailbox.folders),
        parts=parts,
        files_mark=mailbox.files_mark,
        mark=mailbox.mark,
        added=mailbox.added,
        vanished=mailbox.vanished,
        changed=mailbox.changed,
        archives=mailbox.archives,
        rows=tuple(rows.items()),
    )


_Part = dict[str, object]


def encode(mailbox: Mailbox) -> list[bytes]:
    """The payloads of the FOLDERS frames, if there have to be some, and at last of the MAILBOX frame."""
    archives = {archive_id: number for number, archive_id in enumerate(mailbox.archives)}
    whole = _packed(_mailbox_row(mailbox, archives, 0, _all_lists(mailbox, archives)))
    if len(whole) <= PART_BYTES:
        return [whole]  # nearly always
    *parts, last = _parts(mailbox, archives)
    return [*map(_packed, parts), _packed(_mailbox_row(mailbox, archives, len(parts), last))]


def _mailbox_row(mailbox: Mailbox, archives: Mapping[ArchiveId, int], parts: int, last: _Part) -> _Part:
    head = head_of(mailbox, parts)
    return {
        "user": head.user,
        "place": head.place,
        "listed": head.listed,
        "stored": head.stored,
        "bytes": head.size_bytes,
        "count": head.folders,
        "parts": head.parts,
        **last,
        "files_mark": head.files_mark,
        "added": head.added,
        "vanished": head.vanished,
        "changed": head.changed,
        "archives": list(archives),
        "rows": [[archives[archive], count] for archive, count in head.rows],
        **({"mark": head.mark} if head.mark else {}),
    }


def _parts(mailbox: Mailbox, archives: Mapping[ArchiveId, int]) -> Iterator[_Part]:
    """The lists of a mailbox, as much of them together as a frame should hold; at least one."""
    attributes, lists, left = _AttributeTable(), _lists(), PART_BYTES
    for name, record in _records(mailbox):
        known = len(attributes.numbers)
        row = _row(record, archives, attributes)
        row_bytes = len(_packed([row, list(attributes.numbers)[known:]]))
        if row_bytes > left and left < PART_BYTES:
            yield {**lists, "attributes": list(attributes.numbers)[:known]}
            attributes, lists, left = _AttributeTable(), _lists(), PART_BYTES
            row = _row(record, archives, attributes)
        left -= row_bytes
        lists[name].append(row)
    yield {**lists, "attributes": list(attributes.numbers)}


def _all_lists(mailbox: Mailbox, archives: Mapping[ArchiveId, int]) -> _Part:
    attributes, lists = _AttributeTable(), _lists()
    for name, record in _records(mailbox):
        lists[name].append(_row(record, archives, attributes))
    return {**lists, "attributes": list(attributes.numbers)}


def _lists() -> dict[str, list[object]]:
    return {"folders": [], "files": [], "skipped": []}


def _records(mailbox: Mailbox) -> Iterator[tuple[str, FolderEntry | StoredFile | Skipped]]:
    yield from (("folders", folder) for folder in mailbox.folders)
    yield from (("files", file) for file in mailbox.files)
    yield from (("skipped", skip) for skip in mailbox.skipped)


def _row(
    record: FolderEntry | StoredFile | Skipped, archives: Mapping[ArchiveId, int], attributes: _AttributeTable
) -> object:
    if isinstance(record, FolderEntry):
        return _folder_row(record, archives, attributes)
    if isinstance(record, StoredFile):
        return _file_row(record, archives, attributes)
    return [record.path, record.reason, record.detail]


def entry_of(head: MailboxHead, home: MailboxPointer) -> MailboxEntry:
    """The directory's entry of a mailbox whose MAILBOX frame was written there."""
    rows = dict(head.rows)
    rows.setdefault(home.archive, 0)
    return MailboxEntry(
        user=head.user,
        home=home,
        folders=head.folders,
        listed=head.listed,
        stored=head.stored,
        size_bytes=head.size_bytes,
        place=head.place,
        archives=tuple(archive for archive in head.archives if archive != home.archive),
        rows=tuple(rows.items()),
        added=head.added,
        vanished=head.vanished,
        changed=head.changed,
    )


def folder_bytes(entry: FolderEntry) -> int:
    """What a folder takes in the payload, at most."""
    archives = {
        archive_id: number
        for number, archive_id in enumerate({archive for f in entry.frames for archive in f.archives})
    }
    attributes = _AttributeTable()
    return len(_packed([_folder_row(entry, archives, attributes), list(archives), list(attributes.numbers)]))


def file_bytes(file: StoredFile) -> int:
    """What a file takes in the payload, at most."""
    archives = {
        archive_id: number for number, archive_id in enumerate({piece.archive for piece in file.pieces})
    }
    attributes = _AttributeTable()
    return len(_packed([_file_row(file, archives, attributes), list(archives), list(attributes.numbers)]))


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value, unicode_errors="surrogateescape"))


def decode_head(payload: bytes) -> MailboxHead:
    """What a MAILBOX frame alone tells. Raises DamagedError if it contradicts itself."""
    return _head(claims.unpack_map(payload))


def _head(row: Mapping[str, Any]) -> MailboxHead:
    try:
        archives = [claims.archive_id(value) for value in row["archives"]]
        head = MailboxHead(
            user=claims.name(row["user"]),
            place=claims.octets(row["place"]),
            listed=claims.number(row["listed"]),
            stored=claims.number(row["stored"]),
            size_bytes=claims.number(row["bytes"]),
            folders=claims.number(row["count"]),
            parts=claims.number(row["parts"]),
            files_mark=claims.octets(row["files_mark"]),
            mark=claims.octets(row.get("mark") or b""),
            added=claims.number(row["added"]),
            vanished=claims.number(row["vanished"]),
            changed=claims.boolean(row["changed"]),
            archives=tuple(archives),
            rows=tuple((archives[claims.number(one)], claims.number(count)) for one, count in row["rows"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _incomplete(error) from error
    if head.stored > head.listed:
        raise DamagedError("a mailbox claims more messages than were listed", reason="metadata")
    if head.parts > MOST_PARTS:
        raise DamagedError(f"a mailbox in {head.parts} parts is not possible", reason="metadata")
    return head


class MailboxFrames:
    """The FOLDERS frames of a mailbox and its MAILBOX frame, in this order. ``head`` is what the last one
    alone tells. Raises DamagedError if they contradict themselves or each other."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self._rows: list[dict[str, Any]] = list(map(claims.unpack_map, payloads))
        self.head = _head(self._rows[-1])

    def mailbox(self) -> Mailbox:
        """All of it. Raises DamagedError."""
        return _mailbox(self._rows, self.head)

    def directories(self) -> Iterator[tuple[bytes, str]]:
        """The path of each folder, with its name, and of each directory that is told with it and is none,
        with ``""``. Raises DamagedError."""
        near = DirectoryKind.NEAR.value
        try:
            for row in self._rows:
                for folder in row["folders"]:
                    yield claims.octets(folder["path"]), claims.name(folder["name"])
                    for directory in folder["directories"]:
                        if directory[0] == near:
                            yield claims.octets(directory[1]), ""
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _incomplete(error) from error

    def listed_files(self) -> Iterator[ListedFile]:
        """The files, as the store listed them. Raises DamagedError."""
        try:
            for row in self._rows:
                for path, home, target, *_ in row["files"]:
                    link = None if target is None else claims.octets(target)
                    yield ListedFile(claims.octets(path), bool(home), link)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _incomplete(error) from error


def decode(payloads: Sequence[bytes]) -> Mailbox:
    """The mailbox of these frames (see MailboxFrames). Raises DamagedError."""
    return MailboxFrames(payloads).mailbox()


def _mailbox(rows: Sequence[dict[str, Any]], head: MailboxHead) -> Mailbox:
    archives = list(head.archives)
    folders: list[FolderEntry] = []
    files: list[StoredFile] = []
    skipped: list[Skipped] = []
    try:
        for row in rows:
            attributes = [claims.attributes(value) for value in row["attributes"]]
            folders += [_folder(folder, archives, attributes) for folder in row["folders"]]
            files += [_file(file, archives, attributes) for file in row["files"]]
            skipped += [Skipped(claims.text(a), claims.text(b), claims.text(c)) for a, b, c in row["skipped"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _incomplete(error) from error
    mailbox = Mailbox(
        user=head.user,
        place=head.place,
        listed=head.listed,
        size_bytes=head.size_bytes,
        folders=tuple(folders),
        files=tuple(files),
        skipped=tuple(skipped),
        files_mark=head.files_mark,
        mark=head.mark,
        added=head.added,
        vanished=head.vanished,
        changed=head.changed,
        archives=head.archives,
    )
    if (len(rows) - 1, len(folders), mailbox.stored) != (head.parts, head.folders, head.stored):
        raise DamagedError("the folders of a mailbox are not those that it counts", reason="metadata")
    return mailbox


def _incomplete(error: Exception) -> DamagedError:
    return DamagedError(
        f"the metadata of a mailbox is not complete: {claims.shown(error)}", reason="metadata"
    )


def _folder_row(
    entry: FolderEntry, archives: Mapping[ArchiveId, int], attributes: _AttributeTable
) -> dict[str, object]:
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
                directory.kind.value,
                directory.path,
                *_owner_row(directory.owner),
                clamped(directory.mtime_ns),
                attributes.number(directory.attributes),
            ]
            for directory in folder.directories
        ],
        "frames": [pointers.encode(frame, archives) for frame in entry.frames],
        "mark": entry.mark,
    }


def _known(number: int) -> int:
    """A store's own number; 0 where it can't be one."""
    return number if 0 <= number < 1 << 63 else 0


def _folder(row: dict[str, Any], archives: list[ArchiveId], attributes: Sequence[Attributes]) -> FolderEntry:
    return FolderEntry(
        Folder(
            name=claims.name(row["name"]),
            path=claims.octets(row["path"]),
            uidvalidity=claims.number(row["uidvalidity"]),
            uidnext=claims.number(row["uidnext"]),
            guid=claims.text(row["guid"]),
            highest_modseq=claims.number(row["modseq"]),
            keywords=tuple(claims.text(keyword) for keyword in row["keywords"]),
            header=claims.octets(row["header"]),
            directories=tuple(
                _directory(directory, attributes)
                for directory in row["directories"]
                if _is_known(directory[0])
            ),
        ),
        tuple(pointers.decode(frame, archives) for frame in row["frames"]),
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


def _file_row(
    file: StoredFile, archives: Mapping[ArchiveId, int], attributes: _AttributeTable
) -> list[object]:
    pieces = [
        [archives[piece.archive], piece.offset, piece.length, piece.recipe, piece.joined]
        for piece in file.pieces
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
        tuple(_piece(piece, archives) for piece in pieces),
        _attributes(named, attributes),
    )


def _piece(row: list[Any], archives: list[ArchiveId]) -> Piece:
    index, offset, length, recipe, joined = row
    archive = archives[claims.number(index)]
    offset, length, recipe = claims.number(offset), claims.number(length), claims.number(recipe)
    return claims.piece(archive, offset, length, recipe, bool(joined))


def _owner_row(owner: Ownership) -> tuple[int, int, int]:
    return owner.mode, owner.uid, owner.gid
