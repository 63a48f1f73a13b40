"""Where one mailbox lies: a directory that an administrator named, and names below it.

What is above is reached whatever links there are; below it no link is followed, for there users may put
what they like.
"""

from __future__ import annotations

import os

from ...proto.errors import StoreError
from ...proto.structs import Record
from .directories import descend, open_directory

RESERVED = b".mailhaul-restore-"
"""How the names of temporary trees begin; no reader looks into them."""

SHARED = RESERVED + b"shared"
"""The directory in which files are known for all mailboxes of a restore."""

MAILDIR_NAMES = (b".maildir", b"Maildir", b"mail")
"""What a Maildir in a user's home is called, in the order in which they are looked for."""


class Location(Record, kw_only=True):
    """``anchor`` as the administrator wrote it and the names ``below`` it. With ``has_home`` the directory
    above the mailbox is the home of its user. ``place`` is where the mailbox lies in a store that names
    users by that, else empty."""

    anchor: bytes
    below: tuple[bytes, ...]
    has_home: bool
    place: bytes = b""

    @property
    def path(self) -> bytes:
        """The whole path, for messages to people."""
        return b"/".join([self.anchor.rstrip(b"/"), *self.below]) or b"/"

    @property
    def name(self) -> bytes:
        """What the mailbox's directory is called."""
        return os.path.basename(os.path.abspath(self.path))

    def open(self) -> int:
        """Open the mailbox's directory. Raises OSError."""
        return _open(self.anchor, self.below)

    def parent(self) -> tuple[bytes, tuple[bytes, ...]]:
        """The directory above the mailbox: where to begin, and the names below that."""
        if self.below:
            return self.anchor, self.below[:-1]
        return os.path.dirname(os.path.abspath(self.anchor)), ()

    @property
    def levels_above(self) -> int:
        """How many directories lie between the anchor and the mailbox, or its home."""
        return max(0, len(self.below) - (2 if self.has_home else 1))

    def above(self) -> Location:
        """The directory above the mailbox."""
        anchor, below = self.parent()
        return Location(anchor=anchor, below=below, has_home=False)

    def open_parent(self) -> int:
        """Open the directory above the mailbox, which is the user's home if ``has_home``. Raises OSError."""
        return _open(*self.parent())


def name_of(text: str, user: str) -> bytes:
    """A part of a user id as the name of a directory. Raises StoreError if it can't be one."""
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError:
        name = b""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise StoreError(f"user {user!r} can't have a mailbox here: {text!r} is no name for a directory")
    return name


def is_below(root: bytes, path: bytes) -> bool:
    """Whether an absolute path without links is that of ``root`` or of something in it."""
    return path == root or path.startswith(root.rstrip(b"/") + b"/")


def _open(anchor: bytes, below: tuple[bytes, ...]) -> int:
    start = open_directory(anchor)
    try:
        return descend(start, below)
    finally:
        os.close(start)
