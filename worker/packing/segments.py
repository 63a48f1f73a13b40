"""Where a message is cut: header, body, MIME parts; large parts again at places their content defines.

A cut is never more than an optimisation: the segments of any byte string, put one after the other
(decoded ones encoded again), are that byte string. So the parsing here may be rough, must be fast, and
may give up at any point. It is the hottest code of a backup: flat loops and lists, no layers.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pyfastcdc import FastCDC

from ...proto.archive import recipes

SMALLEST_PART = 256
"""Parts below this many bytes stay with their neighbours."""

LARGE = 256 << 10
"""Segments from this many bytes on are cut again where their content says, so that edited copies share."""

DEEPEST = 8
"""Multiparts nested deeper than this are not cut further."""

MOST_PARTS = 10_000
"""Delimiters looked at in one message; what comes after stays in one piece."""

_LONGEST_TAIL = 1024
_HEADER_END = re.compile(rb"\n\r?\n")
_BOUNDARY = re.compile(rb"oundary[ \t]*=[ \t]*(?:\"([^\"\r\n]{1,200})\"|([^\s;\"]{1,200}))")
_MESSAGE = re.compile(rb"^content-type[ \t]*:[ \t]*message/(?:rfc822|global)", re.IGNORECASE | re.MULTILINE)


class Segment(NamedTuple):
    """Bytes to keep. ``indexed``: worth looking up and remembering. ``joined``: continues the run before."""

    data: bytes | memoryview
    recipe: int
    indexed: bool
    joined: bool


class Cutter:
    """Cuts messages into segments. Not to be shared between threads."""

    def __init__(self) -> None:
        self._chunker = FastCDC(avg_size=64 << 10, min_size=16 << 10, max_size=256 << 10)

    def cut(self, message: bytes, body: bool = False) -> list[Segment]:
        """The segments of a message, in order; none for an empty one.

        ``body``: the bytes are not the beginning of a message but go on inside its body.
        """
        segments: list[Segment] = []
        done = 0
        for start, end in continued_leaves(message) if body else leaves(message):
            # Line ends at the end of a part are left out of it: they hinder decoding and sharing.
            tail = message[max(start, end - _LONGEST_TAIL) : end]
            end -= len(tail) - len(tail.rstrip(b"\r\n"))
            if end - start < SMALLEST_PART:
                continue
            if start > done:
                segments.append(Segment(message[done:start], recipes.RAW, False, False))
            self._part(message[start:end], segments)
            done = end
        if done < len(message):
            segments.append(Segment(message[done:], recipes.RAW, False, False))
        return segments

    def _part(self, data: bytes, segments: list[Segment]) -> None:
        stored, recipe = recipes.decode(data) or (data, recipes.RAW)
        if len(stored) < LARGE:
            segments.append(Segment(stored, recipe, True, False))
            return
        joined = False
        for chunk in self._chunker.cut_buf(stored):
            segments.append(Segment(chunk.data, recipe, True, joined))
            joined = recipe != recipes.RAW


def leaves(message: bytes) -> list[tuple[int, int]]:
    """(start, end) of the parts that hold content, in order: the body, or the leaves of its MIME tree."""
    header_end = _HEADER_END.search(message)
    found: list[tuple[int, int]] = []
    if header_end is not None:
        _Leaves(message, found).entity(0, header_end.end(), len(message), 0)
    return found


def continued_leaves(data: bytes) -> list[tuple[int, int]]:
    """The same for bytes from the middle of a body: cut where a line looks like a delimiter."""
    found: list[tuple[int, int]] = []
    start, at = 0, data.find(b"\n--")
    while at >= 0 and len(found) < MOST_PARTS:
        found.append((start, at))
        header_end = _HEADER_END.search(data, at)
        start = header_end.end() if header_end is not None else len(data)
        at = data.find(b"\n--", start)
    found.append((start, len(data)))
    return found


class _Leaves:
    """One walk over a message's MIME tree; bounded in depth and in the number of delimiters."""

    __slots__ = ("budget", "data", "found")

    def __init__(self, data: bytes, found: list[tuple[int, int]]) -> None:
        self.data = data
        self.found = found
        self.budget = MOST_PARTS

    def entity(self, start: int, body: int, end: int, depth: int) -> None:
        """An entity whose header is at start:body and whose body at body:end."""
        data = self.data
        if depth < DEEPEST:
            # Plain searches first: a regular expression that looks for whole header fields is ten times
            # slower, and it does not matter if this takes another field's boundary for the multipart's.
            at = data.find(b"oundary", start, body)
            if at > 0 and data.rfind(b"ultipart/", start, at) > 0:
                boundary = _BOUNDARY.match(data, at, body)
                if boundary is not None:
                    self.parts(body, end, b"--" + (boundary[1] or boundary[2]), depth + 1)
                    return
            forwarded = depth and data.find(b"essage/", start, body) > 0
            if forwarded and _MESSAGE.search(data, start, body) is not None:
                inner = _HEADER_END.search(data, body, end)
                if inner is not None:
                    self.entity(body, inner.end(), end, depth + 1)
                    return
        self.found.append((body, end))

    def parts(self, start: int, end: int, delimiter: bytes, depth: int) -> None:
        """The parts between delimiters; preamble and epilogue are nobody's leaf."""
        data = self.data
        at = data.find(delimiter, start, end)
        while at >= 0 and self.budget > 0:
            self.budget -= 1
            header_end = _HEADER_END.search(data, at, end)
            if header_end is None:
                return
            body = header_end.end()
            # No hyphen occurs in base64, so that looking for one skips most of a large part at once.
            following = data.find(b"-", body, end)
            if following >= 0 and not data.startswith(delimiter, following):
                following = data.find(delimiter, following, end)
            self.entity(at, body, following if following >= 0 else end, depth)
            at = following
