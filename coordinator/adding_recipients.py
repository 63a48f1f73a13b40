"""The keys of archives that are there already are wrapped for further recipients, into sidecars (FORMAT.md).

For each archive a file of its own, which is whole when it has its name: who was ended in the middle begins
again, and writes what is missing. No archive is changed, and nothing that could be read before can't be read
then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from ..proto.archive.files import RandomAccess
from ..proto.archive.sidecars import (
    encode_sidecar,
    read_sidecar,
    sidecar_files,
    sidecar_name,
    with_sidecars,
)
from ..proto.archive.slots import read_slots
from ..proto.errors import BackupError, NotFoundError, StagingError, UnsupportedError
from ..proto.keys.identities import Identity
from ..proto.keys.opening import open_slot, rewrap
from ..proto.keys.records import SIDECARS, Keyring, Recipient
from ..proto.records import STAGING, Location, Skipped
from ..proto.structs import Mutable, field, replace
from ..worker.archives.holdings import EXCERPTS, PlaceSettings
from ..worker.archives.opened import beginning_of
from ..worker.archives.places import Places
from .catalog import Catalog
from .durable import remove_durably, replace_durably
from .history import ArchiveRecord
from .key_proofs import staged_copies
from .structure_keys import keys_at


class Added(Mutable):
    """What became of the encrypted archives: ``written`` is how many got a sidecar, ``there`` how many every
    recipient could open before; ``failed`` are those whose keys could not be opened, or not be read."""

    encrypted: int = 0
    written: int = 0
    there: int = 0
    failed: list[Skipped] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)


def add_recipients(
    staging: Path,
    identity: Identity,
    recipients: Sequence[Recipient],
    places: Iterable[PlaceSettings],
    on_archive: Callable[[str], object] = lambda _name: None,
) -> Added:
    """Wrap the keys of all archives of a staging area for these recipients, as far as the identity opens
    them. Call it while no archive is deleted (``readers.reading``). Repeatable. Raises StagingError;
    DamagedError if the catalog is."""
    added = Added()
    with closing(Places(places)) as opened:
        for copy in every_archive(staging):
            where = opened.described(copy)
            on_archive(copy.name)
            try:
                with closing(opened.open(copy)) as file:
                    _add(staging, identity, recipients, file, added)
            except StagingError:
                raise
            except BackupError as error:
                added.codes.add(error.code)
                added.failed.append(Skipped(where, error.code, error.message))
    return added


def every_archive(staging: Path) -> Iterator[Location]:
    """Where the keys of each archive are read: in the staging area, or in the excerpt that is left there;
    else, as after a loss of these, from a copy. Raises DamagedError if the catalog is."""
    here = staged_copies(staging)
    yield from here
    names = {copy.name for copy in here}
    with suppress(NotFoundError), Catalog.open(staging) as catalog:
        for archive in catalog.archives():
            if not archive.missing and names.isdisjoint({archive.name, *_names(archive)}):
                yield from _copies(archive)[:1]


def _names(archive: ArchiveRecord) -> Iterator[str]:
    return (copy.name for copy in archive.copies)


def _copies(archive: ArchiveRecord) -> list[Location]:
    return [
        Location(copy.place, copy.name, copy.version, copy.size_bytes)
        for copy in archive.copies
        if copy.state != "lost" and copy.place not in (STAGING, EXCERPTS)
    ]


def _add(
    staging: Path, identity: Identity, recipients: Sequence[Recipient], file: RandomAccess, added: Added
) -> None:
    found = read_slots(file)
    if not found:
        return
    added.encrypted += 1
    archive = beginning_of(file).archive
    keys = Keyring(structures=keys_at(staging).keys.structures, sidecars=(str(staging / SIDECARS),))
    # Of the archives whose slots came along the sidecars don't count: these may be purged before this one.
    known = with_sidecars(found, keys, only=archive)
    further = [replace(slot, wraps=wraps) for slot in known if (wraps := rewrap(slot, identity, recipients))]
    if not further:
        added.there += 1
        return
    _, structure = open_slot(next(slot for slot in known if slot.number == further[-1].number), identity)
    earlier = list(sidecar_files((str(staging / SIDECARS),), archive))
    useless = {number: path for number, path in earlier if _is_of_no_use(path, keys)}
    taken = {number for number, _ in earlier}
    # What is of no use may have the greatest number that there is: then nothing could be put behind it.
    last = max(taken - useless.keys(), default=0)
    number = next(one for one in count(last + 1) if one not in taken)
    replace_durably(staging / sidecar_name(archive, number), encode_sidecar(archive, further, structure))
    for path in useless.values():
        remove_durably(path)
    added.written += 1


def _is_of_no_use(path: Path, keys: Keyring) -> bool:
    try:
        return read_sidecar(path).is_genuine(keys) is False
    except UnsupportedError:
        return False
    except BackupError:
        return True
