"""A walk through directories of a mail store for all that is mail there, or looks like it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

from ...groups.paths import printable
from ...proto.records import Skipped
from ...proto.structs import Record
from . import recognition
from .directories import DEEPEST, descend, joined, reason
from .location import is_below
from .recognition import Entries

Kind = Literal["mailbox", "link", "unreadable", "foreign", "too-deep"]


class Finding(Record):
    """What lies at a path below the root of a store: a ``mailbox``; a ``link`` to mail elsewhere; what is
    ``unreadable``; mail of a ``foreign`` format; a directory that is ``too-deep`` to be looked at.
    ``skipped`` is how it is reported if it is not taken."""

    path: bytes
    kind: Kind
    skipped: Skipped


class Walk:
    """A walk below ``anchor``, the root of a store. Paths are relative to it."""

    def __init__(self, anchor: bytes) -> None:
        self._anchor = anchor
        self._root = os.path.realpath(anchor)

    def through(self, directory: int, path: bytes = b"", levels: int = DEEPEST) -> Iterator[Finding]:
        """What is in an open directory, at most so many levels deep. No link is followed, and what is in a
        mailbox is not looked at. Raises OSError if the directory can't be listed."""
        entries = recognition.entries_of(directory)
        if recognition.is_mailbox(directory, entries):
            yield mailbox(path)
            return
        yield from self.foreign(directory, path, entries)
        if recognition.foreign_format(directory, entries):
            return
        if levels == 0 and entries.directories:
            yield _found(path, "too-deep", "too-deep", "directories nested deeper are not looked at")
            return
        for name in entries.directories:
            yield from self._below(directory, name, joined(path, name), levels)
        for name in entries.links:
            if (link := self.link(joined(path, name))) is not None:
                yield link

    def foreign(self, directory: int, path: bytes, entries: Entries) -> Iterator[Finding]:
        """The mail of other formats that an open directory with these entries holds itself."""
        name = recognition.foreign_format(directory, entries)
        if name:
            yield _found(path, "foreign", "other-format", f"{name}, which this version does not read")
            return
        files = recognition.mbox_files(directory, entries)
        if files:
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            detail = f"mbox{more}, which this version does not read"
            yield _found(joined(path, files[0]), "foreign", "other-format", detail)

    def link(self, path: bytes) -> Finding | None:
        """A link that leads to mail which does not lie below the root anyway."""
        whole = joined(self._anchor, path)
        if not os.path.islink(whole):
            return None
        target = os.path.realpath(whole)
        if is_below(self._root, target) or is_below(target, self._root) or not _holds_mail(target):
            return None
        detail = f"a symbolic link to {printable(target)}, which is not followed"
        return _found(path, "link", "leads-out", detail)

    def _below(self, directory: int, name: bytes, path: bytes, levels: int) -> Iterator[Finding]:
        try:
            below = descend(directory, (name,))
        except FileNotFoundError:
            return
        except OSError as error:
            yield unreadable(path, error)
            return
        try:
            yield from self.through(below, path, levels - 1)
        except OSError as error:
            yield unreadable(path, error)
        finally:
            os.close(below)


def mailbox(path: bytes) -> Finding:
    """A mailbox at this path."""
    return _found(path, "mailbox", "no-user", "a mailbox that is nobody's: the path says no user for it")


def unreadable(path: bytes, error: OSError) -> Finding:
    """What the file system refused."""
    return _found(path, "unreadable", reason(error), error.strerror or "")


def _found(path: bytes, kind: Kind, why: str, detail: str) -> Finding:
    return Finding(path, kind, Skipped(printable(path) or ".", why, detail))


def _holds_mail(target: bytes) -> bool:
    """Whether a directory elsewhere is a mailbox, or the home of one."""
    try:
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return any(finding.kind in ("mailbox", "foreign") for finding in Walk(target).through(fd, levels=1))
    except OSError:
        return False
    finally:
        os.close(fd)
