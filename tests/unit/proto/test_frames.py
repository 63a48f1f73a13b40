"""Frames: what is written comes back, and whatever is not a frame is told from one."""

from __future__ import annotations

import struct
import zlib

import lz4.block
import pytest
import zstandard

from mailhaul.proto.archive import frames
from mailhaul.proto.archive.codec import PLAIN
from mailhaul.proto.archive.frames import HEADER_BYTES, LARGEST_FRAME, Codec, FrameHeader, FrameType
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId

ARCHIVE = ArchiveId(b"0123456789abcdef")
TEXT = b"The same words again. " * 50


def frame(
    payload: bytes,
    codec: Codec = Codec.NONE,
    plain_bytes: int | None = None,
    kind: FrameType = FrameType.BLOCK,
) -> tuple[FrameHeader, bytes]:
    plain = len(payload) if plain_bytes is None else plain_bytes
    encoded = frames.encode_header(kind, codec, payload, plain, ARCHIVE, 7, 4096)
    return frames.decode_header(encoded, "here"), payload


def crafted(**fields: int) -> bytes:
    """A header with any numbers and a right checksum of its own."""
    values = {"type": 2, "codec": 0, "flags": 0, "stored": 3, "plain": 3, "key": 0, **fields}
    head = struct.pack(
        "<4sBBHII16sQQ16sI",
        frames.MAGIC,
        values["type"],
        values["codec"],
        values["flags"],
        values["stored"],
        values["plain"],
        ARCHIVE,
        0,
        0,
        bytes(16),
        values["key"],
    )
    return head + struct.pack("<I", zlib.crc32(head))


@pytest.mark.parametrize("codec", Codec)
def test_a_payload_comes_back(codec: Codec) -> None:
    used, payload = frames.Compressor(codec).compress(TEXT)
    assert used is codec
    header, stored = frame(bytes(payload), used, len(TEXT))
    assert header == FrameHeader(
        FrameType.BLOCK, codec, len(stored), len(TEXT), ARCHIVE, 7, 4096, frames.checksum(stored)
    )
    assert PLAIN.unpack(header, stored, "here") == TEXT


@pytest.mark.parametrize("codec", [Codec.LZ4, Codec.ZSTD])
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256))])
def test_what_compression_would_not_make_smaller_is_stored_as_it_is(codec: Codec, data: bytes) -> None:
    assert frames.Compressor(codec).compress(data) == (Codec.NONE, data)


def test_the_position_of_a_mailbox_frame_holds_two_numbers() -> None:
    position = frames.mailbox_position(3, 5)
    assert (position >> 32, position & 0xFFFFFFFF) == (3, 5)


@pytest.mark.parametrize("bit", range(0, HEADER_BYTES * 8, 3))
def test_a_flipped_bit_in_a_header_is_seen(bit: int) -> None:
    data = bytearray(crafted())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedError):
        frames.decode_header(bytes(data), "here")


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1, HEADER_BYTES + 1])
def test_a_header_that_is_cut_off_is_damage(length: int) -> None:
    with pytest.raises(DamagedError) as caught:
        frames.decode_header((crafted() + b"x")[:length], "here")
    assert caught.value.facts["reason"] == "truncated"


def test_a_frame_of_another_archive_is_none() -> None:
    assert frames.decode_header(crafted(), "here", ARCHIVE).archive == ARCHIVE
    with pytest.raises(DamagedError) as caught:
        frames.decode_header(crafted(flags=1), "here", ArchiveId(bytes(16)))
    assert caught.value.facts["reason"] == "foreign"


@pytest.mark.parametrize(
    "fields", [{"flags": 1}, {"flags": 1 << 15}, {"key": 1}, {"type": 0}, {"type": 99}, {"codec": 3}]
)
def test_what_a_later_version_may_write_is_refused_as_such(fields: dict[str, int]) -> None:
    with pytest.raises(UnsupportedError):
        frames.decode_header(crafted(**fields), "here")


