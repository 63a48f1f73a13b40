"""The names of archives in a staging area, made and read: ``PARTITION/GROUP/RUN.SHARD.ID.mha``; of one that
was written anew ``RUN.SHARD.ID.gGENERATION.mha``. ID are the first digits of the archive's id.

How mailboxes were before a restore lies apart, in the directory of that:
``RESTORES/RESTORE/before.N.PLACE``. A worker on another host sends it as ``before.N.PLACE.ID``, and it counts
when the coordinator renames it.

Names come from other hosts, so a name that is not exactly of this form is no name, and no symbolic link
is followed on the way to a file.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ...groups.definitions import SAFE_NAME
from ...proto.errors import AccessError
from ...proto.records import ArchiveId, Referred
from ...proto.structs import Record

EXCERPTS = "_metadata"
"""Below the staging area: where the excerpts of archives lie. No partition can be called so."""

RESTORES = ".mailhaul/restores"
"""Below the staging area: a directory for each restore that is known, by its id."""

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
_BEFORE = re.compile(
    rf"{re.escape(RESTORES)}/[0-9]{{8}}T[0-9]{{6}}Z-[0-9a-f]{{4}}"
    rf"/before\.[0-9]{{1,9}}\.[0-9a-f]{{16}}(?P<sent>\.[0-9a-f]{{{2 * _ID_BYTES}}})?",
    re.ASCII,
)
_RELATIVE = re.compile(r"(?!\.)[^/\0]+(?:/(?!\.\.?(?:/|$))[^/\0]+)*")
_EXCERPT = ".mhx"
_MOST_NAME = 400
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
_GENERATION = re.compile(r"(?:\.g[1-9][0-9]{0,8})?\.mha$", re.ASCII)


class ArchiveName(Record, kw_only=True):
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


def before_name(restore: str, number: int, place: str) -> str:
    """What the archive of mailboxes is called that tells how they were before a ``restore``, relative to the
    staging area. ``place`` is a digest of where they lie, in 16 hexadecimal digits."""
    return f"{RESTORES}/{restore}/before.{number}.{place}"


def sent_name(name: str, archive: ArchiveId) -> str:
    """What such an archive is called that a worker on another host sends: no other has this name."""
    return f"{name}.{archive[:_ID_BYTES].hex()}"


def check_relative(name: str) -> str:
    """The name of a file in a staging area, also one that somebody else gave it: relative, and nothing in it
    leads out of there, or into hidden directories but for what is kept before restores. Returns it, or raises
    AccessError."""
    if not (_RELATIVE.fullmatch(name) or _BEFORE.fullmatch(name)):
        raise AccessError(f"{name!r} is no name that a file in a staging area may have", file=name)
    return name


def generation_name(file: str, generation: int) -> str:
    """The name of an archive after it was written anew for the n-th time. ``file`` is any name of it, also
    one that somebody else gave it."""
    return _GENERATION.sub(f".g{generation}.mha" if generation else ".mha", file)


def check_writable(file: str) -> None:
    """Raises AccessError unless workers on other hosts may be let write a file of this name: an archive, or
    how mailboxes are before a restore, under the name by which that is sent."""
    if not is_sent(file):
        parse_name(file)


def is_sent(file: str) -> bool:
    """Whether this is a name by which is sent how mailboxes are before a restore."""
    found = _BEFORE.fullmatch(file)
    return found is not None and found["sent"] is not None


def archive_path(area: Path, file: str) -> Path:
    """Where an archive of this name is written in a staging area; it need not exist.

    Raises AccessError if it is no such name, if a directory on the way is a symbolic link or no directory at
    all, and for a restore that is not known (any more).
    """
    check_writable(file)
    path = _path_below(area, file)
    if is_sent(file) and not path.parent.is_dir():
        raise AccessError(f"there is no restore {path.parent.name}", file=file)
    return path


def readable_path(area: Path, file: str) -> Path:
    """Where an archive is read from a staging area: ``file`` may be the name of an excerpt, too, or of what
    is kept before a restore. Raises AccessError as ``archive_path``."""
    if not _BEFORE.fullmatch(file):
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
