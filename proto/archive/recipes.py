"""Base64 text and back: how a part is kept decoded and encoded again to the very same bytes.

A recipe is a small number. 0: the stored bytes are the mail's bytes. Else, with ``r = recipe - 1``:
bit 0 of r is the line end (0 LF, 1 CR LF) and ``r >> 1`` the line length in groups of four characters,
0 for one unbroken line. The encoded text ends with its last character, without a line end.
FORMAT.md, "Recipes", is the specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pybase64

from .base64_lines import encode_lines, join

RAW = 0
_LINE_ENDS = (b"\n", b"\r\n")
_LONGEST_LINE = 4096
RECIPE_LIMIT = 3 + (_LONGEST_LINE // 4 << 1)
"""All valid recipes are below this: the last one is of the longest lines, ended by CR LF."""

_FIRST_LINE = re.compile(rb"[A-Za-z0-9+/]{4,4096}={0,2}(?=(\r?\n)|\Z)")


def decode(text: bytes) -> tuple[bytes, int] | None:
    """The decoded bytes and their recipe, or None unless encoding again gives ``text`` exactly.

    ``text`` must not end with a line end (it would not be reproduced).
    """
    first = _FIRST_LINE.match(text)
    if first is None:
        return None
    line_end = first[1]
    if line_end is None:
        packed, recipe = text, 1
    else:
        width = first.end()
        if width % 4 or text[-1] == 0x0A:
            return None
        joined = join(text, width, line_end)
        if joined is None:
            return None
        packed = joined
        recipe = 1 + (width // 4 << 1 | (len(line_end) - 1))
    try:
        data = pybase64.b64decode(packed, validate=True)
    except ValueError:
        return None
    # Non-canonical tails decode but don't come back: the comparison is the proof.
    if pybase64.b64encode(data) != packed:
        return None
    return data, recipe


def encode(chunks: Iterable[bytes | memoryview], recipe: int) -> Iterator[bytes]:
    """The text of one encoded run, from the stored bytes in pieces of any size.

    Raises ValueError for a number that is no recipe.
    """
    if not RAW < recipe < RECIPE_LIMIT:
        raise ValueError(f"no such recipe: {recipe}")
    width = (recipe - 1) >> 1 << 2
    line_end = _LINE_ENDS[(recipe - 1) & 1]
    step = width // 4 * 3 or 3
    # Held back until more comes, as the last line has no end.
    held = memoryview(b"")
    for chunk in chunks:
        data = memoryview(chunk)
        if held and data:
            whole = len(held) // step * step
            if whole:
                yield _encoded(held[:whole], width, line_end, ended=True)
            if rest := bytes(held[whole:]):
                # Only what completes a line is copied.
                lacking = step - len(rest)
                rest += data[:lacking]
                data = data[lacking:]
                if not data:
                    held = memoryview(rest)
                    continue
                yield _encoded(rest, width, line_end, ended=True)
        held = data or held
    if held:
        yield _encoded(held, width, line_end, ended=False)


def encoded_length(length: int, recipe: int) -> int:
    """Bytes of mail that ``length`` stored bytes of one run become."""
    if recipe == RAW:
        return length
    packed = (length + 2) // 3 * 4
    width = (recipe - 1) >> 1 << 2
    breaks = (packed - 1) // width if width and packed else 0
    return packed + breaks * len(_LINE_ENDS[(recipe - 1) & 1])


def _encoded(data: bytes | memoryview, width: int, line_end: bytes, *, ended: bool) -> bytes:
    return encode_lines(data, width, line_end, ended) if width else pybase64.b64encode(data)
