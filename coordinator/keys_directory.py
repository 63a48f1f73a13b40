"""Which directory of this host holds the keys of a staging area: the area says so itself
(``.mailhaul/keys-directory``), so every command finds them, whatever it was given to read."""

from __future__ import annotations

import os
from pathlib import Path

from ..proto.errors import ConfigError
from .durable import replace_durably

POINTER = Path(".mailhaul", "keys-directory")
"""Below the staging area. Empty: no run has recipients, and it was said."""


def keys_directory(staging: Path) -> Path | None:
    """Where the keys of a staging area lie; None if it does not say. Never inside of the area, where who may
    write to it could put others."""
    try:
        path = (staging / POINTER).read_bytes().rstrip(b"\n")
    except OSError:
        return None
    directory = Path(os.fsdecode(path))
    return directory if path and directory.is_absolute() and not _is_inside(directory, staging) else None


def point_to(directory: Path, staging: Path) -> None:
    """Let the staging area say that its keys lie in this directory. Repeatable. Raises StagingError."""
    pointer = staging / POINTER
    path = f"{directory}\n".encode(errors="surrogateescape")
    if not pointer.exists() or pointer.read_bytes() != path:
        replace_durably(pointer, path)


def was_said(staging: Path) -> bool:
    """Whether it was said that archives are not encrypted; from now on it was. Raises StagingError."""
    if (staging / POINTER).exists():
        return True
    replace_durably(staging / POINTER, b"")
    return False


def refuse_inside(directory: Path, staging: Path) -> None:
    """Raise ConfigError for a directory of keys that lies inside the staging area."""
    if _is_inside(directory, staging):
        raise ConfigError(
            f"the directory of keys {directory} lies inside the staging area: who copies archives would copy "
            "their keys; say where else by keys in [staging]"
        )


def _is_inside(directory: Path, staging: Path) -> bool:
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(staging))
