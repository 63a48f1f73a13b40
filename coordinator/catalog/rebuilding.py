"""The catalog made again from what the archives say, and from what purges have recorded beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ...proto.directories import make_private
from ...proto.erased import NOBODY, Erased
from ...proto.errors import NotFoundError
from ...proto.records import (
    CONFIRMED,
    STAGING,
    ArchiveFacts,
    ArchiveId,
    Location,
    Referred,
    RunId,
    Skipped,
    UnitReport,
)
from ...proto.run_ends import RunEnd
from ...proto.structs import Record, replace
from ...worker.archives.names import parse_name
from ..history import CopyRecord
from . import erasing, journal, locations, queries, run_ends, units, upkeep
from .bases import Base, copies_known_to
from .database import companion, connect_private, create, place, transaction, translated
from .values import run_number, run_started

_REBUILT = "rebuilt from archives: whether other units failed is not known"

NeededReferences = Callable[[str, frozenset[str]], Iterable[ArchiveId] | None]
"""Tells of an archive (its name) which others the metadata of these users names; None: that is not known."""


class FoundArchive(Record, kw_only=True):
    """An archive that was found: in the staging area (``staged``), or only an excerpt of it there.
    ``damaged``: not all of it can be read."""

    facts: ArchiveFacts
    damaged: bool = False
    staged: bool = True

    @property
    def bare(self) -> bool:
        """Whether it was written anew with no metadata: nobody needed that any more."""
        facts = self.facts
        return facts.generation > 0 and not (facts.mailboxes or facts.departed or facts.lost or self.damaged)


class PurgedMoments(Record, kw_only=True):
    """What purges have recorded of a group: the runs that were forgotten; and the users whose versions stay
    all the same. ``unchanged`` are kept runs that no archive tells of, since nothing had changed in them;
    ``kept`` are all that could be restored from then on."""

    partition: str
    group: str
    forgotten: tuple[RunId, ...]
    unchanged: tuple[RunId, ...] = ()
    kept: tuple[RunId, ...] = ()
    held: Callable[[str], bool] = lambda _user: False

    @property
    def newest(self) -> RunId | None:
        """The last run that was kept."""
        return max(self.kept, default=None)


class Start(Record, kw_only=True):
    """A catalog that a rebuild begins with, in place of an empty one; the archives of it that are ``gone``
    from where they lay in the staging area."""

    base: Base
    gone: frozenset[ArchiveId]


class Inventory(Record, kw_only=True):
    """All ``copies`` of archives that a place has now, as it was asked."""

    place: str
    copies: tuple[CopyRecord, ...]


class Rebuilt(Record, kw_only=True):
    """How many archives were entered; which could not be, as they contradict others; which files hold an
    older generation of one that was; and which archives others refer to that are not there, with one of these
    others."""

    archives: int
    refused: tuple[Skipped, ...]
    superseded: tuple[str, ...]
    missing: tuple[Skipped, ...]


def rebuild(
    staging: Path,
    found: Iterable[FoundArchive],
    purged: Iterable[PurgedMoments] = (),
    needed_references: NeededReferences = lambda _file, _users: (),
    ends: Iterable[RunEnd] = (),
    start: Start | None = None,
    inventory: Inventory | None = None,
    older: Base | None = None,
    erased: Erased = NOBODY,
) -> Rebuilt:
    """Make the catalog again from what the archives say, in any order; call it under the run lock. ``ends``,
    what archives of runs say, is asked for when all that were ``found`` are entered. With a ``start`` only
    archives and ends have to be among them that it does not know. Copies that an ``older`` catalog knew are
    carried over, as no file here tells where they are; of one place an ``inventory`` tells.

    The new one is made beside the old, which stays if this fails, and is durable on return. Of two
    generations of an archive the greater one counts, but none in clear where another is encrypted. A run of
    which no ``ends`` tell is ``partial``; if it found nothing changed it is not known, unless a purge has
    recorded it. What was ``purged`` does not come
    back, nor what was ``erased``, whatever archives or catalogs tell of it.

    Raises StagingError.
    """
    path = place(staging)
    new = path.with_name(path.name + ".new")
    with translated(new):
        make_private(path.parent)
        new.unlink(missing_ok=True)
        try:
            if start is not None:
                start.base.path.rename(new)
            with closing(connect_private(new)) as database:
                # A crash leaves the old catalog in place, so nothing here needs a journal on disk.
                database.execute("PRAGMA journal_mode = MEMORY")
                database.execute("PRAGMA synchronous = OFF")
                with transaction(database):
                    if start is None:
                        create(database)
                    else:
                        # What a run that ended early relied on may have been purged since.
                        journal.drop_plans(database)
                    rebuilt = _fill(database, found, purged, needed_references, ends, start, inventory, older)
                    erasing.erase(database, erased)
                if erased:
                    database.execute("VACUUM")  # a catalog that was begun with had it
                database.execute("PRAGMA journal_mode = WAL")
            _replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    return rebuilt


def _fill(
    database: sqlite3.Connection,
    found: Iterable[FoundArchive],
    purged: Iterable[PurgedMoments],
    needed_references: NeededReferences,
    ends: Iterable[RunEnd],
    start: Start | None,
    inventory: Inventory | None,
    older: Base | None,
) -> Rebuilt:
    gone = set(start.gone) if start else set()
    refused: list[Skipped] = []
    superseded: list[str] = []
    named: dict[ArchiveId, Referred] = {}
    bare: list[ArchiveFacts] = []
    dropped = {archive for (archive,) in database.execute("SELECT archive FROM purged")}
    for found_archive in found:
        if not found_archive.staged and found_archive.facts.archive in dropped:
            continue  # what a purge has dropped lies elsewhere until it is removed there
        try:
            earlier = _enter(database, found_archive, gone)
            superseded += [] if found_archive.facts.archive in gone else earlier
            if (
                found_archive.facts.name not in earlier
            ):  # an older generation does not stand for one that is gone
                gone.discard(found_archive.facts.archive)
            bare += [found_archive.facts] if found_archive.bare else []
            named.update((other.archive, other) for other in found_archive.facts.referred)
        except _Contradiction as error:
            refused.append(Skipped(found_archive.facts.name, "contradicts", str(error)))
    units.name_missing(database, named.values())
    units.spread_departures(database)
    known_to = max((run for run, _ in start.base.ended), default=None) if start else None
    told = _enter_ends(database, ends, refused, known_to)
    kept: set[tuple[str, str, str]] = set()
    for scope in purged:
        _purge_again(database, scope)
        kept.update((scope.partition, scope.group, run) for run in scope.kept)
    for facts in bare:
        # Its metadata was dropped because the run was; so it is also where no record of that is left. If the
        # run was kept, all of whom it told were erased.
        if (facts.partition, facts.group, facts.run) in kept:
            continue
        number = units.scope_number(database, facts.partition, facts.group)
        if upkeep.moments_of(database, number)[-1:] != [run_number(facts.run)]:
            upkeep.insert_forgotten(database, number, [run_number(facts.run)])
        # Else it tells how things are: that the last mailbox of a group has departed.
    if older is not None:
        _carry_over(database, older)
    _doubt_copies(database)
    if inventory is not None:
        _enter_copies(database, inventory.copies)
        _lose_unlisted(database, inventory)
    for archive in gone:
        _lose(database, archive)
    _drop_idle_references(database, needed_references)
    # What only idle references seemed to need is not missing, nor is what only that referred to.
    while needless := {archive for archive in gone if _lose(database, archive)}:
        gone -= needless
    (archives,) = database.execute("SELECT count(*) FROM archives WHERE unit IS NOT NULL").fetchone()
    missing = (*run_ends.missing_archives(database, told), *(_known_missing(database) if start else ()))
    return Rebuilt(
        archives=archives,
        refused=tuple(refused),
        superseded=tuple(superseded),
        missing=tuple(
            {
                one.path: one
                for one in (*missing, *(Skipped(*row) for row in database.execute(queries.MISSING)))
            }.values()
        ),
    )


def _doubt_copies(database: sqlite3.Connection) -> None:
    """What a catalog of an earlier day tells of copies elsewhere may have changed since: each is looked at
    before anything is freed for it."""
    database.execute("UPDATE locations SET verified = NULL WHERE place NOT IN (?, ?)", (STAGING, CONFIRMED))


def _enter_copies(database: sqlite3.Connection, copies: Iterable[CopyRecord]) -> None:
    """Enter copies, by the names of their archives; those of archives that are not known are passed over, and
    those of another size than such a generation has; those of archives that a purge has dropped nobody needs.
    What is known of a copy stays known, but for one that was lost and is all that there is."""
    query = (
        "SELECT number, generation, size_bytes FROM archives"
        " WHERE unit IS NOT NULL AND lower(substr(hex(archive), 1, 16)) = ?"
    )
    dropped = "SELECT 1 FROM purged WHERE lower(substr(hex(archive), 1, 16)) = ?"
    for copy in copies:
        name = parse_name(copy.name)
        row = database.execute(query, (name.digits,)).fetchone()
        if row is None and database.execute(dropped, (name.digits,)).fetchone() is not None:
            address = Location(copy.place, copy.name, copy.version, copy.size_bytes)
            locations.discard(database, address, copy.locked_until)
        if row is None or name.generation > row["generation"]:
            continue
        if name.generation == row["generation"] and copy.size_bytes != row["size_bytes"]:
            continue
        there = locations.copies_of(database, row["number"])
        known = next((other for other in there if _is_same(other, copy)), None)
        if known is not None and known.state != "lost":
            until = copy.locked_until or known.locked_until
            locations.put_copy(
                database, row["number"], replace(known, verified=copy.verified, locked_until=until)
            )
        elif known is None or all(other.state == "lost" for other in there):
            locations.put_copy(database, row["number"], copy)


def _lose_unlisted(database: sqlite3.Connection, inventory: Inventory) -> None:
    """Other copies that were known to be at the place are lost, and so are those of another size."""
    sizes = {(record.name, record.version): record.size_bytes for record in inventory.copies}
    for (number,) in database.execute("SELECT number FROM archives").fetchall():
        for copy in locations.copies_of(database, number):
            if copy.place == inventory.place and sizes.get((copy.name, copy.version)) != copy.size_bytes:
                locations.put_copy(database, number, replace(copy, state="lost"))


def _is_same(record: CopyRecord, other: CopyRecord) -> bool:
    return (record.place, record.name, record.version) == (other.place, other.name, other.version)


def _carry_over(database: sqlite3.Connection, older: Base) -> None:
    """Enter the copies that an older catalog knew, as far as their archives were found again; those of others
    are left alone."""
    copies, discarded = copies_known_to(older)
    for archive, copy in copies:
        row = database.execute(
            "SELECT number, generation, size_bytes FROM archives WHERE archive = ? AND unit IS NOT NULL",
            (archive,),
        ).fetchone()
        if row is None or copy.generation > row["generation"]:
            continue
        if copy.generation < row["generation"] or copy.size_bytes == row["size_bytes"]:
            locations.put_copy(database, row["number"], copy)
    for one in discarded:
        locations.discard(database, one.location, one.locked_until)


def _lose(database: sqlite3.Connection, archive: ArchiveId) -> bool:
    """An archive is not in the staging area any more: a purge has deleted it, or it is missing there. Returns
    whether nobody needs it: then it is known no more."""
    row = database.execute("SELECT number, unit FROM archives WHERE archive = ?", (archive,)).fetchone()
    if row is None:
        return False
    is_needed = database.execute(
        "SELECT 1 FROM versions WHERE unit = ? UNION ALL SELECT 1 FROM refs WHERE other = ?",
        (row["unit"], row["number"]),
    )
    if is_needed.fetchone():
        locations.drop_staged(database, row["number"])
        return False
    upkeep.remove_archives(database, [archive])
    return True


def _known_missing(database: sqlite3.Connection) -> Iterator[Skipped]:
    """What is missing and needed, now or since before the snapshot."""
    for archive, name in database.execute("SELECT archive, name FROM archives WHERE missing").fetchall():
        yield Skipped(archive.hex(), "missing", f"{name}, which a snapshot of the catalog tells of")


def _enter_ends(
    database: sqlite3.Connection, ends: Iterable[RunEnd], refused: list[Skipped], known_to: RunId | None
) -> Sequence[RunEnd]:
    """Enter how runs ended: those that can be. Returns them."""
    told = tuple(ends)
    database.execute("SAVEPOINT ends")
    try:
        run_ends.enter_runs(database, told, known_to)
    except (sqlite3.IntegrityError, NotFoundError, OverflowError, ValueError) as error:
        database.execute("ROLLBACK TO ends")
        refused.append(Skipped("how runs ended", "contradicts", str(error)))
        return ()
    finally:
        database.execute("RELEASE ends")
    return told


def _replace(new: Path, path: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    # The old log must be gone before the new database has the name, or SQLite would apply it to that.
    # The old database goes first: a crash in between leaves no catalog, never a wrong one.
    for old in (path, companion(path, "-wal"), companion(path, "-shm")):
        old.unlink(missing_ok=True)
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _Contradiction(Exception):
    """An archive says what can't be true beside what others say."""


