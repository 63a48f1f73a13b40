"""What a Dovecot has on record of the messages of a Maildir mailbox, be their files there or not.

It writes its UID list anew only now and then, so a message that was expunged stays in it for a while. The
index tells: a message that the index has, and that has no file, was not removed by the server. ``doveadm
dump`` reads an index without opening the folder, so that asking changes nothing: to open a folder makes the
server forget what it does not find.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

from ...proto.errors import MessageUnavailable, StoreError
from . import uidlist
from .control import Control
from .directories import descend, joined, split
from .doveadm import Doveadm
from .opened import FileOpener

_LOGS = (b"dovecot.mailbox.log", b"dovecot.mailbox.log.2")
_RECORD_BYTES = 24
_DELETED = 1
_MOST_LOG_BYTES = 1 << 22


class MaildirRecord:
    """A ServerRecord (see ``proto.ports``). ``root`` is the mailbox, open; ``index`` the directory of its
    index files, open, if that is another one, and ``index_path`` where they lie."""

    def __init__(
        self,
        root: int,
        control: Control | None,
        index: Control | None,
        index_path: bytes,
        doveadm: Doveadm | None,
    ) -> None:
        self._root = root
        self._control = control
        self._index = index
        self._index_path = index_path
        self._doveadm = doveadm

    def numbered(self, path: bytes, bases: Collection[bytes]) -> Mapping[bytes, int] | None:
        with ExitStack() as stack:
            try:
                start, below = (
                    (self._control.fd, self._control.path(path))
                    if self._control
                    else (
                        self._root,
                        path,
                    )
                )
                directory = descend(start, split(below))
                stack.callback(os.close, directory)
                fd, status = FileOpener().open_regular(directory, uidlist.NAME)
                stack.callback(os.close, fd)
                listed = uidlist.UidList(fd, status.st_size)
                if not listed.header.uidvalidity:
                    return None
                return {base: uid for uid, _, base in listed.entries() if base in bases}
            except (OSError, MessageUnavailable):
                return None

    def counts_on(self, path: bytes, uids: Collection[int]) -> Collection[int] | None:
        if self._doveadm is None:
            return None
        below = self._index.path(path) if self._index else path
        try:
            there = self._doveadm.indexed(joined(self._index_path, below) if below else self._index_path)
        except StoreError:
            return None
        return there.intersection(uids)

    def has_deleted(self, guid: str) -> bool:
        try:
            wanted = bytes.fromhex(guid)
        except ValueError:
            return False
        return any(kind == _DELETED and told == wanted for kind, told in self._changes())

    def _changes(self) -> Iterator[tuple[int, bytes]]:
        """What was done to folders, as the server has noted: what, and the GUID of the folder."""
        for name in _LOGS:
            try:
                fd, status = FileOpener().open_regular(self._index.fd if self._index else self._root, name)
            except (OSError, MessageUnavailable):
                continue
            try:
                data = os.read(fd, min(status.st_size, _MOST_LOG_BYTES))
            finally:
                os.close(fd)
            for at in range(0, len(data) - _RECORD_BYTES + 1, _RECORD_BYTES):
                yield data[at], data[at + 4 : at + 20]
