"""How stored bytes become mail, after FORMAT.md, *Recipes*. Imports nothing of the product."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from .columns import Refused


@dataclass(frozen=True)
class Piece:
    """``length`` stored bytes at ``offset`` of the data of an archive."""

    archive: bytes
    offset: int
    length: int
    recipe: int
    joined: bool


def digest(data: bytes) -> bytes:
    """The first 16 bytes of a BLAKE3 hash."""
    return blake3(data).digest()[:16]


def assembled(pieces: Sequence[Piece], size: int, wanted: bytes, read: Callable[[Piece], bytes]) -> bytes:
    """The message that these pieces make, checked."""
    runs: list[tuple[int, list[bytes]]] = []
    for piece in pieces:
        if piece.joined:
            if not runs or not piece.recipe or runs[-1][0] != piece.recipe:
                raise Refused("a joined piece without a run")
            runs[-1][1].append(read(piece))
        else:
            runs.append((piece.recipe, [read(piece)]))
    content = b"".join(_encoded(recipe, b"".join(parts)) for recipe, parts in runs)
    if len(content) != size or digest(content) != wanted:
        raise Refused("content of another size or digest")
    return content


def _encoded(recipe: int, data: bytes) -> bytes:
    if recipe == 0:
        return data
    text = base64.b64encode(data)
    width, end = ((recipe - 1) >> 1) * 4, b"\r\n" if (recipe - 1) & 1 else b"\n"
    if not width:
        return text
    return end.join(text[start : start + width] for start in range(0, len(text), width))
