"""Snapshots of the catalog: copies of it that are never changed, compressed, beside the archives.

``_catalog/RUN.NUMBER.sqlite.gz`` is the catalog as it was after that run, or after the n-th change since. Who
copies archives copies them too, at any moment, for a file with this name is whole; and where the catalog is
lost only archives that are newer have to be read. Where archives are encrypted snapshots are sealed, as
``RUN.NUMBER.sqlite.gz.sealed``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ...proto.directories import make_directories, sync_directory
from ...proto.errors import DamagedError
from ...proto.keys.records import Keyring, StructureKey
from ...proto.keys.sealed_files import SUFFIX, open_sealed_file, seal_file
from ...proto.records import RunId
from ...proto.structs import Record
from ..clock import RUN_ID
from .database import connect_private, place

FOLDER = "_catalog"
"""Below the staging area; no partition can be called so."""

KEPT = 3
"""So many of the newest ones stay: of the last one a byte may be wrong."""

_STEM = rf"({RUN_ID.pattern})\.([0-9]{{1,9}})"
_SEALED = rf"({re.escape(SUFFIX)})?"
_NAME = re.compile(rf"{_STEM}\.sqlite\.gz{_SEALED}", re.ASCII)
_BESIDE = re.compile(rf"{FOLDER}/{_STEM}\.(?:sqlite|names\.tsv)\.gz{_SEALED}", re.ASCII)
_TABLE = ".names.tsv.gz"
_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 1 << 16


class Snapshot(Record, order=True):
    """The catalog as it was after a run, and so many changes since; ``sealed`` or in clear. As text it is its
    name, relative to the staging area."""

    run: RunId
    number: int
    sealed: bool = False

    def __str__(self) -> str:
        return f"{self._stem}.sqlite.gz{SUFFIX if self.sealed else ''}"

    @property
    def table(self) -> str:
        """The name of its table."""
        return f"{self._stem}{_TABLE}{SUFFIX if self.sealed else ''}"

    @property
    def _stem(self) -> str:
        return f"{FOLDER}/{self.run}.{self.number}"


def snapshots(staging: Path) -> list[Snapshot]:
    """Those that there are, the newest first."""
    names = map(_NAME.fullmatch, (path.name for path in (staging / FOLDER).glob("*.sqlite.gz*")))
    return sorted(map(_snapshot, filter(None, names)), reverse=True)


def stem_of(name: str) -> Snapshot | None:
    """The snapshot that a file (by its name, relative to the staging area) is, or is the table of; None for
    any other."""
    found = _BESIDE.fullmatch(name)
    return _snapshot(found) if found else None


def _snapshot(found: re.Match[str]) -> Snapshot:
    return Snapshot(RunId(found[1]), int(found[2]), bool(found[3]))


def take(database: sqlite3.Connection, staging: Path, run: RunId, key: StructureKey | None) -> Snapshot:
    """Lay a snapshot beside the archives, durably, sealed with the ``key`` if there is one; nobody may write
    the catalog meanwhile. Raises OSError, sqlite3.Error; nothing is left then."""
    number = next((snapshot.number + 1 for snapshot in snapshots(staging) if snapshot.run == run), 0)
    taken = Snapshot(run, number, key is not None)
    path = staging / str(taken)
    make_directories(path.parent)
    for left in path.parent.glob(".*.new"):  # by a program that ended in the middle
        left.unlink(missing_ok=True)
    copy, new = place(staging).with_name("snapshot.new"), path.with_name(f".{path.name}.new")
    try:
        _copy(database, copy)
        packed = _compressed(copy)
        _write(new, seal_file(path.name, packed, key) if key else packed)
        new.rename(path)
        sync_directory(path.parent)
    finally:
        copy.unlink(missing_ok=True)
        new.unlink(missing_ok=True)
    return taken


def _copy(database: sqlite3.Connection, target: Path) -> None:
    target.unlink(missing_ok=True)
    with closing(connect_private(target)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        database.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file is all of it


def _compressed(source: Path) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    with source.open("rb") as plain:
        while data := plain.read(_PIECE_BYTES):
            yield packer.compress(data)
    yield packer.flush()


def _write(target: Path, content: Iterator[bytes]) -> None:
    target.touch(mode=0o600)  # users' names are in it
    with target.open("wb") as file:
        file.writelines(content)
        file.flush()
        os.fsync(file.fileno())


def unpack(staging: Path, snapshot: Snapshot, target: Path, keys: Keyring) -> None:
    """Make the catalog's file again, under this name. Raises DamagedError if the snapshot is, EncryptedError
    if it is sealed with another key than those, UnsupportedError, OSError."""
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    unpacker = zlib.decompressobj(_GZIP)
    with target.open("wb") as plain:
        try:
            for data in _packed(staging / str(snapshot), keys, sealed=snapshot.sealed):
                plain.write(unpacker.decompress(data))
        except zlib.error as error:
            raise DamagedError(f"{snapshot}: the snapshot of the catalog is damaged: {error}") from error
        if not unpacker.eof or unpacker.unused_data:
            raise DamagedError(f"{snapshot}: the snapshot of the catalog does not end where it is to")


def _packed(path: Path, keys: Keyring, *, sealed: bool) -> Iterator[bytes]:
    with path.open("rb") as file:
        if sealed:
            yield from open_sealed_file(file, keys, path.name)
        else:
            while data := file.read(_PIECE_BYTES):
                yield data


def drop_old(staging: Path) -> None:
    """Remove all but the newest ones, and the tables of those that are not there."""
    for snapshot in snapshots(staging)[KEPT:]:
        _remove(staging / str(snapshot))
    kept = {staging / one.table for one in snapshots(staging)}
    for path in (staging / FOLDER).glob(f"*{_TABLE}*"):
        if path not in kept:
            _remove(path)


def drop_clear(staging: Path) -> None:
    """Remove those in clear, and their tables: call it when there is one that is sealed."""
    for snapshot in snapshots(staging):
        if not snapshot.sealed:
            _remove(staging / str(snapshot))
            _remove(staging / snapshot.table)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
