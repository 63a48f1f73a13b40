"""Files and directories of a restored mailbox: written once, never over something, then given the mode,
owner and time they had.

Set-user-id and set-group-id bits of files are not restored: an archive may come from anywhere, and mail
has no use for them. Where an access list can't be kept, the group gets no more than the list gave it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from ...proto.records import Attributes, Directory, Ownership
from .attributes import put, remove_lists, without_list
from .directories import is_full, refused, unwritable
from .notices import Notices

_BATCH_BYTES = 1 << 20
_MOST_PIECES = 512  # the system takes 1,024 at once
_GATHERED_BYTES = 64 << 10
"""From this size on pieces are written as they are: to join them would be one more copy."""
_HOLE_BYTES = 1 << 12
_ZEROS = bytes(_HOLE_BYTES)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600

Got = tuple[int, int, int]
"""Mode, user id and group id that a file or directory got when it was made."""


class FileWriter:
    """Writes into open directories. Everything is given to ``owner`` (user id, group id) if one is set,
    else to whom it belonged; how often that was not possible is told by ``report``."""

    def __init__(self, notices: Notices) -> None:
        self.owner: tuple[int, int] | None = None
        self._notices = notices
        self._foreign = 0
        self._undated = 0
        self._bare = 0

    def write(
        self,
        directory: int,
        name: bytes,
        content: Iterable[bytes],
        owner: Ownership,
        mtime_ns: int,
        attributes: Attributes = (),
    ) -> None:
        """Write a new file into an open directory. Raises as ``NewFiles.write``."""
        NewFiles(self, directory).write(name, content, owner, mtime_ns, attributes)

    def link(self, directory: int, name: bytes, target: bytes, owner: Ownership, mtime_ns: int) -> None:
        """Make a symbolic link. Raises as ``write``."""
        try:
            os.symlink(target, name, dir_fd=directory)
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritable(error, name) from error
        uid, gid = self.whose(owner)
        try:
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        except (OSError, OverflowError):
            self._foreign += 1
        with suppress(OSError, OverflowError):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)

    def dress(self, fd: int, record: Directory) -> None:
        """Give an open directory its mode, owner, attributes and time. Access lists that it has from the
        directory in which it was made go."""
        with suppress(OSError):
            remove_lists(fd, record.attributes)
        self.dress_staged(fd, record)

    def dress_staged(self, fd: int, record: Directory) -> None:
        """The same for one that was made where there are no access lists (see ``Scaffold``)."""
        self._dress(fd, record.owner, record.owner.mode & 0o3777, record.mtime_ns, record.attributes)

    def dress_file(self, fd: int, owner: Ownership, mtime_ns: int, attributes: Attributes = ()) -> None:
        """Give an open file its mode, owner, attributes and time."""
        self._dress(fd, owner, owner.mode & 0o777, mtime_ns, attributes)

    def dress_new(self, fd: int, got: Got, owner: Ownership, mtime_ns: int) -> None:
        """The same for a file that was just made, and got this mode and owner: what is right is not set
        again."""
        wanted = owner.mode & 0o777, *(self.owner or (owner.uid, owner.gid))
        if got != wanted:
            self._correct(fd, got, wanted)
        self._date(fd, mtime_ns)

    def report(self) -> None:
        """Tell what was refused, once for all."""
        if self._foreign:
            self._notices.add(b"", "owner", f"without their owner or mode: {self._foreign} files")
        if self._undated:
            self._notices.add(b"", "date", f"without their time: {self._undated} files")
        if self._bare:
            detail = f"without their access list or all their attributes: {self._bare} files"
            self._notices.add(b"", "attribute", detail)
        self._foreign = self._undated = self._bare = 0

    def _dress(self, fd: int, owner: Ownership, mode: int, mtime_ns: int, attributes: Attributes) -> None:
        if attributes:
            mode = without_list(mode, attributes)
        self._correct(fd, got_by(fd), (mode, *self.whose(owner)))
        # Behind the mode: a list brings the group's bits along.
        if attributes and not put(fd, attributes):
            self._bare += 1
        self._date(fd, mtime_ns)

    def _correct(self, fd: int, got: Got, wanted: Got) -> None:
        """Set what is not as it is to be: a system call that changes nothing takes as long as another."""
        mode, uid, gid = wanted
        if got[1:] != wanted[1:]:
            self._give(fd, uid, gid)
        if got[0] != mode:
            self._set_mode(fd, mode)

    def _give(self, fd: int, uid: int, gid: int) -> None:
        try:
            os.fchown(fd, uid, gid)
        except OverflowError:
            self._foreign += 1
        except OSError as error:
            if is_full(error):  # the quota of whom it is given to
                raise refused(error, "it can't be given to its owner") from error
            self._foreign += 1

    def _set_mode(self, fd: int, mode: int) -> None:
        try:
            os.fchmod(fd, mode)
        except OSError:
            self._foreign += 1

    def _date(self, fd: int, mtime_ns: int) -> None:
        try:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        except (OSError, OverflowError):
            self._undated += 1

    def whose(self, owner: Ownership) -> tuple[int, int]:
        """To whom something is given that belonged to ``owner``: user id, group id."""
        return self.owner or (owner.uid, owner.gid)


class NewFiles:
    """Writes new files into an open directory. What they get there without being given it (owner, group, bits
    that a umask or a default access list takes) the first ones show, and what is right so is not set again.
    To be used as long as nobody changes any of these."""

    def __init__(self, files: FileWriter, directory: int) -> None:
        self._files = files
        self._directory = directory
        self._owner: tuple[int, int] | None = None
        self._got: dict[int, Got] = {}

    def write(
        self,
        name: bytes,
        content: Iterable[bytes],
        owner: Ownership,
        mtime_ns: int,
        attributes: Attributes = (),
    ) -> None:
        """Write a new file. Raises FileExistsError if there is something of that name, before any content
        is asked for; StoreError or MessageUnavailable if it can't be written. Nothing of it is left after
        any exception, also one that ``content`` raised."""
        whose = self._files.whose(owner)
        # Whoever may read what becomes theirs may do so before it is whole; nobody else ever.
        made_with = owner.mode & 0o777 if whose == self._owner and not attributes else _PRIVATE
        try:
            fd = os.open(name, _NEW_FILE, made_with, dir_fd=self._directory)
        except FileExistsError:
            raise
        except OSError as error:
            raise unwritable(error, name) from error
        try:
            try:
                _write_all(fd, content, name)
                got = self._got.get(made_with) or self._seen(fd, made_with)
                if attributes:
                    self._files.dress_file(fd, owner, mtime_ns, attributes)
                else:
                    self._files.dress_new(fd, got, owner, mtime_ns)
            finally:
                _close(fd, name)
        except BaseException:
            os.unlink(name, dir_fd=self._directory)
            raise

    def _seen(self, fd: int, made_with: int) -> Got:
        """What a file got that was made with this mode; so do all others."""
        got = self._got[made_with] = got_by(fd)
        self._owner = got[1:]
        return got


def got_by(fd: int) -> Got:
    """What an open file or directory has."""
    status = os.fstat(fd)
    return status.st_mode & 0o7777, status.st_uid, status.st_gid


def _write_all(fd: int, content: Iterable[bytes], name: bytes) -> None:
    """Write all of it, in batches that are worth a system call each; long runs of zeros become holes, as they
    mostly were: mail has none."""
    ends_in_hole = False
    pieces: list[bytes] = []
    size = 0
    for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size >= _BATCH_BYTES or len(pieces) == _MOST_PIECES:
            ends_in_hole = _write_batch(fd, pieces, size, name)
            pieces, size = [], 0
    if size:
        ends_in_hole = _write_batch(fd, pieces, size, name)
    if ends_in_hole:
        try:
            os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))
        except OSError as error:
            raise unwritable(error, name) from error


def _write_batch(fd: int, pieces: list[bytes], size: int, name: bytes) -> bool:
    """Whether it ended in a hole."""
    try:
        # Most show at a glance that they have no such run.
        if size >= _HOLE_BYTES and any(0 in piece[::_HOLE_BYTES] for piece in pieces):
            return _write_sparse(fd, b"".join(pieces))
        if len(pieces) > 1 and size >= _GATHERED_BYTES:
            written = os.writev(fd, pieces)
            if written < size:
                _write(fd, memoryview(b"".join(pieces))[written:])
        else:
            _write(fd, b"".join(pieces))
    except OSError as error:
        raise unwritable(error, name) from error
    return False


def _write_sparse(fd: int, block: bytes) -> bool:
    """Whether it ended in a hole."""
    ends_in_hole = False
    for at in range(0, len(block), _HOLE_BYTES):
        part = block[at : at + _HOLE_BYTES]
        ends_in_hole = part == _ZEROS[: len(part)]
        if ends_in_hole:
            os.lseek(fd, len(part), os.SEEK_CUR)
        else:
            _write(fd, part)
    return ends_in_hole


def _write(fd: int, block: bytes | memoryview) -> None:
    written = os.write(fd, block)
    while written < len(block):
        written += os.write(fd, memoryview(block)[written:])


def _close(fd: int, name: bytes) -> None:
    """Close; a network file system may refuse only now what was written."""
    try:
        os.close(fd)
    except OSError as error:
        raise unwritable(error, name) from error