def _enter(database: sqlite3.Connection, found: FoundArchive, gone: Collection[ArchiveId]) -> Sequence[str]:
    """Enter one archive: all of it, or nothing. Returns the file of an older generation, be it this one.
    What is known of those that are ``gone`` from where they lay, gives way.

    Raises _Contradiction."""
    facts = found.facts
    database.execute("SAVEPOINT entry")
    try:
        known = _known(database, facts)
        if known is not None and known["encrypted"] and facts.encrypted is False:
            raise ValueError(f"it is in clear, where {known['name']} is encrypted, as all of its id are")
        beats = known is not None and known["encrypted"] == 0 and bool(facts.encrypted)
        if known is not None and known["generation"] > facts.generation and not beats:
            return [facts.name]
        if known is not None and facts.archive not in gone and _is_back(database, known, found):
            return []
        if known is None or known["generation"] == facts.generation:
            _insert_unit(database, facts, gone)
        units.end_unit(
            database,
            _report(facts),
            facts.sealed,
            attempts=1,
            generation=facts.generation,
            holes=facts.holes,
            lost=facts.lost,
        )
        if not found.staged:
            locations.drop_staged(database, units.archive_number(database, facts.archive))
        return [] if known is None else [known["name"]]
    except (sqlite3.IntegrityError, NotFoundError, OverflowError, ValueError) as error:
        # What an archive says of itself may be made up; it must not keep the others out.
        database.execute("ROLLBACK TO entry")
        raise _Contradiction(str(error)) from error
    finally:
        database.execute("RELEASE entry")


