"""All bytes that the files below a directory hold, as plain text: what is compressed is decoded, frame by
frame, whether or not anything refers to it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from mailhaul.proto.archive.scanning import FoundFrame, owner_of, scan
from mailhaul.proto.archive.slots import codec_for, read_keys
from mailhaul.proto.errors import BackupError
from mailhaul.proto.keys.records import NO_KEYS, Keyring
from mailhaul.worker.archives.places import open_local


def plain_bytes(*directories: Path, keys: Keyring = NO_KEYS) -> bytes:
    """The names and contents of all files below some directories, one after the other."""
    return b"\0".join(
        part
        for directory in directories
        for path in sorted(directory.rglob("*"))
        if path.is_file()
        for part in (str(path.relative_to(directory)).encode(), *_contents(path, keys))
    )


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
    elif ".mh" in path.name or path.name.startswith("before."):
        yield from _frames(path, keys)


def _frames(path: Path, keys: Keyring) -> Iterator[bytes]:
    with suppress(BackupError), closing(open_local(str(path))) as file:
        owner = owner_of(file)
        for found in scan(file, owner, codec_for(owner, read_keys(file), keys)):
            if isinstance(found, FoundFrame) and not found.locked and found.damage is None:
                yield bytes(found.payload)
