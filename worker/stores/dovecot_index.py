"""``dovecot.index`` of folders that are being restored, written by ``doveadm`` before they can be seen.

A QRESYNC client comes back with the HIGHESTMODSEQ that it remembers, and is told what has changed, and
what has vanished, only if the restored folder is in a certain state. Seen with Dovecot 2.3.19 and 2.4.1, and
tested as such a client (docs/decisions/0017-numbers-after-a-restore.md):

1. HIGHESTMODSEQ is raised by the very first command that opens the folder: whatever opens it earlier gives
   each message a low number that stays.
2. ``dovecot.index`` is written, so that
3. ``dovecot.index.log`` can be removed: a log that reaches back to the client's number, and knows of nothing
   that vanished, says that nothing has.

Dovecot writes no index for an empty folder, so such a folder has a message for a moment.

The commands look at a *view*: a directory beside the staged tree with a link to each folder in it, which
looks like a Maildir++ of plain names. So the server's namespaces, layouts and names don't matter.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress

from ...proto.errors import StoreError
from ...proto.structs import Record
from .directories import descend, make_directory, names_in, opened
from .doveadm import Doveadm

INDEX = b"dovecot.index"

LOG = b"dovecot.index.log"
_PLACEHOLDER = b"1.placeholder:2,S"
_VIEW = b"view"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StagedFolder(Record):
    """A folder of a staged tree: its open directory, the way to it from the tree's top, and whether it has
    no message."""

    directory: int
    names: tuple[bytes, ...]
    is_empty: bool


def write_indexes(
    doveadm: Doveadm, user: str, place: int, tree: bytes, folders: Sequence[StagedFolder], least: int
) -> None:
    """Let folders of the directory ``tree`` in the open directory ``place`` count on at ``least`` or above.

    The folders are finished, and the server's user may enter and write them; what is made beside them in
    ``place`` is removed by the caller. The server may have given UIDs to messages that had none, and
    written the UID list anew. Raises StoreError if it can't be done, OSError.
    """
    before = [set(names_in(one.directory)) for one in folders]
    try:
        _write(doveadm, user, place, tree, folders, least)
    finally:
        for folder, names in zip(folders, before, strict=True):
            _tidy(folder.directory, names)


def _write(
    doveadm: Doveadm, user: str, place: int, tree: bytes, folders: Sequence[StagedFolder], least: int
) -> None:
    prefix = b"mailhaul" + os.urandom(8).hex().encode() + b"n"
    links = {
        prefix + b"%d" % number: (b"..", tree, *staged_folder.names)
        for number, staged_folder in enumerate(folders)
    }
    view = _make_view(place, links, os.fstat(folders[0].directory))
    empty = [one for one in folders if one.is_empty]
    with ExitStack() as stack:
        for folder in empty:
            _put_placeholder(folder.directory)
            stack.callback(_take_placeholder, folder.directory)
        names = _names(doveadm.names(user, view), links)
        for name in names:
            doveadm.raise_modseq(user, view, name, least)
        mask = names[0][: names[0].index(prefix)] + prefix + b"*"
        # The first time the index is read from the log, the second time it is written.
        doveadm.resync(user, view, mask)
        doveadm.resync(user, view, mask)
    if empty:
        doveadm.resync(user, view, mask)
    missing = [one for one in folders if INDEX not in names_in(one.directory)]
    if missing:
        raise StoreError(f"doveadm wrote no {INDEX.decode()} for {len(missing)} of {len(folders)} folders")


def _make_view(place: int, links: Mapping[bytes, tuple[bytes, ...]], owner: os.stat_result) -> str:
    """A directory that has a link to each folder, as Maildir++ names folders; returns its path."""
    make_directory(place, _VIEW, 0o700)
    view = descend(place, (_VIEW,))
    try:
        for name, target in links.items():
            os.symlink(b"/".join(target), b"." + name, dir_fd=view)
        if os.geteuid() == 0:
            os.fchown(view, owner.st_uid, owner.st_gid)
        return os.readlink(f"/proc/self/fd/{view}")
    finally:
        os.close(view)


def _names(listed: Sequence[bytes], links: Collection[bytes]) -> list[bytes]:
    """What the server calls the folders of the view. Raises StoreError if it looks at something else."""
    names = [name for name in listed if any(name.endswith(link) for link in links)]
    if len(names) != len(links):
        raise StoreError("it can't be pointed at folders that are not in place yet")
    return names


def _put_placeholder(folder: int) -> None:
    """A message that is there until the index is written."""
    owner = os.fstat(folder)
    with opened(folder, (b"cur",)) as directory:
        fd = os.open(_PLACEHOLDER, _NEW_FILE, 0o600, dir_fd=directory)
        try:
            os.write(fd, b"\n")
            if os.geteuid() == 0:
                os.fchown(fd, owner.st_uid, owner.st_gid)
        finally:
            os.close(fd)


def _take_placeholder(folder: int) -> None:
    with opened(folder, (b"cur",)) as directory:
        os.unlink(_PLACEHOLDER, dir_fd=directory)


def _tidy(folder: int, before: set[bytes]) -> None:
    """Remove what the server made but for the index; without that the log says at least what has changed."""
    made = set(names_in(folder)) - before
    kept = INDEX if INDEX in made else LOG
    for name in made - {kept}:
        with suppress(IsADirectoryError):
            os.unlink(name, dir_fd=folder)