def _known(database: sqlite3.Connection, facts: ArchiveFacts) -> sqlite3.Row | None:
    """Another generation of an archive that was entered before. Raises ValueError if that was of another
    unit."""
    found: sqlite3.Row | None = database.execute(
        "SELECT number, unit, name, generation, size_bytes, encrypted FROM archives"
        " WHERE archive = ? AND unit IS NOT NULL",
        (facts.archive,),
    ).fetchone()
    if found is not None:
        unit = units.unit_number(database, facts.run, facts.partition, facts.group, facts.shard)
        if unit != found["unit"]:
            raise ValueError(f"{found['name']} has the same id, and is of another unit")
    return found


def _is_back(database: sqlite3.Connection, known: sqlite3.Row, found: FoundArchive) -> bool:
    """Whether an archive had left the staging area, by the catalog that is begun with, and lies there again,
    as when all copies were brought back; that is entered, if it is whole."""
    facts = found.facts
    same = (known["name"], known["generation"], known["size_bytes"])
    if not found.staged or same != (facts.name, facts.generation, facts.size_bytes):
        return False
    if any(record.place == STAGING for record in locations.copies_of(database, known["number"])):
        return False
    if not found.damaged:
        copy = CopyRecord(
            place=STAGING, name=facts.name, generation=facts.generation, size_bytes=facts.size_bytes
        )
        locations.put_copy(database, known["number"], copy)
    return True


