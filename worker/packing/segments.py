"""The segments of a message: what lies between its parts and these, decoded where they are base64; large ones
are cut again at places their content defines.

A cut is never more than an optimisation: the segments of any byte string, put one after the other (decoded
ones encoded again), are that byte string. Where parts lie is found by ``scanning``.
"""

from __future__ import annotations

from pyfastcdc import FastCDC

from ...proto.archive import recipes
from .scanning import Parts

LARGE = 256 << 10
"""Segments from this many bytes on are cut again where their content says, so that edited copies share."""


Segment = tuple[bytes | memoryview, int, bool, bool]
"""Bytes to keep; their recipe; whether they are worth looking up and remembering; whether they continue the
run before. Not a record: two are made of every message."""


class Cutter:
    """Cuts messages into segments. Not to be shared between threads."""

    def __init__(self) -> None:
        self._chunker = FastCDC(avg_size=64 << 10, min_size=16 << 10, max_size=256 << 10)

    def cut(self, data: bytes, parts: Parts) -> list[Segment]:
        """The segments of a message, or of a window of it, with these parts, in order; none for no bytes."""
        segments: list[Segment] = []
        done = 0
        for start, end in parts:
            if start > done:
                segments.append((data[done:start], recipes.RAW, False, False))
            part = data[start:end]
            stored, recipe = recipes.decode(part) or (part, recipes.RAW)
            if len(stored) < LARGE:
                segments.append((stored, recipe, True, False))
            else:
                self._cut_again(stored, recipe, segments)
            done = end
        if done < len(data):
            segments.append((data[done:], recipes.RAW, False, False))
        return segments

    def _cut_again(self, data: bytes, recipe: int, segments: list[Segment]) -> None:
        joined = False
        for chunk in self._chunker.cut_buf(data):
            segments.append((chunk.data, recipe, True, joined))
            joined = recipe != recipes.RAW
