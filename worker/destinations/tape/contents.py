"""What is on a volume: its label, and the archives that were committed to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ....proto.errors import DamagedError
from ....proto.structs import Record, asdict
from .headers import Header, Kind, encode

LABEL_BYTES = 4096
"""The label has always this size, whatever the records of the volume have."""
LEAST_RECORD = 10_240
"""20 blocks of 512 bytes, as tar has it."""
MOST_RECORD = 8 << 20

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Label(Record, kw_only=True):
    """Who a volume is. ``volume`` is its UUID, made when it was labelled; ``label`` what people and bar codes
    call it, which need not be the only one of that name. ``made`` is ISO 8601; ``uses`` counts its labels."""

    volume: str
    label: str
    pool: str
    record_bytes: int
    made: str
    worm: bool = False
    generation: str = ""
    uses: int = 1


class Entry(Record, kw_only=True):
    """An archive on a volume, or a part of one: ``bytes`` of it from ``offset_bytes`` on. Its header is
    ``block``, its data begins right behind. ``checksum`` (BLAKE3, hexadecimal) is that of the whole archive;
    only where it ends is it known. ``first`` is the address of the first part, empty in that one."""

    name: str
    block: int
    size_bytes: int
    offset_bytes: int = 0
    bytes: int = 0
    checksum: str = ""
    first: str = ""
    written: str = ""
    removed: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of the archive is here."""
        return not self.offset_bytes and self.bytes == self.size_bytes


class Contents(Record, kw_only=True):
    """What was committed to a volume. Behind the last filemark lies ``end_block``; ``finished``: its end was
    reached, nothing more is written. ``catalog_block``: where the last catalog begins, 0 if there is none."""

    entries: tuple[Entry, ...] = ()
    end_block: int = 0
    catalog_block: int = 0
    finished: bool = False


def data_records(size_bytes: int, record_bytes: int) -> int:
    """How many records so many bytes take."""
    return -(-size_bytes // record_bytes)


def encode_label(label: Label) -> bytes:
    """Raises ValueError if it is too long."""
    return encode(Kind.LABEL, asdict(label), LABEL_BYTES)


def decode_label(header: Header) -> Label:
    """Raises DamagedError (``header``) if something in it can't be."""
    label = Label(
        volume=header.text("volume"),
        label=header.text("label", 64),
        pool=header.text("pool", 64),
        record_bytes=header.number("record_bytes"),
        made=header.text("made", 64),
        worm=header.flag("worm"),
        generation=header.text("generation", 64),
        uses=header.number("uses"),
    )
    if not _UUID.fullmatch(label.volume) or not LEAST_RECORD <= label.record_bytes <= MOST_RECORD:
        raise DamagedError("the label of a tape names a volume that can't be", reason="header")
    return label


def entry_fields(entry: Entry) -> Mapping[str, object]:
    """As a catalog has it: what is not said is 0, empty or false."""
    return {name: value for name, value in asdict(entry).items() if value}


def decode_entry(header: Header) -> Entry:
    """Raises DamagedError (``header``) if something in it can't be."""
    entry = Entry(
        name=header.text("name"),
        block=header.number("block"),
        size_bytes=header.number("size_bytes"),
        offset_bytes=header.number("offset_bytes"),
        bytes=header.number("bytes"),
        checksum=header.text("checksum", 64),
        first=header.text("first", 64),
        written=header.text("written", 64),
        removed=header.flag("removed"),
    )
    if entry.offset_bytes + entry.bytes > entry.size_bytes:
        raise DamagedError("a tape tells of more of an archive than there is", reason="header")
    return entry


def encode_catalog(label: Label, entries: Iterable[Entry], block: int) -> Iterator[bytes]:
    """The records of a catalog that begins at ``block``: as many as it takes, and one at least."""
    size = label.record_bytes
    chunks: list[list[Mapping[str, object]]] = [[]]
    room = size - 1000
    for entry in entries:
        fields = entry_fields(entry)
        # JSON of ASCII text: at most six characters for one that has to be escaped, and names have none.
        length = sum(len(name) + len(str(value)) + 8 for name, value in fields.items())
        if length > room:
            chunks.append([])
            room = size - 1000
        room -= length
        chunks[-1].append(fields)
    for number, chunk in enumerate(chunks):
        yield encode(
            Kind.CATALOG,
            {
                "volume": label.volume,
                "block": block + number,
                "part": number,
                "parts": len(chunks),
                "archives": chunk,
            },
            size,
        )
