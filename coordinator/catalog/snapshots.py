"""Snapshots of the catalog: copies of it that are never changed, compressed, beside the archives.

``_catalog/RUN.NUMBER.sqlite.gz`` is the catalog as it was after that run, or after the n-th change since. Who
copies archives copies them too, at any moment, for a file with this name is whole; and where the catalog is
lost only archives that are newer have to be read.
"""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from contextlib import closing, suppress
from pathlib import Path

from ...proto.directories import make_directories, sync_directory
from ...proto.errors import DamagedError
from ...proto.records import RunId
from ...proto.structs import Record
from ..clock import RUN_ID
from .database import connect_private, place

FOLDER = "_catalog"
"""Below the staging area; no partition can be called so."""

KEPT = 3
"""So many of the newest ones stay: of the last one a byte may be wrong."""

_NAME = re.compile(rf"({RUN_ID.pattern})\.([0-9]{{1,9}})\.sqlite\.gz", re.ASCII)
_BESIDE = re.compile(rf"{FOLDER}/({RUN_ID.pattern})\.([0-9]{{1,9}})\.(?:sqlite|names\.tsv)\.gz", re.ASCII)
_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 1 << 16


class Snapshot(Record, order=True):
    """The catalog as it was after a run, and so many changes since. As text it is its name, relative to the
    staging area."""

    run: RunId
    number: int

    def __str__(self) -> str:
        return f"{FOLDER}/{self.run}.{self.number}.sqlite.gz"


def snapshots(staging: Path) -> list[Snapshot]:
    """Those that there are, the newest first."""
    names = map(_NAME.fullmatch, (path.name for path in (staging / FOLDER).glob("*.sqlite.gz")))
    return sorted((Snapshot(RunId(one[1]), int(one[2])) for one in names if one), reverse=True)


def stem_of(name: str) -> Snapshot | None:
    """The snapshot that a file (by its name, relative to the staging area) is, or is the table of; None for
    any other."""
    found = _BESIDE.fullmatch(name)
    return Snapshot(RunId(found[1]), int(found[2])) if found else None


def take(database: sqlite3.Connection, staging: Path, run: RunId) -> Snapshot:
    """Lay a snapshot beside the archives, durably; nobody may write the catalog meanwhile. Raises OSError,
    sqlite3.Error; nothing is left then."""
    number = next((one.number + 1 for one in snapshots(staging) if one.run == run), 0)
    taken = Snapshot(run, number)
    path = staging / str(taken)
    make_directories(path.parent)
    for left in path.parent.glob(".*.new"):  # by a program that ended in the middle
        left.unlink(missing_ok=True)
    copy, new = place(staging).with_name("snapshot.new"), path.with_name(f".{path.name}.new")
    try:
        _copy(database, copy)
        _compress(copy, new)
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


def _compress(source: Path, target: Path) -> None:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    target.touch(mode=0o600)  # users' names are in it
    with source.open("rb") as plain, target.open("wb") as packed:
        while data := plain.read(_PIECE_BYTES):
            packed.write(packer.compress(data))
        packed.write(packer.flush())
        packed.flush()
        os.fsync(packed.fileno())


def unpack(staging: Path, snapshot: Snapshot, target: Path) -> None:
    """Make the catalog's file again, under this name. Raises DamagedError if the snapshot is, OSError."""
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    unpacker = zlib.decompressobj(_GZIP)
    with (staging / str(snapshot)).open("rb") as packed, target.open("wb") as plain:
        try:
            while not unpacker.eof and (data := packed.read(_PIECE_BYTES)):
                plain.write(unpacker.decompress(data))
        except zlib.error as error:
            raise DamagedError(f"{snapshot}: the snapshot of the catalog is damaged: {error}") from error
        if not unpacker.eof or unpacker.unused_data or packed.read(1):
            raise DamagedError(f"{snapshot}: the snapshot of the catalog does not end where it is to")


def drop_old(staging: Path) -> None:
    """Remove all but the newest ones."""
    for one in snapshots(staging)[KEPT:]:
        with suppress(OSError):
            (staging / str(one)).unlink(missing_ok=True)
