"""``subscriptions``: which folders a user has subscribed to, as Dovecot keeps it.

Version 2 begins with ``V TAB 2`` and an empty line, and has the levels of a name separated by TAB; before
that there is a name on each line, as the layout of the mailbox writes it. It is changed as the server does:
the new list is written into ``subscriptions.lock``, which nobody else may make meanwhile, and takes the place
of the old.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from ...proto.errors import LockedError
from ...proto.records import Ownership
from .directories import ownership
from .file_writer import FileWriter
from .folder_names import INBOX, encode
from .opened import FileOpener

NAME = b"subscriptions"

_LOCK = NAME + b".lock"
_HEADER = b"V\t2\n\n"
_STALE_SECONDS = 30
_PAUSE_SECONDS = 0.05
_MOST_BYTES = 1 << 24
_LEVELS = re.compile(rb"[\t./]")


def merged(then: bytes, now: bytes, folders: Iterable[str]) -> bytes:
    """The list that has all of ``then``, and of ``now`` what is none of these folders: they came since, or
    are of another mailbox. In the version of ``now``, and in its order."""
    known = {_key(form) for name in folders for form in _forms(name)}
    wanted = {_key(line): line for line in _lines(then)}
    kept = [line for line in _lines(now) if _key(line) in wanted or _key(line) not in known]
    there = {_key(line) for line in kept}
    is_new = now.startswith(_HEADER) or not now
    kept += [_written(line, then, is_new=is_new) for key, line in wanted.items() if key not in there]
    return (_HEADER if is_new else b"") + b"".join(line + b"\n" for line in kept)


def differ(directory: int, then: bytes, folders: Collection[str]) -> bool:
    """Whether ``change`` would change anything. Raises OSError, MessageUnavailable."""
    now = _read(directory)
    return not _are_same(merged(then, now, folders), now)


def change(directory: int, then: bytes, folders: Collection[str], files: FileWriter) -> bool:
    """Change the list in an open directory to ``merged``; whether it was another. Raises LockedError,
    OSError, MessageUnavailable."""
    _take_lock(directory)
    try:
        now = _read(directory)
        wanted = merged(then, now, folders)
        if _are_same(wanted, now):
            return False
        try:
            owner = ownership(os.stat(NAME, dir_fd=directory, follow_symlinks=False))
        except FileNotFoundError:
            above = ownership(os.fstat(directory))
            owner = Ownership(above.mode & 0o666, above.uid, above.gid)
        _fill_lock(directory, wanted, owner, files)
        os.rename(_LOCK, NAME, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
        return True
    finally:
        with suppress(FileNotFoundError):
            os.unlink(_LOCK, dir_fd=directory)


def _read(directory: int) -> bytes:
    try:
        file = FileOpener().open(directory, NAME)
    except FileNotFoundError:
        return b""
    try:
        return file.read(_MOST_BYTES)
    finally:
        file.close()


def _take_lock(directory: int, wait_seconds: float = 60) -> None:
    give_up = time.monotonic() + wait_seconds
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        try:
            os.close(os.open(_LOCK, flags, 0o600, dir_fd=directory))
            return
        except FileExistsError:
            with suppress(FileNotFoundError):
                status = os.stat(_LOCK, dir_fd=directory, follow_symlinks=False)
                if time.time() - status.st_mtime > _STALE_SECONDS:
                    os.unlink(_LOCK, dir_fd=directory)
                    continue
        if time.monotonic() > give_up:
            raise LockedError("the server holds subscriptions.lock")
        time.sleep(_PAUSE_SECONDS)


def _fill_lock(directory: int, content: bytes, owner: Ownership, files: FileWriter) -> None:
    fd = os.open(_LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        files.dress_file(fd, owner, time.time_ns())
        os.fsync(fd)
    finally:
        os.close(fd)


def _are_same(one: bytes, other: bytes) -> bool:
    """Whether two lists tell of the same folders."""
    return set(map(_key, _lines(one))) == set(map(_key, _lines(other)))


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.removeprefix(_HEADER).split(b"\n") if line]


def _key(line: bytes) -> tuple[bytes, ...]:
    """What tells a folder from another, however the levels of its name are separated."""
    levels = tuple(_LEVELS.split(line))
    return (INBOX.encode(),) if len(levels) == 1 and levels[0].upper() == INBOX.encode() else levels


def _forms(name: str) -> Iterable[bytes]:
    """How the name of a folder may stand in the list."""
    yield name.encode("utf-8", "surrogateescape")
    with suppress(ValueError):
        yield b"/".join(encode(level) for level in name.split("/"))


def _written(line: bytes, source: bytes, *, is_new: bool) -> bytes:
    """A line of another list as this one writes it."""
    was_new = source.startswith(_HEADER)
    if was_new == is_new:
        return line
    if was_new:
        return line.replace(b"\t", b".")
    return line.replace(b"/" if b"/" in source else b".", b"\t")
