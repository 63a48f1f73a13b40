"""What programs hold that the queue has not started: commands by hand, or by timers."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ...proto.errors import LockedError
from ..flocks import flocked
from ..lock import lock_owner
from ..readers import exclusive
from .rules import ARCHIVES, RUN, Going, Outside

_OWNER = re.compile(r"pid ([0-9]+) on (\S+?)(?:, run .*)?")
_LONGEST_COMMAND_BYTES = 4096


def outside(staging: Path, going: Collection[Going], wanted: Iterable[str]) -> Outside:
    """Who holds what of the ``wanted`` locks, beside the operations ``going``. Raises StagingError."""
    ours = {name for one in going for name in (*one.needs.alone, *one.needs.shared)}
    pids = {one.operation.pid for one in going}
    held: dict[str, str] = {}
    for name in sorted(set(wanted)):
        if name == RUN:
            held.update((name, holder) for holder in _holder_of_run_lock(staging, pids))
        elif name == ARCHIVES and ARCHIVES not in ours and _are_read(staging):
            held[name] = "archives are being read by another program"
        elif name.startswith("sweep:") and name not in ours:
            place = name.removeprefix("sweep:")
            if _is_swept_to(staging, place):
                held[name] = f"another sweep to {place} goes on"
    return Outside(held=held)


def _holder_of_run_lock(staging: Path, ours: Collection[int]) -> Iterator[str]:
    owner = lock_owner(staging)
    if owner is None:
        return
    found = _OWNER.fullmatch(owner)
    if found is None or found[2] != os.uname().nodename:
        yield f"somebody holds the lock of the staging area ({owner})"
        return
    pid = int(found[1])
    who = "an operation" if pid in ours else f"{_command(pid)} (pid {pid})"
    yield f"{who} holds the lock of the staging area"


def _command(pid: int) -> str:
    """The command of this program that a process is; its arguments are nobody's business."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_LONGEST_COMMAND_BYTES).decode(errors="replace").split("\0")
    except OSError:
        return "a process"
    from_program = iter(words)
    for word in from_program:
        if word.rpartition("/")[2] == "mailhaul":
            break
    for word in from_program:
        if word == "--config":
            next(from_program, None)
        elif re.fullmatch(r"[a-z]+", word):
            return f"`mailhaul {word}`"
    return "a process"


def _are_read(staging: Path) -> bool:
    try:
        with exclusive(staging, patience_seconds=0):
            return False
    except LockedError:
        return True


def _is_swept_to(staging: Path, destination: str) -> bool:
    path = staging / ".mailhaul" / "sweeps" / f"{destination}.lock"
    if not path.exists():
        return False
    try:
        with flocked(path, "", shared=True, patience_seconds=0):
            return False
    except LockedError:
        return True
