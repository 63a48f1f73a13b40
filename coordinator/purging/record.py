"""Which runs were purged, beside the catalog: so that one that is made again from archives leaves them out.

``purged.jsonl`` of the staging area has one object a line, one line for each group of a partition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ...proto.errors import DamagedError
from ...proto.records import RunId
from ...proto.structs import Record, asdict
from ..durable import read_lines, replace_durably

_FILE = "purged.jsonl"


class PurgedScope(Record, kw_only=True):
    """Of one group of a partition, when something of it was purged last: the runs that could be restored from
    then on, those among them that had found it ``unchanged`` (no archive tells of these), and all that could
    not any more. ``orphans`` are the ids (hex) of archives that lay there and that the catalog did not
    know."""

    partition: str
    group: str
    kept: tuple[RunId, ...]
    unchanged: tuple[RunId, ...]
    forgotten: tuple[RunId, ...]
    orphans: tuple[str, ...] = ()


def write_purged(staging: Path, scopes: Iterable[PurgedScope]) -> None:
    """Record this, in place of what was recorded before; durably. Raises StagingError."""
    text = "".join(json.dumps(asdict(scope)) + "\n" for scope in scopes)
    replace_durably(_place(staging), text.encode("ascii"))


def read_purged(staging: Path) -> tuple[PurgedScope, ...]:
    """What is recorded. Raises DamagedError, StagingError."""
    path = _place(staging)
    lines = read_lines(path)
    try:
        return tuple(_scope(json.loads(line)) for line in lines)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged: {error!r}; without it, runs that were purged seem to be there still",
            path=str(path),
        ) from error


def _scope(row: dict[str, object]) -> PurgedScope:
    return PurgedScope(
        partition=str(row["partition"]),
        group=str(row["group"]),
        kept=_runs(row["kept"]),
        unchanged=_runs(row["unchanged"]),
        forgotten=_runs(row["forgotten"]),
        orphans=_texts(row.get("orphans", [])),
    )


def _runs(value: object) -> tuple[RunId, ...]:
    return tuple(map(RunId, _texts(value)))


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")
    return tuple(map(str, value))


def _place(staging: Path) -> Path:
    return staging / ".mailhaul" / _FILE
