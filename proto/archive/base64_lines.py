"""Base64 text in lines, and joined to one text: the library encodes; lines are broken and joined in C where
that was built (``_lines.c``), else by the library or in pure Python. Both give exactly the same
(tests/property/test_base64_lines.py); what it brings: docs/decisions/0049-what-restores-cost.md and
0047-hot-path-in-c.md.
"""

from __future__ import annotations

from collections.abc import Callable

import pybase64

try:
    from ._lines import break_lines, join_lines
except ImportError:
    break_lines = join_lines = None  # type: ignore[assignment]

_LIBRARY_WIDTH = 76  # of the lines that the library makes: what nearly all mail has


def _with_library(data: bytes | memoryview, width: int, line_end: bytes, ended: bool) -> bytes:
    if width == _LIBRARY_WIDTH:
        text = pybase64.encodebytes(data)
        if not ended:
            text = text[:-1]
        return text if line_end == b"\n" else text.replace(b"\n", line_end)
    packed = pybase64.b64encode(data)
    lines = [packed[at : at + width] for at in range(0, len(packed), width)]
    if ended and lines:
        lines.append(b"")
    return line_end.join(lines)


def _in_c(data: bytes | memoryview, width: int, line_end: bytes, ended: bool) -> bytes:
    return break_lines(pybase64.b64encode(data), width, line_end, ended)


def _joined(text: bytes, width: int, line_end: bytes) -> bytes | None:
    stride = width + len(line_end)
    ends = -(-max(0, len(text) - width) // stride)
    if len(text) < ends * stride:
        return None
    # Every line end must sit exactly where a fixed width puts it; then removing them loses nothing.
    joined = text.replace(line_end, b"")
    if len(joined) + ends * len(line_end) != len(text):
        return None
    at_ends = (text[width + index : ends * stride : stride] for index in range(len(line_end)))
    is_whole = all(found.count(line_end[index]) == ends for index, found in enumerate(at_ends))
    return joined if is_whole else None


Encoder = Callable[["bytes | memoryview", int, bytes, bool], bytes]

encode_lines: Encoder = _with_library if break_lines is None else _in_c
"""Bytes as base64 text in lines of this many characters, a multiple of four; with a line end behind the last
one, or none."""

Joiner = Callable[[bytes, int, bytes], "bytes | None"]

join: Joiner = _joined if join_lines is None else join_lines
"""Text without its line ends, or None unless each of its lines but the last one is of this width, and has a
line end behind it. Whether there are others within its lines may be found out, or not."""
