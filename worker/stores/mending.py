"""Messages of a Maildir mailbox whose content is put back in place: written beside, then exchanged for the
file that was seen.

A server renames a message when a flag changes, at any time. So the two files change places in one step, which
fails if the name is gone, and only what came out of it is removed: never are there two files of one message.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable, StoreError
from ...proto.records import Message, SeenFile
from .directories import checked_name, descend, make_directory, split, unavailable
from .file_writer import FileWriter
from .listing import PLACES, Listing
from .location import RESERVED, Location
from .notices import Notices
from .renaming import exchange
from .scaffold import link_new, make_durable


class MaildirMender:
    """A MailboxMender (see ``proto.ports``); ``root`` is the mailbox, open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._files = FileWriter(Notices())

    def mend(self, folder: bytes, message: Message, seen: SeenFile | None, content: Iterable[bytes]) -> None:
        try:
            with self._entered(split(folder)) as directory:
                self._mend(directory, message, seen, content)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise unavailable(error, folder) from error
            raise StoreError(f"{printable(folder)}: {error.strerror}") from error

    def _mend(
        self, directory: int, message: Message, seen: SeenFile | None, content: Iterable[bytes]
    ) -> None:
        make_directory(directory, b"tmp", 0o700)
        place = seen.place if seen else message.place
        with self._below(directory, b"tmp") as tmp, self._below(directory, place.encode()) as target:
            name = RESERVED + os.urandom(8).hex().encode()
            self._files.write(tmp, name, content, message.owner, message.date_ns, message.attributes)
            try:
                make_durable(tmp, name)
                if seen is None:
                    self._put_back(directory, message, tmp, name, target)
                else:
                    _exchange_if_seen(tmp, name, target, seen)
                os.fsync(target)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=tmp)

    def _put_back(self, directory: int, message: Message, tmp: int, name: bytes, target: int) -> None:
        """Give a message its name again, if it has not come back by itself."""
        fds: dict[str, int] = {}
        try:
            for place in PLACES:
                with suppress(FileNotFoundError):
                    fds[place] = descend(directory, (place.encode(),))
            if Listing(fds).find(message.base) >= 0:
                raise _changed(message.base)
        finally:
            for fd in fds.values():
                os.close(fd)
        try:
            link_new(tmp, name, target, checked_name(message.base + message.suffix))
        except FileExistsError as error:
            raise _changed(message.base) from error

    @contextmanager
    def _entered(self, names: tuple[bytes, ...]) -> Iterator[int]:
        fd = descend(self._root, names)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _below(self, directory: int, name: bytes) -> Iterator[int]:
        fd = descend(directory, (name,))
        try:
            yield fd
        finally:
            os.close(fd)


@contextmanager
def open_mender(location: Location) -> Iterator[MaildirMender]:
    """The mailbox at a place, for mending. Raises StoreError."""
    try:
        root = location.open()
    except OSError as error:
        raise StoreError(f"{printable(location.path)}: {error.strerror}") from error
    try:
        yield MaildirMender(root)
    finally:
        os.close(root)


def _exchange_if_seen(tmp: int, name: bytes, target: int, seen: SeenFile) -> None:
    """Let a new file change places with one that was seen. Raises MessageUnavailable (``changed``)."""
    try:
        if not _is_seen(target, seen.name, seen):
            raise _changed(seen.name)
        if not exchange(tmp, name, target, seen.name):
            os.rename(name, seen.name, src_dir_fd=tmp, dst_dir_fd=target)
            return
        if not _is_seen(tmp, name, seen):
            exchange(tmp, name, target, seen.name)
            raise _changed(seen.name)
    except FileNotFoundError as error:
        raise _changed(seen.name) from error


def _is_seen(directory: int, name: bytes, seen: SeenFile) -> bool:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return (status.st_size, status.st_mtime_ns, status.st_ino) == (seen.size, seen.mtime_ns, seen.inode)


def _changed(name: bytes) -> MessageUnavailable:
    return MessageUnavailable(
        f"{printable(name)}: it is not as it was when it was looked at", reason="changed"
    )
