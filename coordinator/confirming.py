"""What other programs keep: it is entered in the catalog because somebody says so, never because a file was
read. What is confirmed was whole here when that was said, and its checksum is kept, so that what comes back
can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from ..proto.errors import BackupError, DamagedError, LockedError, NotFoundError, UsageError
from ..proto.records import CONFIRMED, ArchiveId, RunId, Skipped
from ..proto.structs import Record
from ..worker.archives.names import parse_name
from ..worker.archives.places import Places
from ..worker.destinations.settings import Destination, TapeDestination
from ..worker.staging.area import StagingArea
from ..worker.sweeping.checking import CheckedSource
from .catalog import Catalog
from .clock import RUN_ID
from .destinations import ready
from .history import ArchiveRecord, CopyRecord
from .keepsakes import keep_catalog_now
from .readers import reading
from .run_archives import check_run_archive
from .sweeping.policy import known_checksum, name_in_places, source_of

_ID = re.compile(r"[0-9a-f]{8,64}")
_MOST_LOCATION = 500


class Kept(Record, kw_only=True):
    """An archive that another program keeps at a ``location``. ``outdated``: as it was before it was written
    anew. ``last``: there is no other copy."""

    archive: ArchiveId
    name: str
    size_bytes: int
    location: str
    since: datetime | None
    outdated: bool = False
    last: bool = False


class Confirmation(Record, kw_only=True):
    """The archives that were ``confirmed``, and those that were ``refused``, by name, with why."""

    confirmed: tuple[Kept, ...] = ()
    refused: tuple[Skipped, ...] = ()


def check_location(text: str) -> str:
    """Where another program keeps something, as one line of text. Raises UsageError."""
    location = text.strip()
    if not location or len(location) > _MOST_LOCATION or any(ord(letter) < 32 for letter in location):
        raise UsageError("--location: say in one line where the program keeps it, such as 'LTO 000017'")
    return location


def confirm(
    staging: Path,
    what: Sequence[str],
    location: str,
    destinations: Sequence[Destination],
    now: datetime,
    on_archive: Callable[[ArchiveRecord], object] = lambda _: None,
) -> Confirmation:
    """Record that another program keeps these archives: of runs (by id, or ``latest``) what they have sealed,
    single ones by the name of the file or the beginning of the id. Each is read first. What was confirmed
    of them before gives way.

    Raises UsageError, NotFoundError, LockedError for a run that goes on, DamagedError if a run has not its
    own archive: nothing is recorded then.
    """
    confirmed: list[Kept] = []
    refused: list[Skipped] = []
    sources = [destination for destination in destinations if not isinstance(destination, TapeDestination)]
    with reading(staging):
        with Catalog.open(staging) as catalog:
            records = list(dict.fromkeys(_chosen(catalog, staging, what, refused)))
        places = (StagingArea(path=str(staging)), *(ready(source, staging) for source in sources))
        with closing(Places(places)) as opened:
            for record in records:
                on_archive(record)
                try:
                    copy = _checked(opened, record, [one.name for one in sources], location, now)
                    with Catalog.open(staging, write=True) as catalog:
                        if not catalog.confirm(record.archive, copy):
                            raise _Unfit("rewritten", "it was written anew meanwhile")
                except _Unfit as unfit:
                    refused.append(Skipped(record.name, unfit.reason, unfit.why))
                except BackupError as error:
                    refused.append(Skipped(record.name, error.code, error.message))
                else:
                    confirmed.append(_kept(record, copy))
    if confirmed:
        keep_catalog_now(staging)
    return Confirmation(confirmed=tuple(confirmed), refused=tuple(refused))


def forget(staging: Path, what: Sequence[str], location: str | None) -> tuple[Kept, ...]:
    """Record that other programs do not keep these archives any more, or none of those at a ``location``.
    Returns what is forgotten. Raises UsageError, NotFoundError if nothing such was confirmed."""
    with Catalog.open(staging, write=True) as catalog:
        chosen = {record.archive for record in _chosen(catalog, staging, what, None)} if what else None
        found = [
            kept
            for kept in _all_kept(catalog)
            if (chosen is None or kept.archive in chosen) and location in (None, kept.location)
        ]
        if not found:
            raise NotFoundError("nothing such was confirmed: `mailhaul confirm` lists what was")
        catalog.forget_confirmed({one.archive for one in found})
    keep_catalog_now(staging)
    return tuple(found)


def all_kept(staging: Path) -> tuple[Kept, ...]:
    """All that was confirmed."""
    with Catalog.open(staging) as catalog:
        return tuple(_all_kept(catalog))


def _all_kept(catalog: Catalog) -> Iterator[Kept]:
    for record in catalog.archives():
        for copy in record.copies:
            if copy.place == CONFIRMED:
                yield _kept(record, copy)


def _kept(record: ArchiveRecord, copy: CopyRecord) -> Kept:
    return Kept(
        archive=record.archive,
        name=copy.name,
        size_bytes=copy.size_bytes,
        location=copy.version,
        since=copy.copied,
        outdated=copy.generation != record.generation,
        last=all(
            copy_record.place == CONFIRMED or copy_record.state == "lost" for copy_record in record.copies
        ),
    )


class _Unfit(Exception):
    """An archive can't be confirmed, as it is now."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason
        self.why = why


