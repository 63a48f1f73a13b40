"""Values of the catalog: how they are stored, and records made from rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import Any

from ...groups.paths import LogicalPath
from ...proto.errors import AccessError, DamagedError, UsageError
from ...proto.records import STAGING, Departed, Location, Losses, RunId, Stretch
from ...worker.archives.names import check_relative
from ..clock import RUN_ID
from ..history import (
    ArchiveRecord,
    Behind,
    CopyRecord,
    GoodBackup,
    GroupCopies,
    KnownMailbox,
    MailboxVersion,
    Moment,
    RunRecord,
    UnitRecord,
    Version,
)
from .database import ADVICE


def run_number(run: RunId) -> int:
    """A run id as an integer that sorts the same. Raises ValueError for what is no run id."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"{run!r} is no run id")
    day, second, serial = run[:8], run[9:15], run[17:]
    return int(day + second) << 16 | int(serial, 16)


def first_run_number(since: datetime) -> int:
    """The smallest number that a run has that began at an aware time or later."""
    return int(since.astimezone(UTC).strftime("%Y%m%d%H%M%S")) << 16


def run_id(number: int) -> RunId:
    """The run id that has this number."""
    stamp = f"{number >> 16:014d}"
    return RunId(f"{stamp[:8]}T{stamp[8:]}Z-{number & 0xFFFF:04x}")


def departed(row: sqlite3.Row) -> Departed:
    """A departure; that its ``run`` is NULL says that it is that of the archive."""
    run = RunId("") if row["run"] is None else run_id(row["run"])
    return Departed(row["user"], row["departed"], row["detail"], run)


def run_started(run: RunId) -> datetime:
    """When a run began, as its id tells. Raises ValueError if that is no time."""
    return datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def raw(text: str) -> bytes:
    """A text as it is stored: the very bytes of a file name that is not UTF-8."""
    return text.encode(errors="surrogateescape")


def iso(when: datetime) -> str:
    """An aware time as it is stored, in UTC. Raises ValueError for one that is not aware."""
    # Whole seconds, as in run ids: who repeats the time that is shown finds the run.
    if when.tzinfo is None:
        raise ValueError(f"a time without an offset: {when}")
    return when.astimezone(UTC).isoformat(timespec="seconds")


def meant(text: str) -> datetime:
    """The time that an ISO date (its last moment) or time means. Raises UsageError."""
    try:
        try:
            when = datetime.combine(date.fromisoformat(text), time.max)
        except ValueError:
            when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time: expected latest, a run id, an ISO date or time, yesterday, or -3d",
            time=text,
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)


_TEXTS = frozenset(
    (
        *("run", "started", "ended", "sealed", "state", "paths", "options", "error", "partition", "group"),
        *(
            "user",
            "name",
            "place",
            "version",
            "copied",
            "verified",
            "checked",
            "locked_until",
            "detail",
            "reason",
            "path",
            "good",
            "stored_at",
            "since",
            "places",
            "unchecked_since",
            "checked_since",
        ),
    )
)
_MAYBE = frozenset(
    (
        "ended",
        "sealed",
        "good",
        "stored_at",
        "since",
        "archive",
        "encrypted",
        "copied",
        "verified",
        "checked",
        "locked_until",
        "unchecked_since",
        "checked_since",
    )
)


def checked(row: sqlite3.Row) -> dict[str, Any]:
    """The values of a row that names a run, by column. Raises DamagedError if that is no run id, or if a
    value is of another type than its column has: nothing guards a value against damage but what it has to
    look like."""
    values = typed(row)
    if not RUN_ID.fullmatch(str(values["run"])):
        raise DamagedError(f"the catalog holds a run id that is none: {values['run']!r}; {ADVICE}")
    return values


def typed(row: sqlite3.Row) -> dict[str, Any]:
    """The values of a row, by column. Raises DamagedError for one of a wrong type."""
    values = dict(row)
    for column, value in values.items():
        if value is None and column in _MAYBE:
            continue
        expected: tuple[type, ...] = (int,)
        if column in _TEXTS:
            expected = (str,)
        elif column in ("archive", "checksum"):
            expected = (bytes,)
        elif column.endswith("seconds"):
            expected = (int, float)
        elif column == "departed":
            expected = (int, str)
        if not isinstance(value, expected):
            raise DamagedError(f"the catalog holds {value!r} as {column}; {ADVICE}")
    return values


def archive_name(text: object) -> str:
    """The name of an archive, as a row has it. Raises DamagedError for one that leads out of the staging
    area: files are read and deleted by these names."""
    try:
        return check_relative(text if isinstance(text, str) else "")
    except AccessError as error:
        raise DamagedError(f"the catalog holds {text!r} as the name of an archive; {ADVICE}") from error


def location(row: sqlite3.Row) -> Location:
    """Where a copy lies. Raises DamagedError."""
    values = typed(row)
    place, name = values["place"], values["name"]
    return Location(
        place,
        archive_name(name) if place == STAGING else name,
        values["version"],
        0 if place == STAGING else values["size_bytes"],
    )


def copy_record(row: sqlite3.Row) -> CopyRecord:
    values = typed(row)
    if values["place"] == STAGING:
        archive_name(values["name"])
    values.update({name: time_of(values[name]) for name in ("copied", "verified", "checked", "locked_until")})
    return CopyRecord(**values)