@pytest.mark.parametrize("fields", [{}, {"flags": 3}, {"key": 1}, {"codec": 99}])
def test_a_later_frame_of_an_optional_type_is_no_error(fields: dict[str, int]) -> None:
    header = frames.decode_header(crafted(type=0x91, **fields), "here")
    assert (header.type, header.codec) == (FrameType.LATER, Codec.NONE)
    with pytest.raises(UnsupportedError):
        frames.decode_header(crafted(type=0x7F, **fields), "here")


@pytest.mark.parametrize("field", ["stored", "plain"])
def test_lengths_beyond_the_format_are_refused_before_anything_is_read(field: str) -> None:
    frames.decode_header(crafted(**{field: LARGEST_FRAME}), "here")
    with pytest.raises(DamagedError) as caught:
        frames.decode_header(crafted(**{field: LARGEST_FRAME + 1}), "here")
    assert caught.value.facts["reason"] == "length"


@pytest.mark.parametrize("codec", Codec)
def test_a_payload_that_was_changed_or_cut_is_damage(codec: Codec) -> None:
    _, packed = frames.Compressor(codec).compress(TEXT)
    header, stored = frame(bytes(packed), codec, len(TEXT))
    for wrong, reason in (
        (stored[:-1], "truncated"),
        (stored + b"x", "truncated"),
        (stored[:-1] + bytes([stored[-1] ^ 1]), "checksum"),
    ):
        with pytest.raises(DamagedError) as caught:
            PLAIN.unpack(header, wrong, "here")
        assert caught.value.facts["reason"] == reason


def zstd(data: bytes, *, tells_size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=tells_size).compress(data)


@pytest.mark.parametrize(
    ("codec", "payload", "plain_bytes"),
    [
        (Codec.NONE, b"four", 3),
        (Codec.NONE, b"four", 5),
        (Codec.LZ4, lz4.block.compress(TEXT, store_size=False), len(TEXT) - 1),
        (Codec.LZ4, lz4.block.compress(TEXT, store_size=False), len(TEXT) + 1),
        (Codec.LZ4, b"", 0),
        (Codec.LZ4, b"", 10),
        (Codec.LZ4, b"\xff" * 40, LARGEST_FRAME),
        (Codec.LZ4, b"not compressed at all", 1000),
        (Codec.ZSTD, zstd(TEXT), len(TEXT) - 1),
        (Codec.ZSTD, zstd(TEXT), len(TEXT) + 1),
        (Codec.ZSTD, zstd(TEXT, tells_size=False), len(TEXT)),
        (Codec.ZSTD, zstd(bytes(LARGEST_FRAME + 1)), LARGEST_FRAME),
        (Codec.ZSTD, zstd(TEXT) + b"more", len(TEXT)),
        (Codec.ZSTD, zstd(TEXT) + zstd(TEXT), len(TEXT)),
        (Codec.ZSTD, zstd(TEXT)[:-1], len(TEXT)),
        (Codec.ZSTD, b"", 0),
        (Codec.ZSTD, b"\x50\x2a\x4d\x18\x04\0\0\0skip", 0),
        (Codec.ZSTD, b"not compressed at all", 1000),
    ],
)
def test_a_crafted_payload_that_lies_about_itself_is_damage(
    codec: Codec, payload: bytes, plain_bytes: int
) -> None:
    header, stored = frame(payload, codec, plain_bytes)
    with pytest.raises(DamagedError) as caught:
        PLAIN.unpack(header, stored, "here")
    assert caught.value.facts["reason"] in ("payload", "length")


def test_a_header_of_a_smaller_payload_does_not_fit_a_larger_one() -> None:
    header, stored = frame(b"payload")
    with pytest.raises(DamagedError):
        PLAIN.unpack(header._replace(stored_bytes=6), stored[:6], "here")
