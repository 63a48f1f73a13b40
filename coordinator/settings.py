"""What can be set: frozen records that are handed down, whether they come from a file or from flags.

Owns the defaults. How the file is read and checked is ``config``'s business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..groups.assignment import GroupRules
from ..proto.records import Partition

Codec = Literal["lz4", "zstd"]

_PLACEHOLDER = re.compile(r"\{(?:user|domain)(?:\[[0-9]+(?::[0-9]+)?\])?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    """Who is backed up together. A group is split so that its shards hold about ``largest_unit_bytes``."""

    rules: GroupRules = field(default_factory=GroupRules)
    largest_unit_bytes: int = 20 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchConfig:
    """What runs units, and how many at a time on each host."""

    engine: Literal["local"] = "local"
    workers_per_host: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """How blocks are compressed. ``level`` is that of zstd; lz4 has none."""

    codec: Codec = "lz4"
    level: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that is configured. ``staging`` is an absolute path."""

    staging: Path
    partitions: tuple[Partition, ...]
    groups: GroupsConfig = field(default_factory=GroupsConfig)
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)


def check_path(path: str) -> str:
    """Check the shape of a partition's path; how placeholders stand for users is known to the stores.

    Returns the path, or raises ValueError.
    """
    if not path.startswith("/"):
        raise ValueError("it is relative")
    rest = _PLACEHOLDER.sub("/", path)
    if stray := re.search(r"\{[^/{}]*\}?|\}", rest):
        raise ValueError(f"{stray[0]} is no placeholder")
    if rest != path and "{user}" not in path:
        raise ValueError("{user} is missing")
    return path
