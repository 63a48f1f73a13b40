"""``[serve]``: from the table of the file to a record."""

from __future__ import annotations

from pydantic import Field

from ..serving.settings import ServeConfig
from .tables import Seconds, Table


class ServeTable(Table):
    stop_grace: Seconds | None = Field(default=None, description="a time such as '90s' or '10m'")


def serving(table: ServeTable) -> ServeConfig:
    """What is configured of ``mailhaul serve``."""
    names = {"stop_grace": "stop_grace_seconds"}
    return ServeConfig(**{names.get(key, key): value for key, value in table.given().items()})
