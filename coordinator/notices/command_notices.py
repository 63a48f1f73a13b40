"""What people hear of commands that nobody watches: how a sweep, purge, verification or drill ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_LOCKED, EXIT_OK, EXIT_SKIPPED
from ..sweeping.record import last_sweeps
from .raising import over, raise_notice
from .records import Event, Notice

WATCHED = ("backup", "sweep", "purge", "verify", "drill", "tape inventory")
"""The commands that a timer or the queue carries out night by night."""

_SAID: dict[int, tuple[Event, str]] = {
    EXIT_FAILED: ("failed", "failed"),
    EXIT_LOCKED: ("failed", "did not begin"),
    EXIT_SKIPPED: ("skipped", "left something undone"),
    EXIT_DAMAGED: ("alarm", "found damaged data"),
}
TOLD = frozenset((*_SAID, EXIT_OK))
"""Ends that something is said of, or that are the end of what was said."""

_BEING_READ = (
    "could not delete what is being read",
    "Some files can't be deleted yet, as restores or verifications read them: the next purge does it.",
)
"""Of a purge that has done all else: its exit status is that of a lock, and it was ended by no error."""

_ENDS: dict[int, tuple[Event, ...]] = {
    EXIT_OK: ("failed", "skipped", "alarm"),
    EXIT_SKIPPED: ("failed", "alarm"),
    EXIT_DAMAGED: ("failed",),
}
"""What is over when a command has ended like that: one that failed may have left something undone, too."""

_OF_ITSELF: dict[str, frozenset[Event]] = {"drill": frozenset(("skipped", "alarm"))}
"""What a command puts on record itself, more exactly."""


def tell_of_command(
    staging: Path, name: str, arguments: Sequence[str], status: int, error: str, now: datetime
) -> None:
    """Put on record how a command ended (``name`` is one of WATCHED): with this exit status; ``error`` is
    what it raised or said last, empty if nothing. Of a run that began, its observer tells. Raises as
    ``raise_notice``."""
    asked = " ".join((name, *arguments))
    event, how = _SAID.get(status, (None, ""))
    if status == EXIT_LOCKED and name == "purge" and not error:
        event, status, (how, error) = "skipped", EXIT_SKIPPED, _BEING_READ
    if event in _OF_ITSELF.get(name, ()):
        event = None
    for ended in _ENDS.get(status, ()):
        over(staging, f"{ended}:{asked}", now)
    if event is not None:
        raise_notice(
            staging,
            Notice(
                event=event,
                cause=f"{event}:{asked}",
                subject=f"{name.capitalize()} {how}: {' '.join(arguments)}".rstrip(": "),
                lines=(*([error] if error else []), *_more(staging, name)),
                facts={"command": name, "arguments": list(arguments), "exit_status": status},
            ),
            now,
        )


def _more(staging: Path, name: str) -> list[str]:
    """Of a sweep, which destinations it did not get along with."""
    if name != "sweep":
        return []
    return [
        f"{sweep.destination}: {sweep.error} (since {sweep.failing_since:%Y-%m-%d %H:%M} UTC, "
        f"{sweep.waiting:,} wait)"
        for sweep in last_sweeps(staging)
        if sweep.failing_since is not None
    ]
