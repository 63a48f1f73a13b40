"""The worked examples of FORMAT.md, written by the real writer and explained byte for byte.

`.venv/bin/python -m mailhaul.tests.format_examples` writes them into the document anew, after a change of
the format.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack

from mailhaul.proto.archive import columns, contents, frames, sealing
from mailhaul.proto.archive.contents import ArchiveHeader
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.keys import wrapping
from mailhaul.proto.keys.derivation import structure_key
from mailhaul.proto.keys.records import Cipher, Kem, Keyring, Recipient, Sealing
from mailhaul.proto.keys.wrapping import public_of
from mailhaul.proto.records import (
    DIGEST_BYTES,
    ArchiveId,
    Directory,
    Folder,
    Message,
    Ownership,
    RunId,
    StoredFile,
    Terms,
)
from mailhaul.tests.archives import Frame, MemoryFile, MemoryOpened, MemorySink, frames_of
from mailhaul.worker.packing.packer import Packer

DOCUMENT = Path(frames.__file__).parent / "FORMAT.md"
ARCHIVE = ArchiveId(b"0123456789abcdef")
OWNER = Ownership(0o600, 1000, 1000)
MAIL = b"Subject: Hello\n\n" + b"The words of the mail. " * 12 + b"\n"
AGAIN = b"again and " * 20

_LINE_BYTES = 16
_REMARK_AT = 3 * _LINE_BYTES + 1
_DELTAS = ("delta", "signed")
_COLUMNS = {
    FrameType.MESSAGES: {
        "uid": "I",
        "mark": "I",
        "date": "signed",
        "size": "Q",
        "pieces": "I",
        "archive": "H",
        "gap": "Q",
        "length": "I",
        "recipe": "H",
    },
    FrameType.INDEX: {"offset": "delta", "length": "I"},
    FrameType.DIRECTORY: {
        "block_data": "delta",
        "block_file": "delta",
        "hole_data": "delta",
        "hole_length": "Q",
    },
}
"""Which keys hold columns, and of what."""


def example_archive(sealed_with: Sealing | None = None) -> bytes:
    """The archive of the worked example: one mailbox, one message, one other file; nothing compressed."""
    sink = MemorySink()
    header = ArchiveHeader(
        archive=ARCHIVE,
        run=RunId("20261121T031500Z-4f3a"),
        run_started=1_795_230_900.0,
        host="mx1",
        partition="primary",
        format="maildir",
        group="user",
        shard=0,
        program="mailhaul 0.1.0",
    )
    with patch.object(frames.Compressor, "compress", lambda _, data: (Codec.NONE, bytes(data))):
        archive = ArchiveWriter(sink, header, sealing=sealed_with)
        packer = Packer(archive)
        size, digest, pieces = packer.store(MemoryOpened(MAIL))
        archive.add_message(
            Message(
                1,
                b"1795230000.M1P2.mx1",
                b":2,Sa",
                "cur",
                "S",
                b"",
                1_795_230_000 * 10**9,
                OWNER,
                size,
                digest,
                pieces,
                ("Invoice",),
                inode=131_074,
            ),
            Terms(sender=b"Ann <ann@example.org>", subject=b"Hello"),
        )
        folder = Folder(
            name="INBOX",
            path=b"",
            uidvalidity=1_795_220_000,
            uidnext=2,
            keywords=("Invoice",),
            header=b"3 V1795220000 N2",
            directories=(Directory(b"cur", Ownership(0o700, 1000, 1000), 1_795_230_001 * 10**9),),
        )
        archive.end_folder(folder, b"in")
        size, digest, pieces = packer.store(MemoryOpened(b"Sent\n"))
        archive.add_file(
            StoredFile(b"subscriptions", False, None, OWNER, 1_795_220_000 * 10**9, size, digest, pieces)
        )
        archive.end_mailbox("jane", b"jane/Maildir", 1, len(MAIL), (), files_mark=b"su", added=1)
        archive.finish()
    return bytes(sink.data)


def example_encrypted_archive(document: str) -> bytes:
    """The same, encrypted with the keys, the salt and the wrap of the document's example of these: what is
    random otherwise."""
    told = vectors(document)
    to = Recipient(
        name="ops",
        kem=Kem.X25519,
        public=public_of(Kem.X25519, told["private key of kind 1"]),
        id=told["id of its recipient"],
    )
    drawn = [told["content key"], told["salt of the slot"]]

    def draw(count: int) -> bytes:
        value = drawn.pop(0)
        if len(value) != count:
            raise ValueError(f"{count} random bytes are asked for")
        return value

    def wrapped(recipient: Recipient, secret: bytes, info: bytes) -> bytes:
        whole = told["content key"] + told["structure key"]
        if (recipient, secret, info) != (to, whole, told["info of its wrap"]):
            raise ValueError("other keys are wrapped than those of the example")
        return told["sealed, kind 1"]

    with (
        patch.object(secrets, "token_bytes", draw),
        patch.object(sealing, "quickest_cipher", lambda: Cipher.AES_256_GCM),
        patch.object(wrapping, "wrap", wrapped),
    ):
        return example_archive(Sealing(structure=structure_key(told["structure key"]), recipients=(to,)))


def vectors(document: str, example: str = "keys and encrypted frames") -> dict[str, bytes]:
    """What a worked example consists of, by the remarks beside it."""
    found: dict[str, bytes] = {}
    name = ""
    text = re.search(rf"^## Worked example: {example}\n(.*?)(?=\n## |\Z)", document, re.DOTALL | re.MULTILINE)
    if text is None:
        raise ValueError(f"no worked example: {example}")
    for line in text[1].split("```hex\n")[1].split("```\n")[0].splitlines():
        data, _, remark = line.partition("  ")
        name = remark.strip() or name
        found[name] = found.get(name, b"") + bytes.fromhex(data)
    return found


def _encrypted(document: str) -> Iterator[tuple[bytes, str]]:
    """An encrypted archive frame by frame, and what is sealed of it."""
    data = example_encrypted_archive(document)
    found = frames_of(data)
    for frame in found:
        header = frame.header
        begin = frame.at + frames.HEADER_BYTES
        whose = f"slot {header.slot}" if header.slot else "in clear"
        yield data[frame.at : begin], f"frame {header.sequence} at {frame.at}: {header.type.name}, {whose}"
        yield data[begin : frame.end], f"payload of frame {header.sequence}"
    told = vectors(document)
    structure = structure_key(told["structure key"])
    keys = Keyring({structure.id: structure.secret}, {told["id of the content key"]: told["content key"]})
    archive = open_sealed(MemoryFile(data), keys=keys)
    seal = archive.directory.seal
    row = next(archive.index())
    if seal is None:
        raise ValueError("nothing is sealed")
    yield seal.chain, "chain of frames before the directory"
    yield seal.keys, "digest of the payload of the KEYS frame"
    yield row.digests[:DIGEST_BYTES], "keyed digest of the body, in INDEX"


def renewed(document: str) -> str:
    """The document with the examples as the code writes them now."""
    archive = "\n".join(f"{_titled(frame)}\n" for frame in frames_of(example_archive()))
    document = _replaced(document, "an archive", r"### Frame .*?", archive)
    for codec in (Codec.LZ4, Codec.ZSTD):
        document = _replaced(document, codec.name, r"```hex\n.*?```\n", _block(_compressed(codec)) + "\n")
    encrypted = _block(_encrypted(document)) + "\n"
    return _replaced(document, "an encrypted archive", r"```hex\n.*?```\n", encrypted)


def _replaced(document: str, example: str, old: str, new: str) -> str:
    section = re.compile(
        rf"(^## Worked example: {example}\n.*?)({old})(?=\n## |\Z)", re.DOTALL | re.MULTILINE
    )
    document, count = section.subn(lambda found: found[1] + new, document)
    if count != 1:
        raise ValueError(f"no worked example: {example}")
    return document


def _compressed(codec: Codec) -> Iterator[tuple[bytes, str]]:
    used, stored = frames.Compressor(codec).compress(AGAIN)
    packed = frames.encode_header(FrameType.BLOCK, used, stored, len(AGAIN), ARCHIVE, 1)
    yield from _explained_header(packed)
    yield bytes(stored), "the compressed payload"


def _titled(frame: Frame) -> str:
    header = frame.header
    return f"### Frame {header.sequence} at {frame.at}: {header.type.name}\n\n{_block(_explained(frame))}"


def _block(rows: Iterator[tuple[bytes, str]]) -> str:
    lines = []
    for data, remark in rows:
        for at in range(0, len(data), _LINE_BYTES):
            line = data[at : at + _LINE_BYTES].hex(" ").ljust(_REMARK_AT) + (remark if at == 0 else "")
            lines.append(line.rstrip())
    return "\n".join(["```hex", *lines, "```"])


def _explained(frame: Frame) -> Iterator[tuple[bytes, str]]:
    yield from _explained_header(frames.pack_header(frame.header))
    kind = frame.header.type
    if kind is FrameType.BLOCK:
        yield frame.payload, "the data: of the message, of the file"
    elif kind is FrameType.FOOTER:
        footer = contents.decode_footer(frame.payload)
        yield frame.payload[:8], f"the DIRECTORY frame begins at {footer.directory}"
        yield frame.payload[8:16], f"this frame begins at {footer.footer}"
        yield frame.payload[16:24], f"{footer.frames} frames in all"
        yield frame.payload[24:], '"mailhaul"'
    else:
        yield from _Explained(kind, frame.payload).map("")


def _explained_header(packed: bytes) -> Iterator[tuple[bytes, str]]:
    header = frames.decode_header(packed, "example")
    yield packed[:4], "magic"
    yield packed[4:5], f"type {header.type.value}: {header.type.name}"
    yield packed[5:6], f"codec {header.codec.value}: {header.codec.name}"
    yield packed[6:8], "flags: 0"
    yield packed[8:12], f"stored bytes: {header.stored_bytes}"
    yield packed[12:16], f"plain bytes: {header.plain_bytes}"
    yield packed[16:32], "archive"
    yield packed[32:40], f"sequence: {header.sequence}"
    yield packed[40:48], f"position: {_position(header)}"
    yield packed[48:64], "checksum"
    yield packed[64:68], "key slot: 0"
    yield packed[68:], "CRC-32"


def _position(header: frames.FrameHeader) -> str:
    mailbox, number = header.position >> 32, header.position & 0xFFFFFFFF
    if header.type is FrameType.MESSAGES:
        return f"mailbox {mailbox}, MESSAGES frame {number}"
    if header.type is FrameType.MAILBOX:
        return f"mailbox {mailbox}, {number} MESSAGES frame{'s' * (number != 1)}"
    return "that of the MESSAGES frame before it" if header.type is FrameType.SEARCH else str(header.position)


class _Explained:
    """Walks over a payload of msgpack: its bytes, piece by piece, and what each says."""

    def __init__(self, kind: FrameType, payload: bytes) -> None:
        self._columns = _COLUMNS.get(kind, {})
        self._payload = payload
        self._unpacker = msgpack.Unpacker(unicode_errors="surrogateescape")
        self._unpacker.feed(payload)

    def map(self, indent: str) -> Iterator[tuple[bytes, str]]:
        count, data = self._take(self._unpacker.read_map_header)
        yield data, f"{indent}map of {count}"
        for _ in range(count):
            key, data = self._take(self._unpacker.unpack)
            yield from self._value(data, f'{indent}"{key}": ', self._columns.get(key, ""), indent + "  ")

    def _value(
        self, data: bytes, before: str, column: str, indent: str, name: str = ""
    ) -> Iterator[tuple[bytes, str]]:
        nested = self._nested()
        if nested is None:
            value, more = self._take(self._unpacker.unpack)
            yield data + more, before + _shown(value, column)
            return
        count, more = self._take(self._unpacker.read_array_header)
        yield data + more, f"{before}list of {count}"
        for _ in range(count):
            if nested is dict:
                yield from self.map(indent)
            else:
                value, row = self._take(self._unpacker.unpack)
                yield row, indent + _shown(value)[1:-1]

    def _nested(self) -> type | None:
        """Of what the value that follows is a list, where its rows have to be shown one by one."""
        value = msgpack.Unpacker(unicode_errors="surrogateescape")
        value.feed(self._payload[self._unpacker.tell() :])
        row = value.unpack()
        if isinstance(row, list) and row and isinstance(row[0], list | dict):
            return type(row[0])
        return None

    def _take(self, read: Callable[[], Any]) -> tuple[Any, bytes]:
        begin = self._unpacker.tell()
        return read(), self._payload[begin : self._unpacker.tell()]


def _shown(value: object, column: str = "") -> str:
    if isinstance(value, list):
        if (
            len(value) == 2
            and all(isinstance(one, bytes) and one for one in value)
            and len(value[0]) % 4 == 0
        ):
            return _shown(_strings(value))
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bytes):
        if column:
            return str(_numbers(value, column))
        return _shown_bytes(value)
    if isinstance(value, str):
        return f'"{value}"'
    return (
        {None: "nil", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _strings(column: list[bytes]) -> object:
    return columns.unpack_strings(column, len(column[0]) // 4, "example")


def _numbers(value: bytes, column: str) -> list[int]:
    if column in _DELTAS:
        return columns.unpack_deltas(value, len(value) // 8, "example", signed=column == "signed")
    return list(columns.unpack(column, value, len(value) // columns.WIDTHS[column], "example"))


def _shown_bytes(value: bytes) -> str:
    if value == ARCHIVE:
        return "this one"
    if len(value) > 64 and value[:1] >= b"\x80":
        return "the payload of frame 0"
    readable = all(0x20 <= one < 0x7F for one in value)
    return f'b"{value.decode()}"' if readable else f"{len(value)} bytes"


def main() -> None:
    """Write the document anew."""
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
