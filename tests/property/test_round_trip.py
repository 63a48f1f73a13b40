"""Any bytes as a message: what goes through packer, writer and reader comes out the same, byte for byte."""

from __future__ import annotations

import base64
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import framing
from mailhaul.proto.archive.frames import Codec
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.tests.archives import MemoryFile, expected, read_archive, write_archive
from mailhaul.worker.packing import packer as packing
from mailhaul.worker.packing import scanning


@st.composite
def encoded_part(draw: st.DrawFn) -> bytes:
    """A base64 part as mail programs write it, and as they should not."""
    data = draw(st.binary(min_size=1, max_size=40)) * draw(st.sampled_from([1, 7, 40]))
    width = draw(st.sampled_from([0, 4, 60, 72, 75, 76, 77]))
    text = base64.b64encode(data)
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
    if draw(st.booleans()):
        odd = draw(st.integers(0, len(lines) - 1))
        lines[odd] = draw(
            st.sampled_from([b"", b" ", lines[odd][:-1], lines[odd] + b"=", lines[odd] + b" ", b"\0"])
        )
    if draw(st.booleans()):
        lines[-1] = lines[-1].rstrip(b"=") + draw(st.sampled_from([b"", b"=", b"==", b"===", b"A"]))
    head = end.join([b"Content-Type: image/png", b"Content-Transfer-Encoding: base64", b"", b""])
    return head + end.join(lines) + draw(st.sampled_from([b"", end, end + end]))


@st.composite
def multipart(draw: st.DrawFn) -> bytes:
    """A message of parts, some of them multiparts again, some with a boundary that is abused."""
    boundary = draw(st.sampled_from([b"b", b"bb", b"-", b"=_x y", b"--"]))
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    text = st.sampled_from([b"\n" + b"words " * 60, b"Content-Type: text/html\n\n" + b"<p>" * 100])
    parts = draw(st.lists(st.one_of(text, encoded_part(), st.deferred(multipart)), max_size=4))
    lines = [b'Subject: x\nContent-Type: multipart/mixed; boundary="' + boundary + b'"', b"", b"preamble"]
    for part in parts:
        lines += [b"--" + boundary, part]
    if draw(st.booleans()):
        lines += [b"--" + boundary + b"--", b"epilogue"]
    return end.join(lines)


any_bytes = st.binary(max_size=600)
any_message = st.one_of(
    any_bytes,
    multipart(),
    st.builds(bytes.__add__, any_bytes, multipart()),
    st.builds(bytes.__add__, multipart(), any_bytes),
)
mailboxes = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.dictionaries(st.text(min_size=1, max_size=5), st.lists(any_message, max_size=4), max_size=3),
    max_size=3,
)


@given(
    mailboxes,
    st.sampled_from(Codec),
    st.sampled_from([50, 1000, 1 << 20]),
    st.sampled_from([60, 1000, 1 << 20]),
)
def test_any_mail_comes_back(
    stored: dict[str, dict[str, list[bytes]]], codec: Codec, block_bytes: int, window_bytes: int
) -> None:
    with (
        patch.object(framing, "BLOCK_BYTES", block_bytes),
        patch.object(packing, "WINDOW_BYTES", window_bytes),
        patch.object(packing, "scan", scanning.scan),  # the one in C can't be told of smaller parts
        patch.object(scanning, "SMALLEST_PART", 16),
    ):
        file = MemoryFile(write_archive(stored, codec=codec))
    assert read_archive(open_sealed(file)) == (expected(stored), [])
    assert read_archive(salvage(file)) == (expected(stored), [])
