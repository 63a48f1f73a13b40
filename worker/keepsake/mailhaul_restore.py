#!/usr/bin/env python3
"""Restore mail from archives of mailhaul with nothing but this file and Python 3.8 or newer.

    python3 THIS_FILE FILE_OR_DIRECTORY... --list
    python3 THIS_FILE FILE_OR_DIRECTORY... --to DIRECTORY [--run RUN] [--path /PARTITION/GROUP/USER/FOLDER]

What it makes are Maildirs: messages byte for byte with their flags and times, UID lists, keywords, the
other files. It needs every archive that the wanted ones refer to, and says which of these are not there. Each
message is checked against its digest. What is damaged is named, and the rest is restored. It is slow, less so
where the modules blake3, lz4 and zstandard are installed.

Archives that are encrypted take the private key of a recipient (--identity) and the Python module
cryptography: Debian's python3-cryptography, or "pip install cryptography". --check reads all of every archive
and says whether it is as it was written.

Written after the document FORMAT.md of mailhaul (formats 3 and 4) and independent of the rest of the program,
which restores faster, into other places and other formats, and beside mail that is there.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import getpass
import hashlib
import hmac
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import unicodedata
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_SKIPPED, EXIT_DAMAGED = range(5)

READ_VERSION = 4
PLAIN_VERSION = 3
VAULT = ".vault.sealed"
HEADER, BLOCK, MESSAGES, MAILBOX, INDEX, DIRECTORY, FOOTER, SEARCH, DEPARTED, FOLDERS, KEYS = range(1, 12)
RUN, UNCHANGED = 137, 139

NOWHERE = "-"

MOST_PAYLOAD = 8_388_608
MOST_CONTAINERS = 1_048_576
MOST_DEPTH = 32
MOST_MESSAGES = 4_096
MOST_RECIPE = 2_050
MOST_DIRECTORY = 268_435_456
CACHE_BYTES = 64 << 20
STEP = 1 << 20
SECTOR = 4096
MOST_OPEN = 100

Path = Tuple[bytes, ...]


class Damaged(Exception):
    """This is not what a writer wrote, or it is not at hand."""


class Locked(Damaged):
    """It is encrypted, and no key at hand opens it."""


class Erased(Locked):
    """What is asked for is of a mailbox that was erased: nobody will ever read it, and nothing is wrong."""


class Refused(Exception):
    """One thing can't be put where it is to be; the rest can."""


