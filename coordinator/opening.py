"""Who may read the staging area, beside us: owner, group and mode of what is whole in it.

Everything is written so that nobody else may read it, and gets what is configured when a run has ended; never
``.mailhaul``, with the catalog and its records, and what is being written.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from ..proto.errors import ConfigError, StagingError
from ..proto.structs import Record
from .settings import StagingConfig

_READ, _OTHERS = 0o444, 0o077


class Opening(Record, kw_only=True):
    """What a file gets: owner and group by number (-1: the one that it has), and its mode (None: as it is). A
    directory can be entered by who may read its files."""

    owner: int = -1
    group: int = -1
    mode: int | None = None

    def file(self, path: Path) -> None:
        """Give it to a file. Raises OSError."""
        self._give(path, self.mode)

    def directory(self, path: Path) -> None:
        """Give it to a directory. Raises OSError."""
        mode = None if self.mode is None else self.mode | (self.mode & _READ) >> 2 | stat.S_IRWXU
        self._give(path, mode)

    def _give(self, path: Path, mode: int | None) -> None:
        there = path.lstat()
        owner = -1 if self.owner in (-1, there.st_uid) else self.owner
        group = -1 if self.group in (-1, there.st_gid) else self.group
        if (owner, group) != (-1, -1):
            os.chown(path, owner, group, follow_symlinks=False)
        if mode is not None and stat.S_IMODE(there.st_mode) != mode:
            path.chmod(mode)


UNOPENED = Opening()
"""Everything stays as it was written: ours alone."""


def opening_of(config: StagingConfig) -> Opening:
    """What the configuration says, by number. Raises ConfigError for an owner or group that there is not."""
    return Opening(
        owner=_number("owner", config.owner, lambda name: pwd.getpwnam(name).pw_uid),
        group=_number("group", config.group, lambda name: grp.getgrnam(name).gr_gid),
        mode=config.mode,
    )


def opening_like(path: Path) -> Opening:
    """What a file has that is there already; nothing if nobody else may read it. Raises OSError."""
    there = path.stat()
    mode = stat.S_IMODE(there.st_mode)
    return Opening(owner=there.st_uid, group=there.st_gid, mode=mode) if mode & _OTHERS else UNOPENED


def open_files(staging: Path, names: Iterable[str], opening: Opening) -> None:
    """Give it to files of the staging area (relative to it), and to the directories that they are in. Raises
    StagingError."""
    if opening == UNOPENED:
        return
    try:
        opening.directory(staging)
        for name in names:
            for directory in Path(name).parents[:-1]:
                opening.directory(staging / directory)
            opening.file(staging / name)
    except OSError as error:
        raise StagingError(
            f"{error.filename}: its owner, group or mode can't be set ([staging]): {error.strerror}",
            path=str(error.filename),
        ) from error


def open_beside(staging: Path, opening: Opening) -> None:
    """Give it to what lies beside the archives of mail: ``_runs`` and the like. As ``open_files``."""
    if opening == UNOPENED:
        return
    found = (path for pattern in ("[!.]*", "_*/**/[!.]*") for path in staging.glob(pattern))
    whole = [path for path in found if _is_whole(path)]
    open_files(staging, (str(path.relative_to(staging)) for path in whole), opening)


def _is_whole(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode) and not path.name.endswith((".partial", ".new"))


def _number(key: str, name: str, known: Callable[[str], int]) -> int:
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    try:
        return known(name)
    except KeyError:
        raise ConfigError(f"staging.{key} = {name!r}: expected a name that this host knows") from None
