"""Archives by their ids, and what each tells of, after FORMAT.md. Imports nothing of the product."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import frames
from .columns import Refused, deltas, numbers, strings, unpacked
from .frames import Frame, Part, parts_of
from .mail import Piece, assembled

FOLDERS, UNCHANGED, DEPARTED = 10, 139, 9


@dataclass(frozen=True)
class Home:
    """Where a mailbox was written."""

    archive: bytes
    number: int


@dataclass(frozen=True)
class Mail:
    """A message as a MESSAGES frame tells of it."""

    uid: int
    name: bytes
    flags: str
    keywords: tuple[str, ...]
    date_ns: int
    size: int
    notes: bytes
    store: list[Any]
    link: int
    digest: bytes
    pieces: tuple[Piece, ...]


class Archive:
    """One archive, of all copies of its greatest generation."""

    def __init__(self, parts: list[Part]) -> None:
        generations = [(_generation(part), part) for part in parts]
        newest = max((one for one, _ in generations if one is not None), default=0)
        used = [part for one, part in generations if one is None or one == newest]
        self.id = parts[0].archive
        self._frames: dict[tuple[int, int], Frame] = {}
        self._mailboxes: dict[int, Frame] = {}
        self._directories: list[list[Frame]] = []
        self._unchanged: list[Frame] = []
        header = None
        for part in used:
            self._directories.append([])
            for frame in part.frames:
                self._frames.setdefault((frame.kind, frame.position), frame)
                if frame.kind == frames.HEADER:
                    header = header or unpacked(frame.payload())
                elif frame.kind == frames.MAILBOX:
                    self._mailboxes.setdefault(frame.position >> 32, frame)
                elif frame.kind == frames.DIRECTORY:
                    self._directories[-1].append(frame)
                elif frame.kind == UNCHANGED:
                    self._unchanged.append(frame)
        self.directory = self._whole_directory()
        if header is None and self.directory and self.directory[-1]["header"]:
            header = unpacked(self.directory[-1]["header"])
        if header is None:
            raise Refused("nothing says whose mail it is")
        if header["read_version"] > 3:
            raise Refused("a later version")
        self.header = header
        self._blocks = sorted(position for kind, position in self._frames if kind == frames.BLOCK)

    def data(self, offset: int, length: int) -> bytes:
        """Bytes of its data. Raises Refused where they lie in a hole."""
        found = bytearray()
        at = bisect_right(self._blocks, offset) - 1
        while len(found) < length:
            if not 0 <= at < len(self._blocks):
                raise Refused("no such data")
            begin = self._blocks[at]
            block = self._frames[frames.BLOCK, begin].payload()
            skip = offset + len(found) - begin
            if not 0 <= skip < len(block):
                raise Refused("data in a hole")
            found += block[skip : skip + length - len(found)]
            at += 1
        return bytes(found)

    def mailbox(self, number: int) -> dict[str, Any]:
        """A mailbox that is written here, with the lists of its FOLDERS frames. Raises Refused."""
        if number not in self._mailboxes:
            raise Refused(f"no mailbox {number}")
        last = unpacked(self._mailboxes[number].payload())
        rows = [self._payload(FOLDERS, number << 32 | part) for part in range(last["parts"])]
        rows.append(last)
        for row in rows:
            for entry in row["folders"]:
                for directory in entry["directories"]:
                    directory[6] = None if directory[6] is None else row["attributes"][directory[6]]
            for file in row["files"]:
                file[10] = None if file[10] is None else row["attributes"][file[10]]
        for name in ("folders", "files", "skipped"):
            last[name] = [one for row in rows for one in row[name]]
        if len(last["folders"]) != last["count"]:
            raise Refused("another number of folders")
        return last

    def messages(self, mailbox: int, number: int) -> list[Mail]:
        """The messages of a frame. Raises Refused."""
        return list(_messages(self._payload(frames.MESSAGES, mailbox << 32 | number)))

    def users(self) -> dict[str, Home]:
        """The mailboxes that it tells of, and where each is written."""
        found: dict[str, Home] = {}
        for part in self.directory or [unpacked(one.payload()) for one in self._unchanged]:
            for row in part["mailboxes"]:
                found[row[0]] = Home(part["archives"][row[1]], row[2])
        if not self.directory:
            for number, frame in self._mailboxes.items():
                found.setdefault(unpacked(frame.payload())["user"], Home(self.id, number))
        return found

    def told_names(self) -> dict[bytes, str]:
        """What the files of the archives are called that it refers to, as far as the directory is there."""
        own = self.header
        return {
            archive: f"{partition or own['partition']}/{group or own['group']}/"
            f"{run}.{shard}.{archive.hex()[:16]}.mha"
            for part in self.directory
            for archive, run, shard, _, partition, group in part["referred"]
        }

    def named(self) -> set[bytes]:
        """The other archives that its rows of mailboxes name."""
        return {
            part["archives"][number]
            for part in self.directory
            for row in part["mailboxes"]
            for number in (row[1], *row[8])
        } - {self.id}

    def departures(self) -> Iterator[tuple[str, str, bool]]:
        """The users who are gone, as of which run each, and whether from all groups of the partition."""
        for kind, position in self._frames:
            if kind == DEPARTED:
                for user, reason, _, run in self._payload(kind, position)["departed"]:
                    yield user, run or self.header["run"], reason in ("removed", "moved")

    def _payload(self, kind: int, position: int) -> dict[str, Any]:
        if (kind, position) not in self._frames:
            raise Refused(f"no whole frame of type {kind} at {position:#x}")
        return unpacked(self._frames[kind, position].payload())

    def _whole_directory(self) -> list[dict[str, Any]]:
        """The parts of a directory of which all are there, else none."""
        for found in self._directories:
            rows = [unpacked(frame.payload()) for frame in found]
            if rows and rows[-1]["header"] and len(rows[-1]["parts"]) == len(rows) - 1:
                return rows
        return []


class Archives:
    """All archives that are at hand: whole files, in any order."""

    def __init__(self, files: Iterable[bytes]) -> None:
        parts: dict[bytes, list[Part]] = {}
        for data in files:
            for part in parts_of(data):
                parts.setdefault(part.archive, []).append(part)
        self.found: dict[bytes, Archive] = {}
        for archive, copies in parts.items():
            try:
                self.found[archive] = Archive(copies)
            except Refused:
                continue

    def hidden(self, archive: Archive, user: str) -> bool:
        """Whether a user is gone as of a later run than that of an archive."""
        partition, group, run = (archive.header[key] for key in ("partition", "group", "run"))
        return any(
            user == gone and run < then and (everywhere or other.header["group"] == group)
            for other in self.found.values()
            if other.header["partition"] == partition
            for gone, then, everywhere in other.departures()
        )

    def archive(self, archive: bytes) -> Archive:
        """Raises Refused if it is not at hand."""
        if archive not in self.found:
            raise Refused(f"archive {archive.hex()} is not at hand")
        return self.found[archive]

    def mailbox(self, home: Home) -> dict[str, Any]:
        """The metadata of a mailbox. Raises Refused."""
        return self.archive(home.archive).mailbox(home.number)

    def messages(self, mailbox: dict[str, Any], folder: dict[str, Any]) -> Iterator[Mail | Refused]:
        """The messages of a folder in their order; a Refused for each that can't be told of."""
        for archive, number, frame, first, count, *_ in folder["frames"]:
            try:
                rows = self.archive(mailbox["archives"][archive]).messages(number, frame)
                if first + count > len(rows):
                    raise Refused("rows that are not there")
            except Refused as error:
                yield from [error] * count
            else:
                yield from rows[first : first + count]

    def content(self, mail: Mail) -> bytes:
        """A message, checked. Raises Refused."""
        return assembled(mail.pieces, mail.size, mail.digest, self._read)

    def file_content(self, mailbox: dict[str, Any], file: list[Any]) -> bytes:
        """The content of a file that is no message. Raises Refused."""
        pieces = [Piece(mailbox["archives"][one[0]], *one[1:]) for one in file[9]]
        return assembled(pieces, file[7], file[8], self._read)

    def _read(self, piece: Piece) -> bytes:
        return self.archive(piece.archive).data(piece.offset, piece.length)


