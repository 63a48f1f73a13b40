"""The files of a staging area that are no archives of the catalog: damaged ones that were set aside, in
``.mailhaul/damaged``, and strangers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from ...proto.directories import make_directories, sync_directory
from ...proto.errors import StagingError
from ...proto.records import ArchiveId, Location
from ...worker.archives.holdings import Folder
from ...worker.archives.names import generation_name
from ..history import ArchiveRecord

SET_ASIDE = "set-aside"
"""What the files that were set aside are called among the places."""


def aside_place(staging: Path, file: str) -> Path:
    """Where a damaged file of the staging area is set aside. It keeps its name."""
    return staging / ".mailhaul" / "damaged" / file


def keep_copy(staging: Path, file: str) -> Path:
    """Give a damaged file a name among those that are set aside; durably, and it keeps its place for now.
    Repeatable. A file that is gone already is none to keep. Raises StagingError."""
    path, aside = staging / file, aside_place(staging, file)
    try:
        make_directories(aside.parent)
        number = 0
        while aside.exists() and path.exists() and not aside.samefile(path):
            # An earlier one of the same name: neither takes the place of the other.
            number += 1
            aside = aside_place(staging, f"{file}.{number}")
        if path.exists() and not aside.exists():
            os.link(path, aside)
        for directory in (aside.parent, aside.parent.parent, aside.parent.parent.parent):
            sync_directory(directory)
    except OSError as error:
        raise StagingError(f"{path}: can't be set aside: {error.strerror}", path=str(path)) from error
    return aside


def drop_original(staging: Path, file: str) -> None:
    """Take its place from a file that was kept with ``keep_copy``. Repeatable. Raises StagingError."""
    path = staging / file
    try:
        path.unlink(missing_ok=True)
        if path.parent.exists():
            sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be set aside: {error.strerror}", path=str(path)) from error


def set_aside_folder(staging: Path) -> Folder:
    """Where the files lie that were set aside, as a place."""
    return Folder(name=SET_ASIDE, path=str(staging / ".mailhaul" / "damaged"))


def set_aside(staging: Path, records: Iterable[ArchiveRecord]) -> dict[ArchiveId, tuple[Location, ...]]:
    """The files of each archive that were set aside, the newest first."""
    found: dict[ArchiveId, tuple[Location, ...]] = {}
    names = {generation_name(record.name, 0): record.archive for record in records}
    root = staging / ".mailhaul" / "damaged"
    for path in sorted(root.glob("*/*/*.mha*"), reverse=True):
        name = str(path.relative_to(root))
        archive = names.get(generation_name(name[: name.rindex(".mha") + 4], 0))
        if archive is not None:
            found[archive] = (*found.get(archive, ()), Location(SET_ASIDE, name))
    return found


def strangers(staging: Path, known: Collection[str]) -> tuple[str, ...]:
    """The files that have names of archives and that the catalog does not know, relative to the staging
    area."""
    found = (str(path.relative_to(staging)) for path in sorted(staging.glob("[!.]*/*/*.mha")))
    return tuple(name for name in found if name not in known)
