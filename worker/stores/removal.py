"""What is taken out of a Maildir mailbox that is in use: messages, folders without any, files, all of it.

A message goes as when a mail client expunges it: its file is removed, under the lock of the folder's UID
list, under which the server lists. It goes only if it is called as it was listed: nobody has given it other
flags since. Directories are first put out of sight, then looked at once more: what came at the last moment
brings them back.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from blake3 import blake3

from ...groups.paths import printable
from ...proto.errors import LockedError, MessageUnavailable, StoreError
from ...proto.records import Listed, StoredFile
from .control import Control, is_control_file
from .directories import descend, is_directory, names_in, opened, refused, split
from .dotlock import uidlist_lock
from .opened import FileOpener

_LOCKED_SECONDS = 0.5
_PAUSE_SECONDS = 0.02
"""So long the lock is free between two turns: who waits for it looks again and again."""

_READ_BYTES = 1 << 20
_ASIDE = b".mailhaul-undone-"
"""How directories are called that are being removed. Nobody but who has renamed one removes it: mail may have
come into it."""

_MESSAGES = (b"cur", b"new", b"tmp")
_OF_THE_SERVER = (
    b"dovecot-keywords",
    b"dovecot-uidlist",
    b"dovecot-uidvalidity",
    b"dovecot.index",
    b"dovecot.list.index",
    b"dovecot.mailbox.log",
    b"maildirfolder",
    b"maildirsize",
)
"""How the names of files begin that a server makes anew by itself."""


class MaildirRemover:
    """A MailboxRemover (see ``proto.ports``). ``root`` is the mailbox, ``parent`` the directory in which it
    is called ``name``, ``home`` the one of its user (-1: none), all open; ``control`` where its lists lie, if
    they lie elsewhere."""

    def __init__(self, root: int, parent: int, name: bytes, home: int, control: Control | None) -> None:
        self._root = root
        self._parent = parent
        self._name = name
        self._home = home
        self._control = control

    def remove_messages(self, folder: bytes, messages: Sequence[Listed]) -> Sequence[Listed]:
        gone: list[Listed] = []
        with self._translated(folder), ExitStack() as stack:
            directory = _entered(stack, self._root, folder)
            lists = self._lists(stack, directory, folder)
            places = {
                place: _entered(stack, directory, place.encode())
                for place in sorted({message.place for message in messages})
            }
            rest = list(reversed(messages))
            while rest:
                with uidlist_lock(lists):
                    until = time.monotonic() + _LOCKED_SECONDS
                    while rest and time.monotonic() < until:
                        listed = rest.pop()
                        with suppress(FileNotFoundError):
                            os.unlink(listed.base + listed.suffix, dir_fd=places[listed.place])
                            gone.append(listed)
                if rest:
                    time.sleep(_PAUSE_SECONDS)
            for fd in places.values():
                os.fsync(fd)
        return gone

    def remove_folder(self, folder: bytes) -> bool:
        if not folder:
            return False
        above, _, name = folder.rpartition(b"/")
        with self._translated(folder), opened(self._root, split(above)) as parent:
            tmp = descend(self._root, (b"tmp",)) if is_directory(self._root, b"tmp") else os.dup(self._parent)
            try:
                return _remove_empty(parent, name, tmp, folders=False)
            finally:
                os.close(tmp)

    def remove_file(self, file: StoredFile) -> bool | None:
        if os.path.basename(file.path).startswith(_OF_THE_SERVER):
            return None  # it counts UIDVALIDITYs, for one
        base = self._home if file.home else self._root
        if self._control and not file.home and is_control_file(os.path.basename(file.path)):
            base = self._control.fd
        if base < 0:
            return None
        above, _, name = file.path.rpartition(b"/")
        with self._translated(file.path):
            try:
                with opened(base, split(above)) as directory:
                    if not _is_same(directory, name, file):
                        return False
                    os.unlink(name, dir_fd=directory)
                    os.fsync(directory)
            except FileNotFoundError:
                return None
            _remove_empty_above(base, above)
            return True

    def remove_mailbox(self) -> bool:
        with self._translated(b""):
            return _remove_empty(self._parent, self._name, self._parent, folders=True)

    def _lists(self, stack: ExitStack, directory: int, folder: bytes) -> int:
        if self._control is None:
            return directory
        try:
            return _entered(stack, self._control.fd, self._control.path(folder))
        except FileNotFoundError:
            return directory  # the server has not opened the folder yet

    @contextmanager
    def _translated(self, path: bytes) -> Iterator[None]:
        shown = printable(path) or "the mailbox"
        try:
            yield
        except (LockedError, MessageUnavailable) as error:
            raise StoreError(f"{shown}: {error.message}") from error
        except OSError as error:
            raise refused(error, shown) from error


def _entered(stack: ExitStack, start: int, path: bytes) -> int:
    directory = descend(start, split(path))
    stack.callback(os.close, directory)
    return directory


def _is_same(directory: int, name: bytes, file: StoredFile) -> bool:
    """Whether a file, or link, still is what was stored. Raises FileNotFoundError, OSError."""
    if file.target is not None:
        try:
            return os.readlink(name, dir_fd=directory) == file.target
        except FileNotFoundError:
            raise
        except OSError:
            return False
    try:
        store_file = FileOpener().open(directory, name)
    except MessageUnavailable:
        return False
    try:
        digest = blake3()
        while block := store_file.read(_READ_BYTES):
            digest.update(block)
        return digest.digest(length=len(file.digest)) == file.digest
    finally:
        store_file.close()


def _remove_empty_above(base: int, path: bytes) -> None:
    """Remove directories that a file has left empty, but for those of messages."""
    while path:
        above, _, name = path.rpartition(b"/")
        if name in _MESSAGES:
            return
        try:
            with opened(base, split(above)) as directory:
                os.rmdir(name, dir_fd=directory)
        except OSError:
            return
        path = above


def _remove_empty(parent: int, name: bytes, workshop: int, *, folders: bool) -> bool:
    """Remove a folder, with those below it only if ``folders``, unless anything is in it that no server makes
    by itself; whether it is gone. It waits in ``workshop`` to be looked at once more."""
    try:
        with opened(parent, (name,)) as directory:
            if not _is_empty(directory, folders=folders):
                return False
    except FileNotFoundError:
        return True
    aside = _ASIDE + os.urandom(8).hex().encode()
    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=workshop)
    with opened(workshop, (aside,)) as directory:
        empty = _is_empty(directory, folders=folders)
    if not empty:
        os.rename(aside, name, src_dir_fd=workshop, dst_dir_fd=parent)
        return False
    os.fsync(parent)
    shutil.rmtree(aside, dir_fd=workshop)
    return True


def _is_empty(directory: int, *, folders: bool) -> bool:
    """Whether a folder holds nothing but what a server makes by itself. Raises OSError."""
    for name in names_in(directory):
        if is_directory(directory, name):
            with opened(directory, (name,)) as below:
                is_folder = name not in _MESSAGES
                if (is_folder and not folders) or not _is_empty(below, folders=folders):
                    return False
        elif not name.startswith(_OF_THE_SERVER):
            return False
    return True
