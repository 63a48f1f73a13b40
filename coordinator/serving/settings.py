"""What can be set of ``mailhaul serve``."""

from __future__ import annotations

from ...proto.structs import Record


class ServeConfig(Record, kw_only=True):
    """An operation that was asked to stop has ``stop_grace_seconds`` to do so in order; then it is killed."""

    stop_grace_seconds: float = 300.0
