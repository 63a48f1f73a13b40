"""The files that a purge has yet to delete, on record from before anything depends on it: ``purge.json``."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from ...proto.errors import DamagedError, StagingError
from ...proto.structs import Record, asdict
from ..durable import remove_durably, replace_durably

_FILE = "purge.json"


class Doomed(Record):
    """A file that is to be deleted, relative to the staging area. Where an archive is written anew,
    ``instead`` is its new file. What the catalog knows decides: as long as it does not point to the new file,
    the old one stays and the new one is of no use."""

    file: str
    instead: str = ""

    def outdated(self, known: Collection[str]) -> str:
        """The file that nobody needs any more, if the catalog knows these; empty while there is none."""
        replaced = not self.instead or self.instead in known
        return self.file if replaced and self.file not in known else ""

    def unfinished(self, known: Collection[str]) -> str:
        """The new file that the catalog has never pointed to; empty where there is none."""
        # If it knows neither, it has been made anew or lost: that decides nothing.
        return self.instead if self.instead not in known and self.file in known else ""


def read_doomed(staging: Path) -> tuple[Doomed, ...]:
    """What an earlier purge has left to delete. Raises DamagedError, StagingError."""
    path = staging / ".mailhaul" / _FILE
    try:
        rows = json.loads(path.read_bytes())["files"]
        return tuple(Doomed(_inside(row["file"]), _inside(row["instead"])) for row in rows)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged; remove it: at worst some files stay that are of no use", path=str(path)
        ) from error


def _inside(file: object) -> str:
    """The name of a file below the staging area, or nothing. Raises ValueError for one that leads out."""
    if not isinstance(file, str) or file.startswith("/") or ".." in file.split("/"):
        raise ValueError(f"{file!r} is no file of the staging area")
    return file


def write_doomed(staging: Path, files: Collection[Doomed]) -> None:
    """Record what is to be deleted, durably. Raises StagingError."""
    path = staging / ".mailhaul" / _FILE
    if files:
        # Names of files may hold bytes that are no text; JSON escapes them.
        text = json.dumps({"files": list(map(asdict, files))}) + "\n"
        replace_durably(path, text.encode("ascii"))
    elif path.exists():
        remove_durably(path)
