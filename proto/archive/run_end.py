"""How a run ended, as an archive of its own tells it: the payloads of RUN frames. FORMAT.md, "RUN".

Such an archive has no mailboxes. Where a catalog is made again from archives, it tells what the others can't:
of units that found nothing changed or failed, of what was asked for, and which mailboxes have a good backup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from ..keys.records import NO_KEYS, Keyring, Sealing
from ..ports import ArchiveSink
from ..records import ArchiveId, RunId, Skipped
from ..run_ends import RunEnd, ScopeEnd, UnitEnd
from ..structs import replace
from . import claims
from .contents import ArchiveHeader
from .files import RandomAccess
from .frames import FrameType
from .framing import NO_CHAIN, chained
from .reader import open_sealed
from .scanning import FoundFrame, header_of, owner_of, scan
from .slots import codec_for, read_keys
from .writer import ArchiveWriter

NOWHERE = "-"
"""The partition and group in the HEADER of an archive of a run: no real one is called so."""

MOST_PLAIN_BYTES = 256 << 20
"""What the RUN frames of an archive may come to, decompressed."""

_PART_BYTES = 1 << 20
_LISTS = ("stores", "units", "failed", "left_out", "alarms", "skipped", "scopes", "mailboxes", "passed_over")


def write_run_end(
    end: RunEnd,
    sink: ArchiveSink,
    archive: ArchiveId,
    program: str,
    *,
    stream: bool = False,
    sealing: Sealing | None = None,
) -> str:
    """Write the archive of a run and seal it; returns its name. ``stream``: as the end of one; with a
    ``sealing`` encrypted. Raises StagingError."""
    header = ArchiveHeader(
        archive=archive,
        run=end.run,
        run_started=end.started,
        host="",
        partition=NOWHERE,
        format="",
        group=NOWHERE,
        shard=end.resumed,
        program=program,
        stream=stream,
    )
    try:
        sink.begin()
        sink.restart()
        writer = ArchiveWriter(sink, header, sealing=sealing)
        for payload in encode(end):
            writer.add_run_end(payload)
        writer.finish()
        return sink.seal()
    finally:
        sink.abort()


def read_run_end(file: RandomAccess, keys: Keyring = NO_KEYS) -> RunEnd:
    """What the archive of a run tells. Raises DamagedError if something of it is damaged, EncryptedError if
    there is no structure key for it."""
    return decode(_payloads(file, keys))


def archives_of(end: RunEnd) -> frozenset[ArchiveId]:
    """The archives that a run has sealed."""
    return frozenset(unit.archive for unit in end.units if unit.archive is not None)


def _payloads(file: RandomAccess, keys: Keyring) -> Iterator[bytes]:
    """All of them, in the order in which they were written. Of an encrypted archive nothing is taken for all
    that was said but what its end seals."""
    left = MOST_PLAIN_BYTES
    owner = owner_of(file)
    codec = codec_for(owner, read_keys(file), keys)
    seal = open_sealed(file, keys=keys).directory.seal if codec.seals else None
    chain, last = NO_CHAIN, None
    for found in scan(file, owner, codec):
        if not isinstance(found, FoundFrame):
            continue
        if seal is not None and found.at < seal.at:
            chain = chained(chain, header_of(file, found))
        if found.header.type is not FrameType.RUN:
            continue
        if found.locked:
            raise codec.lacks_key(found.header, file.name)
        if found.damage is not None:
            raise found.damage
        if last is not None and found.header.sequence != last + 1:
            raise DamagedError(f"{file.name}: some of what the run had to tell is missing", reason="sequence")
        last = found.header.sequence
        left -= found.header.plain_bytes
        if left < 0:
            raise DamagedError(f"{file.name}: no run has that much to tell", reason="length")
        yield found.payload
    if seal is not None and chain != seal.chain:
        raise DamagedError(f"{file.name}: it is not made of the frames that were sealed", reason="forged")


def encode(end: RunEnd) -> Iterator[bytes]:
    """The payloads of the RUN frames of a run: the first has what there is once, each rows of the lists."""
    payload: dict[str, Any] = {
        "run": end.run,
        "started": end.started,
        "ended": end.ended,
        "state": end.state,
        "resumed": end.resumed,
        "paths": end.paths,
        "options": end.options,
        "narrowed": end.narrowed,
        "error": end.error,
    }
    weight = 0
    for name, row in _rows(end):
        payload.setdefault(name, []).append(row)
        weight += len(_packed(row))
        if weight >= _PART_BYTES:
            yield _packed(payload)
            payload, weight = {}, 0
    # The last one says that it is: what is missing behind a damaged end is noticed.
    yield _packed({**payload, "last": True})


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value, unicode_errors="surrogateescape"))


def _rows(end: RunEnd) -> Iterator[tuple[str, Sequence[Any]]]:
    for unit_end in end.units:
        places = (
            unit_end.partition,
            unit_end.group,
            unit_end.shard,
            unit_end.state,
            unit_end.archive,
            unit_end.file,
            unit_end.attempts,
        )
        yield (
            "units",
            (
                *places,
                unit_end.error,
                unit_end.counts,
                unit_end.seconds,
                unit_end.cpu_seconds,
                unit_end.ended,
            ),
        )
    yield from (("stores", row) for row in end.stores)
    yield from (("failed", row) for row in end.failed)
    yield from (("left_out", (skip.path, skip.reason, skip.detail)) for skip in end.left_out)
    yield from (("alarms", (alarm.path, alarm.reason, alarm.detail)) for alarm in end.alarms)
    yield from (("skipped", (unit, one.path, one.reason, one.detail)) for unit, one in end.skipped)
    for number, scope in enumerate(end.scopes):
        yield "scopes", (scope.partition, scope.group, scope.good)
        yield from (("mailboxes", (number, *row)) for row in scope.others)
        yield from (("passed_over", (number, user)) for user in scope.passed_over)


def decode(payloads: Iterable[bytes]) -> RunEnd:
    """A run from the payloads of its RUN frames, in order. Raises DamagedError."""
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
    first: dict[str, Any] | None = None
    last = False
    for payload in payloads:
        row = claims.unpack_map(payload)
        first = first or row
        last = row.get("last") is True
        for name, rows in lists.items():
            rows += claims.rows(row.get(name, []))
    if first is None or not last:
        raise DamagedError("what the archive tells of its run is not complete", reason="metadata")
    try:
        return replace(_end(first, lists), scopes=_scopes(lists))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(
            f"the end of a run is not complete: {claims.shown(error)}", reason="metadata"
        ) from error


def _end(row: dict[str, Any], lists: dict[str, list[Any]]) -> RunEnd:
    return RunEnd(
        run=RunId(claims.name(row["run"])),
        started=float(row["started"]),
        ended=_time(row["ended"]),
        state=claims.name(row["state"]),
        resumed=claims.number(row["resumed"]),
        paths=claims.text(row["paths"]),
        options=claims.text(row["options"]),
        narrowed=claims.boolean(row["narrowed"]),
        error=claims.text(row["error"]),
        stores=tuple(_texts(store, 4) for store in lists["stores"]),
        units=tuple(map(_unit, lists["units"])),
        failed=tuple(_texts(one, 3) for one in lists["failed"]),
        left_out=tuple(Skipped(*_texts(one, 3)) for one in lists["left_out"]),
        alarms=tuple(Skipped(*_texts(alarm, 3)) for alarm in lists["alarms"]),
        skipped=tuple(
            (_below(unit, lists["units"]), Skipped(*_texts(one, 3))) for unit, *one in lists["skipped"]
        ),
    )


def _unit(row: Sequence[Any]) -> UnitEnd:
    partition, group, shard, state, archive, file, attempts, error, counts, seconds, cpu_seconds, ended = row
    return UnitEnd(
        partition=claims.name(partition),
        group=claims.name(group),
        shard=claims.number(shard),
        state=claims.name(state),
        archive=None if archive is None else claims.archive_id(archive),
        file=claims.text(file),
        attempts=claims.number(attempts),
        error=claims.text(error),
        counts=tuple(map(claims.number, claims.rows(counts))),
        seconds=float(seconds),
        cpu_seconds=float(cpu_seconds),
        ended=_time(ended),
    )


def _scopes(lists: dict[str, list[Any]]) -> tuple[ScopeEnd, ...]:
    scopes = [
        ScopeEnd(**dict(zip(("partition", "group", "good"), _texts(scope, 3), strict=True)))
        for scope in lists["scopes"]
    ]
    others: dict[int, list[Any]] = {}
    passed_over: dict[int, list[str]] = {}
    for number, *row in lists["mailboxes"]:
        others.setdefault(_below(number, scopes), []).append(_texts(row, 5))
    for number, user in lists["passed_over"]:
        passed_over.setdefault(_below(number, scopes), []).append(claims.name(user))
    return tuple(
        replace(end, others=tuple(others.get(number, ())), passed_over=tuple(passed_over.get(number, ())))
        for number, end in enumerate(scopes)
    )


def _texts(row: Sequence[Any], count: int) -> tuple[Any, ...]:
    if len(row) != count:
        raise ValueError(f"{len(row)} values instead of {count}")
    return tuple(map(claims.text, row))


def _below(number: Any, rows: Sequence[object]) -> int:
    if claims.number(number) >= len(rows):
        raise IndexError(number)
    return cast(int, number)


def _time(value: Any) -> float | None:
    return None if value is None else float(value)
