"""What the commands share that tell of copies which only other programs can touch."""

from __future__ import annotations

from collections.abc import Sequence

from ...proto.records import Location
from .output import note, number, shown

_LISTED = 20
"""So many of a kind are listed for people; JSON has all."""


def tell_unneeded(copies: Sequence[Location]) -> None:
    """What other programs keep and nobody needs any more: only they can remove it."""
    _list(copies, "is not needed any more")


def tell_outdated(copies: Sequence[Location]) -> None:
    """What other programs keep of archives that were written anew."""
    _list(copies, "was written anew here: confirm the new file when it was taken")


def _list(copies: Sequence[Location], what: str) -> None:
    for copy in copies[:_LISTED]:
        note(shown(f"{copy.name}, kept at {copy.version}, {what}"))
    if len(copies) > _LISTED:
        note(f"and {number(len(copies) - _LISTED)} more (--json lists all)")


def facts(copies: Sequence[Location]) -> list[dict[str, str]]:
    """The same for JSON."""
    return [{"name": copy.name, "location": copy.version} for copy in copies]
