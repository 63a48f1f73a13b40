"""Sidecars: keys of archives that are there already, wrapped for recipients that came later. FORMAT.md,
"Sidecars".

They add, and take nothing away: a sidecar that is damaged, that was replaced, or that is of other archives
opens nothing, and without it an archive is read as it was before.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import DamagedError, UnsupportedError
from ..keys.derivation import sidecar_key
from ..keys.opening import slots_with_sidecar
from ..keys.records import SIDECARS, Keyring, KeySlots, Slot
from ..records import ArchiveId
from ..structs import Record
from . import frames, slots
from .codec import PLAIN
from .frames import FrameType

ENDING = ".mhk"

SIDECAR_DIGITS = 16
"""So many hexadecimal digits of the id of an archive are in the name."""

_TAG_BYTES = 32
_MOST_BYTES = 64 << 20
_NAME = re.compile(
    rf"(?P<digits>[0-9a-f]{{{SIDECAR_DIGITS}}})\.(?P<number>[1-9][0-9]{{0,8}}){re.escape(ENDING)}"
)


class Sidecar(Record, kw_only=True):
    """What a sidecar holds: slots of an ``archive``, with the wraps that it adds. Whether it was written by
    who has the structure key says ``is_genuine``."""

    archive: ArchiveId
    slots: tuple[Slot, ...]
    frame: bytes
    tag: bytes

    def is_genuine(self, keys: Keyring) -> bool | None:
        """None where no structure key of it is at hand: then nothing can be said. Where that of the last slot
        is not, and another is, it is taken for forged: anybody can name a key that nobody has."""
        secret = keys.structures.get(self.slots[-1].structure) if self.slots else None
        if secret is None:
            return False if any(slot.structure in keys.structures for slot in self.slots) else None
        return hmac.compare_digest(self.tag, _tag(secret, self.archive, self.frame))


def sidecar_name(archive: ArchiveId, number: int) -> str:
    """Where the sidecar of an archive with this number lies, relative to the staging area."""
    digits = archive.hex()[:SIDECAR_DIGITS]
    return f"{SIDECARS}/{digits[:2]}/{digits}.{number}{ENDING}"


def encode_sidecar(archive: ArchiveId, added: Sequence[Slot], structure: bytes) -> bytes:
    """The bytes of a sidecar: slots with the wraps that are added, ascending by number; ``structure`` is the
    structure key of the last one."""
    header, payload = PLAIN.pack(FrameType.KEYS, archive, None, slots.encode(KeySlots(tuple(added))))
    frame = frames.pack_header(header) + bytes(payload)
    return frame + _tag(structure, archive, frame)


def decode_sidecar(data: bytes, where: str) -> Sidecar:
    """The inverse; ``where`` names the file for messages. Raises DamagedError, UnsupportedError."""
    frame, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
    header = frames.decode_header(frame[: frames.HEADER_BYTES], where)
    payload = frame[frames.HEADER_BYTES :]
    if header.type is not FrameType.KEYS or header.flags or header.stored_bytes != len(payload):
        raise DamagedError(f"{where}: is no sidecar", reason="sidecar")
    found = slots.decode(PLAIN.unpack(header, payload, where)).wrapped
    if not found:
        raise DamagedError(f"{where}: has no keys", reason="sidecar")
    return Sidecar(archive=header.archive, slots=found, frame=frame, tag=tag)


def read_sidecar(path: Path) -> Sidecar:
    """A sidecar, as it lies under its name. Raises DamagedError, also if it is that of another archive than
    its name says; UnsupportedError, OSError."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise DamagedError(f"{path}: is longer than a sidecar can be", reason="sidecar")
    found = decode_sidecar(data, str(path))
    if not path.name.startswith(f"{found.archive.hex()[:SIDECAR_DIGITS]}."):
        raise DamagedError(f"{path}: is the sidecar of archive {found.archive.hex()}", reason="sidecar")
    return found


def archive_digits(name: str) -> str:
    """The first digits of the id of the archive that a sidecar of this name is one of; empty for another
    name."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    return found["digits"] if found and name.startswith(f"{SIDECARS}/") else ""


def sidecar_files(folders: Iterable[str], archive: ArchiveId) -> Iterator[tuple[int, Path]]:
    """The sidecars of an archive in some folders, each with its number, ascending in each folder. They may
    lie in a folder itself, or in that below it which has the first two digits as its name."""
    digits = archive.hex()[:SIDECAR_DIGITS]
    for folder in folders:
        for directory in (Path(folder, digits[:2]), Path(folder)):
            with suppress(OSError):
                names = [entry for entry in os.listdir(directory) if entry.startswith(f"{digits}.")]
                found = [(int(match["number"]), name) for name in names if (match := _NAME.fullmatch(name))]
                yield from ((number, directory / name) for number, name in sorted(found))


def folders_beside(file: Path) -> tuple[str, ...]:
    """Where the sidecars of an archive that somebody names may lie: in its directory, or as in a staging
    area."""
    directory = file.absolute().parent
    found = (directory, directory / SIDECARS, directory.parent.parent / SIDECARS)
    return tuple(str(folder) for folder in found if folder.is_dir())


def with_sidecars(found: tuple[Slot, ...], keys: Keyring, only: ArchiveId | None = None) -> tuple[Slot, ...]:
    """The slots of an archive with the wraps that sidecars add, from the folders that go with the keys: those
    of this archive, and of those whose slots came along (``only`` of this one). What is no sidecar, or was
    not written by who has the structure key (where that is at hand), adds nothing."""
    if not (found and keys.sidecars):
        return found
    for archive in dict.fromkeys(slot.archive for slot in found) if only is None else (only,):
        for _, path in sidecar_files(keys.sidecars, archive):
            with suppress(DamagedError, UnsupportedError, OSError):
                sidecar = read_sidecar(path)
                if sidecar.is_genuine(keys) is not False:
                    found = slots_with_sidecar(found, sidecar.slots)
    return found


def _tag(structure: bytes, archive: ArchiveId, frame: bytes) -> bytes:
    return hmac.digest(sidecar_key(structure, archive), frame, "sha256")
