"""All bytes that the files below a directory hold, as plain text: what is compressed is decoded, frame by
frame, whether or not anything refers to it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from mailhaul.proto.archive import reader
from mailhaul.proto.archive.codec import FrameCodec
from mailhaul.proto.archive.scanning import FoundFrame, owner_of, scan
from mailhaul.proto.archive.slots import read_keys
from mailhaul.proto.errors import BackupError
from mailhaul.proto.keys.records import NO_KEYS, Keyring, KeySlots
from mailhaul.proto.keys.sealed_files import open_sealed_file
from mailhaul.proto.records import ArchiveId
from mailhaul.worker.archives.places import open_local

from .sealed import OF_A_HOST


def _codec_for(owner: ArchiveId, found: KeySlots, keys: Keyring) -> FrameCodec:
    """As readers choose it: tests replace what these call."""
    return reader.__dict__["codec_for"](owner, found, keys)  # type: ignore[no-any-return]


def plain_bytes(*directories: Path, keys: Keyring = NO_KEYS) -> bytes:
    """The names and contents of all files below some directories, one after the other."""
    return b"\0".join(
        part
        for directory in directories
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        for part in (str(path.relative_to(directory)).encode(), *_contents(path, keys))
    )


def plain_file(path: Path, keys: Keyring = NO_KEYS) -> bytes:
    """The contents of a file, as it is and as plain text."""
    return b"\0".join(_contents(path, keys))


def files_with(text: bytes, *directories: Path, keys: Keyring = NO_KEYS) -> list[str]:
    """The files below some directories that hold a text, or have it in their names."""
    return [
        str(path)
        for directory in directories
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        if text in str(path.relative_to(directory)).encode()
        or any(text in part for part in _contents(path, keys))
    ]


def _contents(path: Path, keys: Keyring) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if path.suffix == ".gz":
        yield gzip.decompress(data)
    elif path.suffix == ".sealed":
        with suppress(BackupError), path.open("rb") as file:
            packed = b"".join(open_sealed_file(file, keys.and_those(OF_A_HOST), path.name))
            yield gzip.decompress(packed) if packed.startswith(b"\x1f\x8b") else packed
    elif ".mh" in path.name or path.name.startswith("before."):
        yield from _frames(path, keys)


def _frames(path: Path, keys: Keyring) -> Iterator[bytes]:
    with suppress(BackupError), closing(open_local(str(path))) as file:
        owner = owner_of(file)
        for found in scan(file, owner, _codec_for(owner, read_keys(file), keys)):
            if isinstance(found, FoundFrame) and not found.locked and found.damage is None:
                yield bytes(found.payload)