class Failed(Exception):
    """Nothing more can be done. ``status`` is the exit status."""

    def __init__(self, message: str, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """Whatever goes wrong while values of an archive are taken apart: they are not what they should be."""
    try:
        yield
    except (
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        struct.error,
    ) as error:
        raise Damaged(f"{what} is not what it should be ({type(error).__name__}: {error})") from error


# ---------------------------------------------------------------------------------------------------------
# BLAKE3. One big integer holds the same word of many chunks, 64 bits for each, so that Python's arithmetic
# works on all of them at once.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
CHUNK, BATCH = 1024, 1024  # bytes of a chunk, chunks at once

Node = Sequence[int]


def spread(values: Sequence[int]) -> int:
    """Numbers side by side, 64 bits for each."""
    return int.from_bytes(struct.pack(f"<{len(values)}Q", *values), "little")


def gathered(wide: int, count: int) -> Tuple[int, ...]:
    """The inverse of ``spread``."""
    return struct.unpack(f"<{count}Q", wide.to_bytes(8 * count, "little"))


def compressed(
    node: Node, words: Sequence[int], counter: int, length: int, flags: int, ones: int
) -> List[int]:
    """BLAKE3's compression of one block of each lane. ``ones`` has a 1 in each lane."""
    low = ones * 0xFFFFFFFF
    state = [*node, *(ones * one for one in IV[:4]), counter & low, (counter >> 32) & low]
    state += [ones * length, ones * flags]
    block = list(words)
    for turn in range(7):
        for number, (a, b, c, d) in enumerate(COLUMNS + DIAGONALS):
            va, vb, vc, vd = state[a], state[b], state[c], state[d]
            va = (va + vb + block[2 * number]) & low
            vd ^= va
            vd = ((vd >> 16) | (vd << 16)) & low
            vc = (vc + vd) & low
            vb ^= vc
            vb = ((vb >> 12) | (vb << 20)) & low
            va = (va + vb + block[2 * number + 1]) & low
            vd ^= va
            vd = ((vd >> 8) | (vd << 24)) & low
            vc = (vc + vd) & low
            vb ^= vc
            state[a], state[b], state[c], state[d] = va, ((vb >> 7) | (vb << 25)) & low, vc, vd
        if turn < 6:
            block = [block[one] for one in PERMUTATION]
    return [state[one] ^ state[one + 8] for one in range(8)]


def whole_chunks(data: Any, first: int) -> List[Node]:
    """The nodes of so many whole chunks, of which the first has this number."""
    count = len(data) // CHUNK
    words = array("I", bytes(data)) if array("I").itemsize == 4 else array("L", bytes(data))
    if sys.byteorder == "big":
        words.byteswap()
    ones = spread([1] * count)
    counter = spread(range(first, first + count))
    node: Node = [ones * one for one in IV]
    for block in range(16):
        row = [spread(words[16 * block + word :: 256]) for word in range(16)]
        flags = (CHUNK_START if block == 0 else 0) | (CHUNK_END if block == 15 else 0)
        node = compressed(node, row, counter, 64, flags, ones)
    return list(zip(*(gathered(wide, count) for wide in node)))


def last_chunk(data: bytes, number: int, flags: int) -> Node:
    """The node of a chunk that may be short; ``flags`` for its last block."""
    node: Node = IV
    blocks = max(1, (len(data) + 63) // 64)
    for block in range(blocks):
        part = data[64 * block : 64 * block + 64]
        words = struct.unpack("<16I", part.ljust(64, b"\0"))
        own = (CHUNK_START if block == 0 else 0) | (CHUNK_END | flags if block == blocks - 1 else 0)
        node = compressed(node, words, number, len(part), own, 1)
    return node


def tree(nodes: List[Node], flags: int) -> Node:
    """The node above all of these; ``flags`` for it alone."""
    while len(nodes) > 1:
        pairs = len(nodes) // 2
        left, right = zip(*nodes[: 2 * pairs : 2]), zip(*nodes[1 : 2 * pairs : 2])
        words = [spread(one) for one in (*left, *right)]
        ones = spread([1] * pairs)
        own = PARENT | (flags if len(nodes) == 2 else 0)
        wide = compressed([ones * one for one in IV], words, 0, 64, own, ones)
        nodes = [*zip(*(gathered(one, pairs) for one in wide)), *nodes[2 * pairs :]]
    return nodes[0]


class PlainBlake3:
    """BLAKE3 in Python."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._nodes: List[Node] = []

    def update(self, data: bytes) -> None:
        """Take more in."""
        self._data += data
        # What may be the last chunk waits: that one is marked.
        while len(self._data) > BATCH * CHUNK:
            with memoryview(self._data) as view:
                chunks = whole_chunks(view[: BATCH * CHUNK], BATCH * len(self._nodes))
            self._nodes.append(tree(chunks, 0))
            del self._data[: BATCH * CHUNK]

    def digest(self) -> bytes:
        """32 bytes."""
        whole = max(0, (len(self._data) - 1) // CHUNK)
        number = BATCH * len(self._nodes)
        nodes = whole_chunks(self._data[: whole * CHUNK], number) if whole else []
        alone = not nodes and not self._nodes
        nodes.append(last_chunk(bytes(self._data[whole * CHUNK :]), number + whole, ROOT if alone else 0))
        root = tree([*self._nodes, tree(nodes, 0 if self._nodes else ROOT)], ROOT)
        return struct.pack("<8I", *root)


# ---------------------------------------------------------------------------------------------------------
# Codecs


def plain_lz4(data: bytes, size: int) -> bytes:
    """One LZ4 block that holds so many bytes. Raises ValueError or IndexError."""
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        length = token >> 4
        if length == 15:
            more = 255
            while more == 255:
                more = data[at]
                at += 1
                length += more
        if at + length > end or len(out) + length > size:
            raise ValueError("literals beyond the end")
        out += data[at : at + length]
        at += length
        if at == end:
            break
        distance = data[at] | data[at + 1] << 8
        at += 2
        length = (token & 15) + 4
        if length == 19:
            more = 255
            while more == 255:
                more = data[at]
                at += 1
                length += more
        copy_back(out, distance, length, size)
    return bytes(out)


class BackwardBits:
    """Bits that are read from the end of their bytes towards the beginning; behind that come zeros."""

    def __init__(self, data: bytes) -> None:
        if not data or not data[-1]:
            raise ValueError("bits without an end mark")
        self._data = data
        self.left = 8 * len(data) - 9 + data[-1].bit_length()

    def peek(self, count: int) -> int:
        """The next bits as a number, at most 56 of them."""
        at = self.left - count
        if at < 0:
            return self.peek(self.left) << -at if self.left > 0 else 0
        found = int.from_bytes(self._data[at >> 3 : (at >> 3) + 8], "little")
        return found >> (at & 7) & ((1 << count) - 1)

    def read(self, count: int) -> int:
        """The same, and go on behind them."""
        found = self.peek(count)
        self.left -= count
        return found


class Fse(NamedTuple):
    """A table of zstd's entropy coder: by state the symbol, and how the next state is found."""

    log: int
    symbols: Sequence[int]
    bits: Sequence[int]
    bases: Sequence[int]

    @classmethod
    def of(cls, log: int, shares: Sequence[int]) -> Fse:
        """From the shares of the symbols; -1 for less than one."""
        size = 1 << log
        symbols, high, at = [0] * size, size, 0
        for symbol, share in enumerate(shares):
            if share < 0:
                high -= 1
                symbols[high] = symbol
        for symbol, share in enumerate(shares):
            for _ in range(share):
                symbols[at] = symbol
                at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
                while at >= high:
                    at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
        if at or sum(map(abs, shares)) != size:
            raise ValueError("shares that do not add up")
        following = [abs(share) for share in shares]
        bits, bases = [], []
        for symbol in symbols:
            turn = following[symbol]
            following[symbol] += 1
            bits.append(log + 1 - turn.bit_length())
            bases.append((turn << bits[-1]) - size)
        return cls(log, symbols, bits, bases)

    @classmethod
    def read(cls, data: bytes, most_log: int, most_symbols: int) -> Tuple[Fse, int]:
        """From how a block tells the shares; also returns how many bytes that takes."""
        bits, at = int.from_bytes(data[:512], "little"), 4
        log = (bits & 15) + 5
        if log > most_log:
            raise ValueError("too large a table")
        left = 1 << log
        shares: List[int] = []
        while left > 0:
            width = (left + 1).bit_length()
            value = bits >> at & ((1 << width) - 1)
            low, few = (1 << (width - 1)) - 1, (1 << width) - left - 2
            at += width
            if value & low < few:
                at -= 1
                value &= low
            elif value > low:
                value -= few
            shares.append(value - 1)
            left -= abs(value - 1)
            again = 3 if value == 1 else 0
            while again == 3:
                again = bits >> at & 3
                at += 2
                shares += [0] * again
            if len(shares) > most_symbols:
                raise ValueError("too many symbols")
        length = (at + 7) // 8
        if left or length > len(data):
            raise ValueError("shares that do not add up")
        return cls.of(log, shares), length


LITERAL_SHARES = (4, 3, *(2,) * 11, 1, 1, 1, *(2,) * 9, 3, 2, *(1,) * 5, *(-1,) * 4)
OFFSET_SHARES = (*(1,) * 6, 2, 2, 2, *(1,) * 15, *(-1,) * 5)
MATCH_SHARES = (1, 4, 3, *(2,) * 6, *(1,) * 37, *(-1,) * 7)
LITERAL_BITS = (*(0,) * 16, 1, 1, 1, 1, 2, 2, 3, 3, 4, *range(6, 17))
MATCH_BITS = (*(0,) * 32, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, *range(7, 17))
LITERAL_BASES = (
    *accumulate((0, *(1 << bits for bits in LITERAL_BITS[:24]))),
    *(1 << n for n in range(6, 17)),
)
MATCH_BASES = (
    *accumulate((3, *(1 << bits for bits in MATCH_BITS[:42]))),
    *((1 << n) + 3 for n in range(7, 17)),
)
KINDS = (  # of a sequence: how many literals, how far back, how many bytes from there
    (Fse.of(6, LITERAL_SHARES), 9, 36),
    (Fse.of(5, OFFSET_SHARES), 8, 32),
    (Fse.of(6, MATCH_SHARES), 9, 53),
)
MOST_BLOCK = 1 << 17


class PlainZstd:
    """Decompresses one zstd frame that holds so many bytes (RFC 8878). Raises ValueError or IndexError."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._out = bytearray()
        self._huffman: Tuple[int, List[int], List[int]] = (0, [], [])
        self._tables: List[Optional[Fse]] = [None, None, None]
        self._repeated = [1, 4, 8]

    def decompress(self, data: bytes) -> bytes:
        """All of it."""
        if zstd_size(data) != self._size:
            raise ValueError("a frame that does not tell its size")
        told = data[4]
        at = zstd_start(data)
        if told & 11:
            raise ValueError("a frame with a dictionary, or of a later version")
        is_last = False
        while not is_last:
            header = int.from_bytes(data[at : at + 3], "little")
            is_last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
            block = data[at + 3 : at + 3 + (1 if kind == 1 else length)]
            at += 3 + len(block)
            if kind == 3 or len(block) != (1 if kind == 1 else length) or length > MOST_BLOCK:
                raise ValueError("no block")
            if kind == 2:
                self._block(block)
            else:
                self._out += block * length if kind == 1 else block
            if len(self._out) > self._size:
                raise ValueError("more than was told")
        if at + (4 if told & 4 else 0) != len(data):
            raise ValueError("something behind the frame")
        return bytes(self._out)

    def _block(self, data: bytes) -> None:
        literals, at = self._literals(data)
        count = data[at]
        at += 1
        if count == 255:
            count, at = int.from_bytes(data[at : at + 2], "little") + 0x7F00, at + 2
        elif count > 127:
            count, at = (count - 128 << 8) + data[at], at + 1
        if count:
            modes = data[at]
            at += 1
            for number, (usual, most_log, most_symbols) in enumerate(KINDS):
                mode = modes >> 6 - 2 * number & 3
                if mode == 0:
                    self._tables[number] = usual
                elif mode == 1:
                    self._tables[number] = Fse(0, [data[at]], [0], [0])
                    at += 1
                elif mode == 2:
                    self._tables[number], length = Fse.read(data[at:], most_log, most_symbols)
                    at += length
            used = self._sequences(literals, count, BackwardBits(data[at:]))
        else:
            used = 0
        self._out += literals[used:]

    def _sequences(self, literals: bytes, count: int, bits: BackwardBits) -> int:
        """Carry them out; returns how many of the literals they took."""
        first, second, third = self._tables
        if first is None or second is None or third is None:
            raise ValueError("a table that was never told")
        out, used = self._out, 0
        a, b, c = bits.read(first.log), bits.read(second.log), bits.read(third.log)
        for turn in range(count):
            code = second.symbols[b]
            far = (1 << code) + bits.read(code)
            code = third.symbols[c]
            length = MATCH_BASES[code] + bits.read(MATCH_BITS[code])
            code = first.symbols[a]
            plain = LITERAL_BASES[code] + bits.read(LITERAL_BITS[code])
            if turn < count - 1:
                a = first.bases[a] + bits.read(first.bits[a])
                c = third.bases[c] + bits.read(third.bits[c])
                b = second.bases[b] + bits.read(second.bits[b])
            if bits.left < 0 or used + plain > len(literals):
                raise ValueError("sequences beyond the end")
            out += literals[used : used + plain]
            used += plain
            copy_back(out, self._distance(far, plain), length, self._size)
        if bits.left:
            raise ValueError("bits that nobody wanted")
        return used

    def _distance(self, far: int, literals: int) -> int:
        """How far back a match lies; small numbers stand for earlier ones."""
        known = self._repeated
        if far > 3:
            self._repeated = [far - 3, *known[:2]]
            return far - 3
        which = far - 1 if literals else far
        found = known[which] if which < 3 else known[0] - 1
        self._repeated = [found, *(one for at, one in enumerate(known[:3]) if at != min(which, 2))]
        return found

    def _literals(self, data: bytes) -> Tuple[bytes, int]:
        """The literals of a block, and where they end."""
        kind, form = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            width = (1, 2, 1, 3)[form]
            size = int.from_bytes(data[:width], "little") >> (4 if form & 1 else 3)
            stored = data[width : width + (1 if kind else size)]
            if size > MOST_BLOCK or len(stored) != (1 if kind else size):
                raise ValueError("no literals")
            return stored * size if kind else stored, width + len(stored)
        width, digits = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        header = int.from_bytes(data[:width], "little") >> 4
        size, length = header & (1 << digits) - 1, header >> digits
        stored = data[width : width + length]
        if size > MOST_BLOCK or len(stored) != length:
            raise ValueError("no literals")
        if kind == 2:
            used = self._read_huffman(stored)
            stored = stored[used:]
        if form == 0:
            return self._decoded(stored, size), width + length
        ends = [*accumulate((6, *struct.unpack("<3H", stored[:6]))), len(stored)]
        share = (size + 3) // 4
        shares = (share, share, share, size - 3 * share)
        parts = [self._decoded(stored[ends[n] : ends[n + 1]], one) for n, one in enumerate(shares)]
        return b"".join(parts), width + length

    def _decoded(self, data: bytes, size: int) -> bytes:
        """One stream of Huffman codes."""
        most, symbols, lengths = self._huffman
        bits = BackwardBits(data)
        out = bytearray()
        for _ in range(size):
            code = bits.peek(most)
            out.append(symbols[code])
            bits.left -= lengths[code]
        if bits.left:
            raise ValueError("codes that do not come out")
        return bytes(out)

    def _read_huffman(self, data: bytes) -> int:
        """Take the table of codes; returns how many bytes it takes."""
        told = data[0]
        if told > 127:
            count = told - 127
            used = 1 + (count + 1) // 2
            weights = [half for byte in data[1:used] for half in (byte >> 4, byte & 15)][:count]
        else:
            used = 1 + told
            table, length = Fse.read(data[1:used], 6, 256)
            weights = self._weights(table, BackwardBits(data[1 + length : used]))
        total = sum(1 << one - 1 for one in weights if one)
        most = total.bit_length()
        left = (1 << most) - total
        if not total or most > 11 or left & left - 1:
            raise ValueError("no table of codes")
        weights.append(left.bit_length())
        symbols: List[int] = []
        lengths: List[int] = []
        for weight in range(1, most + 1):
            for symbol, one in enumerate(weights):
                if one == weight:
                    symbols += [symbol] * (1 << weight - 1)
                    lengths += [most + 1 - weight] * (1 << weight - 1)
        if len(symbols) != 1 << most or len(weights) > 256:
            raise ValueError("no table of codes")
        self._huffman = most, symbols, lengths
        return used

    def _weights(self, table: Fse, bits: BackwardBits) -> List[int]:
        """Two states take turns; the one whose turn it is not has the last word."""
        found: List[int] = []
        state, other = bits.read(table.log), bits.read(table.log)
        while len(found) < 255:
            found.append(table.symbols[state])
            state = table.bases[state] + bits.read(table.bits[state])
            if bits.left < 0:
                return [*found, table.symbols[other]]
            state, other = other, state
        raise ValueError("too many weights")


def copy_back(out: bytearray, distance: int, length: int, size: int) -> None:
    """Repeat what lies so far back; not beyond so many bytes in all. Raises ValueError."""
    start = len(out) - distance
    if distance <= 0 or start < 0 or len(out) + length > size:
        raise ValueError("a match that is not there")
    if distance >= length:
        out += out[start : start + length]
    else:
        out += (out[start:] * (length // distance + 1))[:length]


def zstd_start(data: bytes) -> int:
    """Where the first block of a zstd frame begins."""
    told = data[4]
    is_single = told >> 5 & 1
    return 6 - is_single + (0, 1, 2, 4)[told & 3] + ((0, 2, 4, 8)[told >> 6] or is_single)


def zstd_size(data: bytes) -> Optional[int]:
    """The size of its content as a zstd frame tells it; None if it does not."""
    told = data[4]
    width = (0, 2, 4, 8)[told >> 6] or told >> 5 & 1
    if not width or data[:4] != b"\x28\xb5\x2f\xfd":
        return None
    start = zstd_start(data)
    return int.from_bytes(data[start - width : start], "little") + (256 if width == 2 else 0)


def plain_zstd(data: bytes, size: int) -> bytes:
    """One zstd frame that holds so many bytes. Raises ValueError or IndexError."""
    return PlainZstd(size).decompress(data)


class Means:
    """How digests are made and payloads decompressed: by modules where they are installed. All of these raise
    ValueError or the like for what is damaged."""

    def __init__(self, *, plain: bool = False) -> None:
        self.new_hash: Callable[[], Any] = PlainBlake3
        self.lz4: Callable[[bytes, int], bytes] = plain_lz4
        self.zstd: Callable[[bytes, int], bytes] = plain_zstd
        if not plain:
            self._look_for_modules()

    def _look_for_modules(self) -> None:
        with contextlib.suppress(ImportError):
            from blake3 import blake3

            self.new_hash = blake3
        with contextlib.suppress(ImportError):
            import lz4.block

            self.lz4 = lambda data, size: bytes(lz4.block.decompress(data, uncompressed_size=size))
        with contextlib.suppress(ImportError):
            from compression import zstd  # type: ignore[import-not-found, unused-ignore]

            self.zstd = lambda data, size: _whole(zstd.ZstdDecompressor(), data, size)
            return
        with contextlib.suppress(ImportError):
            import zstandard

            self.zstd = lambda data, size: _whole(zstandard.ZstdDecompressor().decompressobj(), data, size)

    def digest(self, data: bytes) -> bytes:
        """As it stands in archives."""
        hashed = self.new_hash()
        hashed.update(data)
        return bytes(hashed.digest()[:16])

    def hashed(self, data: bytes) -> bytes:
        """32 bytes."""
        hashed = self.new_hash()
        hashed.update(data)
        return bytes(hashed.digest())

    def decompressed(self, codec: int, data: bytes, size: int) -> bytes:
        """A payload as it is plain. Raises Damaged."""
        try:
            if codec == 0:
                plain = data
            elif codec == 1:
                plain = self.lz4(data, size)
            elif codec == 2:
                plain = self.zstd(data, size)
            else:
                raise Damaged(f"a codec of a later version ({codec})")
        except (Damaged, Failed, MemoryError):
            raise
        except Exception as error:  # each module has errors of its own
            raise Damaged(f"a payload that can't be decompressed ({error})") from error
        if len(plain) != size:
            raise Damaged("a payload of another size")
        return plain


def _whole(decompressor: Any, data: bytes, size: int) -> bytes:
    """One zstd frame that tells its size, and nothing behind it."""
    if zstd_size(data) != size:
        raise ValueError("a frame that does not tell its size")
    plain = bytes(decompressor.decompress(data))
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("not one whole frame")
    return plain


# ---------------------------------------------------------------------------------------------------------
# msgpack and columns


class Unpacker:
    """Reads the one map of a payload. Raises Damaged."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._containers = 0

    def map(self) -> Dict[str, Any]:
        """All of the payload."""
        with understood("metadata"):
            found = self._value(0)
            if not isinstance(found, dict) or self._at != len(self._data):
                raise ValueError("not one map")
        return found

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise ValueError("it ends too soon")
        found = self._data[self._at : end]
        self._at = end
        return found

    def _number(self, length: int) -> int:
        return int.from_bytes(self._take(length), "big")

    def _value(self, depth: int) -> Any:
        kind = self._take(1)[0]
        if kind < 0x80:
            return kind
        if kind < 0x90:
            return self._pairs(kind & 15, depth)
        if kind < 0xA0:
            return self._list(kind & 15, depth)
        if kind < 0xC0:
            return self._text(kind & 31)
        if kind >= 0xE0:
            return kind - 256
        if kind in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[kind]
        if 0xC4 <= kind <= 0xC6:
            return self._take(self._number(1 << kind - 0xC4))
        if kind in (0xCA, 0xCB):
            return struct.unpack(">f" if kind == 0xCA else ">d", self._take(4 if kind == 0xCA else 8))[0]
        if 0xCC <= kind <= 0xCF:
            return self._number(1 << kind - 0xCC)
        if 0xD0 <= kind <= 0xD3:
            return int.from_bytes(self._take(1 << kind - 0xD0), "big", signed=True)
        if 0xD9 <= kind <= 0xDB:
            return self._text(self._number(1 << kind - 0xD9))
        if kind in (0xDC, 0xDD):
            return self._list(self._number(2 << kind - 0xDC), depth)
        if kind in (0xDE, 0xDF):
            return self._pairs(self._number(2 << kind - 0xDE), depth)
        raise ValueError("an extension type")

    def _text(self, length: int) -> str:
        return self._take(length).decode("utf-8", "surrogateescape")

    def _enter(self, depth: int, items: int) -> None:
        self._containers += 1
        if self._containers > MOST_CONTAINERS or depth >= MOST_DEPTH or items > len(self._data) - self._at:
            raise ValueError("too many lists and maps")

    def _list(self, length: int, depth: int) -> List[Any]:
        self._enter(depth, length)
        return [self._value(depth + 1) for _ in range(length)]

    def _pairs(self, length: int, depth: int) -> Dict[Any, Any]:
        self._enter(depth, length)
        found: Dict[Any, Any] = {}
        for _ in range(length):
            key = self._value(depth + 1)
            if not isinstance(key, str) or key in found:
                raise ValueError("a key twice, or one that is no text")
            found[key] = self._value(depth + 1)
        return found


def number(value: Any, most: int = (1 << 63) - 1) -> int:
    """A number that is not negative. Raises ValueError."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("no number, or too great a one")
    return value


def integer(value: Any) -> int:
    """A number of either sign. Raises ValueError."""
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError("no integer")
    return value


def text(value: Any) -> str:
    """Raises ValueError if it is none."""
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def octets(value: Any, length: Optional[int] = None) -> bytes:
    """Bytes, of a length. Raises ValueError."""
    if not isinstance(value, bytes) or length not in (None, len(value)):
        raise ValueError("no bytes, or of another length")
    return value


def column(data: Any, width: int, count: Optional[int] = None) -> Tuple[int, ...]:
    """A column of numbers of so many bytes each. Raises ValueError."""
    found = octets(data, None if count is None else width * count)
    return struct.unpack(f"<{len(found) // width}{ {2: 'H', 4: 'I', 8: 'Q'}[width] }", found)


def deltas(data: Any, count: Optional[int] = None, *, signed: bool = False) -> List[int]:
    """A delta column. Raises ValueError."""
    sums = [value & 0xFFFFFFFFFFFFFFFF for value in accumulate(column(data, 8, count))]
    return [value - (1 << 64) if signed and value >> 63 else value for value in sums]


def strings(value: Any, count: int) -> List[bytes]:
    """A string column. Raises ValueError."""
    lengths, data = value
    ends = [0, *accumulate(column(lengths, 4, count))]
    octets(data, ends[-1])
    return [data[ends[row] : ends[row + 1]] for row in range(count)]


# ---------------------------------------------------------------------------------------------------------
# Files and frames

MAGIC = b"\x9dMH\x0a"
LAYOUT = struct.Struct("<4sBBHII16sQQ16sII")


class Frame(NamedTuple):
    """The header of a frame, whose own checksum is right; ``offset`` in the file."""

    offset: int
    kind: int
    codec: int
    flags: int
    stored: int
    plain: int
    archive: bytes
    sequence: int
    position: int
    checksum: bytes
    slot: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + LAYOUT.size + self.stored

    @property
    def begins_archive(self) -> bool:
        """Whether an archive begins here."""
        return self.kind == HEADER and self.sequence == 0


# ---------------------------------------------------------------------------------------------------------
# Encryption (FORMAT.md, *Encryption*). The module cryptography has what Python does not bring along.

CONTEXT = b"mailhaul 4 "
ENCRYPTED, AUTHENTICATED = 1, 2  # flags of a frame
AES_256_GCM, CHACHA20_POLY1305 = 1, 2
X25519, HYBRID, AGE = 1, 2, 3
KIND_NAMES = {"x25519": X25519, "hybrid": HYBRID}
PRIVATE_BYTES = {X25519: 32, HYBRID: 96}
COUNTER_BYTES, TAG_BYTES = 8, 16
MLKEM_CIPHERTEXT_BYTES = 1088
NEEDS_CRYPTOGRAPHY = (
    "encrypted archives take the Python module cryptography, which is not installed: "
    "apt install python3-cryptography, or pip install cryptography"
)
NEEDS_MLKEM = (
    "hybrid keys take ML-KEM-768, which the Python module cryptography has from version 47 on: pip install "
    "'cryptography>=47'"
)
NEEDS_AGE = (
    "age identities take the Python module pyrage (pip install pyrage) or the program age: neither is here"
)


def extracted(salt: bytes, secret: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), the first half."""
    return hmac.new(salt or bytes(32), secret, "sha256").digest()


def expanded(key: bytes, info: bytes, length: int) -> bytes:
    """The second half; up to 32 bytes are taken here."""
    return hmac.new(key, info + b"\x01", "sha256").digest()[:length]


def derived(secret: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """A key, or the id of a key, made of another."""
    return expanded(extracted(salt, secret), CONTEXT + info, length)


def recipient_of(kind: int, public: bytes) -> bytes:
    """The id of a recipient."""
    return hashlib.sha256(CONTEXT + b"recipient" + bytes([kind]) + public).digest()[:16]


def hpke_opened(kem: int, shared: bytes, info: bytes, ciphertext: bytes) -> bytes:
    """HPKE (RFC 9180), mode base with HKDF-SHA256 and AES-256-GCM, from the shared secret of this KEM on.
    Raises Damaged."""
    suite = b"HPKE" + struct.pack(">HHH", kem, 1, 2)

    def extract(label: bytes, secret: bytes, salt: bytes = b"") -> bytes:
        return extracted(salt, b"HPKE-v1" + suite + label + secret)

    def expand(label: bytes, length: int) -> bytes:
        return expanded(secret, struct.pack(">H", length) + b"HPKE-v1" + suite + label + context, length)

    context = b"\0" + extract(b"psk_id_hash", b"") + extract(b"info_hash", info)
    secret = extract(b"secret", b"", shared)
    return decrypted(AES_256_GCM, expand(b"key", 32), expand(b"base_nonce", 12), ciphertext, b"")


def decrypted(cipher: int, key: bytes, nonce: bytes, data: bytes, additional: bytes) -> bytes:
    """What was encrypted. Raises Damaged."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    except ImportError as error:
        raise Failed(NEEDS_CRYPTOGRAPHY) from error
    kind: Any = AESGCM if cipher == AES_256_GCM else ChaCha20Poly1305
    try:
        return bytes(kind(key).decrypt(nonce, data, additional))
    except (InvalidTag, ValueError) as error:
        raise Damaged("it is not what was encrypted here") from error


def x25519_public(private: bytes) -> bytes:
    """The public half."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ImportError as error:
        raise Failed(NEEDS_CRYPTOGRAPHY) from error
    public = X25519PrivateKey.from_private_bytes(private).public_key()
    return bytes(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def x25519_shared(private: bytes, public: bytes) -> bytes:
    """What both sides know. Raises Damaged for a public key that is none."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        return bytes(
            X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
        )
    except ValueError as error:
        raise Damaged("no public key") from error


def mlkem_private(seed: bytes) -> Any:
    """The private key of ML-KEM-768. Raises Failed where there is none of that."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
    except ImportError as error:
        raise Failed(NEEDS_MLKEM) from error
    try:
        return MLKEM768PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm as error:
        raise Failed(NEEDS_MLKEM) from error


def public_of(kind: int, private: bytes) -> bytes:
    """The public half of a private key."""
    if kind == X25519:
        return x25519_public(private)
    return bytes(mlkem_private(private[:64]).public_key().public_bytes_raw()) + x25519_public(private[64:])


def unwrapped(kind: int, private: bytes, sealed: bytes, info: bytes) -> bytes:
    """What is wrapped for this private key. Raises Damaged."""
    if kind == X25519:
        encapsulated, ciphertext = sealed[:32], sealed[32:]
        suite = b"KEM\x00\x20"
        shared = x25519_shared(private, encapsulated)
        context = encapsulated + x25519_public(private)
        key = extracted(b"", b"HPKE-v1" + suite + b"eae_prk" + shared)
        shared = expanded(key, b"\0\x20HPKE-v1" + suite + b"shared_secret" + context, 32)
        return hpke_opened(0x0020, shared, info, ciphertext)
    # MLKEM768-X25519: both secrets, and what the second one came of, hashed with the label of X-Wing.
    first, public = sealed[:MLKEM_CIPHERTEXT_BYTES], sealed[MLKEM_CIPHERTEXT_BYTES:][:32]
    try:
        shared = mlkem_private(private[:64]).decapsulate(first)
    except ValueError as error:
        raise Damaged("no encapsulated key") from error
    shared += x25519_shared(private[64:], public) + public + x25519_public(private[64:])
    shared = hashlib.sha3_256(shared + b"\\.//^\\").digest()
    return hpke_opened(0x647A, shared, info, sealed[MLKEM_CIPHERTEXT_BYTES + 32 :])


class Identity(NamedTuple):
    """A private key, of the recipient with this id; of age the text of an identity, whose id is not known."""

    kind: int
    recipient: bytes
    private: bytes

    def __repr__(self) -> str:
        return f"Identity({self.recipient.hex()})"

    def unwrapped(self, sealed: bytes, info: bytes) -> Optional[bytes]:
        """What is wrapped for it; None for an age file of somebody else. Raises Damaged."""
        if self.kind != AGE:
            return unwrapped(self.kind, self.private, sealed, info)
        plain = age_decrypted(self.private, sealed)
        if plain is None:
            return None
        bound = hashlib.sha256(info).digest()
        if not plain.startswith(bound):
            raise Damaged("a key that was wrapped for another place")
        return plain[len(bound) :]


def age_decrypted(identities: bytes, sealed: bytes) -> Optional[bytes]:
    """The content of an age file; None if none of these identities opens it."""
    lines = [one for one in identities.decode().split() if one.startswith("AGE-SECRET-KEY-")]
    try:
        import pyrage
    except ImportError:
        pass
    else:
        try:
            return bytes(pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(line) for line in lines]))
        except (pyrage.DecryptError, pyrage.IdentityError):
            return None
    if shutil.which("age") is None:
        raise Failed(NEEDS_AGE)
    read, write = os.pipe()  # the keys go nowhere where others could see them
    try:
        os.write(write, "\n".join(lines).encode() + b"\n")
        os.close(write)
        done = subprocess.run(
            ["age", "--decrypt", "--identity", f"/dev/fd/{read}"],
            input=sealed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[read],
            check=False,
        )
    finally:
        os.close(read)
    return done.stdout if done.returncode == 0 else None


class Wrap(NamedTuple):
    """The keys of a slot as they are wrapped for one recipient."""

    recipient: bytes
    name: str
    kind: int
    sealed: bytes


class Slot(NamedTuple):
    """A pair of keys: those with these ids."""

    number: int
    archive: bytes
    salt: bytes
    cipher: int
    structure: bytes
    content: bytes
    wraps: Tuple[Wrap, ...]


class MailboxSlot(NamedTuple):
    """The keys of what an archive holds of one mailbox: made of a slot, and the secret with this id."""

    number: int
    parent: int
    secret: bytes


def slots_of(payload: bytes) -> Tuple[List[Slot], List[MailboxSlot]]:
    """The slots of a KEYS frame. Raises Damaged."""
    found: List[Slot] = []
    of_mailboxes: List[MailboxSlot] = []
    with understood("keys"):
        told = Unpacker(payload).map()
        for which, parent, secret in told.get("mailboxes", []):
            if number(which, 0xFFFFFFFF) <= (of_mailboxes[-1].number if of_mailboxes else 0):
                raise ValueError("slots that are not in order")
            of_mailboxes.append(MailboxSlot(which, number(parent, 0xFFFFFFFF), octets(secret, 16)))
        for row in told["slots"]:
            which, archive, salt, cipher, structure, content, rows = row
            if number(which, 0xFFFFFFFF) <= (found[-1].number if found else 0):
                raise ValueError("slots that are not in order")
            if number(cipher) not in (AES_256_GCM, CHACHA20_POLY1305):
                raise ValueError("a cipher of a later version")
            wraps = tuple(
                Wrap(octets(recipient, 16), text(name), number(kind), octets(sealed))
                for recipient, name, kind, sealed in rows
            )
            ids = octets(structure, 16), octets(content, 16)
            found.append(Slot(which, octets(archive, 16), octets(salt, 32), cipher, *ids, wraps))
        if {slot.number for slot in found} & {mailbox.number for mailbox in of_mailboxes}:
            raise ValueError("two slots with one number")
    return found, of_mailboxes


class Keys:
    """The keys at hand, and the slots of the archives. Frames of one archive that stand in several files may
    be of attempts that know nothing of each other: each slot with a number is tried."""

    def __init__(self, identities: Sequence[Identity] = ()) -> None:
        self._identities = identities
        self._slots: Dict[bytes, Dict[int, List[Slot]]] = {}
        self._added: Dict[Tuple[Any, ...], List[Wrap]] = {}
        self._mailboxes: Dict[bytes, Dict[int, List[MailboxSlot]]] = {}
        self._vaults: List[str] = []
        self._mailbox_secrets: Dict[bytes, bytes] = {}
        self._erased: Set[bytes] = set()
        self._secrets: Dict[bytes, bytes] = {}
        self._refused: Dict[Slot, str] = {}
        self._frame_keys: Dict[Tuple[bytes, bytes, bool], bytes] = {}
        self._used: Dict[bytes, Dict[int, int]] = {}

    def limit(self, archive: bytes, rows: Sequence[Sequence[Any]]) -> None:
        """What a directory says of the counters of earlier attempts and generations. Several copies may be of
        different generations: what all of them say counts. Raises Damaged."""
        with understood("seal"):
            found = {number(slot): number(counter) for slot, counter in rows}
        known = self._used.get(archive, found)
        self._used[archive] = {one: max(found[one], known[one]) for one in found if one in known}

    def learn(self, archive: bytes, payload: bytes) -> None:
        """The slots of a KEYS frame of an archive. Raises Damaged."""
        slots, of_mailboxes = slots_of(payload)
        for slot in slots:
            known = self._slots.setdefault(archive, {}).setdefault(slot.number, [])
            if slot not in known:
                known.append(slot)
        for mailbox in of_mailboxes:
            made = self._mailboxes.setdefault(archive, {}).setdefault(mailbox.number, [])
            if mailbox not in made:
                made.append(mailbox)

    def take_vault(self, path: str) -> None:
        """A file with secrets of mailboxes: it is opened when a structure key for it is at hand."""
        self._vaults.append(path)

    def is_erased(self, archive: bytes, slot: int) -> bool:
        """Whether frames with this slot are of a mailbox whose secret was destroyed."""
        self._open_vaults()
        return any(
            mailbox_slot.secret in self._erased
            for mailbox_slot in self._mailboxes.get(archive, {}).get(slot, [])
        )

    def _open_vaults(self) -> None:
        """Those for which there is a structure key. One that is none, or was changed, holds nothing."""
        for path in list(self._vaults):
            with contextlib.suppress(Damaged, Failed), understood("vault"):
                row = Unpacker(b"".join(unsealed(path, self))).map()
                self._vaults.remove(path)
                for secret, _, _, value in row["mailboxes"]:
                    self._mailbox_secrets[octets(secret, 16)] = octets(value, 32)
                self._erased |= {octets(one, 16) for one, _ in row["erased"]}

    def learn_sidecar(self, payload: bytes) -> None:
        """Further wraps of keys, for slots that are known or will be. Raises Damaged."""
        for slot in slots_of(payload)[0]:
            self._added.setdefault(slot[1:6], []).extend(slot.wraps)

    def lock(self, archive: bytes) -> Optional[Damaged]:
        """Why nothing of an encrypted archive can be read; None if anything can."""
        slots = [slot for known in self._slots.get(archive, {}).values() for slot in known]
        if any(self._secret(slot, of_content=False) for slot in slots):
            return None
        if not slots:
            return Damaged("it is encrypted, and its keys are gone")
        reasons = sorted({self._refused[slot] for slot in slots if slot in self._refused})
        return Locked(f"it is encrypted, for {_names(slots)}{''.join('; ' + reason for reason in reasons)}")

    def wanted(self) -> str:
        """Whose key would help, for people."""
        slots = [slot for found in self._slots.values() for known in found.values() for slot in known]
        return f"the private key of {_names(slots)}" if slots else "though no keys are to be found"

    def structure(self, wanted: bytes) -> Optional[bytes]:
        """The structure key with this id, if any of the archives has it wrapped for a key at hand."""
        for known in self._slots.values():
            for slot in (one for found in known.values() for one in found if one.structure == wanted):
                if (secret := self._secret(slot, of_content=False)) is not None:
                    return secret
        return None

    def opened(self, frame: Frame, stored: bytes, bound: bytes) -> bytes:
        """The payload of an encrypted frame, or of one that is authenticated in clear: without a key that is
        taken as it is. Raises Damaged, Locked."""
        if len(stored) < COUNTER_BYTES + TAG_BYTES:
            raise Damaged("a frame is too short to be encrypted")
        slots = self._slots.get(frame.archive, {})
        candidates = slots.get(frame.slot, [])
        of_content = frame.kind in (BLOCK, SEARCH)
        if frame.slot in self._mailboxes.get(frame.archive, {}):
            return self._opened_of_mailbox(frame, stored, bound, of_content)
        usable = [slot for slot in candidates if self._secret(slot, of_content=of_content)]
        if not usable:
            if frame.flags == AUTHENTICATED and (candidates or not slots):
                return stored[: -COUNTER_BYTES - TAG_BYTES]
            if candidates or not slots:
                whose = f", for {_names(candidates)}" if candidates else ", and its keys are gone"
                raise Locked(f"it is encrypted{whose}")
            raise Damaged("the keys of a frame are gone")
        self._refuse_given_up(frame, stored)
        for slot in usable:
            with contextlib.suppress(Damaged):
                key = self._frame_key(slot, of_content=of_content)
                return self._opened(slot, frame, stored, bound, key)
        raise Damaged("a frame is not the one that was encrypted here")

    def _opened_of_mailbox(self, frame: Frame, stored: bytes, bound: bytes, of_content: bool) -> bytes:
        slots, tried = self._slots.get(frame.archive, {}), False
        made = self._mailboxes[frame.archive][frame.slot]
        parents = [slot for one in made for slot in slots.get(one.parent, [])]
        unlocked = [slot for slot in parents if self._secret(slot, of_content=of_content)]
        if self.is_erased(frame.archive, frame.slot):
            raise Erased("it is of a mailbox that was erased")
        self._refuse_given_up(frame, stored)
        purpose = b"mailbox content" if of_content else b"mailbox structure"
        for mailbox_slot in made:
            value = self._mailbox_secrets.get(mailbox_slot.secret)
            for slot in unlocked if value is not None else []:
                if slot.number == mailbox_slot.parent:
                    tried = True
                    key = (self._secret(slot, of_content=of_content) or b"") + (value or b"")
                    key = derived(key, slot.salt, purpose + slot.archive + mailbox_slot.secret)
                    with contextlib.suppress(Damaged):
                        return self._opened(slot, frame, stored, bound, key)
        if tried:
            raise Damaged("a frame is not the one that was encrypted here")
        if not parents:
            raise Damaged("the keys of a frame are gone")
        if unlocked:
            raise Locked(
                "its mailbox has a secret that is in no vault here: give the newest one (*.vault.sealed)"
            )
        raise Locked(f"it is encrypted, for {_names(parents)}")

    def _refuse_given_up(self, frame: Frame, stored: bytes) -> None:
        """Raise Damaged for a frame of an attempt that was given up, and which stands in no archive."""
        limit = self._used.get(frame.archive, {}).get(frame.slot)
        at = 0 if frame.flags == ENCRYPTED else len(stored) - COUNTER_BYTES - TAG_BYTES
        if limit is not None and int.from_bytes(stored[at : at + COUNTER_BYTES], "little") >= limit:
            raise Damaged("a frame is of an attempt that was given up")

    def _opened(self, slot: Slot, frame: Frame, stored: bytes, bound: bytes, key: bytes) -> bytes:
        header = LAYOUT.pack(MAGIC, *frame[1:], 0)
        additional = header[4:8] + header[12:32] + header[40:48] + header[64:68]
        if frame.kind == SEARCH:
            additional = header[4:8] + header[12:16] + bound
        if frame.flags == ENCRYPTED:
            nonce = bytes(4) + stored[:COUNTER_BYTES]
            return decrypted(slot.cipher, key, nonce, stored[COUNTER_BYTES:], additional)
        plain, end = stored[: -COUNTER_BYTES - TAG_BYTES], stored[-COUNTER_BYTES - TAG_BYTES :]
        nonce = bytes(4) + end[:COUNTER_BYTES]
        decrypted(slot.cipher, key, nonce, end[COUNTER_BYTES:], additional + plain)
        return plain

    def _frame_key(self, slot: Slot, *, of_content: bool) -> bytes:
        which = slot.archive, slot.salt, of_content
        if which not in self._frame_keys:
            purpose = b"content" if of_content else b"structure"
            secret = self._secret(slot, of_content=of_content) or b""
            self._frame_keys[which] = derived(secret, slot.salt, purpose + slot.archive)
        return self._frame_keys[which]

    def _secret(self, slot: Slot, *, of_content: bool) -> Optional[bytes]:
        """The key of a slot, if it is at hand."""
        wanted = slot.content if of_content else slot.structure
        if wanted not in self._secrets and slot not in self._refused:
            self._unwrap(slot)
        return self._secrets.get(wanted)

    def _unwrap(self, slot: Slot) -> None:
        reason = ""
        for identity in self._identities:
            for wrap in (*slot.wraps, *self._added.get(slot[1:6], ())):
                if wrap.kind != identity.kind or identity.recipient not in (b"", wrap.recipient):
                    continue
                try:
                    info = CONTEXT + b"wrap" + slot.archive + slot.salt + wrap.recipient
                    both = identity.unwrapped(wrap.sealed, info)
                    if both is None:
                        continue
                    content, structure = both[:32], both[32:]
                    ids = key_id(structure, "structure"), key_id(content, "content")
                    if len(both) != 64 or ids != (slot.structure, slot.content):
                        raise Damaged("other keys than the slot says")
                except Damaged as error:
                    reason = f"the key that is wrapped for {shown(wrap.name)} is damaged: {error}"
                    continue
                self._secrets[slot.structure], self._secrets[slot.content] = structure, content
                return
        self._refused[slot] = reason or "no key at hand opens it"


def key_id(secret: bytes, purpose: str) -> bytes:
    """The id of a structure key or a content key."""
    return derived(secret, b"", f"{purpose} key id".encode(), 16)


SEALED_FILE = struct.Struct("<8sBBH4x16s32s")
SEALED_MAGIC = b"\x89MHS\r\n\x1a\n"
SEALED_CHUNK = 1 << 20
LAST_CHUNK = 1 << 31


def unsealed(path: str, keys: Keys) -> Iterator[bytes]:
    """The content of a sealed file: all of it only if nothing is raised to the end. Raises Damaged, Failed
    without its key."""
    with open(path, "rb") as file:
        fixed = file.read(SEALED_FILE.size)
        if len(fixed) < SEALED_FILE.size or not fixed.startswith(SEALED_MAGIC):
            raise Failed(f"{path}: it is no sealed file")
        _, version, cipher, length, structure, salt = SEALED_FILE.unpack(fixed)
        if version != 1 or cipher not in (AES_256_GCM, CHACHA20_POLY1305):
            raise Failed(f"{path}: it was sealed by a later version of mailhaul")
        header = fixed + file.read(length)
        secret = keys.structure(structure)
        if secret is None:
            raise Failed(
                f"{path}: it is sealed; give an archive of the same staging area, and --identity FILE, "
                f"{keys.wanted()}"
            )
        name = header[SEALED_FILE.size :].decode("utf-8", "replace")
        if name != os.path.basename(path):
            say(f"{path}: it was written as {shown(name)}")
        key = derived(secret, salt, b"file")
        chunk, last = 0, False
        while not last:
            packed = file.read(4)
            told = struct.unpack("<I", packed)[0] if len(packed) == 4 else 0
            size, last = told & ~LAST_CHUNK, bool(told & LAST_CHUNK)
            stored = file.read(size) if TAG_BYTES <= size <= SEALED_CHUNK + TAG_BYTES else b""
            if not stored or len(stored) != size:
                raise Damaged(f"{path}: it does not end where it is to")
            nonce = struct.pack("<B3xQ", last, chunk)
            yield decrypted(cipher, key, nonce, stored, header)
            chunk += 1
        while True:
            rest = file.read(SEALED_CHUNK)
            if rest.strip(b"\0"):
                raise Damaged(f"{path}: something stands behind its end")
            if not rest:
                return


def _names(slots: Iterable[Slot]) -> str:
    return ", ".join(sorted({shown(wrap.name) for slot in slots for wrap in slot.wraps})) or "nobody"


# ---------------------------------------------------------------------------------------------------------
# Private keys in files (KEYS.md)

PAPER_HEADING = "mailhaul paper key 1"
PAPER_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
PAPER_LINE = re.compile(r"\s*(?:([0-9]{1,2})\s*:)?(.*)")
BECH32M = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32M_SUM = 0x2BC830A3
MOST_IDENTITY = 65536
MOST_SCRYPT = 1 << 30


class Secret(NamedTuple):
    """A private key as a file has it, or a share of one: its number (0: all of the key), how many of how many
    are needed, and which belong together."""

    where: str
    kind: int
    recipient: bytes
    private: bytes
    share: int = 0
    threshold: int = 0
    made: int = 0
    set: bytes = bytes(4)

    def __repr__(self) -> str:
        return f"Secret({self.where!r})"


def read_identities(names: Sequence[str], passphrase_files: Sequence[str] = ()) -> List[Identity]:
    """The private keys in these files, shares put together. Of files with passphrases there is none, one for
    all, or one for each in the same order. Raises Failed."""
    if len(passphrase_files) not in (0, 1, len(names)):
        raise Failed(
            f"{len(passphrase_files)} --passphrase-file for {len(names)} --identity: one for each, or one"
        )
    found: List[Identity] = []
    shares: Dict[Tuple[bytes, bytes], Dict[int, Secret]] = {}
    for place, name in enumerate(names):
        passphrase_file = passphrase_files[place % len(passphrase_files)] if passphrase_files else None
        try:
            with open(name, "rb") as file:
                data = file.read(MOST_IDENTITY + 1)
        except OSError as error:
            raise Failed(f"{shown(name)}: {error.strerror}") from error
        if b"AGE-SECRET-KEY-" in data:
            found.append(Identity(AGE, b"", data))
            continue
        try:
            with understood("it"):
                if len(data) > MOST_IDENTITY:
                    raise ValueError("too long")
                secret = (
                    secret_of_file(name, data, passphrase_file)
                    if data.lstrip().startswith(b"{")
                    else secret_of_paper(name, data.decode("utf-8"))
                )
        except Damaged as error:
            raise Failed(f"{shown(name)}: no private key: {error}") from error
        if secret.share:
            shares.setdefault((secret.recipient, secret.set), {})[secret.share] = secret
        else:
            found.append(checked_identity(secret))
    for several in shares.values():
        first = next(iter(several.values()))
        if len(several) < first.threshold:
            raise Failed(
                f"{len(several)} shares of a key are here, {first.threshold} of {first.made} are needed: "
                "give each with --identity"
            )
        found.append(checked_identity(first._replace(private=combined(several))))
    return found


def checked_identity(secret: Secret) -> Identity:
    """Raises Failed if the private key is not that of the recipient whose id stands beside it."""
    if recipient_of(secret.kind, public_of(secret.kind, secret.private)) != secret.recipient:
        raise Failed(f"{shown(secret.where)}: the private key is damaged: it is not that of the id beside it")
    return Identity(secret.kind, secret.recipient, secret.private)


def secret_of_file(name: str, data: bytes, passphrase_file: Optional[str]) -> Secret:
    """``NAME.secret``. Raises ValueError and the like, Failed."""
    row = json.loads(data)
    if row["mailhaul_secret"] != 1:
        raise ValueError("a later version wrote it")
    kind = KIND_NAMES[row["kind"]]
    recipient = octets(bytes.fromhex(row["recipient"]), 16)
    share, scrypt = row["share"], row["scrypt"]
    about = b"mailhaul secret 1 " + bytes([kind]) + recipient
    secret = Secret(name, kind, recipient, base64.b64decode(row["key"], validate=True))
    if share is not None:
        secret = secret._replace(
            share=number(share["number"]),
            threshold=number(share["threshold"]),
            made=number(share["count"]),
            set=octets(bytes.fromhex(share["set"]), 4),
        )
        about += bytes([secret.share, secret.threshold, secret.made]) + secret.set
    if scrypt is not None:
        n, r, p = (number(scrypt[one]) for one in "nrp")
        if n < 2 or n & n - 1 or r < 1 or not 1 <= p <= 4 or 128 * n * r > MOST_SCRYPT:
            raise ValueError("wrong costs of scrypt")
        salt = base64.b64decode(scrypt["salt"], validate=True)
        room = 128 * r * (n + p + 2) + (1 << 20)
        given = unicodedata.normalize("NFC", passphrase(name, passphrase_file))
        key = hashlib.scrypt(
            given.encode("utf-8", "surrogateescape"), salt=salt, n=n, r=r, p=p, maxmem=room, dklen=32
        )
        try:
            nonce = octets(base64.b64decode(row["nonce"], validate=True), 12)
            private = decrypted(AES_256_GCM, key, nonce, secret.private, about)
        except Damaged as error:
            raise Failed(f"{shown(name)}: the passphrase is wrong, or the file is damaged") from error
        secret = secret._replace(private=private)
    return checked_secret(secret)


def checked_secret(secret: Secret) -> Secret:
    """Raises ValueError if it can't be one."""
    octets(secret.private, PRIVATE_BYTES[secret.kind])
    if secret.share and not (2 <= secret.threshold <= secret.made and secret.share <= secret.made):
        raise ValueError("no share of a key")
    return secret


def passphrase(name: str, file: Optional[str]) -> str:
    """As it stands in a file, or is typed. Raises Failed."""
    if file is not None:
        try:
            with open(file, encoding="utf-8", errors="surrogateescape") as lines:
                return lines.readline().rstrip("\r\n")
        except OSError as error:
            raise Failed(f"{shown(file)}: {error.strerror}") from error
    if not sys.stdin.isatty():
        raise Failed(f"{shown(name)}: a passphrase is needed: give --passphrase-file FILE")
    return getpass.getpass(f"Passphrase of {shown(name)}: ")


def secret_of_paper(name: str, typed: str) -> Secret:
    """A paper key. Raises ValueError."""
    lines = [one for one in typed.splitlines() if one.strip() and not one.lstrip().startswith("#")]
    if lines and lines[0].split() == PAPER_HEADING.split():
        del lines[0]
    wrong, data = [], b""
    for which, line in enumerate(lines, 1):
        found = PAPER_LINE.fullmatch(line)
        label, rest = (found[1], found[2]) if found else (None, line)
        values = [PAPER_LETTERS.find(one) for one in "".join(rest.split()).lower()]
        if (
            int(label or which) != which
            or len(values) != 30
            or -1 in values
            or bech32m((which, len(lines), *values)) != BECH32M_SUM
        ):
            wrong.append(label or str(which))
            continue
        bits = 0
        for value in values[:24]:
            bits = bits << 5 | value
        data += bits.to_bytes(15, "big")
    if wrong or not data:
        raise ValueError(f"of {len(lines)} lines these are not right: {', '.join(wrong)}")
    kind, share, threshold, count = data[:4]
    end = 24 + PRIVATE_BYTES[kind]
    if len(data) < end or any(data[end:]):
        raise ValueError("the lines do not make a key")
    return checked_secret(Secret(name, kind, data[8:24], data[24:end], share, threshold, count, data[4:8]))


def bech32m(values: Iterable[int]) -> int:
    """The sum of Bech32m (BIP 350)."""
    sum_ = 1
    for value in values:
        top = sum_ >> 25
        sum_ = (sum_ & 0x1FFFFFF) << 5 ^ value
        for place, factor in enumerate(BECH32M):
            sum_ ^= factor if top >> place & 1 else 0
    return sum_


def combined(shares: Dict[int, Secret]) -> bytes:
    """The key of which these are shares: Shamir's scheme over GF(256) with the polynomial of AES."""
    powers = [1]
    for _ in range(254):
        double = powers[-1] << 1 ^ (0x11B if powers[-1] & 0x80 else 0)
        powers.append(double ^ powers[-1])  # of 3, whose powers are all of the field but 0
    logs = {value: at for at, value in enumerate(powers)}
    key = bytearray(len(next(iter(shares.values())).private))
    for which, share in shares.items():
        weight = sum(logs[other] - logs[other ^ which] for other in shares if other != which)
        for at, byte in enumerate(share.private):
            key[at] ^= powers[(weight + logs[byte]) % 255] if byte else 0
    return bytes(key)


class Positions:
    """Where frames of one kind lie, by their positions: 16 bytes for each."""

    def __init__(self) -> None:
        self.positions = array("Q")
        self._offsets = array("Q")
        self._is_sorted = True

    def add(self, position: int, offset: int) -> None:
        """One more."""
        if self.positions and position < self.positions[-1]:
            self._is_sorted = False
        self.positions.append(position)
        self._offsets.append(offset)

    def find(self, position: int) -> Sequence[int]:
        """The offsets of those at this position, in the order of the file."""
        self.sort()
        return self._offsets[bisect_left(self.positions, position) : bisect_right(self.positions, position)]

    def rows(self) -> Iterator[Tuple[int, int]]:
        """All positions with their offsets."""
        return zip(self.positions, self._offsets)

    def all(self) -> Sequence[int]:
        """All offsets, by positions."""
        self.sort()
        return self._offsets

    def sort(self) -> None:
        """Order them by position, and then as in the file."""
        if not self._is_sorted:
            order = sorted(range(len(self.positions)), key=self.positions.__getitem__)
            self.positions = array("Q", (self.positions[one] for one in order))
            self._offsets = array("Q", (self._offsets[one] for one in order))
            self._is_sorted = True


class Part:
    """One archive as it stands in one file. Of one that is whole its directory tells where the frames lie;
    all frames are looked for (``walked``) where that can't be had, or is not right."""

    def __init__(self, file: ArchiveFile, archive: bytes, begin: int, *, walked: bool) -> None:
        self.file = file
        self.archive = archive
        self.begin = begin
        self.end = file.size
        self.walked = walked
        self.has_end = False
        self.encrypted: Optional[bool] = None  # not known yet
        self.order = array("Q")
        self._frames: Dict[int, Positions] = {}

    def add(self, kind: int, position: int, offset: int) -> None:
        """A frame lies there, as far as is known."""
        self._frames.setdefault(kind, Positions()).add(position, offset)

    def with_copies(self, others: Iterable[Part]) -> Part:
        """This part, and all frames of its archive that stand in others, which come behind it in the file:
        where a part of a file is there twice, an archive seems to begin again in the middle of itself."""
        for other in others:
            if other.archive == self.archive:
                self.has_end |= other.has_end
                self.order += other.order
                for kind, positions in other._frames.items():
                    for position, offset in positions.rows():
                        self.add(kind, position, offset)
        return self

    def of_kind(self, kind: int) -> Positions:
        """The frames of a kind."""
        return self._frames.get(kind) or Positions()

    def payloads(self, kind: int, position: Optional[int] = None) -> Iterator[Tuple[int, bytes]]:
        """The (position, payload) of each whole frame of a kind, or of those at one position."""
        found = self.of_kind(kind)
        for offset in list(found.all() if position is None else found.find(position)):
            frame = self.file.frame(offset)
            if frame is None or (frame.kind, frame.archive) != (kind, self.archive):
                continue
            if position in (None, frame.position):
                try:
                    payload = self.file.payload(frame, encrypted=self.encrypted)
                except Damaged as error:
                    if isinstance(error, Locked) and position is not None:
                        raise
                    continue
                yield frame.position, payload

    def header(self) -> Optional[Dict[str, Any]]:
        """Whose archive it is, as any HEADER frame tells, or the directory."""
        for offset in list(self.of_kind(HEADER).all()):
            frame = self.file.frame(offset)
            if frame is None or (frame.kind, frame.archive) != (HEADER, self.archive):
                continue
            with contextlib.suppress(Damaged):
                is_encrypted = bool(frame.flags)
                payload = self.file.payload(frame, encrypted=self.encrypted)
                row = checked_header(Unpacker(payload).map(), self.archive, encrypted=is_encrypted)
                self.encrypted = is_encrypted
                return row
        rows = self.directory()
        if rows:
            last = self.file.frame(max(self.of_kind(DIRECTORY).all()))
            with contextlib.suppress(Damaged):
                is_encrypted = last is not None and bool(last.flags)
                row = checked_header(Unpacker(rows[-1]["header"]).map(), self.archive, encrypted=is_encrypted)
                self.encrypted = is_encrypted
                return row
        return None

    def seal_problem(self) -> str:
        """Why the frames of an encrypted archive are not those that were sealed, where all of them were
        looked at; else empty."""
        if not (self.encrypted and self.walked and self.has_end):
            return ""
        rows = self.directory()
        if not rows:
            return "the directory is damaged: whether all of the archive is there can't be said"
        last = max(self.of_kind(DIRECTORY).all())
        before = bisect_left(self.order, last)
        chain = bytes(32)
        for offset in self.order[:before]:
            chain = self.file.means.hashed(chain + self.file.read(offset, LAYOUT.size))
        try:
            frame = self.file.frame(last)
            after = self.order[before + 1 : before + 3]
            keys, footer = (self.file.frame(one) for one in after) if len(after) == 2 else (None, None)
            if frame is None or keys is None or keys.kind != KEYS or footer is None or footer.kind != FOOTER:
                raise Damaged("the end is not complete")
            check_seal(
                rows[-1],
                frame,
                self.begin,
                footer,
                self.file.payload(footer),
                self.file.means.hashed(self.file.payload(keys)),
                chain,
            )
        except Damaged as error:
            return str(error)
        return ""

    def directory(self) -> List[Dict[str, Any]]:
        """All parts of the directory, in their order; none if one is missing."""
        rows: List[Dict[str, Any]] = []
        size = 0
        for offset in sorted(self.of_kind(DIRECTORY).all()):
            frame = self.file.frame(offset)
            size += frame.plain if frame else 0
            try:
                if frame is None or size > max(MOST_DIRECTORY, self.file.size // 2048):
                    raise Damaged("no directory")
                rows.append(Unpacker(self.file.payload(frame, encrypted=self.encrypted)).map())
            except Damaged:
                if not self.walked:
                    return []
        with contextlib.suppress(Damaged), understood("directory"):
            if rows and octets(rows[-1]["header"]) and len(rows[-1]["parts"]) == len(rows) - 1:
                if self.encrypted:
                    self.file.limit(self.archive, rows[-1]["seal"][4])
                return rows
        return []


class OpenFiles:
    """Files that are read, of which few are open at a time. Raises Failed for one that can't be opened."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()

    def of(self, name: str) -> int:
        """The file, opened."""
        if name not in self._open:
            if len(self._open) >= MOST_OPEN:
                os.close(self._open.popitem(last=False)[1])
            try:
                self._open[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Failed(f"{shown(name)}: {error.strerror}") from error
        self._open.move_to_end(name)
        return self._open[name]

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1])


class ArchiveFile:
    """A file with archives in it. What can't be read of it counts as zeros."""

    def __init__(self, name: str, means: Means, files: OpenFiles, keys: Optional[Keys] = None) -> None:
        self.name = name
        self.means = means
        self._keys = keys or Keys()
        self._files = files
        self.size = os.fstat(files.of(name)).st_size
        self._walked: Optional[List[Part]] = None
        self._found = array("Q")
        self._searched = 0
        self._limit = self.size
        self._promised = 0

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes, fewer at the end."""
        length = max(0, min(length, self.size - offset))
        file = self._files.of(self.name)
        found = bytearray()
        try:
            while len(found) < length:
                more = os.pread(file, length - len(found), offset + len(found))
                if not more:
                    break
                found += more
        except OSError:
            if length <= SECTOR:
                return bytes(length)
            starts = range(offset, offset + length, SECTOR)
            return b"".join(self.read(at, min(SECTOR, offset + length - at)) for at in starts)
        return bytes(found)

    def frame(self, offset: int) -> Optional[Frame]:
        """The frame whose header lies there, before what is looked at ends."""
        return self._frame(offset) if offset + LAYOUT.size <= self._limit else None

    def _frame(self, offset: int) -> Optional[Frame]:
        data = self.read(offset, LAYOUT.size)
        if len(data) < LAYOUT.size or not data.startswith(MAGIC):
            return None
        (_, kind, codec, flags, stored, plain, archive, sequence, position, checksum, slot, crc) = (
            LAYOUT.unpack(data)
        )
        if zlib.crc32(data[:-4]) != crc or stored > MOST_PAYLOAD or plain > MOST_PAYLOAD:
            return None
        return Frame(offset, kind, codec, flags, stored, plain, archive, sequence, position, checksum, slot)

    def _stored(self, frame: Frame) -> bytes:
        """Its payload, checked. Raises Damaged."""
        stored = self.read(frame.offset + LAYOUT.size, frame.stored)
        if len(stored) != frame.stored or self.means.digest(stored) != frame.checksum:
            raise Damaged("a frame is damaged")
        return stored

    def payload(self, frame: Frame, *, encrypted: Optional[bool] = None, bound: bytes = b"") -> bytes:
        """Its payload, checked, decrypted and decompressed; ``encrypted`` says whether it stands in an
        archive that is, if that is known. Of a SEARCH frame ``bound`` is the digest of what the MESSAGES
        frame before it holds. Raises Damaged; Locked if there is no key for it."""
        expected = 0
        if encrypted is not False and (frame.flags or encrypted) and frame.kind not in (KEYS, FOOTER):
            expected = AUTHENTICATED if frame.kind == HEADER else ENCRYPTED
        if frame.flags != expected or (frame.slot and not expected):
            raise Damaged(
                "a frame is encrypted and must not be, or is not and must be, or is of a later version"
            )
        stored = self._stored(frame)
        if expected:
            stored = self._keys.opened(frame, stored, bound)
        return self.means.decompressed(frame.codec, stored, frame.plain)

    def limit(self, archive: bytes, rows: Sequence[Sequence[Any]]) -> None:
        """See ``Keys``."""
        self._keys.limit(archive, rows)

    def learn_keys(self, frame: Frame) -> bytes:
        """The payload of a KEYS frame, whose slots are known from now on. Raises Damaged."""
        payload = self.payload(frame)
        self._keys.learn(frame.archive, payload)
        return payload

    def is_whole(self, frame: Frame) -> bool:
        """Whether its payload is what was written."""
        try:
            self._stored(frame)
        except Damaged:
            return False
        return True

    def begins_with(self, part: Part) -> bool:
        """Whether this is the first archive in it."""
        return part.begin <= min((one.begin for one in self.walk()), default=0)

    def goes_on_cleanly(self, offset: int) -> bool:
        """Whether only zeros come from there on, or a frame behind them."""
        while offset < self.size:
            data = self.read(offset, STEP)
            rest = data.lstrip(b"\0")
            if rest:
                return self.frame(offset + len(data) - len(rest)) is not None
            offset += len(data) or 1
        return True

    def parts(self) -> List[Part]:
        """The archives in it: by their footers as far as these lead back, what lies before by all frames."""
        front, sealed = self._divided()
        return [*front, *sealed]

    def _divided(self) -> Tuple[List[Part], List[Part]]:
        """The archives at its end whose footers are to be believed, and what was found before them."""
        sealed: List[Part] = []
        ends: List[int] = []
        end = self.size
        while end:
            self._limit = self.size
            end = self._before_zeros(end)
            part = self._sealed(end) if end else None
            if part is None:
                break
            sealed.insert(0, part)
            ends.insert(0, end)
            end = part.begin
        self._limit = end
        self._promised = 0
        front = list(self._walk()) if end else []
        while sealed and self._promised >= ends[0]:
            # All of it lies within a frame that was cut off: mail, perhaps, and no archive of its own.
            del sealed[0], ends[0]
            self._limit = sealed[0].begin if sealed else self.size
            front = list(self._walk())
        self._limit = self.size
        return front, sealed

    def _before_zeros(self, end: int) -> int:
        while end:
            start = max(0, end - STEP)
            data = self.read(start, end - start).rstrip(b"\0")
            if data:
                return start + len(data)
            end = start
        return 0

    def _sealed(self, end: int) -> Optional[Part]:
        """The archive that ends there, if footer and beginning fit together."""
        footer = self.frame(end - LAYOUT.size - 32) if end >= LAYOUT.size + 32 else None
        if footer is None or footer.kind != FOOTER or footer.end != end:
            return None
        try:
            told = self.payload(footer)
            directory, own, _, name = struct.unpack("<QQQ8s", told)
            begin = footer.offset - own
            first = self.frame(begin) if begin >= 0 else None
            if (
                name != b"mailhaul"
                or first is None
                or not first.begins_archive
                or first.archive != footer.archive
            ):
                return None
        except (Damaged, struct.error):
            return None
        part = Part(self, footer.archive, begin, walked=False)
        part.has_end = True
        part.end = end
        part.add(HEADER, 0, begin)
        try:
            self._enter_directory(part, begin + directory, footer, told)
        except Locked:
            part.encrypted = True
        except Damaged:
            # Where it begins and ends is known; what is in it is found by its frames.
            self._limit = end
            found = self._walk(begin)
            part = next(found, part).with_copies(found)
        return part

    def _enter_directory(self, part: Part, offset: int, footer: Frame, end: bytes) -> None:
        """Where the frames lie, as the directory tells, which ends as ``footer`` and its payload say. Raises
        Damaged; Locked if it is encrypted, and there is no key for it."""
        last = self.frame(offset)
        if last is None or last.kind != DIRECTORY or last.archive != part.archive:
            raise Damaged("no directory")
        part.encrypted = bool(last.flags)
        keys = b""
        if part.encrypted:
            frame = self.frame(last.end)
            if frame is None or (frame.kind, frame.archive) != (KEYS, part.archive):
                raise Damaged("no keys behind the directory")
            keys = self.learn_keys(frame)
        with understood("directory"):
            for one in Unpacker(self.payload(last, encrypted=part.encrypted)).map()["parts"]:
                part.add(DIRECTORY, 0, part.begin + number(one))
        part.add(DIRECTORY, 0, offset)
        rows = part.directory()
        if not rows:
            raise Damaged("no directory")
        checked_header(Unpacker(rows[-1]["header"]).map(), part.archive, encrypted=part.encrypted)
        if part.encrypted:
            check_seal(rows[-1], last, part.begin, footer, end, self.means.hashed(keys))
        with understood("directory"):
            for row in rows:
                count = number(row["blocks"])
                for position, at in zip(deltas(row["block_data"], count), deltas(row["block_file"], count)):
                    part.add(BLOCK, position, part.begin + at)
                for place, own, folders, frames in row["places"]:
                    mailbox = number(place, (1 << 31) - 1) << 32
                    for at in own[::2]:
                        part.add(MAILBOX, mailbox + len(frames) // 3, part.begin + number(at))
                    for count, one in enumerate(folders):
                        for at in one[::2]:
                            part.add(FOLDERS, mailbox + count, part.begin + number(at))
                    for count, (at, size) in enumerate(zip(frames[::3], frames[1::3])):
                        if size:
                            part.add(MESSAGES, mailbox + count, part.begin + number(at))
                for count, offsets in enumerate(row["departed"]):
                    for at in offsets:
                        part.add(DEPARTED, count, part.begin + number(at))

    def walk(self) -> List[Part]:
        """The archives in it, by looking at every frame (FORMAT.md, *Several archives in one file*)."""
        if self._walked is None:
            front, sealed = self._divided()
            ends = [*(one.begin for one in sealed[1:]), self.size]
            for part, end in zip(sealed, ends):
                self._limit = end
                front += self._walk(part.begin)
            self._limit = self.size
            self._walked = front
        return self._walked

    def _walk(self, begin: int = 0) -> Iterator[Part]:
        part: Optional[Part] = None
        promised = 0
        frame = self.frame(begin) or self._next(begin + 1, lambda _: True)
        while frame is not None:
            if part is None or frame.archive != part.archive or frame.begins_archive:
                if part is not None:
                    yield part
                part = Part(self, frame.archive, frame.offset, walked=True)
            part.add(frame.kind, frame.position, frame.offset)
            part.order.append(frame.offset)
            if frame.kind == KEYS:
                with contextlib.suppress(Damaged):
                    self.learn_keys(frame)
            following = self.frame(frame.end)
            ended, at = False, frame.end
            if frame.kind == FOOTER:
                ended, part.has_end = True, self.is_whole(frame)
            elif following is None and not self.is_whole(frame):
                # Its length is known; if no frame begins behind it, bytes may be missing.
                at, promised = frame.offset + 1, frame.end
                following = self.frame(at)
            self._promised = frame.end
            if following is None or not (
                ended or following.archive == part.archive or following.begins_archive
            ):
                following = self._resumed(at, part.archive, promised, ended=ended)
            if ended:
                yield part
                part = None
            frame = following
        if part is not None:
            yield part

    def _resumed(self, at: int, archive: bytes, promised: int, *, ended: bool) -> Optional[Frame]:
        """Where to go on when no frame of this archive begins here."""
        if ended:
            return self._next(at, lambda _: True)
        own = self._next(at, lambda frame: frame.archive == archive)
        if own is not None and not own.begins_archive:
            return own
        begins = self._next(at, lambda one: one.begins_archive and self._goes_on(one, promised))
        return begins or self._next(max(at, promised), lambda _: True)

    def _goes_on(self, first: Frame, promised: int) -> bool:
        """Whether not all of the archive that begins there lies before an offset."""
        return (
            first.end > promised
            or self._next(promised, lambda frame: frame.archive == first.archive) is not None
        )

    def _next(self, offset: int, wanted: Callable[[Frame], bool]) -> Optional[Frame]:
        """The first frame from here on that is wanted."""
        place = 0
        while True:
            place = max(place, bisect_left(self._found, offset))
            while place == len(self._found):
                if not self._search():
                    return None
                place = bisect_left(self._found, offset)
            frame = self.frame(self._found[place])
            if frame is not None and wanted(frame):
                return frame
            place += 1

    def _search(self) -> bool:
        """Look for frames in the next stretch of the file; False at its end."""
        if self._searched >= self.size:
            return False
        data = self.read(self._searched, STEP + len(MAGIC) - 1)
        at = data.find(MAGIC)
        while 0 <= at < STEP:
            if self._frame(self._searched + at) is not None:
                self._found.append(self._searched + at)
            at = data.find(MAGIC, at + 1)
        self._searched += STEP
        return True


def check_seal(
    row: Dict[str, Any],
    directory: Frame,
    begin: int,
    footer: Frame,
    end: bytes,
    keys: bytes,
    chain: Optional[bytes] = None,
) -> None:
    """Whether the end of an encrypted archive is the one that its last DIRECTORY frame seals: where that
    lies, what the footer says, the digest of the KEYS frame between them and, where all of the archive was
    read, the chain. Raises Damaged."""
    with understood("seal"):
        told_chain, at, sequence, told_keys, _ = row["seal"]
        where, own, count, name = struct.unpack("<QQQ8s", end)
        octets(told_chain, 32)
        if (number(at), number(sequence)) != (directory.offset - begin, directory.sequence):
            raise Damaged("the directory does not lie where it was written")
        own_place = footer.offset - begin, footer.sequence, b"mailhaul"
        if (where, count) != (at, sequence + 3) or (own, count - 1, name) != own_place:
            raise Damaged("the footer is not the one that was written")
        if octets(told_keys, 32) != keys:
            raise Damaged("the keys are not those that were written")
        if chain is not None and chain != told_chain:
            raise Damaged("frames were changed, left out, added or moved since it was written")


def checked_header(
    row: Dict[str, Any], archive: bytes, *, encrypted: Optional[bool] = None
) -> Dict[str, Any]:
    """A HEADER that can be believed, in an archive that is encrypted or not. Raises Damaged."""
    with understood("header"):
        if number(row["read_version"]) > READ_VERSION:
            raise Damaged("a later version wrote this archive: it takes a later version of this program")
        if encrypted is not None and encrypted != (row["read_version"] > PLAIN_VERSION):
            raise Damaged(
                "the header of an archive that is encrypted stands in one that is not, or the reverse"
            )
        if octets(row["archive"]) != archive:
            raise Damaged("the header is that of another archive")
        for key in ("run", "partition", "group", "host", "format"):
            text(row[key])
        number(row["generation"])
        number(row["shard"])
    return row


# ---------------------------------------------------------------------------------------------------------
# Archives


class Home(NamedTuple):
    """Where a mailbox was written."""

    archive: bytes
    number: int


class Told(NamedTuple):
    """A mailbox as an archive tells of it: counts are None where only its own frame has them."""

    user: str
    home: Home
    stored: Optional[int]
    size: Optional[int]
    place: bytes


class Departure(NamedTuple):
    """Who is gone, since which run; from all groups of the partition, or from one."""

    user: str
    run: str
    everywhere: bool


class Piece(NamedTuple):
    """``length`` stored bytes at ``offset`` of the data of an archive."""

    archive: bytes
    offset: int
    length: int
    recipe: int
    joined: bool


class Mail(NamedTuple):
    """A message as a MESSAGES frame tells of it. The last six are what a Maildir notes."""

    uid: int
    name: bytes
    flags: str
    keywords: Tuple[str, ...]
    date_ns: int
    size: int
    notes: bytes
    link: int
    digest: bytes
    pieces: Tuple[Piece, ...]
    place: str
    suffix: bytes
    mode: int
    owner: int
    group: int
    attributes: Sequence[Sequence[Any]]


class Archive:
    """One archive, of all copies of its greatest generation. All generations of one that is encrypted
    are: what is in clear of its id is none of it (``pretenders``)."""

    def __init__(self, parts: Sequence[Part], keys: Optional[Keys] = None) -> None:
        self._keys = keys or Keys()
        headers = [(part, part.header()) for part in parts]
        is_encrypted = any(part.encrypted for part in parts)
        self.pretenders = [part for part in parts if is_encrypted and part.encrypted is False]
        headers = [(part, one) for part, one in headers if part not in self.pretenders]
        newest = max((one["generation"] for _, one in headers if one is not None), default=0)
        used = [(part, one) for part, one in headers if one is None or one["generation"] == newest]
        header = next((one for _, one in used if one is not None), None)
        if header is None:
            raise Damaged("nothing says whose mail it is, or a later version wrote it")
        self.id = parts[0].archive
        self.header = header
        self.parts = [part for part, _ in used]
        self.has_end = any(part.has_end for part in self.parts)
        self.encrypted = number(header["read_version"]) > PLAIN_VERSION
        for part in self.parts:
            part.encrypted = self.encrypted if part.encrypted is None else part.encrypted
            if part.encrypted and part.walked:
                part.directory()  # which frames are of attempts that were given up
        self._blocks: Optional[array[int]] = None

    def lock(self) -> Optional[Damaged]:
        """Why nothing of it can be read, where the keys for it are not at hand; None if it can."""
        return self._keys.lock(self.id) if self.encrypted else None

    def seal_problems(self) -> Iterator[str]:
        """What of its frames is not as it was sealed, of parts in which all were looked at."""
        for part in self.parts:
            problem = part.seal_problem()
            if problem:
                where = f"{shown(part.file.name)}: archive {self.id.hex()[:16]}"
                yield f"{where} is not as it was written: {problem}"

    def check(self) -> Tuple[int, List[str]]:
        """Read every frame of it: how many there are, and what is wrong with any."""
        self._walk()
        problems: List[str] = list(self.seal_problems())
        frames = 0
        for part in self.parts:
            if part.begin and part.file.begins_with(part):
                problems.append(f"{shown(part.file.name)} at 0: there is something before the first frame")
            expected, end, bound = 0, part.begin, b""
            for offset in part.order:
                frame = part.file.frame(offset)
                where = f"{shown(part.file.name)} at {offset}"
                if frame is None or offset != end:
                    problems.append(f"{where}: there is something else between the frames")
                if frame is None:
                    continue
                frames, end = frames + 1, frame.end
                if frame.sequence != expected:
                    problems.append(f"{where}: frame {frame.sequence} stands where {expected} belongs")
                expected = frame.sequence + 1
                try:
                    payload = part.file.payload(
                        frame, encrypted=part.encrypted, bound=bound if frame.kind == SEARCH else b""
                    )
                    bound = part.file.means.digest(payload) if frame.kind == MESSAGES else b""
                except Erased:
                    bound = b""
                except Damaged as error:
                    problems.append(f"{where}: {error}")
            if not part.file.goes_on_cleanly(end):
                problems.append(f"{shown(part.file.name)} at {end}: there is something that is no frame")
        if not self.has_end:
            problems.append(f"archive {self.names()} has no end")
        return frames, problems

    @property
    def partition(self) -> str:
        """Its partition; so for the next ones."""
        return text(self.header["partition"])

    @property
    def group(self) -> str:
        """Its backup group."""
        return text(self.header["group"])

    @property
    def run(self) -> str:
        """The run that wrote it."""
        return text(self.header["run"])

    def names(self) -> str:
        """Which it is, for people."""
        return f"{self.id.hex()[:16]} ({', '.join(sorted({shown(part.file.name) for part in self.parts}))})"

    def find(self, kind: int, position: int) -> bytes:
        """The payload of a frame, from any copy in which it is whole. Raises Damaged."""
        for part in self.parts:
            for _, payload in part.payloads(kind, position):
                return payload
        self._walk()
        for part in self.parts:
            for _, payload in part.payloads(kind, position):
                return payload
        raise Damaged(f"no whole frame of type {kind} at position {position:#x} in archive {self.names()}")

    def _walk(self) -> None:
        """Look at every frame of the files of which only the directory was believed so far."""
        for part in [one for one in self.parts if not one.walked]:
            found = iter(part.file.walk())
            copy = next(
                (one for one in found if one.archive == self.id and part.begin <= one.begin < part.end), part
            )
            if copy is not part:
                copy.encrypted = part.encrypted
                self.parts[self.parts.index(part)] = copy.with_copies(
                    one for one in found if one.begin < part.end
                )
            part.walked = True
            self._blocks = None

    def block_begin(self, offset: int) -> int:
        """Where the block begins that has this offset of the data, if any has. Raises Damaged."""
        if self._blocks is None:
            merged = sorted({position for part in self.parts for position in part.of_kind(BLOCK).positions})
            self._blocks = array("Q", merged)
        at = bisect_right(self._blocks, offset) - 1
        if at < 0:
            raise Damaged(f"archive {self.names()} has no data at {offset}")
        return self._blocks[at]

    @property
    def is_of_run(self) -> bool:
        """Whether it tells how a run ended, and holds no mail."""
        return self.partition == NOWHERE

    def sealed(self) -> Optional[Set[bytes]]:
        """Of one that tells how a run ended the archives of that run; None if that is not complete."""
        self._walk()
        for part in self.parts:
            named: Set[bytes] = set()
            last = False
            before: Optional[Frame] = None
            with contextlib.suppress(Damaged), understood("end of a run"):
                for offset in sorted(part.of_kind(RUN).all()):
                    frame = part.file.frame(offset)
                    if frame is None or (before is not None and frame.sequence != before.sequence + 1):
                        raise Damaged("some of what the run had to tell is missing")
                    before = frame
                    row = Unpacker(part.file.payload(frame, encrypted=part.encrypted)).map()
                    named |= {octets(unit[4]) for unit in row.get("units", []) if unit[4] is not None}
                    last = row.get("last") is True
                if last:
                    return named
        return None

    def directory(self) -> List[Dict[str, Any]]:
        """Of any part that has it whole; else empty."""
        return next((rows for rows in (part.directory() for part in self.parts) if rows), [])

    def told(self) -> Iterator[Told]:
        """The mailboxes that it tells of."""
        rows = self.directory()
        seen: Set[str] = set()
        whole = bool(rows)
        if not whole:
            self._walk()
            for part in self.parts:
                for _, payload in part.payloads(UNCHANGED):
                    with contextlib.suppress(Damaged):
                        rows.append(Unpacker(payload).map())
        for row in rows:
            with contextlib.suppress(Damaged), understood("directory"):
                for one in row["mailboxes"]:
                    user = text(one[0])
                    if user not in seen:
                        seen.add(user)
                        home = Home(
                            octets(row["archives"][number(one[1])], 16), number(one[2], (1 << 31) - 1)
                        )
                        yield Told(user, home, number(one[5]), number(one[6]), octets(one[7]))
        if not whole:
            for home, mailbox in self._written():
                if mailbox["user"] not in seen:
                    seen.add(mailbox["user"])
                    yield Told(mailbox["user"], home, None, None, mailbox["place"])

    def _written(self) -> Iterator[Tuple[Home, Dict[str, Any]]]:
        """The mailboxes of which it has a whole last frame."""
        for position in sorted({one for part in self.parts for one in part.of_kind(MAILBOX).positions}):
            with contextlib.suppress(Damaged), understood("mailbox"):
                mailbox = Unpacker(self.find(MAILBOX, position)).map()
                text(mailbox["user"])
                octets(mailbox["place"])
                yield Home(self.id, position >> 32), mailbox

    def departures(self, problem: Callable[[str], None]) -> Iterator[Departure]:
        """Who has departed, as it tells; a ``problem`` for each part that can't be read."""
        for position in sorted({one for part in self.parts for one in part.of_kind(DEPARTED).positions}):
            try:
                with understood("departures"):
                    for user, reason, _, run in Unpacker(self.find(DEPARTED, position)).map()["departed"]:
                        yield Departure(text(user), text(run) or self.run, reason in ("removed", "moved"))
            except Damaged as error:
                problem(f"who has departed can't be told: {error}")

    def references(self) -> Dict[bytes, str]:
        """What the files of the archives are called that it refers to, as far as the directory tells; empty
        where nothing is known but the id."""
        found: Dict[bytes, str] = {}
        for row in self.directory():
            with contextlib.suppress(Damaged), understood("directory"):
                for archive, run, shard, _, partition, group in row["referred"]:
                    where = f"{text(partition) or self.partition}/{text(group) or self.group}"
                    name = f"{where}/{text(run)}.{number(shard)}.{octets(archive, 16).hex()[:16]}.mha"
                    found[archive] = name if run else ""
        return found

    def is_erased(self, home_number: int) -> bool:
        """Whether the last frame of a mailbox that is written here has keys that were destroyed."""
        for part in self.parts:
            for position, offset in list(part.of_kind(MAILBOX).rows()):
                frame = part.file.frame(offset) if position >> 32 == home_number else None
                if frame is not None:
                    return self._keys.is_erased(self.id, frame.slot)
        return False

    def mailbox(self, home_number: int) -> Dict[str, Any]:
        """A mailbox that is written here, with the lists of its FOLDERS frames. Raises Damaged."""
        positions = [
            position
            for part in self.parts
            for position in part.of_kind(MAILBOX).positions
            if position >> 32 == home_number
        ]
        if not positions:
            raise Damaged(f"no mailbox {home_number} in archive {self.names()}")
        last = Unpacker(self.find(MAILBOX, positions[0])).map()
        with understood("mailbox"):
            parts = number(last["parts"], 32)
            rows = [Unpacker(self.find(FOLDERS, home_number << 32 | one)).map() for one in range(parts)]
            rows.append(last)
            for row in rows:
                for folder in row["folders"]:
                    for directory in folder["directories"]:
                        directory[6] = () if directory[6] is None else row["attributes"][number(directory[6])]
                for file in row["files"]:
                    file[10] = () if file[10] is None else row["attributes"][number(file[10])]
            for name in ("folders", "files", "skipped"):
                last[name] = [one for row in rows for one in row[name]]
            text(last["user"])
            octets(last["place"])
            if len(last["folders"]) != number(last["count"]):
                raise Damaged("the mailbox has another number of folders")
        return last

    def messages(self, mailbox: int, frame: int) -> List[Mail]:
        """The messages of a frame. Raises Damaged."""
        row = Unpacker(self.find(MESSAGES, mailbox << 32 | frame)).map()
        with understood("messages"):
            return list(_messages(row))


def _messages(row: Dict[str, Any]) -> Iterator[Mail]:
    count = number(row["n"], MOST_MESSAGES)
    uids, marks = column(row["uid"], 4, count), column(row["mark"], 4, count)
    dates, sizes = deltas(row["date"], count, signed=True), column(row["size"], 8, count)
    names = strings(row["name"], count)
    notes = strings(row["notes"], count) if row.get("notes") is not None else [b""] * count
    links = column(row["link"], 8, count) if row.get("link") is not None else (0,) * count
    digests = octets(row["digest"], 16 * count)
    have = column(row["pieces"], 4, count)
    pieces = _pieces(row, sum(have))
    for at in range(count):
        flags, keywords, attributes, store = row["marks"][marks[at]]
        place, suffix, mode, owner, group = store[:5] if store else ("new", b"", 0o600, 0, 0)
        yield Mail(
            uid=uids[at],
            name=names[at],
            flags=text(flags),
            keywords=tuple(text(row["keywords"][number(keyword)]) for keyword in keywords),
            date_ns=dates[at],
            size=number(sizes[at]),
            notes=notes[at],
            link=links[at],
            digest=digests[16 * at : 16 * at + 16],
            pieces=tuple(next(pieces) for _ in range(have[at])),
            place=text(place),
            suffix=octets(suffix),
            mode=number(mode, 0xFFFF),
            owner=number(owner, 0xFFFFFFFF),
            group=number(group, 0xFFFFFFFF),
            attributes=() if attributes is None else row["attributes"][number(attributes)],
        )


def _pieces(row: Dict[str, Any], count: int) -> Iterator[Piece]:
    archives, lengths = column(row["archive"], 2, count), column(row["length"], 4, count)
    gaps, recipes = column(row["gap"], 8, count), column(row["recipe"], 2, count)
    end = 0
    for archive, gap, length, recipe in zip(archives, gaps, lengths, recipes):
        offset = (end + gap) & 0xFFFFFFFFFFFFFFFF
        yield Piece(octets(row["archives"][archive], 16), offset, length, recipe & 0x7FFF, bool(recipe >> 15))
        end = offset + length


class Encoder:
    """Stored bytes of a run of pieces as mail."""

    def __init__(self, recipe: int) -> None:
        if recipe > MOST_RECIPE:
            raise Damaged("no such recipe")
        self.recipe = recipe
        self._line = 3 * ((recipe - 1) >> 1) if recipe else 0
        self._end = b"\r\n" if (recipe - 1) & 1 else b"\n"
        self._rest = b""
        self._is_first = True

    def add(self, data: bytes) -> Iterator[bytes]:
        """More of it."""
        if not self.recipe:
            yield data
            return
        unit = self._line or 3
        step = max(1, 49_152 // unit) * unit
        data = self._rest + data
        whole = len(data) - len(data) % unit
        for at in range(0, whole, step):
            yield self._lines(data[at : min(at + step, whole)])
        self._rest = data[whole:]

    def finish(self) -> Iterator[bytes]:
        """The last of it."""
        if self._rest:
            yield self._lines(self._rest)
            self._rest = b""

    def _lines(self, data: bytes) -> bytes:
        encoded = base64.b64encode(data)
        if not self._line:
            return encoded
        width = self._line // 3 * 4
        lines = self._end.join(encoded[at : at + width] for at in range(0, len(encoded), width))
        lines = lines if self._is_first else self._end + lines
        self._is_first = False
        return lines


class Archives:
    """All archives that are at hand. ``problems`` are what there is to say of the files."""

    def __init__(
        self, names: Iterable[str], means: Optional[Means] = None, keys: Optional[Keys] = None
    ) -> None:
        self._means = means or Means()
        self._files = OpenFiles()
        self.problems: List[str] = []
        self.found: Dict[bytes, Archive] = {}
        self.locked: Dict[bytes, Archive] = {}
        keys = keys or Keys()
        self._absent: Dict[bytes, str] = {}
        self._blocks: OrderedDict[Tuple[bytes, int], bytes] = OrderedDict()
        self._cached = 0
        self._messages: Tuple[Tuple[bytes, int, int], List[Mail]] = ((b"", 0, 0), [])
        parts: Dict[bytes, List[Part]] = {}
        for name in sorted(names):
            file = ArchiveFile(name, self._means, self._files, keys)
            found = file.parts()
            if not found:
                self.problems.append(f"{shown(name)}: there is no archive in this file")
            for part in found:
                parts.setdefault(part.archive, []).append(part)
        for archive, copies in parts.items():
            where = ", ".join(sorted({shown(part.file.name) for part in copies}))
            try:
                one = self.found[archive] = Archive(copies, keys)
            except Damaged as error:
                self.problems.append(f"{where}: {error}")
                continue
            for part in one.pretenders:
                self.problems.append(
                    f"{shown(part.file.name)}: archive {archive.hex()[:16]} is in clear here and encrypted "
                    "in another file: somebody may have made it, and nothing of it is used"
                )
            if one.lock() is not None:
                self.locked[archive] = self.found.pop(archive)
                continue
            if not one.has_end:
                self.problems.append(
                    f"{where}: archive {archive.hex()[:16]} of run {shown(one.run)} has no end: it was cut "
                    "off, or never finished; what is whole of it is restored"
                )
        self.problems += self._cut_streams()

    def _cut_streams(self) -> Iterator[str]:
        """What is missing of streams that archives say they stand in."""
        in_streams = [archive for archive in self.found.values() if archive.header.get("stream") is True]
        for run in sorted({stream.run for stream in in_streams}):
            ends = [
                in_stream.sealed() for in_stream in in_streams if in_stream.is_of_run and in_stream.run == run
            ]
            told = [end for end in ends if end is not None]
            if not told:
                yield f"the stream of run {shown(run)} has no end: archives may be missing"
            elif missing := len(told[0] - self.found.keys() - self.locked.keys()):
                yield f"of {len(told[0])} archives in the stream of run {shown(run)} {missing} are missing"

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def archive(self, archive: bytes) -> Archive:
        """Raises Damaged if it is not at hand."""
        if archive in self.found:
            return self.found[archive]
        if archive in self.locked:
            one = self.locked[archive]
            lock = one.lock() or Damaged("it was not opened")
            raise type(lock)(f"archive {one.names()}: {lock}")
        if archive not in self._absent:
            names = (one.references().get(archive, "") for one in self.found.values())
            name = next((one for one in names if one), "")
            self._absent[archive] = f"archive {archive.hex()[:16]} is not at hand{name and ': '}{shown(name)}"
        raise Damaged(self._absent[archive])

    def mailbox(self, home: Home) -> Dict[str, Any]:
        """The metadata of a mailbox. Raises Damaged."""
        return self.archive(home.archive).mailbox(home.number)

    def is_erased(self, home: Home) -> bool:
        """Whether a mailbox was erased, as far as its archive is at hand."""
        archive = self.found.get(home.archive)
        return archive is not None and archive.is_erased(home.number)

    def messages(self, mailbox: Dict[str, Any], folder: Dict[str, Any]) -> Iterator[Tuple[int, Any]]:
        """The messages of a folder in their order: pairs of how many, and a list of them or why there are
        none. Raises Damaged."""
        with understood("folder"):
            rows = [
                ((octets(mailbox["archives"][number(row[0])], 16), number(row[1]), number(row[2])), row[3:5])
                for row in folder["frames"]
            ]
            spans = [(number(first), number(count, MOST_MESSAGES)) for _, (first, count) in rows]
        for (key, _), (first, count) in zip(rows, spans):
            try:
                found = self._rows(*key)
                if first + count > len(found):
                    raise Damaged("messages that are not there")
                yield count, found[first : first + count]
            except Damaged as error:
                yield count, error

    def _rows(self, archive: bytes, mailbox: int, frame: int) -> List[Mail]:
        key = archive, mailbox, frame
        if self._messages[0] != key:
            self._messages = key, self.archive(archive).messages(mailbox, frame)
        return self._messages[1]

    def content(self, mail: Mail) -> Iterator[bytes]:
        """A message; Damaged is raised at the end, if it is not the one that was stored."""
        return self._checked(mail.pieces, mail.size, mail.digest)

    def file_content(self, mailbox: Dict[str, Any], file: Sequence[Any]) -> Iterator[bytes]:
        """As ``content`` of a file that is no message."""
        with understood("file"):
            pieces = [
                Piece(
                    octets(mailbox["archives"][number(row[0])], 16),
                    number(row[1]),
                    number(row[2]),
                    number(row[3]),
                    bool(row[4]),
                )
                for row in file[9]
            ]
            size, digest = number(file[7]), octets(file[8], 16)
        return self._checked(pieces, size, digest)

    def _checked(self, pieces: Sequence[Piece], size: int, digest: bytes) -> Iterator[bytes]:
        left = size
        hashed = self._means.new_hash()
        for data in self._assembled(pieces):
            left -= len(data)
            if left < 0:
                raise Damaged("more content than was stored")
            hashed.update(data)
            yield data
        if left or hashed.digest()[:16] != digest:
            raise Damaged("another content than was stored")

    def _assembled(self, pieces: Sequence[Piece]) -> Iterator[bytes]:
        encoder: Optional[Encoder] = None
        for piece in pieces:
            if not piece.joined:
                if encoder:
                    yield from encoder.finish()
                encoder = Encoder(piece.recipe)
            elif encoder is None or not piece.recipe or encoder.recipe != piece.recipe:
                raise Damaged("a joined piece without a run")
            archive = self.archive(piece.archive)
            offset, left = piece.offset, piece.length
            while left:
                begin, block = self._block(archive, offset)
                data = block[offset - begin : offset - begin + left]
                if not data:
                    raise Damaged(f"archive {archive.names()} has no data at {offset}")
                yield from encoder.add(data)
                offset, left = offset + len(data), left - len(data)
        if encoder:
            yield from encoder.finish()

    def _block(self, archive: Archive, offset: int) -> Tuple[int, bytes]:
        """The block with this offset of the data, kept for the next ones."""
        last = next(reversed(self._blocks), None)
        if (
            last is not None
            and last[0] == archive.id
            and last[1] <= offset < last[1] + len(self._blocks[last])
        ):
            return last[1], self._blocks[last]
        begin = archive.block_begin(offset)
        key = archive.id, begin
        block = self._blocks.pop(key, None)
        if block is None:
            block = archive.find(BLOCK, begin)
            self._cached += len(block)
        self._blocks[key] = block
        while self._cached > CACHE_BYTES and len(self._blocks) > 1:
            self._cached -= len(self._blocks.popitem(last=False)[1])
        return begin, block


# ---------------------------------------------------------------------------------------------------------
# What is wanted


class State(NamedTuple):
    """A mailbox as it was at a run: as the archive of that run, or of an earlier one, tells."""

    partition: str
    group: str
    user: str
    run: str
    format: str
    told: Told

    @property
    def path(self) -> str:
        """Its logical path."""
        return f"/{shown(self.partition)}/{shown(self.group)}/{shown(self.user).replace('/', '%2F')}"


class Wanted(NamedTuple):
    """What a logical path selects; None for everything from there on."""

    partition: Optional[str] = None
    group: Optional[str] = None
    user: Optional[str] = None
    folder: Optional[str] = None

    @classmethod
    def parse(cls, path: str) -> Wanted:
        """Raises Failed for what is no path."""
        levels = [one for one in path.strip("/").split("/") if one]
        if not path.startswith("/") or any(level in (".", "..") for level in levels):
            raise Failed(f"{path!r} is no path like /partition/group/user/folder", EXIT_USAGE)
        plain = [os.fsdecode(_percent_decoded(os.fsencode(one))) for one in levels]
        return cls(*plain[:3], *(["/".join(plain[3:])] if plain[3:] else []))

    def selects(self, state: State) -> bool:
        """Whether anything of a mailbox is wanted. The group ``user`` holds everybody."""
        return (
            self.partition in (None, state.partition)
            and self.group in (None, "user", state.group)
            and self.user in (None, state.user)
        )

    def selects_folder(self, name: str) -> bool:
        """Whether a folder of a mailbox that is wanted is."""
        return self.folder in (None, name) or name.startswith(f"{self.folder}/")


def _percent_decoded(data: bytes) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), data)


def shown(value: object) -> str:
    """A name, fit for a terminal: what would disturb it is percent-encoded."""
    name = os.fsdecode(value) if isinstance(value, bytes) else str(value)
    return "".join(
        one
        if one.isprintable() and one != "%"
        else "".join(f"%{byte:02X}" for byte in one.encode("utf-8", "surrogateescape"))
        for one in name
    )


def states(archives: Archives, run: Optional[str], problem: Callable[[str], None]) -> List[State]:
    """The newest state of each mailbox, or that at a run (FORMAT.md, *What is newest*)."""
    found: Dict[Tuple[str, str, str], State] = {}
    gone: Dict[Tuple[str, Optional[str], str], str] = {}
    for archive in archives.found.values():
        partition, group = archive.partition, archive.group
        for departure in archive.departures(problem):
            if run is None or departure.run <= run:
                whose = partition, None if departure.everywhere else group, departure.user
                gone[whose] = max(gone.get(whose, ""), departure.run)
        if run is not None and archive.run > run:
            continue
        for told in archive.told():
            key = partition, group, told.user
            if key not in found or found[key].run < archive.run:
                found[key] = State(*key, archive.run, text(archive.header["format"]), told)
    return sorted(
        state
        for (partition, group, user), state in found.items()
        if state.run >= max(gone.get((partition, group, user), ""), gone.get((partition, None, user), ""))
    )


def chosen(found: Sequence[State], wanted: Sequence[Wanted]) -> List[Tuple[State, List[Wanted]]]:
    """The mailboxes that are wanted, each with what is wanted of it. Of a user in several groups of a
    partition the newest one, among those that are asked for."""
    best: Dict[Tuple[str, str], Tuple[State, List[Wanted]]] = {}
    for state in found:
        asked = [wish for wish in wanted if wish.selects(state)]
        key = state.partition, state.user
        if asked and (key not in best or best[key][0].run < state.run):
            best[key] = state, asked
    return list(best.values())


# ---------------------------------------------------------------------------------------------------------
# Maildirs

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_GO = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
LISTS = ("system.posix_acl_access", "system.posix_acl_default")
MOST_LINKS = 1 << 18
UIDLIST, KEYWORDS = b"dovecot-uidlist", b"dovecot-keywords"
MOST_LETTERS = 26
MOST_UIDS = 50
GUID = re.compile(r"[0-9a-f]{32}")
FIELDS = re.compile(rb"[A-Z][!-~]*( [A-Z][!-~]*)*")
PLACEHOLDER = re.compile(r"\{(user|domain)(?:\[(\d{1,3})(?::(\d{1,3}))?\])?\}")


class Dress(NamedTuple):
    """What a file or a directory is given at the end."""

    mode: int
    owner: int
    group: int
    mtime_ns: int
    attributes: Sequence[Sequence[Any]] = ()


def dress_of(row: Sequence[Any]) -> Dress:
    """From mode on, as rows of directories and files have it. Raises ValueError."""
    mode, owner, group, mtime_ns = row[:4]
    attributes = row[-1]
    return Dress(
        number(mode, 0xFFFF),
        number(owner, 0xFFFFFFFF),
        number(group, 0xFFFFFFFF),
        integer(mtime_ns),
        attributes,
    )


def split(path: bytes) -> Path:
    """The names on a relative path; none of them leads anywhere else. Raises Refused."""
    names = tuple(path.split(b"/")) if path else ()
    for name in names:
        checked_name(name)
    return names


def checked_name(name: bytes) -> bytes:
    """A name that can be one of a file in a directory. Raises Refused."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise Refused(f"{shown(name)!r} is no name for a file")
    return name


def stays_inside(link: Path, target: bytes, levels_above: int) -> bool:
    """Whether a symbolic link leads to something in the mailbox, or so many levels above."""
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    upward = next((at for at, name in enumerate(names) if name != b".."), len(names))
    outside = not target or target.startswith(b"/") or b"\0" in target or b".." in names[upward:]
    return not outside and upward <= len(link) - 1 + levels_above


class Tree:
    """The directory that is restored into. Nothing is ever written through a symbolic link, nor over
    something that is there. Raises Refused, or Failed where nothing more can be written at all."""

    def __init__(self, top: str) -> None:
        try:
            os.makedirs(top, exist_ok=True)
            if os.listdir(top):
                raise Failed(f"{shown(top)} is not empty: restore into a new directory", EXIT_USAGE)
            self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Failed(f"{shown(top)}: {error.strerror}") from error
        self.undressed = 0

    @contextlib.contextmanager
    def directory(self, names: Path) -> Iterator[int]:
        """A directory below it, opened; made where there is none."""
        with refusing():
            fd = os.dup(self._top)
        try:
            for name in names:
                with refusing():
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=fd)
                    below = os.open(name, DIRECTORY_FLAGS, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def write(self, directory: int, name: bytes, content: Iterable[bytes], dress: Dress) -> None:
        """A new file. Nothing of it is to be seen before all of it is there; nothing is left of it after an
        exception, also one that ``content`` raised."""
        checked_name(name)
        new = b".mailhaul-restore.%d" % os.getpid()
        with refusing():
            if exists(directory, name):
                raise Refused("something has its name already")
            fd = os.open(new, NEW_FILE, 0o600, dir_fd=directory)
        try:
            with refusing():
                try:
                    for data in content:
                        rest = memoryview(data)
                        while rest:
                            rest = rest[os.write(fd, rest) :]
                    self.dress(fd, dress, 0o777)
                finally:
                    os.close(fd)
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=directory)
            raise

    def link(self, directory: int, name: bytes, target: bytes, dress: Dress) -> None:
        """A symbolic link."""
        with refusing():
            os.symlink(target, checked_name(name), dir_fd=directory)
        try:
            os.chown(name, dress.owner, dress.group, dir_fd=directory, follow_symlinks=False)
            os.utime(name, ns=(dress.mtime_ns, dress.mtime_ns), dir_fd=directory, follow_symlinks=False)
        except (OSError, OverflowError):
            self.undressed += 1

    def dress(self, fd: int, dress: Dress, bits: int) -> None:
        """Give an open file or directory its owner, mode, attributes and time, as far as that can be; of
        the attributes those that users may set, and access lists."""
        whole = True
        try:
            os.fchown(fd, dress.owner, dress.group)
        except (OSError, OverflowError):
            whole = False
        mode = dress.mode & bits
        try:
            os.fchmod(fd, mode)
            for name, value in dress.attributes:
                if text(name) in LISTS or name.startswith("user."):
                    try:
                        os.setxattr(fd, name, octets(value))
                    except (OSError, AttributeError):
                        whole = False
                        if name == LISTS[0]:  # with one, these bits are not the group's rights
                            os.fchmod(fd, mode & ~0o070)
        except (OSError, ValueError, TypeError):
            whole = False
        try:
            os.utime(fd, ns=(dress.mtime_ns, dress.mtime_ns))
        except (OSError, OverflowError):
            whole = False
        self.undressed += not whole

    def close(self) -> None:
        """All of it is on the disk then."""
        os.sync()
        os.close(self._top)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_GO:
            raise Failed(f"the target can't be written: {error.strerror}") from error
        raise Refused(f"it can't be written: {error.strerror}") from error


def exists(directory: int, name: bytes) -> bool:
    """Whether there is anything of this name."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def uid_list(folder: Dict[str, Any], mails: Dict[int, Tuple[bytes, bytes]], margin: int) -> bytes:
    """What ``dovecot-uidlist`` is to say: names and notes by their UIDs. The next UID is so much greater than
    the recorded one. Raises ValueError."""
    validity, following = number(folder["uidvalidity"]), number(folder["uidnext"])
    following = min(max(following, max(mails, default=0) + 1) + margin, 0xFFFFFFFF)
    header = octets(folder["header"])
    if re.fullmatch(rb"3(?: +[^\x00-\x20\x7f]+)* *", header) and re.search(rb" V[0-9]+(?= |$)", header):
        header = re.sub(rb"(?<= )V[0-9]*(?= |$)", b"V%d" % validity, header, count=1)
        header, changed = re.subn(rb"(?<= )N[0-9]*(?= |$)", b"N%d" % following, header, count=1)
        header += b"" if changed else b" N%d" % following
    else:
        guid = text(folder["guid"])
        header = b"3 V%d N%d" % (validity, following) + (
            b" G" + guid.encode() if GUID.fullmatch(guid) else b""
        )
    lines = [header + b"\n"]
    for uid, (name, notes) in sorted(mails.items()):
        fields = b" " + notes if FIELDS.fullmatch(notes) else b""
        lines.append(b"%d%s :%s\n" % (uid, fields, name))
    return b"".join(lines)


class Counts:
    """What was done, and what was not."""

    def __init__(self) -> None:
        self.mailboxes = self.messages = self.size = 0
        self.damaged = self.refused = 0

    def problem(self, where: str, error: Exception | str, count: int = 1) -> None:
        """So many things are not restored."""
        if isinstance(error, (Refused, Locked)):
            self.refused += count
        else:
            self.damaged += count
        say(f"{where}: {error}" if where else str(error))


class MailboxWriter:
    """One mailbox, made anew below ``top``."""

    def __init__(
        self,
        archives: Archives,
        tree: Tree,
        state: State,
        wanted: Sequence[Wanted],
        counts: Counts,
        margin: int,
    ) -> None:
        self._archives = archives
        self._tree = tree
        self._state = state
        self._wanted = wanted
        self._counts = counts
        self._margin = margin
        self._links: OrderedDict[Tuple[int, bytes], Tuple[Path, bytes]] = OrderedDict()
        self._directories: Dict[Path, Dress] = {}
        self._lists: Dict[Path, Dress] = {}
        self._symlinks: List[Tuple[Path, bytes, Dress, bool]] = []

    def write(self, mailbox: Dict[str, Any], top: Path) -> None:
        """All that is wanted of it."""
        home = top[:-1] if len(top) > 1 else None
        folders = [one for one in mailbox["folders"] if self._is_wanted(one)]
        for folder in folders:
            self._attempt(folder, lambda one: self._folder(mailbox, one, top, home))
        for file in mailbox["files"]:
            if self._is_file_wanted(file, folders):
                self._attempt(file, lambda one: self._file(mailbox, one, top, home))
        for folder in folders:
            self._attempt(folder, lambda one: self._keywords(one, top))
        for names, target, dress, in_home in self._symlinks:
            above, base = names[:-1], home if in_home else top
            try:
                levels = 1 if home is not None and not in_home else 0
                if not stays_inside(names, target, levels):
                    raise Refused("a symbolic link that leads out of the mailbox")
                with self._tree.directory((*(base or ()), *above)) as directory:
                    self._tree.link(directory, names[-1], target, dress)
            except Refused as error:
                self._counts.problem(f"{self._state.path} ({shown(b'/'.join(names))})", error)
        for names, dress in sorted(self._directories.items(), key=lambda one: -len(one[0])):
            with contextlib.suppress(Refused), self._tree.directory(names) as directory:
                self._tree.dress(directory, dress, 0o3777)
        self._counts.mailboxes += 1

    def _attempt(self, what: Any, do: Callable[[Any], None]) -> None:
        """One folder or file: what goes wrong with it does not keep the others out."""
        where = self._state.path
        try:
            with understood("the mailbox"):
                where += (
                    f"/{shown(text(what['name']))}"
                    if isinstance(what, dict)
                    else f" ({shown(octets(what[0]))})"
                )
                do(what)
        except (Damaged, Refused) as error:
            self._counts.problem(where, error)

    def _is_wanted(self, folder: Dict[str, Any]) -> bool:
        name = str(folder.get("name"))
        return any(wish.selects_folder(name) for wish in self._wanted)

    def _is_file_wanted(self, file: Sequence[Any], folders: Sequence[Dict[str, Any]]) -> bool:
        """Of a part of a mailbox: the files of the folders that are wanted."""
        if any(wish.folder is None for wish in self._wanted):
            return True
        if not isinstance(file[0], bytes) or file[1]:
            return False
        above = file[0].rpartition(b"/")[0]
        return any(folder["path"] == above for folder in folders)

    def _folder(
        self, mailbox: Dict[str, Any], folder: Dict[str, Any], top: Path, home: Optional[Path]
    ) -> None:
        path = (*top, *split(octets(folder["path"])))
        for part in ((), (b"cur",), (b"new",), (b"tmp",)):
            with self._tree.directory((*path, *part)):
                pass
        for row in folder["directories"]:
            base = home if row[0] == "home" else top
            names = (*base, *split(octets(row[1]))) if base is not None else ()
            if row[0] == "uidlist":
                self._lists[names] = dress_of(row[2:])
            elif row[0] in ("folder", "part", "near", "home") and names:
                self._directories[names] = dress_of(row[2:])
                with self._tree.directory(names):
                    pass
        where = f"{self._state.path}/{shown(text(folder['name']))}"
        listed: Dict[int, Tuple[bytes, bytes]] = {}
        lettered = {text(one) for one in folder["keywords"][:MOST_LETTERS]}
        beyond: Dict[str, List[int]] = {}
        with contextlib.ExitStack() as stack:
            places = {
                one: stack.enter_context(self._tree.directory((*path, one))) for one in (b"cur", b"new")
            }
            for count, mails in self._archives.messages(mailbox, folder):
                if isinstance(mails, Damaged):
                    self._counts.problem(f"{where}: {count} messages", mails, count)
                    continue
                for mail in mails:
                    try:
                        self._message(mail, places, path)
                    except (Damaged, Refused) as error:
                        self._counts.problem(f"{where}/{mail.uid or ';NAME=' + shown(mail.name)}", error)
                        continue
                    self._counts.messages += 1
                    self._counts.size += mail.size
                    for keyword in set(mail.keywords) - lettered:
                        beyond.setdefault(keyword, []).append(mail.uid)
                    if 0 < mail.uid < 0xFFFFFFFF and b"\n" not in mail.name:
                        listed.setdefault(mail.uid, (mail.name, mail.notes))
        for keyword, uids in sorted(beyond.items()):
            # Only the index of a server can hold them: a name of a file has letters for so many.
            shown_uids = " ".join(map(str, uids[:MOST_UIDS])) + (" ..." if len(uids) > MOST_UIDS else "")
            lost = Refused(f"no letter is left for the keyword {shown(keyword)!r}: UIDs {shown_uids}")
            self._counts.problem(where, lost)
        if number(folder["uidvalidity"]):
            content = uid_list(folder, listed, self._margin)
            with self._tree.directory(path) as directory:
                self._tree.write(directory, UIDLIST, [content], self._list_dress(path, UIDLIST))

    def _message(self, mail: Mail, places: Dict[bytes, int], path: Path) -> None:
        place = os.fsencode(mail.place)
        if place not in places:
            raise Refused(f"{shown(mail.place)!r} is neither cur nor new")
        name = checked_name(mail.name + mail.suffix)
        known = self._links.get((mail.link, mail.digest)) if mail.link else None
        if known is not None and self._same_file(known, places[place], name):
            return
        dress = Dress(mail.mode, mail.owner, mail.group, mail.date_ns, mail.attributes)
        self._tree.write(places[place], name, self._archives.content(mail), dress)
        if mail.link:
            self._links[mail.link, mail.digest] = (*path, place), name
            if len(self._links) > MOST_LINKS:
                self._links.popitem(last=False)

    def _same_file(self, known: Tuple[Path, bytes], directory: int, name: bytes) -> bool:
        """Whether a file that was written got this name too."""
        try:
            with self._tree.directory(known[0]) as other, refusing():
                os.link(known[1], name, src_dir_fd=other, dst_dir_fd=directory, follow_symlinks=False)
        except Refused:
            return False
        return True

    def _list_dress(self, path: Path, name: bytes) -> Dress:
        """As it was, or as the server would make it."""
        if (*path, name) in self._lists:
            return self._lists[(*path, name)]
        above = self._directories.get(path, Dress(0o700, os.geteuid(), os.getegid(), 0))
        return Dress(above.mode & 0o666, above.owner, above.group, time.time_ns())

    def _keywords(self, folder: Dict[str, Any], top: Path) -> None:
        """Name the keywords, unless the file that does so was restored."""
        names = [text(keyword) for keyword in folder["keywords"]][:MOST_LETTERS]
        path = (*top, *split(octets(folder["path"])))
        lines = [f"{at} {name}\n" for at, name in enumerate(names) if name and not set("\n\0") & set(name)]
        with self._tree.directory(path) as directory:
            if lines and not exists(directory, KEYWORDS):
                content = "".join(lines).encode("utf-8", "surrogateescape")
                self._tree.write(directory, KEYWORDS, [content], self._list_dress(path, KEYWORDS))

    def _file(self, mailbox: Dict[str, Any], file: Sequence[Any], top: Path, home: Optional[Path]) -> None:
        names = split(octets(file[0]))
        base = home if file[1] else top
        if base is None or not names:
            raise Refused("there is no place for it")
        dress = dress_of(file[3:])
        if file[2] is not None:
            self._symlinks.append((names, octets(file[2]), dress, bool(file[1])))
            return
        with self._tree.directory((*base, *names[:-1])) as directory:
            self._tree.write(directory, names[-1], self._archives.file_content(mailbox, file), dress)


class Layout:
    """Where mailboxes go: as they lay below their partition, or by a template as in the configuration."""

    def __init__(self, template: str, partitions: Set[str]) -> None:
        self._names = [one for one in template.split("/") if one]
        self._several = len(partitions) > 1
        rest = PLACEHOLDER.sub("", template)
        if template and ("{user}" not in template or "{" in rest or "}" in rest or ".." in self._names):
            raise Failed(
                f"--layout {template!r}: expected a path with {{user}}, and {{domain}}, if any", EXIT_USAGE
            )

    def place(self, state: State, place: bytes) -> Path:
        """The names of directories on the way to a mailbox. Raises Refused."""
        above = (checked_name(os.fsencode(state.partition)),) if self._several else ()
        if self._names:
            return (*above, *(checked_name(os.fsencode(one)) for one in self._expanded(state.user)))
        return (*above, *(split(place) if place else (checked_name(os.fsencode(state.user)), b"Maildir")))

    def _expanded(self, user: str) -> Iterator[str]:
        local, domain = user, ""
        if any("{domain" in one for one in self._names):
            local, _, domain = user.rpartition("@")
        values = {"user": local, "domain": domain}

        def value(found: re.Match[str]) -> str:
            whole = values[found[1]]
            if found[2] is None:
                return whole
            return whole[int(found[2]) : int(found[3]) if found[3] else int(found[2]) + 1]

        for name in self._names:
            yield PLACEHOLDER.sub(value, name)


# ---------------------------------------------------------------------------------------------------------
# The command


def say(line: str) -> None:
    """What is no result."""
    print(line, file=sys.stderr, flush=True)


def found_files(names: Sequence[str], ending: str = ".mha") -> List[str]:
    """The files that are named, and those with this ending below directories that are."""
    found: List[str] = []
    for name in names:
        if not os.path.isdir(name):
            found.append(name)
            continue
        for directory, below, files in os.walk(name):
            below[:] = sorted(one for one in below if not one.startswith("."))
            found += [os.path.join(directory, file) for file in files if file.endswith(ending)]
    if ending != ".mha":
        found = [one for one in found if one.endswith(ending)]
    return list(OrderedDict.fromkeys(found))


def found_sidecars(names: Sequence[str]) -> List[str]:
    """The files with further wraps of keys that lie below directories that are named, or beside files that
    are: in their directory, or where they lie in a staging area."""
    found: List[str] = []
    for name in names:
        if os.path.isdir(name):
            for directory, below, files in os.walk(name):
                below[:] = sorted(one for one in below if not one.startswith("."))
                found += [os.path.join(directory, file) for file in files if file.endswith(".mhk")]
            continue
        digits = re.match(r"[^.]+\.[0-9]+\.([0-9a-f]{16})\.", os.path.basename(name))
        place = os.path.dirname(os.path.abspath(name))
        folders = [place]
        for above in (place, os.path.dirname(os.path.dirname(place))):
            below_keys = os.path.join(above, "_keys")
            folders += [below_keys, os.path.join(below_keys, digits.group(1)[:2] if digits else "")]
        for folder in folders:
            with contextlib.suppress(OSError):
                found += [os.path.join(folder, one) for one in os.listdir(folder) if one.endswith(".mhk")]
    return sorted(set(found))


def learn_sidecars(names: Iterable[str], keys: Keys) -> Iterator[str]:
    """Let them count; what there is to say of files that are damaged. Whether the keys are those of an
    archive shows when they are opened."""
    files = OpenFiles()
    try:
        for name in names:
            try:
                file = ArchiveFile(name, Means(), files, keys)
                frame = file.frame(0)
                if frame is None or frame.kind != KEYS:
                    raise Damaged("there are no keys in it")
                keys.learn_sidecar(file.payload(frame))
            except (Damaged, OSError) as error:
                yield f"{shown(name)}: keys that were added later are left out: {error}"
    finally:
        files.close()


def list_mailboxes(
    archives: Archives, selected: Sequence[Tuple[State, List[Wanted]]], counts: Counts
) -> None:
    """A line for each mailbox: path, messages, bytes, run; of users that are named one for each folder."""
    for state, wanted in selected:
        told = state.told
        if archives.is_erased(told.home):
            say(f"{state.path}: erased")
            continue
        if all(wish.user is None for wish in wanted) and told.stored is not None:
            print(state.path, told.stored, told.size, state.run, sep="\t")
            continue
        try:
            mailbox = archives.mailbox(told.home)
            with understood("mailbox"):
                for folder in mailbox["folders"]:
                    if any(one.selects_folder(text(folder["name"])) for one in wanted):
                        rows = folder["frames"]
                        messages, size = (
                            sum(number(row[4]) for row in rows),
                            sum(number(row[5]) for row in rows),
                        )
                        print(f"{state.path}/{shown(folder['name'])}", messages, size, state.run, sep="\t")
        except Damaged as error:
            counts.problem(state.path, error)


def list_runs(archives: Archives) -> None:
    """A line for each run: its id, how many archives it wrote, their partitions."""
    runs: Dict[str, List[Archive]] = {}
    for archive in (*archives.found.values(), *archives.locked.values()):
        if not archive.is_of_run:
            runs.setdefault(archive.run, []).append(archive)
    for run, written in sorted(runs.items()):
        print(shown(run), len(written), ",".join(sorted({shown(one.partition) for one in written})), sep="\t")


def check_archives(archives: Archives, counts: Counts) -> None:
    """A line for each archive: its id, its run, how many frames were read, whether all of them are right."""
    for archive in archives.found.values():
        frames, problems = archive.check()
        for problem in problems:
            counts.problem("", problem)
        state = "damaged" if problems else "ok"
        print(archive.id.hex()[:16], shown(archive.run), frames, state, sep="\t")


def restore(
    archives: Archives,
    selected: Sequence[Tuple[State, List[Wanted]]],
    target: str,
    counts: Counts,
    *,
    layout: str = "",
    margin: int = 0,
) -> None:
    """Write what is wanted below a new directory."""
    layouts = Layout(layout, {state.partition for state, _ in selected})
    tree = Tree(target)
    last = time.monotonic()
    # Deeper ones first: what is made in a directory changes its time.
    ordered = sorted(selected, key=lambda one: (-one[0].told.place.count(b"/"), one[0]))
    try:
        for state, wanted in ordered:
            if state.format != "maildir":
                counts.problem(state.path, Refused(f"a mailbox of format {shown(state.format)!r}"))
                continue
            try:
                mailbox = archives.mailbox(state.told.home)
                top = layouts.place(state, mailbox["place"])
                if not top:
                    raise Refused("it has no place below its partition: give a --layout")
                MailboxWriter(archives, tree, state, wanted, counts, margin).write(mailbox, top)
            except Erased:
                say(f"{state.path}: erased")
            except (Damaged, Refused) as error:
                counts.problem(state.path, error)
            if time.monotonic() - last > 10:
                last = time.monotonic()
                say(f"{counts.mailboxes} of {len(selected)} mailboxes, {counts.messages} messages")
    finally:
        tree.close()
    if tree.undressed:
        say(f"{tree.undressed} files and directories lack their owner, mode, attributes or time: be root")


def command_line() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument(
        "files",
        nargs="+",
        metavar="FILE_OR_DIRECTORY",
        help="archives (*.mha) and vaults of secrets (*.vault.sealed), or where they lie",
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--to", metavar="DIRECTORY", help="restore into this directory, which is empty or not there"
    )
    what.add_argument("--list", action="store_true", help="list mailboxes: path, messages, bytes, run")
    what.add_argument("--runs", action="store_true", help="list the runs: id, archives, partitions")
    what.add_argument(
        "--check",
        action="store_true",
        help="read every frame of the archives: id, run, frames, ok or damaged",
    )
    what.add_argument(
        "--open",
        metavar="FILE.sealed",
        help="write the content of a sealed file to the standard output; of archives any one has its key",
    )
    made.add_argument(
        "--identity",
        action="append",
        metavar="FILE",
        help="private key of a recipient, for archives that are encrypted: NAME.secret, a paper key that was "
        "typed into a file, or an age identity; may be repeated (as for shares of a key it has to be)",
    )
    made.add_argument(
        "--passphrase-file",
        action="append",
        metavar="FILE",
        help="passphrase of the identities, in a line, or one for each of them, in their order; else it is "
        "asked for",
    )
    made.add_argument("--run", metavar="RUN", help="as it was at this run, not at the newest one")
    made.add_argument(
        "--path",
        action="append",
        metavar="PATH",
        help="/partition/group/user/folder, or less; may be repeated",
    )
    made.add_argument(
        "--layout",
        default="",
        metavar="TEMPLATE",
        help="where mailboxes go below the directory, such as '{domain}/{user}/Maildir'; else as they lay",
    )
    made.add_argument(
        "--uid-margin",
        type=int,
        default=10_000_000,
        metavar="N",
        help="how far above the recorded one new UIDs begin: clients may know some that no backup has",
    )
    return made


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status. Raises Failed."""
    counts = Counts()
    wanted = [Wanted.parse(one) for one in arguments.path or ["/"]]
    files = found_files([file for file in arguments.files if not file.endswith(".mhk")])
    keys = Keys(read_identities(arguments.identity or [], arguments.passphrase_file or []))
    for problem in learn_sidecars(found_sidecars(arguments.files), keys):
        say(problem)
    for name in found_files(arguments.files, VAULT):
        keys.take_vault(name)
    files = [one for one in files if not one.endswith(VAULT)]
    archives = Archives(files, keys=keys)
    for problem in archives.problems:
        counts.problem("", problem)
    for archive in archives.locked.values():
        counts.problem(f"archive {archive.names()} of run {shown(archive.run)}", archive.lock() or "")
    if arguments.open:
        try:
            for part in unsealed(arguments.open, keys):
                sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
        except (Damaged, OSError) as error:
            raise Failed(str(error), EXIT_DAMAGED if isinstance(error, Damaged) else EXIT_FAILED) from error
        return EXIT_OK
    if arguments.runs and (archives.found or archives.locked):
        list_runs(archives)
    elif not archives.found:
        raise Failed(
            f"all archives here are encrypted; give --identity FILE, {keys.wanted()}"
            if archives.locked
            else "there are no archives here",
            EXIT_DAMAGED if counts.damaged else EXIT_FAILED,
        )
    elif arguments.check:
        check_archives(archives, counts)
    else:
        if arguments.run and arguments.run not in {one.run for one in archives.found.values()}:
            say(f"no archive is of run {shown(arguments.run)}: what is newest before it counts")
        told = states(archives, arguments.run, lambda one: counts.problem("", one))
        selected = chosen(told, wanted)
        if not selected:
            raise Failed(
                "nothing of what is there is selected", EXIT_DAMAGED if counts.damaged else EXIT_FAILED
            )
        if arguments.list:
            list_mailboxes(archives, selected, counts)
        else:
            restore(
                archives,
                selected,
                arguments.to,
                counts,
                layout=arguments.layout,
                margin=max(0, arguments.uid_margin),
            )
            print(f"{counts.mailboxes} mailboxes, {counts.messages} messages, {counts.size} bytes restored")
    if not arguments.check:
        for one in archives.found.values():
            for problem in one.seal_problems():
                counts.problem("", problem)
    if counts.damaged or counts.refused:
        say(f"not restored, or not told: {counts.damaged + counts.refused}, see above")
    return EXIT_DAMAGED if counts.damaged else EXIT_SKIPPED if counts.refused else EXIT_OK


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns the exit status."""
    given = command_line().parse_args(arguments)
    try:
        return run(given)
    except Failed as error:
        say(f"error: {error}")
        return error.status
    except KeyboardInterrupt:
        say("ended by Ctrl-C")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
