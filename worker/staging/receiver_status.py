"""What the receiver says of itself: a record, and a file in the staging area that is written every second."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...proto.directories import make_private
from ...proto.errors import StagingError
from ...proto.structs import Record, asdict

STATUS_FILE = ".mailhaul/receiver.json"
"""Where it lies in a staging area."""


class StreamStatus(Record, kw_only=True):
    """An archive that is being written: how much of it was, by the attempt with this epoch; what it waits
    for (empty: nothing); since when (seconds since 1970)."""

    file: str
    host: str
    epoch: int
    written_bytes: int
    waiting: str
    since: float


class RefusedStranger(Record, kw_only=True):
    """A connection that was turned away: when (seconds since 1970), from where, why."""

    time: float
    address: str
    reason: str


class ReceiverStatus(Record, kw_only=True):
    """How things are at ``time`` (seconds since 1970), and what has happened since ``started``.

    ``free_bytes`` and ``total_bytes`` are those of the file system of the staging area, of which
    ``reserve_bytes`` stay free. A credit stall is a time during which a worker had nothing left that it was
    allowed to send. ``refused`` counts what clients asked for and did not get, ``fenced`` the attempts that
    a later one has overtaken, ``malformed`` messages that are none.
    """

    time: float
    started: float
    pid: int
    endpoint: str
    streams: tuple[StreamStatus, ...]
    connections: int
    free_bytes: int
    total_bytes: int
    reserve_bytes: int
    received_bytes: int
    read_bytes: int
    seals: int
    credit_stalls: int
    credit_stall_seconds: float
    refused: int
    fenced: int
    malformed: int
    strangers: int
    last_strangers: tuple[RefusedStranger, ...]


def write_status(area: Path, status: ReceiverStatus) -> None:
    """Write it, so that readers see all of it or the one before. Raises StagingError."""
    path = area / STATUS_FILE
    draft = path.with_name(path.name + ".new")
    try:
        make_private(path.parent)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(status, default=asdict, separators=(",", ":")) + "\n")
        os.replace(draft, path)
    except OSError as error:
        raise StagingError(f"can't write {path}: {error.strerror}", path=str(path)) from error
