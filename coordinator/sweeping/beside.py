"""Until when the files beside the archives are locked at a destination, and which of them it needs no longer.

The catalog knows copies of archives only. What is locked beside them is noted where what has to be kept of a
destination lies; a note that is lost costs one request for each file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.archive.sidecars import SIDECAR_DIGITS, archive_digits
from ...proto.records import ArchiveId
from ..catalog.snapshots import FOLDER, KEPT, Snapshot, stem_of
from ..clock import RUN_ID
from ..durable import replace_durably
from ..run_archives import FOLDER as RUNS
from ..settings import own_directory
from .lock_terms import is_due

_FILE = "beside.json"

_RUN = re.compile(rf"{RUNS}/[0-9]{{4}}/({RUN_ID.pattern})\.([0-9]{{1,9}})\.mhr", re.ASCII)


def locks_beside(staging: Path, destination: str) -> dict[str, datetime]:
    """By name, until when files are locked as far as is known."""
    with suppress(OSError, TypeError, ValueError, AttributeError):
        rows = json.loads((own_directory(staging, destination) / _FILE).read_bytes())
        return {str(name): datetime.fromisoformat(until) for name, until in rows.items()}
    return {}


def note_locks_beside(staging: Path, destination: str, locks: Mapping[str, datetime]) -> None:
    """Record that. Raises StagingError."""
    text = json.dumps({name: until.isoformat() for name, until in locks.items()}) + "\n"
    replace_durably(own_directory(staging, destination) / _FILE, text.encode("ascii"))


def to_lock(
    names: Collection[str], known: Mapping[str, datetime], now: datetime, ahead: timedelta
) -> Iterator[str]:
    """The files there that are to be locked anew, of these that lie in the staging area as well.

    Of snapshots one is locked all the time, and not each that a sweep makes: what came after it is told by
    the archives themselves.
    """

    def due(name: str) -> bool:
        return is_due(known.get(name), now + ahead, now, ahead)

    yield from (name for name in names if not stem_of(name) and due(name))
    newest = max(filter(None, map(stem_of, names)), default=None)
    if newest is not None and all(due(name) for name in known if stem_of(name)):
        yield from (name for name in names if stem_of(name) == newest)


def old_sidecars(there: Iterable[str], purged: Iterable[ArchiveId]) -> list[str]:
    """The sidecars at a place whose archives were purged."""
    digits = {archive.hex()[:SIDECAR_DIGITS] for archive in purged}
    return [name for name in there if archive_digits(name) in digits]


def old_snapshots(there: Iterable[str], just_put: Collection[str]) -> list[str]:
    """The snapshots at a place, and their tables, that nobody needs there: all but the newest ones, and all
    that are in clear if the newest is sealed. None unless the very newest was put there, and so compared,
    just now: what is left must be known to be good."""
    names = list(there)
    stems = sorted({stem for name in names if (stem := stem_of(name))}, reverse=True)
    if not stems or str(stems[0]) not in just_put:
        return []
    kept = {stem for stem in stems[:KEPT] if stem.sealed or not stems[0].sealed}
    return [name for name in names if name.startswith(f"{FOLDER}/") and stem_of(name) not in {None, *kept}]


def outdated_beside(
    there: Iterable[str], first_clean: Snapshot | None, *, there_only: bool = True
) -> Iterator[str]:
    """What has to go of the files beside archives at a place, as something was erased since: snapshots, and
    their tables, from before the ``first_clean`` one, and records of runs of which there is a later one.
    Unless ``there_only`` is false nothing goes before that is there in its place."""
    names = list(there)
    stems = [stem for name in names if (stem := stem_of(name))]
    if first_clean is not None and (not there_only or any(snapshot >= first_clean for snapshot in stems)):
        yield from (name for name in names if (stem := stem_of(name)) and stem < first_clean)
    newest: dict[str, int] = {}
    runs = [found for name in names if (found := _RUN.fullmatch(name))]
    for found in runs:
        newest[found[1]] = max(newest.get(found[1], 0), int(found[2]))
    yield from (found[0] for found in runs if int(found[2]) < newest[found[1]])
