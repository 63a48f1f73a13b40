"""Mailboxes found below a directory; what is one is said in ``recognition``.

A user is named by where the mailbox lies (``jane``, ``example.org/jane``), without a last ``Maildir``,
``.maildir`` or ``mail``. Links are never followed, and a mailbox's own folders are not looked into: they
are no users.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from ...groups.paths import printable
from ...proto.errors import MessageUnavailable, StoreError
from ...proto.records import Skipped
from ...proto.structs import replace
from .acceptance import ACCEPTED, NOTHING, Acceptance
from .directories import open_directory, split
from .location import MAILDIR_NAMES, Location, name_of
from .recognition import entries_of, is_mailbox
from .walk import Finding, Walk

HERE = b"."
"""The place of a mailbox that is the directory itself."""


class Discovery:
    """The mailboxes below a directory, which may be one itself."""

    def __init__(self, path: str, acceptance: Acceptance = NOTHING) -> None:
        self.anchor = os.fsencode(path)
        self._acceptance = acceptance
        self._walk = Walk(self.anchor)
        self._left_out: list[Skipped] = []

    def users(self) -> Iterator[str]:
        """Every user found, sorted. Raises StoreError if the directory can't be listed.

        What can't be looked into for want of rights is told as if it were a mailbox, and so is a link to mail
        elsewhere: opening it will say why it is left out, and what was stored of it stays the newest state.
        """
        self._left_out = []
        try:
            root = open_directory(self.anchor)
        except OSError as error:
            raise StoreError(f"{printable(self.anchor)} can't be listed: {error.strerror}") from error
        try:
            places = sorted(
                finding.path or HERE for finding in self._walk.through(root) if self._is_taken(finding)
            )
        except OSError as error:
            raise StoreError(f"{printable(self.anchor)} can't be listed: {error.strerror}") from error
        finally:
            os.close(root)
        taken: set[str] = set()
        for place in places:
            short = self._user(place)
            taken.add(os.fsdecode(place) if short in taken else short)
        return iter(sorted(taken))

    def left_out(self) -> Sequence[Skipped]:
        """See ``MailStore.left_out``."""
        return self._left_out

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
        raise StoreError(f"user {user!r} has no mailbox below {printable(self.anchor)}", user=user)

    def lay_out(self, user: str, place: bytes) -> Location:
        """Where to write a mailbox that lay at ``place`` below its own root; without one, where the user of
        this name has it, or would have it. Raises StoreError if that would not be below the directory."""
        if place == HERE:
            return self._location(())
        if not place:
            with suppress(StoreError):  # has none yet
                return self.locate(user)
            return self._location((*(name_of(name, user) for name in user.split("/")), b"Maildir"))
        try:
            return self._location(split(place))
        except MessageUnavailable as error:
            raise StoreError(f"the mailbox of {user!r} can't be laid out: {error.message}") from error

    def _location(self, below: tuple[bytes, ...]) -> Location:
        location = Location(anchor=self.anchor, below=below, has_home=False, place=b"/".join(below) or HERE)
        return replace(location, has_home=location.name in MAILDIR_NAMES)

    def _user(self, place: bytes) -> str:
        """The name that a place gives to its user."""
        names = [] if place == HERE else place.split(b"/")
        if names and names[-1] in MAILDIR_NAMES:
            names.pop()
        if names:
            return os.fsdecode(b"/".join(names))
        above, name = os.path.split(os.path.abspath(self.anchor))
        if place == HERE and name in MAILDIR_NAMES:
            name = os.path.basename(above) or name
        return os.fsdecode(name or b"mailbox")

    def _is_taken(self, found: Finding) -> bool:
        """Whether a finding is a user; what is not, is noted."""
        judged = self._acceptance.judged(found.skipped)
        if found.kind == "mailbox":
            return True
        if found.kind in ("link", "unreadable") and judged.reason != ACCEPTED:
            return True
        self._left_out.append(judged)
        return False

    def _is_mailbox(self, location: Location) -> bool:
        try:
            fd = location.open()
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return any(
                self._walk.link(b"/".join(location.below[: depth + 1])) is not None
                for depth in range(len(location.below))
            )
        except OSError:
            return True
        try:
            return is_mailbox(fd, entries_of(fd))
        except OSError:
            return True
        finally:
            os.close(fd)
