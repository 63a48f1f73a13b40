"""The names of archives in a staging area, made and read: ``PARTITION/GROUP/RUN.SHARD.ID.mha``; of one that
was written anew ``RUN.SHARD.ID.gGENERATION.mha``. ID are the first digits of the archive's id.

Names come from other hosts, so a name that is not exactly of this form is no name, and no symbolic link
is followed on the way to a file.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ...groups.definitions import SAFE_NAME
from ...proto.errors import AccessError
from ...proto.records import ArchiveId, Referred

EXCERPTS = "_metadata"
"""Below the staging area: where the excerpts of archives lie. No partition can be called so."""

PARTIAL = ".partial"
"""The end of the name of an archive that is being written."""

_ID_BYTES = 8
"""So much of an id is in the name, in hexadecimal digits: enough that no two archives have the same, and who
sees names knows only half of what frames are told from mail by."""

_NAME = re.compile(
    rf"(?P<partition>{SAFE_NAME})/(?P<group>{SAFE_NAME})/(?P<run>[A-Za-z0-9][A-Za-z0-9-]{{0,63}})"
    rf"\.(?P<shard>[0-9]{{1,9}})\.(?P<digits>[0-9a-f]{{{2 * _ID_BYTES}}})"
    r"(?:\.g(?P<generation>[1-9][0-9]{0,8}))?\.mha",
    re.ASCII,
)
_RELATIVE = re.compile(r"(?!\.)[^/\0]+(?:/(?!\.\.?(?:/|$))[^/\0]+)*")
_EXCERPT = ".mhx"
_MOST_NAME = 400
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
_GENERATION = re.compile(r"(?:\.g[1-9][0-9]{0,8})?\.mha$", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveName:
    """What the name of an archive tells: whose it is, which (the first ``digits`` of its id), and how often
    it was written anew. As text it is the name, relative to the staging area."""

    partition: str
    group: str
    run: str
    shard: int
    digits: str
    generation: int = 0

    def __str__(self) -> str:
        anew = f".g{self.generation}" if self.generation else ""
        return f"{self.partition}/{self.group}/{self.run}.{self.shard}.{self.digits}{anew}.mha"


def archive_name(partition: str, group: str, run: str, shard: int, archive: ArchiveId) -> str:
    """What the file of a new archive is called, relative to the staging area."""
    digits = archive[:_ID_BYTES].hex()
    return str(ArchiveName(partition=partition, group=group, run=run, shard=shard, digits=digits))


def name_of(archive: Referred) -> str:
    """What the file of an archive was called when it was new, as one that refers to it tells; empty where it
    does not. Raises AccessError if no archive can be called so."""
    if not archive.run:
        return ""
    name = archive_name(archive.partition, archive.group, archive.run, archive.shard, archive.archive)
    parse_name(name)
    return name


def parse_name(file: str) -> ArchiveName:
    """The inverse of ``archive_name``. Raises AccessError if this is no name of an archive."""
    found = _NAME.fullmatch(file)
    if found is None:
        raise AccessError("this is no name of an archive in a staging area", file=file)
    return ArchiveName(
        partition=found["partition"],
        group=found["group"],
        run=found["run"],
        shard=int(found["shard"]),
        digits=found["digits"],
        generation=int(found["generation"] or 0),
    )


def check_file_name(name: str) -> str:
    """The name of a file in a place: levels of ASCII letters, digits and ``._-``, with ``/`` between; none
    begins with a dot. Returns it, or raises AccessError."""
    if len(name) > _MOST_NAME or not _FILE_NAME.fullmatch(name):
        raise AccessError(f"{name!r} is no name that a file in a place may have", file=name)
    return name


def check_relative(name: str) -> str:
    """The name of a file in a staging area, also one that somebody else gave it: relative, and nothing in it
    leads out of there or into hidden directories. Returns it, or raises AccessError."""
    if not _RELATIVE.fullmatch(name):
        raise AccessError(f"{name!r} is no name that a file in a staging area may have", file=name)
    return name


def generation_name(file: str, generation: int) -> str:
    """The name of an archive after it was written anew for the n-th time. ``file`` is any name of it, also
    one that somebody else gave it."""
    return _GENERATION.sub(f".g{generation}.mha" if generation else ".mha", file)


def archive_path(area: Path, file: str) -> Path:
    """Where an archive of this name lies in a staging area; it need not exist.

    Raises AccessError if it is no such name, or if a directory on the way is a symbolic link or no
    directory at all.
    """
    parse_name(file)
    return _path_below(area, file)


def readable_path(area: Path, file: str) -> Path:
    """As ``archive_path``; ``file`` may be the name of an excerpt, too."""
    kind, _, name = file.partition("/")
    parse_name(name.removesuffix(_EXCERPT) + ".mha" if kind == EXCERPTS else file)
    return _path_below(area, file)


def excerpt_name(name: str) -> str:
    """What the excerpt of an archive of this name is called, relative to the staging area."""
    return f"{EXCERPTS}/{name.removesuffix('.mha')}{_EXCERPT}"


def is_excerpt(name: str) -> bool:
    """Whether this is the name of an excerpt."""
    return name.startswith(f"{EXCERPTS}/") and name.endswith(_EXCERPT)


def archive_of_excerpt(name: str) -> str:
    """The inverse of ``excerpt_name``."""
    return name.removeprefix(f"{EXCERPTS}/").removesuffix(_EXCERPT) + ".mha"


def _path_below(area: Path, file: str) -> Path:
    path = area / file
    for directory in reversed(path.parents[: file.count("/")]):
        try:
            mode = os.lstat(directory).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise AccessError(f"{directory}: {error.strerror}", file=file) from error
        if not stat.S_ISDIR(mode):
            raise AccessError(f"{directory} is no directory", file=file)
    return path
