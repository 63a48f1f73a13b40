"""The sidecars that lie in a staging area: which there are, and which are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..proto.archive.sidecars import archive_digits, read_sidecar, sidecar_files
from ..proto.errors import BackupError, UnsupportedError
from ..proto.keys.records import SIDECARS, Keyring
from ..proto.records import ArchiveId, Skipped


def damaged_sidecars(staging: Path, keys: Keyring) -> Iterator[Skipped]:
    """The sidecars of a staging area that are damaged, or that were written by somebody who had not the
    structure key. Those for which it is not at hand are taken as they are."""
    for path in sidecar_paths(staging):
        try:
            if read_sidecar(path).is_genuine(keys) is False:
                yield Skipped(
                    _name(staging, path), "sidecar", "it is not what was written with the structure key"
                )
        except UnsupportedError:
            continue  # it may be whole
        except (BackupError, OSError) as error:
            yield Skipped(_name(staging, path), "sidecar", str(error))


def sidecar_paths(staging: Path) -> list[Path]:
    """All sidecars of a staging area."""
    found = staging.glob(f"{SIDECARS}/*/*")
    return sorted(path for path in found if archive_digits(_name(staging, path)))


def sidecars_of(staging: Path, archive: ArchiveId) -> list[str]:
    """The names of the sidecars of an archive in a staging area."""
    folders = (str(staging / SIDECARS),)
    return [_name(staging, path) for _, path in sidecar_files(folders, archive)]


def _name(staging: Path, path: Path) -> str:
    return str(path.relative_to(staging))
