"""Where the programs of one user on a host keep what they have in common: a directory of small files that
nobody else may write to."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from ...proto.errors import BackupError

_PLACES = (Path("/run"), Path("/tmp"))  # noqa: S108 (see _directory)
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def shared_file(host: str, kind: str) -> Path:
    """The file of this kind of a host, by the name that tasks call it by (empty: the coordinator's own). It
    need not be there; its directory is. Raises BackupError."""
    return _directory() / quote(f"{host or 'localhost'}.{kind}", safe="")


def check_ours(path: Path, status: os.stat_result, kind: int) -> None:
    """Raise BackupError for something that is not ours alone."""
    if stat.S_IFMT(status.st_mode) != kind or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise BackupError(
            f"{path} is somebody else's, or open to others, and is not used to bound the load on this host: "
            "remove it",
            path=str(path),
        )


def boot_id() -> bytes:
    """Names this boot: moments of an earlier one, in a file that outlived it, mean nothing."""
    try:
        return bytes.fromhex(_BOOT.read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def _directory() -> Path:
    """The directory of this user, made if need be.

    /run, where only root can make one and nobody can be before us; else /tmp, where somebody can, and is
    then found out. A directory that is ours stays ours: /tmp keeps others from renaming it.
    """
    name = f"mailhaul-{os.geteuid()}"
    place = next((path for path in _PLACES if os.access(path, os.W_OK | os.X_OK)), _PLACES[-1])
    directory = place / name
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        check_ours(directory, directory.lstat(), stat.S_IFDIR)
    except OSError as error:
        raise BackupError(
            f"{directory}: the load on this host can't be bounded: {error.strerror}", path=str(directory)
        ) from error
    return directory
