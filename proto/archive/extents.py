"""Which stretches of archives' data the messages of a frame lie in, found without decoding messages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import add

from ..errors import DamagedError
from ..records import ArchiveId, Piece
from . import claims, columns
from .message_rows import MessageRows

_WRAP = (1 << 64) - 1
_END = 1 << 63


def extents(payload: bytes, rows: tuple[int, int] | None = None) -> dict[ArchiveId, array[int]]:
    """By archive, where each stretch begins and ends that pieces of a MESSAGES frame lie in: begin, end,
    begin, end and so on. In the order of the pieces, which may overlap; what lies in a row is one stretch.
    Of all its messages, or of these ``rows`` (the first, and how many).

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
    first, stop = _pieces(row, rows, count) if rows is not None else (0, count)
    return _stretches(archives, archive[first:stop], length[first:stop], _ends(gap, length)[first:stop])


def of_rows(rows: MessageRows) -> dict[ArchiveId, array[int]]:
    """The same of messages by columns, which may be some of a frame."""
    held = rows.contents
    those = slice(held.starts[0], held.starts[-1])
    return _stretches(rows.archives, held.archive[those], held.length[those], held.ends[those])


def _ends(gap: Sequence[int], length: Sequence[int]) -> list[int]:
    return list(accumulate(map(add, gap, length)))


def _stretches(
    archives: Sequence[ArchiveId], archive: Sequence[int], length: Sequence[int], ends: Sequence[int]
) -> dict[ArchiveId, array[int]]:
    """Of pieces, of which it is known where each ends, modulo 2**64."""
    found = [array("Q") for _ in archives]
    current, begin, end = -1, 0, 0
    for whose, more, last in zip(archive, length, ends, strict=True):
        start = (last - more) & _WRAP
        if whose != current or start != end:
            if current >= 0:
                found[current].extend((begin, end))
            current, begin = whose, start
        end = start + more
        if end >= _END:
            raise DamagedError("a piece lies beyond all data", reason="metadata")
    if current >= 0:
        found[current].extend((begin, end))
    return {whose: stretches for whose, stretches in zip(archives, found, strict=True) if stretches}


def _pieces(row: dict[str, object], rows: tuple[int, int], pieces: int) -> tuple[int, int]:
    """The number of the first piece of some rows, and of the one behind the last."""
    messages = claims.number(row.get("n"))
    first, count = rows
    starts = list(accumulate(columns.unpack("I", row.get("pieces"), messages, "pieces"), initial=0))
    if first + count > messages or starts[-1] != pieces:
        raise DamagedError(f"{messages} messages where {first + count} should be", reason="metadata")
    return starts[first], starts[first + count]


def of_pieces(pieces: tuple[Piece, ...]) -> dict[ArchiveId, array[int]]:
    """The same of pieces that are decoded."""
    found: dict[ArchiveId, array[int]] = {}
    for piece in pieces:
        found.setdefault(piece.archive, array("Q")).extend((piece.offset, piece.offset + piece.length))
    return found
