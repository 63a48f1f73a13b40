"""What a destination has beside archives, and the excerpts of these, come into a staging area that has lost
them: all that it takes to make the catalog again, and for nights to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

from ..proto.archive.files import RandomAccess
from ..proto.directories import make_directories
from ..proto.errors import AccessError, BackupError, DamagedError, EncryptedError, StagingError
from ..proto.keys.records import SIDECARS, VAULTS
from ..proto.keys.sealed_files import SUFFIX
from ..proto.records import Skipped
from ..proto.structs import Record
from ..worker.archives.excerpts import write_excerpt
from ..worker.archives.names import excerpt_name, parse_name
from ..worker.archives.ports import Copy, Place
from ..worker.destinations.registry import open_destination
from ..worker.destinations.settings import Destination
from ..worker.keepsake.readme import README
from .durable import replace_durably
from .erasing.record import FOLDER as ERASURES
from .history import CopyRecord, seen_at
from .recovered_keys import RecoveredKeys
from .structure_keys import area_at
from .sweeping.companions import FOLDERS

_PART_BYTES = 1 << 20
_MOST_TRIED = 20
"""So many archives are tried for a structure key: a key that opens none of the newest is another one."""


class Fetched(Record, kw_only=True):
    """All ``copies`` of archives that a destination has, the ``place`` (empty: none was asked); and what of
    these could not be read."""

    place: str = ""
    copies: tuple[CopyRecord, ...] = ()
    failed: tuple[Skipped, ...] = ()


def fetch(
    staging: Path,
    destination: Destination,
    now: datetime,
    on_archive: Callable[[str], object] = lambda _name: None,
    keys: RecoveredKeys | None = None,
) -> Fetched:
    """Bring from a destination what tells of runs and of the catalog, and an excerpt of each archive that
    does not lie in the staging area; where archives are encrypted that takes their structure ``keys``.
    Repeatable: what is here already stays. Nothing is changed there.

    Raises PlaceError, AccessError if it can't be listed, StagingError; EncryptedError, which names who could
    open an archive, if there is no key at all.
    """
    keys = keys or RecoveredKeys(at_hand=area_at(staging).keys)
    copies: list[CopyRecord] = []
    failed: list[Skipped] = []
    with closing(open_destination(destination)) as place:
        listed = {(one.name, one.version): one for one in place.list()}
        place.request([address for address in listed if _is_beside(address[0])])
        for copy in _in_order(place, listed):
            try:
                if _is_beside(copy.name):
                    _refuse_clear(copy.name, keys)
                    _fetch_file(staging, place, copy)
                elif _is_archive(copy.name):
                    on_archive(copy.name)
                    copies.append(seen_at(destination.name, copy, now))
                    _fetch_excerpt(staging, place, copy, keys)
            except StagingError:
                raise
            except BackupError as error:
                if isinstance(error, EncryptedError) and keys.has_none:
                    raise
                reason = str(error.facts.get("reason", error.code))
                failed.append(Skipped(f"{destination.name}:{copy.name}", reason, error.message))
    return Fetched(place=destination.name, copies=tuple(copies), failed=tuple(failed))


def fetch_structure_key(staging: Path, destination: Destination, keys: RecoveredKeys) -> None:
    """Take the structure key out of the newest archive at a destination that opens, and bring what says whose
    archives these are; no more. Nothing is changed there. Raises PlaceError, AccessError, StagingError; the
    error of the newest archive if none opens."""
    with closing(open_destination(destination)) as place:
        listed = sorted(place.list(), key=lambda one: one.name.rpartition("/")[2], reverse=True)
        for copy in listed:
            if copy.name == README or copy.name.startswith((f"{SIDECARS}/", f"{VAULTS}/")):
                _fetch_file(staging, place, copy)
        refused: BackupError | None = None
        for one in [one for one in listed if _is_archive(one.name)][:_MOST_TRIED]:
            try:
                with closing(place.open(one.name, one.version)) as file:
                    keys.look(file)
            except BackupError as error:
                refused = refused or error
            if keys.found:
                return
    if refused is not None:
        raise refused


def _in_order(place: Place, listed: Mapping[tuple[str, str], Copy]) -> Iterator[Copy]:
    """As a place reads them fastest, sidecars first: there may be archives that open by these only."""
    sidecars = [address for address in listed if address[0].startswith(f"{SIDECARS}/")]
    others = [address for address in listed if not address[0].startswith(f"{SIDECARS}/")]
    for addresses in filter(None, (sidecars, others)):
        yield from (listed[address] for address in place.reading_order(addresses))


def _is_beside(name: str) -> bool:
    """Programs do not come back: what is given a private key is taken from nobody who keeps archives."""
    return name == README or name.startswith((*(f"{folder}/" for folder in FOLDERS), f"{VAULTS}/"))


def _refuse_clear(name: str, keys: RecoveredKeys) -> None:
    """Raise DamagedError for a record of an erasure that anybody may have made: archives at all places would
    be rewritten for it."""
    if name.startswith(f"{ERASURES}/") and not name.endswith(SUFFIX) and not keys.has_none:
        raise DamagedError(
            f"{name}: archives are encrypted, and this record of an erasure is not sealed: whoever can write "
            "there may have made it; if it is yours, put it into the staging area",
            reason="clear",
        )


def _is_archive(name: str) -> bool:
    try:
        parse_name(name)
    except AccessError:
        return False
    return True


def _fetch_file(staging: Path, place: Place, copy: Copy) -> None:
    path = staging / copy.name
    if not path.exists():
        with closing(place.open(copy.name, copy.version)) as file:
            data = b"".join(_parts(file))
        try:
            make_directories(path.parent)
            replace_durably(path, data)
        except OSError as error:
            raise StagingError(f"{path}: {error.strerror}", path=str(path)) from error


def _parts(file: RandomAccess) -> list[bytes]:
    return [file.read_at(at, _PART_BYTES) for at in range(0, file.size, _PART_BYTES)]


def _fetch_excerpt(staging: Path, place: Place, copy: Copy, keys: RecoveredKeys) -> None:
    path = staging / excerpt_name(copy.name)
    if path.exists() or (staging / copy.name).exists():
        return
    with closing(place.open(copy.name, copy.version)) as file:
        try:
            write_excerpt(file, path, keys.keys)
        except EncryptedError:
            keys.look(file)
            write_excerpt(file, path, keys.keys)
