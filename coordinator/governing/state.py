"""What others see of a governor: a small file for each host in the staging area, written about once a second
while it governs, and left behind as it was in the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from ...proto.structs import Record, field
from ..snapshots import read_snapshot
from .effort import Effort

FRESH_SECONDS = 10.0
"""A state that is older is that of a governor that has ended."""

_ENDING = ".json"


class GovernorState(Record, kw_only=True):
    """How it stands with a host at the time ``written``, since ``since`` (both aware UTC).

    ``p95_seconds`` is what 95 of 100 looks of the last ``window_seconds`` took at most, None without any;
    ``steps`` the same for each step of them. ``level`` is the share of the work that is done, by
    ``workers`` who each do ``share``; 1 is all. ``why`` says in a few words why it is not all (empty where
    it is). ``blind`` is why nobody can look, empty where that goes well. ``slowed_seconds``: for so long it
    was not all, since ``since``; ``looks`` were taken, ``late`` of them too late. ``effort`` is what the next
    governor goes on with, if it begins soon.
    """

    host: str
    pid: int
    since: datetime
    written: datetime
    target_seconds: float
    window_seconds: float
    p95_seconds: float | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    level: float = 1.0
    workers: int = 0
    share: float = 1.0
    why: str = ""
    blind: str = ""
    slowed_seconds: float = 0.0
    looks: int = 0
    late: int = 0
    effort: Effort | None = None

    def is_fresh(self, now: datetime, seconds: float = FRESH_SECONDS) -> bool:
        """Whether its governor is still there, or was so shortly before."""
        return abs(now - self.written) < timedelta(seconds=seconds)


def state_file(staging: Path, host: str) -> Path:
    """Where the state of a host is written."""
    return states_directory(staging) / f"{quote(host, safe='')}{_ENDING}"


def lock_file(staging: Path, host: str) -> Path:
    """What is locked by who looks at this host: one does for all runs of a staging area."""
    return states_directory(staging) / f"{quote(host, safe='')}.lock"


def states_directory(staging: Path) -> Path:
    """Where these files lie."""
    return staging / ".mailhaul" / "governor"


def read_state(staging: Path, host: str) -> GovernorState | None:
    """The state of a host as it was written last; None if there is none."""
    return read_snapshot(state_file(staging, host), GovernorState)


def fresh_states(staging: Path, now: datetime) -> tuple[GovernorState, ...]:
    """The hosts that are governed at this moment, by name."""
    try:
        files = sorted(states_directory(staging).glob(f"*{_ENDING}"))
    except OSError:
        return ()
    found = (read_snapshot(file, GovernorState) for file in files)
    return tuple(state for state in found if state is not None and state.is_fresh(now))
