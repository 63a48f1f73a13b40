"""Which stretches of archives' data the messages of a frame lie in, found without decoding messages."""

from __future__ import annotations

from array import array

from ..errors import DamagedError
from ..records import ArchiveId, Piece
from . import claims, columns

_WRAP = (1 << 64) - 1
_END = 1 << 63


def extents(payload: bytes) -> dict[ArchiveId, array[int]]:
    """By archive, where each stretch begins and ends that pieces of a MESSAGES frame lie in: begin, end,
    begin, end and so on. In the order of the pieces, which may overlap; what lies in a row is one stretch.

    Raises DamagedError if the frame contradicts itself.
    """
    row = claims.unpack_map(payload)
    archives = [claims.archive_id(value) for value in claims.rows(row.get("archives"))]
    lengths = row.get("length")
    count = len(lengths) // columns.WIDTHS["I"] if isinstance(lengths, bytes) else 0
    length = columns.unpack("I", lengths, count, "length")
    gap = columns.unpack("Q", row.get("gap"), count, "gap")
    archive = columns.unpack("H", row.get("archive"), count, "archive")
    if count and max(archive) >= len(archives):
        raise DamagedError("column archive points nowhere", reason="metadata")
    found = [array("Q") for _ in archives]
    current, begin, end = -1, 0, 0
    for whose, skipped, more in zip(archive, gap, length, strict=True):
        if skipped or whose != current:
            if current >= 0:
                found[current].extend((begin, end))
            current, begin = whose, (end + skipped) & _WRAP
            end = begin
        end += more
        if end >= _END:
            raise DamagedError("a piece lies beyond all data", reason="metadata")
    if current >= 0:
        found[current].extend((begin, end))
    return {whose: stretches for whose, stretches in zip(archives, found, strict=True) if stretches}


def of_pieces(pieces: tuple[Piece, ...]) -> dict[ArchiveId, array[int]]:
    """The same of pieces that are decoded."""
    found: dict[ArchiveId, array[int]] = {}
    for piece in pieces:
        found.setdefault(piece.archive, array("Q")).extend((piece.offset, piece.offset + piece.length))
    return found
