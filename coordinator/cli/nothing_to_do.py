"""Commands that a schedule gives night by night, on a staging area in which nothing is stored yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...worker.destinations.settings import Destination
from ..nothing_stored import nothing_stored
from .output import note, print_json


def is_nothing_to_do(
    staging: Path, destinations: Sequence[Destination], to_do: str, *, as_json: bool
) -> bool:
    """Whether nothing was stored yet, which is said then: so there is nothing ``to_do``, such as "to verify",
    and the command has done all of it."""
    if not nothing_stored(staging, destinations):
        return False
    note(f"nothing is stored yet: there is nothing {to_do}")
    if as_json:
        print_json({"nothing_stored": True})
    return True
