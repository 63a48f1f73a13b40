"""Which folders of a mailbox a run looks at: rules that leave folders out, and paths that ask for some.

Owns the patterns of folder names and what wins where both speak of a folder. Pure. Which mailboxes a run is
over is not decided here (``assignment``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache

from ..proto.errors import ConfigError
from ..proto.structs import Record
from .expressions import Expression, compile_wildcards
from .paths import LogicalPath

_INBOX = re.compile(r"inbox(?=/|$)", re.IGNORECASE)


class Verdict(Enum):
    """What a run does with a folder."""

    TAKEN = "taken"
    """It is backed up."""

    EXCLUDED = "excluded"
    """The rules leave it out: it is no part of the mailbox's new version."""

    PASSED_OVER = "passed over"
    """Nobody asked for it: it stays in the mailbox's new version as it was in the one before."""


class FolderRules(Record):
    """Patterns of the names of folders that are left out, each with the folders below it.

    A pattern is the whole name, its levels separated by ``/``, as in ``Archive/2019``. ``*`` stands for any
    characters, also for slashes: ``*/Trash`` is every Trash that lies in another folder; ``?`` stands for one
    character. Letters count as they are written, except that INBOX may be written in any case, as in IMAP.
    """

    patterns: tuple[str, ...] = ()

    def excluded_at(self, folder: str) -> Iterator[str]:
        """For each pattern that leaves the folder out: the folder that it names, this one or one above it
        (the topmost such)."""
        for pattern in self.patterns:
            for above in _with_parents(_canonical(folder)):
                if _compiled(pattern).matches(above):
                    yield above
                    break


class Selection(Record, kw_only=True):
    """What a run takes of the mailboxes that it is over: ``paths`` as it was asked for, none for everything;
    without what the ``rules`` leave out.

    A path that names a folder wins over a rule that names that folder or one above it, but not over one that
    names a folder further below.
    """

    rules: FolderRules = FolderRules()
    paths: tuple[LogicalPath, ...] = ()

    def judge(self, partition: str, group: str, user: str, folder: str) -> Verdict:
        """What a run does with a folder of a mailbox that it is over."""
        if not (self.rules.patterns or self.paths):
            return Verdict.TAKEN
        name = _canonical(folder)
        named: list[str] = []
        asked = not self.paths
        for path in self.paths:
            if _is_over(path, partition, group, user):
                if path.folder is None:
                    asked = True
                elif _is_within(name, wanted := _canonical(path.folder)):
                    asked = True
                    named.append(wanted)
        if not asked:
            return Verdict.PASSED_OVER
        for excluded in self.rules.excluded_at(name):
            if not any(_is_within(wanted, excluded) for wanted in named):
                return Verdict.EXCLUDED
        return Verdict.TAKEN


EVERYTHING = Selection()
"""All folders."""


def check_pattern(pattern: str) -> str:
    """The pattern, if it can name a folder. Raises ConfigError."""
    if not all(pattern.split("/")):
        raise ConfigError(
            f"{pattern!r} names no folder: expected a name such as 'Trash', or 'Archive/2019' for one below "
            "another, with * for any characters and ? for one",
            value=pattern,
        )
    return pattern


def _is_over(path: LogicalPath, partition: str, group: str, user: str) -> bool:
    """A path of a run is over the very group that it names: also where that is the one of everybody."""
    return path.partition in (None, partition) and path.group in (None, group) and path.user in (None, user)


def _is_within(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(other + "/")


def _with_parents(folder: str) -> Iterator[str]:
    """The folders above, topmost first, then the folder itself."""
    for slash in re.finditer("/", folder):
        yield folder[: slash.start()]
    yield folder


def _canonical(folder: str) -> str:
    return _INBOX.sub("INBOX", folder) if _INBOX.match(folder) else folder


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Expression:
    return compile_wildcards(_canonical(pattern))