def _checked(
    places: Places, record: ArchiveRecord, sources: Sequence[str], location: str, now: datetime
) -> CopyRecord:
    """The copy that is to be entered. Raises BackupError, _Unfit."""
    source = source_of(record, sources)
    if source is None:
        raise _Unfit("not-at-hand", "it lies neither in the staging area nor where it can be read at once")
    with closing(places.open(source)) as file:
        checksum = CheckedSource(file, archive=record.archive).read_rest()
        size_bytes = file.size
    if known_checksum(record) not in (b"", checksum):
        raise DamagedError("it is not what its other copies are")
    return CopyRecord(
        place=CONFIRMED,
        name=source.name,
        version=location,
        generation=record.generation,
        size_bytes=size_bytes,
        checksum=checksum,
        copied=now,
    )


# What is meant


def _chosen(
    catalog: Catalog, staging: Path, what: Iterable[str], refused: list[Skipped] | None
) -> Iterator[ArchiveRecord]:
    """The archives that are meant; those of runs that were written anew since are ``refused``: what was taken
    may be what they were before. Without such a list it does not matter what they are now."""
    for text in what:
        if text == "latest" or RUN_ID.fullmatch(text):
            run = _run(catalog, staging, text) if refused is not None else catalog.run(text).run
            for record in catalog.archives(run):
                if refused is not None and record.generation:
                    refused.append(Skipped(record.name, "rewritten", _REWRITTEN))
                else:
                    yield record
        elif "/" in text or text.endswith(".mha"):
            yield _named(catalog, staging, text, anyhow=refused is None)
        else:
            yield _by_id(catalog, text, anyhow=refused is None)


_REWRITTEN = "it was written anew since its run: confirm it by the name of this file, if that was taken"


def _run(catalog: Catalog, staging: Path, text: str) -> RunId:
    record = catalog.run(text)
    if record.state == "running":
        raise LockedError(f"run {record.run} goes on: confirm it when it has ended", run=record.run)
    resumed = dict(catalog.ended_runs())[record.run]
    try:
        check_run_archive(staging, record.run, resumed)
    except DamagedError as error:
        raise DamagedError(
            f"run {record.run} has not its own archive, which tells how it ended: {error.message}; "
            "`mailhaul verify --fix` writes it, then let the program take it, too",
            run=record.run,
        ) from error
    return record.run


def _named(catalog: Catalog, staging: Path, text: str, *, anyhow: bool) -> ArchiveRecord:
    name = text.removeprefix(f"{staging}/").removeprefix("./")
    told = parse_name(name)
    for record in catalog.archives():
        if record.archive.hex().startswith(told.digits):
            if anyhow or name in (record.name, name_in_places(record)):
                return record
            raise UsageError(f"{name}: the archive was written anew since, and is {record.name} now")
    raise NotFoundError(f"{name}: the catalog knows no such archive", name=name)


def _by_id(catalog: Catalog, text: str, *, anyhow: bool) -> ArchiveRecord:
    if not _ID.fullmatch(text):
        raise UsageError(
            f"{text!r} is neither the id of a run, nor the name of an archive's file, nor 8 or more digits "
            "of an archive's id"
        )
    found = [archive for archive in catalog.archives() if archive.archive.hex().startswith(text)]
    if not found:
        raise NotFoundError(f"the catalog knows no archive {text}", archive=text)
    if len(found) > 1:
        listed = ", ".join(record.archive.hex() for record in found[:5])
        raise UsageError(f"{text} is the beginning of several ids: {listed}")
    if found[0].generation and not anyhow:
        raise UsageError(f"archive {text}: {_REWRITTEN}: {found[0].name}")
    return found[0]