def _generation(part: Part) -> int | None:
    for frame in part.frames:
        if frame.kind == frames.HEADER:
            return int(unpacked(frame.payload())["generation"])
        if frame.kind == frames.DIRECTORY and (header := unpacked(frame.payload())["header"]):
            return int(unpacked(header)["generation"])
    return None


def _messages(row: dict[str, Any]) -> Iterator[Mail]:
    count = row["n"]
    uids, marks = numbers(row["uid"], 4, count), numbers(row["mark"], 4, count)
    dates, sizes = deltas(row["date"], count, signed=True), numbers(row["size"], 8, count)
    names = strings(row["name"], count)
    notes = strings(row["notes"], count) if row.get("notes") is not None else [b""] * count
    links = numbers(row["link"], 8, count) if row.get("link") is not None else [0] * count
    pieces = iter(list(_pieces(row)))
    for number, have in enumerate(numbers(row["pieces"], 4, count)):
        flags, keywords, _, store = row["marks"][marks[number]]
        yield Mail(
            uid=uids[number],
            name=names[number],
            flags=flags,
            keywords=tuple(row["keywords"][one] for one in keywords),
            date_ns=dates[number],
            size=sizes[number],
            notes=notes[number],
            store=store,
            link=links[number],
            digest=row["digest"][16 * number : 16 * number + 16],
            pieces=tuple(next(pieces) for _ in range(have)),
        )


def _pieces(row: dict[str, Any]) -> Iterator[Piece]:
    archives, lengths = numbers(row["archive"], 2), numbers(row["length"], 4)
    gaps, recipes = numbers(row["gap"], 8), numbers(row["recipe"], 2)
    end = 0
    for archive, gap, length, recipe in zip(archives, gaps, lengths, recipes, strict=True):
        offset = (end + gap) % (1 << 64)
        yield Piece(row["archives"][archive], offset, length, recipe & 0x7FFF, bool(recipe >> 15))
        end = offset + length