def _insert_unit(database: sqlite3.Connection, facts: ArchiveFacts, gone: Collection[ArchiveId]) -> None:
    number = run_number(facts.run)
    if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
        journal.insert_run(database, facts.run, facts.started, "partial", error=_REBUILT)
    unit = units.unit_number(database, facts.run, facts.partition, facts.group, facts.shard)
    if unit is not None:
        row = database.execute("SELECT archive FROM archives WHERE unit = ?", (unit,)).fetchone()
        if row is None or row["archive"] in gone:
            return
    units.insert_unit(database, facts.run, facts.partition, facts.group, facts.shard)


def _report(facts: ArchiveFacts) -> UnitReport:
    """What the worker had reported, as far as an archive tells."""
    return UnitReport(
        run=facts.run,
        partition=facts.partition,
        group=facts.group,
        shard=facts.shard,
        archive=facts.archive,
        name=facts.name,
        mailboxes=facts.mailboxes,
        skipped=facts.skipped,
        departed=facts.departed,
        carried=facts.carried,
        references=facts.references,
        messages=sum(mailbox.stored for mailbox in facts.mailboxes),
        size_bytes=sum(mailbox.size_bytes for mailbox in facts.mailboxes),
        new_bytes=0,
        archive_bytes=facts.size_bytes,
        encrypted=facts.encrypted,
        seconds=0.0,
        cpu_seconds=0.0,
    )


