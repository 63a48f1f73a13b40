"""The sidecars that lie in a staging area: which there are, and which are not what they should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..proto.archive.sidecars import SIDECAR_DIGITS, archive_digits, read_sidecar
from ..proto.errors import BackupError, UnsupportedError
from ..proto.keys.records import SIDECARS, Keyring
from ..proto.records import ArchiveId, Skipped


def damaged_sidecars(staging: Path, keys: Keyring) -> Iterator[Skipped]:
    """The sidecars of a staging area that are damaged, or that were written by somebody who had not the
    structure key. Those for which it is not at hand are taken as they are."""
    for path in sidecar_paths(staging):
        try:
            if read_sidecar(path).is_genuine(keys) is not False:
                continue
            wrong = "it is not what was written with the structure key"
        except UnsupportedError:
            continue  # it may be whole
        except (BackupError, OSError) as error:
            wrong = str(error)
        name = str(path.relative_to(staging))
        yield Skipped(name, "sidecar", f"{wrong}; `mailhaul keys recipient add` makes it again")


def sidecar_paths(staging: Path) -> list[Path]:
    """All sidecars of a staging area."""
    found = staging.glob(f"{SIDECARS}/*/*")
    return sorted(path for path in found if archive_digits(str(path.relative_to(staging))))


def sidecars_of(staging: Path, archives: Iterable[ArchiveId]) -> list[str]:
    """The names of the sidecars of some archives in a staging area."""
    digits = {archive.hex()[:SIDECAR_DIGITS] for archive in archives}
    names = (str(path.relative_to(staging)) for path in sidecar_paths(staging))
    return [name for name in names if archive_digits(name) in digits]
