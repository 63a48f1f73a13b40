"""Users whose mail is to come first, as whoever sees them tells the restore that goes on.

A user is told by a file of that name (``%`` and ``/`` in it as ``%25`` and ``%2F``) in a directory that the
restore looks into: one of its own, and one that the operator makes for a server, which may have no business
in the staging area. What a file holds does not matter; it is removed when it was seen.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ...proto.directories import make_private
from ...proto.errors import NotFoundError, StagingError, UsageError
from .record import directory_of, restores_of, state_of

_PLACE = "first"
_MOST_AT_ONCE = 10_000
_LONGEST = 255
"""Bytes that a file's name may have."""


def make_place(restore: Path) -> Path:
    """The directory of a restore in which users are told. Raises StagingError."""
    place = restore / _PLACE
    try:
        make_private(place)
    except OSError as error:
        raise StagingError(f"{place}: can't be made: {error.strerror}") from error
    return place


def checked_place(path: Path) -> Path:
    """The directory that the operator has made, absolute. Raises UsageError."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode) or not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise UsageError(f"{path}: no directory in which files can be listed and removed")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    return path.absolute()


def taken(places: Iterable[Path]) -> list[str]:
    """The users that were told since, in the order of their names; they are not told again."""
    found: list[str] = []
    for place in places:
        with suppress(OSError), os.scandir(place) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST_AT_ONCE))
            for name in names:
                with suppress(OSError):
                    os.unlink(place / name)
                    found.append(os.fsdecode(unquote_to_bytes(os.fsencode(name))))
    return found


def going_newest_first(staging: Path) -> list[Path]:
    """Where the restores are told that go on and bring the newest mail first. Raises NotFoundError if there
    is none."""
    known = [directory_of(staging, restore) / _PLACE for restore in restores_of(staging)]
    places = are_going([path for path in known if path.is_dir()])
    if not places:
        raise NotFoundError("no restore with --order newest goes on: nobody can be first in it")
    return places


def are_going(places: Sequence[Path]) -> list[Path]:
    """Those of these places whose restore goes on."""
    return [place for place in places if state_of(place.parent) == "running"]


def tell(places: Sequence[Path], user: str) -> None:
    """Say that the mail of a user is to come first. Raises StagingError."""
    name = os.fsencode(user.replace("%", "%25").replace("/", "%2F"))
    if not name or len(name) > _LONGEST or name in (b".", b"..") or b"\0" in name:
        return  # nobody is called so
    for place in map(os.fsencode, places):
        try:
            os.close(os.open(os.path.join(place, name), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileNotFoundError:
            continue  # that restore is forgotten
        except OSError as error:
            raise StagingError(f"{os.fsdecode(place)}: can't be written: {error.strerror}") from error
