"""Sidecars at a destination: read, and compared with those of the staging area. What is not what was put
there goes, so that the next sweep puts it again."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from ...proto.archive.files import RandomAccess
from ...proto.archive.sidecars import archive_digits, decode_sidecar
from ...proto.errors import BackupError, DamagedError
from ...proto.keys.records import SIDECARS, Keyring
from ...proto.records import Skipped
from ...worker.archives.ports import Copy, Place
from ...worker.destinations.registry import open_destination
from ...worker.destinations.settings import Destination
from ..structure_keys import keys_at

_MOST_BYTES = 64 << 20


def check_sidecars(
    staging: Path, destination: Destination
) -> tuple[tuple[Skipped, ...], tuple[Skipped, ...]]:
    """What is damaged or was replaced of the sidecars at a destination, and what could not be read: all of
    them, where it can't be listed. Those of a place that does not read parts of files at their price (a tape)
    are left alone."""
    damaged: list[Skipped] = []
    unread: list[Skipped] = []
    keys = keys_at(staging).keys
    with ExitStack() as stack:
        try:
            place = stack.enter_context(closing(open_destination(destination)))
            listed = [copy for copy in place.list(f"{SIDECARS}/") if archive_digits(copy.name)]
        except BackupError as error:
            return (), (Skipped(f"{destination.name}:{SIDECARS}/", error.code, error.message),)
        for copy in listed if place.reads_anywhere else ():
            where = f"{destination.name}:{copy.name}"
            try:
                with closing(place.open(copy.name, copy.version)) as file:
                    wrong = _what_is_wrong(staging, copy.name, file, keys)
            except DamagedError as error:
                wrong = error.message
            except BackupError as error:
                unread.append(Skipped(where, error.code, error.message))
                continue
            if wrong:
                damaged.append(Skipped(where, "sidecar", f"{wrong}; {_removed(staging, place, copy)}"))
    return tuple(damaged), tuple(unread)


def _what_is_wrong(staging: Path, name: str, file: RandomAccess, keys: Keyring) -> str:
    """Nothing, if it is genuine; where the structure key is not at hand, if it is what lies in the staging
    area. Raises DamagedError."""
    data = file.read_at(0, min(file.size, _MOST_BYTES))
    genuine = decode_sidecar(data, file.name).is_genuine(keys)
    staged = staging / name
    if staged.exists() and data != staged.read_bytes():
        return "it is not what lies in the staging area"
    return "it is not what was written with the structure key" if genuine is False else ""


def _removed(staging: Path, place: Place, copy: Copy) -> str:
    if not (staging / copy.name).exists():
        return "it does not lie in the staging area: `mailhaul keys recipient add` makes it again"
    try:
        place.remove(copy.name, copy.version)
    except BackupError as error:
        return f"it can't be removed: {error.message}"
    return "it was removed, and the next sweep puts it again"
