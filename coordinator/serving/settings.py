"""What can be set of ``mailhaul serve``."""

from __future__ import annotations

from ...proto.structs import Record, field
from ..web.settings import PageConfig


class ServeConfig(Record, kw_only=True):
    """An operation that was asked to stop has ``stop_grace_seconds`` to do so in order; then it is killed.
    ``page`` is where people look at it. The ``trusted_hosts`` are those whose keys may ask for any operation,
    and see all of them."""

    stop_grace_seconds: float = 300.0
    trusted_hosts: tuple[str, ...] = ()
    page: PageConfig = field(default_factory=PageConfig)
