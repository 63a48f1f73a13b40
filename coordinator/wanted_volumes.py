"""Tape volumes that somebody has to bring: told to who looks on, and asked for once each by the hook
``volume_wanted``, until they are in a drive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from ..proto.errors import BackupError
from ..proto.structs import Record, asdict
from ..worker.destinations.tape.inventory import Inventory, Wanted
from .hooks import HookFailure, Hooks
from .settings import destinations_directory

HOOK = "volume_wanted"


class WantedVolume(Record, kw_only=True):
    """A volume that a destination wants ``since`` then: a certain one (``volume``, ``label``), or any of a
    ``pool`` that has room, a blank one too. ``why`` is for people."""

    destination: str
    pool: str
    volume: str
    label: str
    why: str
    since: datetime

    @property
    def told(self) -> str:
        """Which one, and what for."""
        what = f"volume {self.label}" if self.volume else "a volume with room, or a blank one"
        return f"{what} of pool {self.pool}, {self.why}"


def wanted_volumes(staging: Path) -> tuple[WantedVolume, ...]:
    """All that destinations of a staging area want, those that are wanted longest first."""
    found = (_volume(name, wish) for name, _, wish in _wanted(staging))
    return tuple(sorted((volume for volume in found if volume is not None), key=lambda one: one.since))


def ask_for_volumes(staging: Path, hooks: Hooks) -> list[HookFailure]:
    """Call the hook for what it was not called for yet; returns how it failed. Then it is called again by
    the next program that finds the volume missing."""
    failures = []
    for name, inventory, wish in list(_wanted(staging)) if HOOK in hooks else ():
        volume = _volume(name, wish)
        if volume is None or wish.asked:
            continue
        failure = hooks.call(HOOK, {**asdict(volume), "since": wish.since, "staging": str(staging)})
        if failure is None:
            with suppress(BackupError):  # then it is asked for twice
                inventory.note_asked(wish)
        else:
            failures.append(failure)
    return failures


def _wanted(staging: Path) -> Iterator[tuple[str, Inventory, Wanted]]:
    for directory in sorted(destinations_directory(staging).glob("*")):
        inventory = Inventory(str(directory))
        for wish in inventory.wanted():
            yield unquote(directory.name), inventory, wish


def _volume(destination: str, wanted: Wanted) -> WantedVolume | None:
    with suppress(ValueError):
        since = datetime.fromisoformat(wanted.since)
        if since.tzinfo is not None:
            return WantedVolume(
                destination=destination,
                pool=wanted.pool,
                volume=wanted.volume,
                label=wanted.label,
                why=wanted.why,
                since=since,
            )
    return None
