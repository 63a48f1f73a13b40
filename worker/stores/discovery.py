"""Mailboxes found below a directory: a Maildir is where ``cur/`` and ``new/`` are.

A user is named by where the mailbox lies (``jane``, ``example.org/jane``), without a last ``Maildir``,
``.maildir`` or ``mail``. Links are never followed, and a Maildir's own folders are not looked into: they
are no users.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable, StoreError
from .directories import DEEPEST, descend, is_directory, joined, name_bytes, open_directory, split
from .location import MAILDIR_NAMES, RESERVED, Location, is_below, name_of

HERE = b"."
"""The place of a mailbox that is the directory itself."""


class Discovery:
    """The mailboxes below a directory, which may be one itself."""

    def __init__(self, path: str) -> None:
        self._anchor = os.fsencode(path)

    def users(self) -> Iterator[str]:
        """Every user found, sorted. Raises StoreError if the directory can't be listed.

        What can't be looked into for want of rights is told as if it were a mailbox, and so is a link to a
        Maildir elsewhere: opening it will say why it is left out.
        """
        try:
            root = open_directory(self._anchor)
        except OSError as error:
            raise StoreError(f"{printable(self._anchor)} can't be listed: {error.strerror}") from error
        try:
            places = sorted(self._places(root, b"", 0))
        except OSError as error:
            raise StoreError(f"{printable(self._anchor)} can't be listed: {error.strerror}") from error
        finally:
            os.close(root)
        taken: set[str] = set()
        for place in places:
            short = self._user(place)
            taken.add(os.fsdecode(place) if short in taken else short)
        return iter(sorted(taken))

    def locate(self, user: str) -> Location:
        """Where the mailbox of a user lies. Raises StoreError if there is none."""
        names = tuple(name_of(name, user) for name in user.split("/"))
        choices = [names, *((*names, name) for name in MAILDIR_NAMES)]
        if user == self._user(HERE):
            choices = [(), *((name,) for name in MAILDIR_NAMES), *choices]
        for choice in choices:
            location = self._location(choice)
            if self._is_mailbox(location):
                return location
        raise StoreError(f"user {user!r} has no mailbox below {printable(self._anchor)}", user=user)

    def lay_out(self, user: str, place: bytes) -> Location:
        """Where to write a mailbox that lay at ``place`` below its own root; without one, where a user of
        this name has it. Raises StoreError if that would not be below the directory."""
        if place == HERE:
            return self._location(())
        if not place:
            return self._location((*(name_of(name, user) for name in user.split("/")), b"Maildir"))
        try:
            return self._location(split(place))
        except MessageUnavailable as error:
            raise StoreError(f"the mailbox of {user!r} can't be laid out: {error.message}") from error

    def _location(self, below: tuple[bytes, ...]) -> Location:
        location = Location(anchor=self._anchor, below=below, has_home=False, place=b"/".join(below) or HERE)
        return replace(location, has_home=location.name in MAILDIR_NAMES)

    def _user(self, place: bytes) -> str:
        """The name that a place gives to its user."""
        names = [] if place == HERE else place.split(b"/")
        if names and names[-1] in MAILDIR_NAMES:
            names.pop()
        if names:
            return os.fsdecode(b"/".join(names))
        above, name = os.path.split(os.path.abspath(self._anchor))
        if place == HERE and name in MAILDIR_NAMES:
            name = os.path.basename(above) or name
        return os.fsdecode(name or b"mailbox")

    def _is_mailbox(self, location: Location) -> bool:
        try:
            fd = location.open()
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return self._leads_to_maildir(location.path)
        except OSError:
            return True
        try:
            return is_directory(fd, b"cur") and is_directory(fd, b"new")
        finally:
            os.close(fd)

    def _places(self, fd: int, path: bytes, depth: int) -> Iterator[bytes]:
        directories, links = _contents(fd)
        if {b"cur", b"new"} <= directories:
            yield path or HERE
            return
        for name in directories if depth < DEEPEST else ():
            try:
                below = descend(fd, (name,))
            except FileNotFoundError:
                continue
            except OSError:
                yield joined(path, name)
                continue
            try:
                yield from self._places(below, joined(path, name), depth + 1)
            finally:
                os.close(below)
        for name in links:
            if self._leads_to_maildir(joined(self._anchor, joined(path, name))):
                yield joined(path, name)

    def _leads_to_maildir(self, path: bytes) -> bool:
        """Whether this is a link to a Maildir that is not below the directory anyway."""
        if not os.path.islink(path):
            return False
        target = os.path.realpath(path)
        if is_below(os.path.realpath(self._anchor), target):
            return False
        return os.path.isdir(target + b"/cur") and os.path.isdir(target + b"/new")


def _contents(fd: int) -> tuple[set[bytes], list[bytes]]:
    """The directories and the links in a directory."""
    directories: set[bytes] = set()
    links: list[bytes] = []
    with os.scandir(fd) as found:
        for one in found:
            name = name_bytes(one.name)
            if one.is_symlink():
                links.append(name)
            elif one.is_dir() and not name.startswith(RESERVED) and name != b"lost+found":
                directories.add(name)
    return directories, links
