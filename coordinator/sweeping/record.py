"""How the last sweep to each destination ended: ``sweeps/NAME.json`` beside the catalog, for who looks on."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.structs import Record
from ..durable import replace_durably
from .report import DestinationReport


class LastSweep(Record, kw_only=True):
    """The last sweep to a destination. ``failing_since``: since then each has left something undone, the last
    for the ``error``, in the words of the destination; ``waiting`` archives are left. ``out_of_reach`` and
    ``refused``: see DestinationReport; of the latter the first."""

    destination: str
    ended: datetime
    copied: int = 0
    waiting: int = 0
    failing_since: datetime | None = None
    error: str = ""
    out_of_reach: int = 0
    refused: str = ""


def note_sweep(staging: Path, report: DestinationReport, now: datetime) -> None:
    """Record what was done. Raises StagingError."""
    path = _folder(staging) / f"{report.name}.json"
    before = _read(path)
    since = None if report.in_order else (before and before.failing_since) or now
    first = report.stopped or next(iter((*report.failed, *report.unlocked)), None)
    row = {
        "ended": now.isoformat(),
        "copied": report.copied,
        "waiting": report.waiting + len(report.failed),
        "failing_since": since and since.isoformat(),
        "error": "" if first is None else first.detail,
        "out_of_reach": report.out_of_reach,
        "refused": report.refused[0].detail if report.refused else "",
    }
    replace_durably(path, json.dumps(row).encode("ascii") + b"\n")


def last_sweeps(staging: Path) -> tuple[LastSweep, ...]:
    """What is recorded, by destination. A record that can't be read is left out: the next sweep makes it
    again."""
    found = map(_read, sorted(_folder(staging).glob("*.json")))
    return tuple(sweep for sweep in found if sweep is not None)


def _read(path: Path) -> LastSweep | None:
    with suppress(OSError, KeyError, TypeError, ValueError):
        row = json.loads(path.read_bytes())
        since = row["failing_since"]
        return LastSweep(
            destination=path.stem,
            ended=datetime.fromisoformat(row["ended"]),
            copied=int(row["copied"]),
            waiting=int(row["waiting"]),
            failing_since=datetime.fromisoformat(since) if since else None,
            error=str(row["error"]),
            out_of_reach=int(row["out_of_reach"]),
            refused=str(row["refused"]),
        )
    return None


def _folder(staging: Path) -> Path:
    return staging / ".mailhaul" / "sweeps"
