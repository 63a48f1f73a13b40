"""Copies at destinations that the catalog does not know: found by a list of all, now and then.

A sweep that is killed between the commit of a place and the record of it leaves one, if the archive is purged
before the next sweep. Such a copy is removed when it is sure that it is one: the catalog remembers that it
has dropped the archive, and an earlier look has seen the copy already. What else is not known may be
somebody's last copy: it is told, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.errors import AccessError
from ...proto.records import ArchiveId, Location
from ...proto.structs import Record
from ...worker.archives.names import ArchiveName, parse_name
from ...worker.archives.ports import Copy
from ..durable import replace_durably
from ..settings import own_directory
from .policy import LOOK_EVERY

_FILE = "strays.json"

OLD_ENOUGH = timedelta(days=6)
"""A look that is so old is another one."""


class Stray(Record, kw_only=True):
    """A copy that is not known, since some look."""

    location: Location
    since: datetime


class Strays(Record, kw_only=True):
    """What the last look at a destination found."""

    destination: str
    looked: datetime
    found: tuple[Stray, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(stray.location.size_bytes for stray in self.found)


def last_strays(staging: Path, destination: str) -> Strays | None:
    """What is recorded of the last look; None if there was none, or none that can be read."""
    with suppress(OSError, KeyError, TypeError, ValueError):
        told = json.loads((own_directory(staging, destination) / _FILE).read_bytes())
        found = tuple(
            Stray(
                location=Location(destination, str(name), str(version), int(size_bytes)),
                since=datetime.fromisoformat(since),
            )
            for name, version, size_bytes, since in told["found"]
        )
        return Strays(destination=destination, looked=datetime.fromisoformat(told["looked"]), found=found)
    return None


def note_strays(staging: Path, strays: Strays) -> None:
    """Record a look. Raises StagingError."""
    found = [(*stray.location[1:], stray.since.isoformat()) for stray in strays.found]
    text = json.dumps({"looked": strays.looked.isoformat(), "found": found}) + "\n"
    replace_durably(own_directory(staging, strays.destination) / _FILE, text.encode("ascii"))


def is_due(last: Strays | None, now: datetime) -> bool:
    """Whether it is time for a look."""
    return last is None or now - last.looked >= LOOK_EVERY


def strays(
    destination: str,
    listed: Iterable[Copy],
    known: Collection[Location],
    last: Strays | None,
    now: datetime,
) -> Strays:
    """What is listed, looks like an archive, and is not known by place, name and version."""
    before = {stray.location[:3]: stray.since for stray in last.found} if last else {}
    there = {location[:3] for location in known}
    found = [
        Location(destination, copy.name, copy.version, copy.size_bytes)
        for copy in listed
        if (destination, copy.name, copy.version) not in there and _archive(copy.name) is not None
    ]
    return Strays(
        destination=destination,
        looked=now,
        found=tuple(Stray(location=one, since=before.get(one[:3], now)) for one in found),
    )


def to_remove(found: Strays, purged: Iterable[ArchiveId]) -> list[Location]:
    """Those that are copies of archives that were purged, and that an earlier look has seen."""
    digits = {archive_id.hex()[:16] for archive_id in purged}
    going = []
    for stray in found.found:
        archive = _archive(stray.location.name)
        if archive and archive.digits in digits and found.looked - stray.since >= OLD_ENOUGH:
            going.append(stray.location)
    return going


def _archive(name: str) -> ArchiveName | None:
    try:
        return None if name.startswith("_") else parse_name(name)
    except AccessError:
        return None