def _purge_again(database: sqlite3.Connection, scope: PurgedMoments) -> None:
    """Do again to a scope what purges have done to it."""
    number = units.scope_number(database, scope.partition, scope.group)
    for run in scope.unchanged:
        _insert_unchanged(database, run, number)
    upkeep.insert_forgotten(database, number, map(run_number, scope.forgotten))
    upkeep.drop_hidden(database, number, scope.held)
    left = database.execute("SELECT 1 FROM mailboxes WHERE scope = ?", (number,)).fetchone()
    if left is None and scope.newest is not None and not upkeep.moments_of(database, number):
        # Its last mailbox has departed: nothing is kept, and no archive needed to tell that.
        _insert_unchanged(database, scope.newest, number)


def _insert_unchanged(database: sqlite3.Connection, run: RunId, scope: int) -> None:
    number = run_number(run)
    if database.execute("SELECT 1 FROM units WHERE run = ? AND scope = ?", (number, scope)).fetchone():
        return
    if database.execute("SELECT 1 FROM runs WHERE number = ?", (number,)).fetchone() is None:
        journal.insert_run(database, run, run_started(run), "partial", error=_REBUILT)
    database.execute(
        "INSERT INTO units (run, scope, shard, state) VALUES (?, ?, 0, 'unchanged')", (number, scope)
    )


def _drop_idle_references(database: sqlite3.Connection, needed_references: NeededReferences) -> None:
    """Take back references to archives that are not there, as far as no version needs them: a purge may have
    deleted what only versions referred to that it dropped. An archive's own facts tell all that it names."""
    for row in database.execute(queries.REFERRING_TO_MISSING).fetchall():
        users = database.execute(
            "SELECT m.user FROM versions v JOIN mailboxes m ON m.number = v.mailbox WHERE v.unit = ?",
            (row["unit"],),
        )
        told = needed_references(row["name"], frozenset(user for (user,) in users))
        if told is None:
            continue
        needed = set(told)
        named = upkeep.references(database, row["archive"])
        idle = [archive_id for archive_id in named if archive_id not in needed]
        database.executemany(
            "DELETE FROM refs WHERE archive = ? AND other = (SELECT number FROM archives WHERE archive = ?)",
            ((row["number"], one) for one in idle),
        )
    upkeep.remove_strays(database)
