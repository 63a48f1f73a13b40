"""Marks: a few bytes each that tell whether a folder, or the other files of a mailbox, have changed.

A mark is a hash of inode numbers, sizes and times. It rests on the ctime: every change of a file or
directory sets it to the clock of that moment, and no user can set it to anything else. So mtimes that are
put back change nothing (the mark differs by the ctime), and a store that was copied or restored has other
inodes and ctimes throughout. Device numbers are left out: on some systems they change with each mount.

What could go wrong is a second change in the same tick of the file system's clock, behind the mark's back.
So nothing is marked whose times are within a tick of the clock when they are looked at, or ahead of it (the
clock was set back, and will come by there again). A clock that is set back later, to just the tick of the
last change, and a change in that very tick: with fine time stamps that does not happen, and with coarse ones
the sizes are a second witness. A folder without a mark is listed again next time, no more.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable

from blake3 import blake3

from ...proto.records import Directory, ListedFile

HASH_BYTES = 16

_FINE_TICK_NS = 20_000_000  # Linux stamps with the time of its last timer tick: 1 to 10 ms, and twice that
_COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000
_FACTS = struct.Struct("<QqqQ")
_MORE_FACTS = struct.Struct("<QqqQIII")
_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of Linux


def tick_ns(stamp_ns: int) -> int:
    """How long after a change with this time stamp another one may get the same: long where the file system
    knows no parts of a second."""
    return _FINE_TICK_NS if stamp_ns % _SECOND_NS else _COARSE_TICK_NS


def has_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether any change that is made at ``now_ns`` or later shows in the times of this status."""
    modified, changed = status.st_mtime_ns, status.st_ctime_ns
    return modified < now_ns - tick_ns(modified) and changed < now_ns - tick_ns(changed)


def state_hash(parts: Iterable[os.stat_result | None]) -> bytes:
    """The state of several files and directories, in order; None for one that is not there."""
    packed = [
        _FACTS.pack(part.st_ino, part.st_mtime_ns, part.st_ctime_ns, part.st_size)
        if part
        else bytes(_FACTS.size)
        for part in parts
    ]
    return blake3(b"".join(packed)).digest(length=HASH_BYTES)


def identity_hash(directories: Iterable[int | None]) -> bytes:
    """Which open directories these are, in order; None for one that is not there.

    An inode number is given anew as soon as it is free, and then comes with another generation, where the
    file system counts them (ext4, XFS, Btrfs); others do not give a number again so soon.
    """
    packed = [
        b"%d %s\n" % (os.fstat(fd).st_ino, _generation(fd)) if fd is not None else b"-\n"
        for fd in directories
    ]
    return blake3(b"".join(packed)).digest(length=HASH_BYTES)


def _generation(fd: int) -> bytes:
    try:
        return fcntl.ioctl(fd, _GET_GENERATION, bytes(8)).hex().encode()
    except OSError:
        return b"-"


class DirectoriesMark:
    """The mark of directories, and of lists in them, that are added in any order. ``now_ns`` is the clock
    before the first is looked at. Mode, owners and attributes count, too: to change them sets the ctime."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._facts: list[bytes] = []
        self._is_known = True

    def add(self, path: bytes, parts: Iterable[os.stat_result | None]) -> None:
        """Take in what lies at a path, and its parts, in order; None for a part that is not there."""
        packed = [b"%d:%s" % (len(path), path)]
        for part in parts:
            if part is None:
                packed.append(b"-")
                continue
            self._is_known = self._is_known and has_settled(part, self._now_ns)
            packed.append(_FACTS.pack(part.st_ino, part.st_mtime_ns, part.st_ctime_ns, part.st_size))
        self._facts.append(b"".join(packed))

    def add_record(self, record: Directory) -> None:
        """Take in a directory as it is recorded."""
        owner = record.owner
        facts = (record.kind.value, record.path, owner.mode, owner.uid, owner.gid, record.mtime_ns)
        self._facts.append(b"record %s\n" % repr((*facts, record.attributes)).encode())

    def add_unknown(self) -> None:
        """One that could not be looked at: there is no mark then."""
        self._is_known = False

    def digest(self) -> bytes:
        """The mark; empty if it would not show every change from now on."""
        facts = b"".join(sorted(self._facts))
        return blake3(facts).digest(length=HASH_BYTES) if self._is_known else b""


class FilesMark:
    """The mark of files that are added one by one. ``now_ns`` is the clock before the first is looked at."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._hash = blake3()
        self._is_known = True

    def add(self, file: ListedFile, status: os.stat_result) -> None:
        """Take a file in, as its own status (that of a link itself) has it."""
        self._is_known = self._is_known and has_settled(status, self._now_ns)
        for text in (b"home" if file.home else b"", file.path, file.target or b""):
            self._hash.update(b"%d:%s" % (len(text), text))
        self._hash.update(
            _MORE_FACTS.pack(
                status.st_ino,
                status.st_mtime_ns,
                status.st_ctime_ns,
                status.st_size,
                status.st_mode,
                status.st_uid,
                status.st_gid,
            )
        )

    def add_unknown(self) -> None:
        """A file that could not be looked at: there is no mark then."""
        self._is_known = False

    def digest(self) -> bytes:
        """The mark; empty if it would not show every change from now on."""
        return self._hash.digest(length=HASH_BYTES) if self._is_known else b""
