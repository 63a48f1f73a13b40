"""How the archive of a unit is written: what a task carries to the worker."""

from __future__ import annotations

from ...proto.archive.frames import Codec
from ...proto.structs import Record


class ArchiveSettings(Record, kw_only=True):
    """How one archive is written. ``run_started`` is in seconds since 1970. ``stream``: into a stream that
    the archive of its run ends."""

    run_started: float
    codec: Codec = Codec.LZ4
    level: int = 3
    stream: bool = False
