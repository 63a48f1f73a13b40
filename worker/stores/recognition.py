"""What a directory of a mail store is: the one rule by which mailboxes are recognised, wherever they are
looked for, and what else looks like mail.

A Maildir is where ``cur/`` and ``new/`` are. Copies often lack one: git, rclone and object stores drop empty
directories. A mailbox may also have no INBOX of its own (LAYOUT=fs, or one that was empty): then its server's
files or the names of its folders tell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...proto.errors import MessageUnavailable
from ...proto.structs import Record
from ..packing import hot_path
from ..packing.entries import DIRECTORY, FILE, LINK
from .directories import descend, is_directory
from .location import MAILDIR_NAMES, RESERVED
from .opened import FileOpener

_SERVER_FILES = (
    b"dovecot.list.index",
    b"dovecot.mailbox.log",
    b"dovecot.index",
    b"dovecot-uidvalidity",
    b"dovecot-uidlist",
    b"subscriptions",
    b"courierimapsubscribed",
    b"maildirfolder",
    b"maildirsize",
)
"""How files begin that servers keep in the root of a mailbox, or in a folder of it."""

_MBOX_START = b"From "
_MOST_LOOKED_AT = 200
"""Files of one directory that are looked into, and directories: where there is mail, it is seen in fewer."""


class Entries(Record):
    """The names in a directory: ``directories`` without those of temporary trees, ``links``, ``files``."""

    directories: Sequence[bytes]
    links: Sequence[bytes]
    files: Sequence[bytes]


def entries_of(directory: int) -> Entries:
    """The names in an open directory. Raises OSError."""
    directories: list[bytes] = []
    links: list[bytes] = []
    files: list[bytes] = []
    for name, kind, _ in hot_path.entries_in(directory):
        if name.startswith(RESERVED) or name == b"lost+found":
            continue
        if kind == LINK:
            links.append(name)
        elif kind == DIRECTORY:
            directories.append(name)
        elif kind == FILE:
            files.append(name)
    return Entries(sorted(directories), sorted(links), sorted(files))


def is_mailbox(directory: int, entries: Entries, *, expected: bool = False) -> bool:
    """Whether an open directory with these entries is a mailbox of this format. ``expected``: it is where a
    mailbox should be, so that one folder in it, or a file of its server, is enough. Raises OSError."""
    if is_maildir(directory, entries):
        return True
    if foreign_format(directory, entries):
        return False
    if expected and not {b"cur", b"new"}.isdisjoint(entries.directories):
        return True
    has_server_files = any(name.startswith(_SERVER_FILES) for name in entries.files)
    if expected and (has_server_files or any(name.startswith(b"dovecot") for name in entries.files)):
        return True
    # With DIRNAME= the messages of a folder lie in a directory of it.
    if expected or has_server_files:
        return _any_folder(directory, entries.directories, 2, expected=expected)
    if b"INBOX" in entries.directories and _has_folder(directory, b"INBOX", 1):
        return True
    hidden = [name for name in entries.directories if name.startswith(b".") and name not in MAILDIR_NAMES]
    others = sorted({*entries.directories}.difference(hidden))
    # A Maildir in a hidden directory beside those of users (a quarantine) makes no mailbox of the store.
    return _any_folder(directory, hidden, 1) and not _any_folder(directory, others, 2)


def is_maildir(directory: int, entries: Entries) -> bool:
    """Whether there are messages in an open directory, or would be. Raises OSError."""
    there = {b"cur", b"new", b"tmp"}.intersection(entries.directories)
    if {b"cur", b"new"} <= there:
        # Unless these are what users are called.
        return not (is_directory(directory, b"cur/cur") and is_directory(directory, b"cur/new"))
    if not there - {b"tmp"}:
        return False
    if b"tmp" in there or any(name.startswith(_SERVER_FILES) for name in entries.files):
        return True
    # One of them alone may also be what a user is called.
    (only,) = there
    below = descend(directory, (only,))
    try:
        inside = entries_of(below)
    finally:
        os.close(below)
    return bool(inside.files) and not inside.directories


def foreign_format(directory: int, entries: Entries) -> str:
    """The format of a mailbox that is of another one, as people call it; empty for anything else. Raises
    OSError."""
    if b"mailboxes" in entries.directories:
        if b"storage" in entries.directories or b"dovecot.map.index" in entries.files:
            return "mdbox"
        below = descend(directory, (b"mailboxes",))
        try:
            if any(_holds(below, name, b"dbox-Mails") for name in entries_of(below).directories):
                return "sdbox"
        finally:
            os.close(below)
    if b".imap" in entries.directories:
        return "mbox"
    if b"cyrus.header" in entries.files:
        return "Cyrus"
    return ""


def mbox_files(directory: int, entries: Entries) -> list[bytes]:
    """The files in an open directory that are mbox mailboxes, as far as they can be read."""
    opener = FileOpener()
    return [name for name in entries.files[:_MOST_LOOKED_AT] if _is_mbox(opener, directory, name)]


def _is_mbox(opener: FileOpener, directory: int, name: bytes) -> bool:
    try:
        fd, _ = opener.open_regular(directory, name)
    except (OSError, MessageUnavailable):
        return False
    try:
        return os.read(fd, len(_MBOX_START)) == _MBOX_START
    except OSError:
        return False
    finally:
        os.close(fd)


def _any_folder(directory: int, names: Sequence[bytes], levels: int, *, expected: bool = False) -> bool:
    return any(_has_folder(directory, name, levels, expected=expected) for name in names[:_MOST_LOOKED_AT])


def _has_folder(directory: int, name: bytes, levels: int, *, expected: bool = False) -> bool:
    """Whether a directory is a folder, or holds one, so many levels deep."""
    try:
        below = descend(directory, (name,))
    except OSError:
        return False
    try:
        entries = entries_of(below)
        if is_maildir(below, entries) or (expected and b"cur" in entries.directories):
            return True
        return levels > 1 and _any_folder(below, entries.directories, levels - 1, expected=expected)
    except OSError:
        return False
    finally:
        os.close(below)


def _holds(directory: int, name: bytes, wanted: bytes) -> bool:
    try:
        below = descend(directory, (name,))
    except OSError:
        return False
    try:
        return is_directory(below, wanted)
    finally:
        os.close(below)