def group_copies(partition: str, group: str, rows: Sequence[sqlite3.Row]) -> GroupCopies:
    """The copies of a group, from its archives by the places in which copies count. Raises DamagedError."""
    told = [(set(row["places"].split("\0")) - {""}, typed(row)) for row in rows]
    alone = [row for places, row in told if len(places) == 1]
    return GroupCopies(
        partition=partition,
        group=group,
        archives=sum(row["archives"] for _, row in told),
        size_bytes=sum(row["size_bytes"] for _, row in told),
        nowhere=sum(row["archives"] for _, row in told if not row["there"]),
        alone=sum(row["archives"] for row in alone),
        alone_since=min(filter(None, (time_of(row["since"]) for row in alone)), default=None),
        unswept=sum(row["archives"] for places, row in told if row["there"] and not places - {STAGING}),
        places={
            name: sum(row["archives"] for places, row in told if name in places)
            for name in sorted(set().union(*(places for places, _ in told)))
        },
    )


def run_record(row: sqlite3.Row) -> RunRecord:
    values = checked(row)
    started, ended = _started(values), time_of(values.pop("ended"))
    narrowed, purged = bool(values.pop("narrowed")), bool(values.pop("purged"))
    return RunRecord(started=started, ended=ended, narrowed=narrowed, purged=purged, **values)


def unit_record(row: sqlite3.Row) -> UnitRecord:
    values = checked(row)
    return UnitRecord(purged=bool(values.pop("purged")), **values)


def archive_record(
    row: sqlite3.Row, holes: tuple[Stretch, ...], lost: Losses, copies: tuple[CopyRecord, ...]
) -> ArchiveRecord:
    values = checked(row)
    del values["number"]
    sealed, missing = time_of(values.pop("sealed")), bool(values.pop("missing"))
    if values["encrypted"] is not None:
        values["encrypted"] = bool(values["encrypted"])
    if values["name"] or not missing:
        archive_name(values["name"])
    return ArchiveRecord(sealed=sealed, missing=missing, holes=holes, lost=lost, copies=copies, **values)


def mailbox_version(scope: sqlite3.Row, row: sqlite3.Row) -> MailboxVersion:
    values = checked(row)
    changed = bool(values.pop("changed"))
    return MailboxVersion(partition=scope["partition"], group=scope["group"], changed=changed, **values)


def version(row: sqlite3.Row) -> Version:
    values = checked(row)
    started, changed = _started(values), bool(values.pop("changed"))
    return Version(started=started, changed=changed, **values)


def known_mailbox(row: sqlite3.Row) -> KnownMailbox:
    values = checked(row)
    started, gone = _started(values), bool(values.pop("reason"))
    return KnownMailbox(started=started, gone=gone, **values)


def good_backup(
    scope: sqlite3.Row, standing: sqlite3.Row, stored_at: Callable[[int], sqlite3.Row | None]
) -> GoodBackup:
    """The standing of a scope; ``stored_at`` gives the row of a run that stored something of it."""

    def when(number: int | None) -> tuple[RunId | None, datetime | None]:
        row = None if number is None else stored_at(number)
        if row is None:
            return None, None
        values = checked(row)
        return values["run"], time_of(values["sealed"]) or time_of(values["started"])

    run, sealed = when(None if standing["never"] else standing["worst"])
    return GoodBackup(
        partition=scope["partition"],
        group=scope["group"],
        run=run,
        sealed=sealed,
        newest=when(standing["best"])[1],
        mailboxes=standing["mailboxes"],
        behind=standing["behind"],
        never=standing["never"],
    )


def behind(scope: sqlite3.Row, row: sqlite3.Row) -> Behind:
    values = typed(row)
    stored = time_of(values.pop("stored_at"))
    return Behind(partition=scope["partition"], group=scope["group"], stored=stored, **values)


def moment(scope: sqlite3.Row, row: sqlite3.Row) -> Moment:
    """A run as a moment of a scope. Of a run that only archives tell of, the paths are not known: it counts
    as one over the whole."""
    values = checked(row)
    paths = values["paths"]
    whole = (
        bool(values["complete"])
        and not values["narrowed"]
        and (not paths or _covered(paths, scope["partition"], scope["group"]))
    )
    unchanged = bool(values["unchanged"])
    return Moment(run=values["run"], started=_started(values), whole=whole, unchanged=unchanged)


def moment_start(row: sqlite3.Row) -> tuple[RunId, datetime]:
    values = checked(row)
    return values["run"], _started(values)


def _covered(paths: str, partition: str, group: str) -> bool:
    return any(path.covers(LogicalPath(partition, group)) for path in paths_of(paths))


def paths_of(text: str) -> Iterator[LogicalPath]:
    """The paths of a run; none where they are not known. A slash after a space always begins one: within a
    name it is escaped."""
    for path in filter(None, re.split(r" (?=/)", text)):
        with suppress(UsageError):
            yield LogicalPath.parse(path)


def _started(values: dict[str, Any]) -> datetime:
    started = time_of(values.pop("started"))
    if started is None:
        raise DamagedError(f"the catalog does not say when run {values['run']} started; {ADVICE}")
    return started


def time_of(text: str | None) -> datetime | None:
    """A time as it is stored; None for none. Raises DamagedError."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the catalog holds a time that is none; {ADVICE}") from error
