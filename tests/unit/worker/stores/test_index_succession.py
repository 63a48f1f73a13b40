"""The index that takes the place of another, and its log: of the same identity, after a gap."""

from __future__ import annotations

import struct

import pytest

from mailhaul.worker.stores.index_succession import LOG_HEADER_SIZE, succession

LOG = struct.pack("=BBHIIIIIQB7x", 1, 3, 40, 77, 5, 4, 900, 1_700_000_000, 31, 1)
BASE = 120


def extension(name: bytes, header: bytes) -> bytes:
    head = struct.pack("=IIHHHH", len(header), 0, 8, 8, 8, len(name)) + name
    return head.ljust((len(head) + 7) & ~7, b"\0") + header.ljust((len(header) + 7) & ~7, b"\0")


def index(*extensions: bytes) -> bytes:
    """As mail-index.h has it: an index of identity 99, written of a log 2 up to byte 444; two messages."""
    more = b"".join(extensions)
    base = bytearray(BASE)
    struct.pack_into("=BBHII", base, 0, 7, 3, BASE, BASE + len(more), 16)
    struct.pack_into("=III", base, 16, 99, 0, 1500)
    struct.pack_into("=III", base, 60, 2, 444, 444)
    return bytes(base) + more + b"r" * 32


MODSEQ = extension(b"modseq", struct.pack("=QII", 100_000_017, 2, 444))
MAILDIR = extension(b"maildir", b"m" * 36)


@pytest.mark.parametrize("others", [(), (MAILDIR,)], ids=("first", "second"))
def test_it_goes_on(others: tuple[bytes, ...]) -> None:
    old = index(*others, MODSEQ)
    found = succession(LOG, old)
    assert found
    new, log = found
    at = len(old) - 32 - 16
    expected = bytearray(old)
    struct.pack_into("=I", expected, 16, 77)
    struct.pack_into("=III", expected, 60, 7, 40, 40)
    struct.pack_into("=QII", expected, at, 100_000_017, 7, 40)
    assert new == expected
    assert len(log) == LOG_HEADER_SIZE == 40
    assert log == struct.pack("=BBHIIIIIQB7x", 1, 3, 40, 77, 7, 6, 40, 1_700_000_000, 100_000_017, 1)


@pytest.mark.parametrize(
    "log",
    [
        b"",
        LOG[:39],
        b"\x02" + LOG[1:],
        LOG[:4] + bytes(4) + LOG[8:],
        LOG[:8] + b"\xff" * 4 + LOG[12:],
        LOG[:2] + b"\x30\0" + LOG[4:],
    ],
    ids=["empty", "short", "version", "marked corrupted", "no number left", "longer header"],
)
def test_a_log_that_is_not_known(log: bytes) -> None:
    assert succession(log, index(MODSEQ)) is None


@pytest.mark.parametrize(
    "other",
    [
        b"",
        index(),
        index(MAILDIR),
        b"\x06" + index(MODSEQ)[1:],
        index(MODSEQ)[: BASE + 30],
        index(extension(b"modseq", bytes(16))),
        index(extension(b"modseq", b"x" * 8)),
    ],
    ids=["empty", "no extension", "no modseq", "version", "cut", "number zero", "other size"],
)
def test_an_index_that_is_not_known(other: bytes) -> None:
    assert succession(LOG, other) is None
