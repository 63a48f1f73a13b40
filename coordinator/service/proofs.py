"""Drills on record, and of each mailbox what the newest that took it has shown.

A mailbox is called by partition, group and user, as in the catalog. Texts of mail (folders, reasons) are
shown as they are kept: escape them where they are printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from ...proto.errors import NotFoundError
from ...proto.records import RunId, Skipped
from ...proto.structs import Record, astuple
from ..catalog.database import Connection, Row, transaction
from ..catalog.values import raw
from .database import reading, writing
from .values import moment, stamp

Outcome = Literal["proven", "failed", "untried"]
DrillState = Literal["running", "done", "failed", "interrupted"]
Mailbox = tuple[str, str, str]
"""Partition, group, user."""

MOST_LACKS = 1000
"""So many lines of what a restore would lack are kept of a mailbox; ``Proof.lacking`` counts them all."""


_ENDED_BY_FORCE = "the drill that was at it ended by force"
_FIRST: Mailbox = ("", "", "")
_TEXT = "CAST(? AS TEXT)"
_NAMED = f"partition = {_TEXT} AND grp = {_TEXT} AND user = {_TEXT}"
_BEHIND = f"(partition, grp, user) > ({_TEXT}, {_TEXT}, {_TEXT})"


_COLUMNS = (
    *("partition", "grp", "user", "drill", "tried", "outcome", "proven", "run", "place", "messages"),
    *("size_bytes", "alive", "gone", "altered", "lacks", "lacking", "error", "largest", "deaths"),
    *("parts", "parts_proven"),
)
_KEPT = ("proven", "largest", "deaths")
_PART_COLUMNS = (
    *("partition", "grp", "user", "folder", "first", "uidvalidity", "messages", "size_bytes", "tried"),
    *("outcome", "proven", "place", "lacks"),
)
_PART = f"""INSERT INTO parts ({", ".join(_PART_COLUMNS)})
    VALUES ({
    ", ".join(
        _TEXT if column in ("partition", "grp", "user", "folder", "place") else "?"
        for column in _PART_COLUMNS
    )
})"""  # noqa: S608 (names of columns)
_OF_MAILBOXES = ("proofs", "begun", "parts")
_AS_TEXT = frozenset(("partition", "grp", "user", "place", "error"))
_NOTE = f"""INSERT INTO proofs ({", ".join(_COLUMNS)})
    VALUES ({", ".join(_TEXT if column in _AS_TEXT else "?" for column in _COLUMNS)})
    ON CONFLICT DO UPDATE SET
        {", ".join(f"{one} = excluded.{one}" for one in _COLUMNS if one not in _KEPT)},
        proven = ifnull(excluded.proven, proven), largest = ifnull(excluded.largest, largest),
        deaths = iif(excluded.outcome = 'untried', deaths, 0)
    WHERE excluded.outcome <> 'untried' OR outcome <> 'failed'"""  # noqa: S608 (names of columns)


_DIED = f"""INSERT INTO proofs
        (partition, grp, user, drill, tried, outcome, run, place, messages, size_bytes, error, deaths)
    SELECT partition, grp, user, drill, began, 'untried', run, '', 0, 0, '{_ENDED_BY_FORCE}', 1
    FROM begun WHERE true
    ON CONFLICT DO UPDATE SET
        drill = excluded.drill, tried = excluded.tried, error = excluded.error, deaths = deaths + 1,
        place = iif(outcome = 'failed', place, ''),
        outcome = iif(outcome = 'failed', outcome, 'untried')"""  # noqa: S608 (a text of ours)


class Drill(Record, kw_only=True):
    """A drill: how many mailboxes it has ``proven``, how many ``failed`` (a restore would lack something),
    how many it could not try, and what it read of those that it restored. ``failed`` as its state: it could
    not be carried out, which ``error`` explains. Times are aware UTC."""

    id: int
    seed: int
    started: datetime
    ended: datetime | None = None
    state: DrillState = "running"
    proven: int = 0
    failed: int = 0
    untried: int = 0
    messages: int = 0
    size_bytes: int = 0
    error: str = ""


class Proof(Record, kw_only=True):
    """What the newest drill that took a mailbox has shown: ``outcome``, at the time ``tried``. ``proven`` is
    when it was restored whole the last time (None: never).

    It was restored as of ``run``, from ``place`` (a destination, or the staging area). Of its messages
    ``alive`` were compared with the live store, ``gone`` have been removed there since, ``altered`` have
    other flags since: both are explained. ``lacks`` says what a restore would lack, by logical path, so many
    lines in all as ``lacking``; ``error`` why nothing of it could be tried (``place`` is the one that was
    away then, empty if none was to blame). ``largest`` is when it was taken for its size last. So many
    ``deaths`` in a row a drill ended by force (killed, out of memory, the host lost power) while it was at
    it.

    One that is too large for one drill is proven in so many ``parts`` (0: as a whole), of which
    ``parts_proven`` were whole when they were tried last. It ``failed`` if one of them did; ``proven`` is
    when the one was whose proof is the oldest; numbers of messages are those of the newest trial.
    """

    partition: str
    group: str
    user: str
    drill: int
    tried: datetime
    outcome: Outcome
    proven: datetime | None = None
    run: RunId
    place: str
    messages: int = 0
    size_bytes: int = 0
    alive: int = 0
    gone: int = 0
    altered: int = 0
    lacks: tuple[Skipped, ...] = ()
    lacking: int = 0
    error: str = ""
    largest: datetime | None = None
    deaths: int = 0
    parts: int = 0
    parts_proven: int = 0

    @property
    def mailbox(self) -> Mailbox:
        """Its key."""
        return self.partition, self.group, self.user


class PartProof(Record, kw_only=True):
    """What is on record of a part of a mailbox (see ``drills.parts``): messages of ``folder`` from the key
    ``first`` on; with an empty name the files that are no messages. ``messages`` and ``size_bytes`` are as it
    was when it was ``tried``. See ``Proof`` for the others."""

    folder: str
    first: bytes = b""
    uidvalidity: int = 0
    messages: int = 0
    size_bytes: int = 0
    tried: datetime | None = None
    outcome: Outcome = "untried"
    proven: datetime | None = None
    place: str = ""
    lacks: tuple[Skipped, ...] = ()


class Counts(Record, kw_only=True):
    """Of a group in a partition: mailboxes ``proven`` since some time, those whose newest drill ``failed``,
    and of all that were ever proven the ``oldest`` proof."""

    partition: str
    group: str
    proven: int
    failed: int
    ever: int
    oldest: datetime | None


class Untried(Record, kw_only=True):
    """Of so many ``mailboxes`` of a group nothing could be tried, for this ``error``."""

    partition: str
    group: str
    error: str
    mailboxes: int


class Proofs:
    """The drills of a staging area. For any thread: each call has a connection of its own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    # Drills

    def begin(self, seed: int, now: datetime) -> Drill:
        """A drill begins. Those that seem to run are not under way any more (the caller holds the lock of
        drills): they were interrupted."""
        with writing(self._staging) as database:
            database.execute("UPDATE drills SET state = 'interrupted' WHERE state = 'running'")
            number = database.execute(
                "INSERT INTO drills (seed, started, state) VALUES (?, ?, 'running')", (seed, stamp(now))
            ).lastrowid
            return _drill(database.execute("SELECT * FROM drills WHERE id = ?", (number,)).fetchone())

    def begin_trial(self, mailbox: Mailbox, drill: int, run: RunId, now: datetime) -> None:
        """A drill begins with a mailbox, as it was kept by ``run``. What does not end by ``note`` or ``end``
        ended by force."""
        with writing(self._staging) as database:
            database.execute("DELETE FROM begun")  # it is at one mailbox at a time
            database.execute(
                "INSERT INTO begun (partition, grp, user, drill, began, run)"  # noqa: S608
                f" VALUES ({_TEXT}, {_TEXT}, {_TEXT}, ?, ?, ?)",
                (*_key(mailbox), drill, stamp(now), run),
            )

    def bury(self) -> None:
        """Count the mailbox that a drill was at when it ended by force. It had its turn then; what was known
        of it stays known. For whoever holds the lock of drills; repeatable."""
        with writing(self._staging) as database:
            database.execute(_DIED)
            database.execute("UPDATE drills SET untried = untried + 1 WHERE id IN (SELECT drill FROM begun)")
            database.execute("DELETE FROM begun")

    def note(self, proof: Proof, parts: Iterable[PartProof] | None = ()) -> None:
        """A drill has done with a mailbox, of which these are the parts (None: as before). When it was proven
        before stays known; and what a restore of it would lack, until it was tried again."""
        with writing(self._staging) as database:
            database.execute(_NOTE, _row(proof))
            key = _key(proof.mailbox)
            database.execute(f"DELETE FROM begun WHERE {_NAMED}", key)  # noqa: S608
            if parts is not None:
                database.execute(f"DELETE FROM parts WHERE {_NAMED}", key)  # noqa: S608
                database.executemany(_PART, [(*key, *_part_row(part)) for part in parts])
            database.execute(
                f"UPDATE drills SET {proof.outcome} = {proof.outcome} + 1, messages = messages + ?,"  # noqa: S608
                " size_bytes = size_bytes + ? WHERE id = ?",
                (proof.messages, proof.size_bytes, proof.drill),
            )

    def end(self, drill: int, state: DrillState, now: datetime, error: str = "") -> Drill:
        """A drill has ended, in order: not by the mailbox that it may have been at. Returns what has become
        of it. Raises NotFoundError."""
        with writing(self._staging) as database:
            database.execute("DELETE FROM begun WHERE drill = ?", (drill,))
            database.execute(
                "UPDATE drills SET state = ?, ended = ?, error = CAST(? AS TEXT)"
                " WHERE id = ? AND ended IS NULL",
                (state, stamp(now), raw(error), drill),
            )
            row = database.execute("SELECT * FROM drills WHERE id = ?", (drill,)).fetchone()
            if row is None:
                raise NotFoundError(f"there is no drill {drill}", drill=drill)
            return _drill(row)

    def drills(self, count: int, before: int | None = None) -> tuple[Drill, ...]:
        """So many, the newest first; those with smaller ids than ``before``, to page through all."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM drills WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2", (before, count)
            )
            return tuple(map(_drill, rows))

    def failures(self) -> int:
        """How often a mailbox has failed in a drill, ever."""
        with reading(self._staging) as database:
            (found,) = database.execute("SELECT ifnull(sum(failed), 0) FROM drills").fetchone()
            return int(found)

    # Mailboxes

    def of(self, mailbox: Mailbox) -> Proof | None:
        """That of a mailbox; None if no drill has ever taken it."""
        with reading(self._staging) as database:
            row = database.execute(
                f"SELECT * FROM proofs WHERE {_NAMED}",  # noqa: S608 (casts)
                _key(mailbox),
            ).fetchone()
            return None if row is None else _proof(row)

    def parts(self, mailbox: Mailbox) -> tuple[PartProof, ...]:
        """Those of a mailbox, by folder and key; none if it was tried as a whole, or never."""
        with reading(self._staging) as database:
            rows = database.execute(
                f"SELECT * FROM parts WHERE {_NAMED} ORDER BY folder, first",  # noqa: S608
                _key(mailbox),
            )
            return tuple(map(_part, rows))

    def all(self) -> tuple[Proof, ...]:
        """Those of all mailboxes, by partition, group, user."""
        with reading(self._staging) as database:
            return tuple(map(_proof, database.execute("SELECT * FROM proofs ORDER BY partition, grp, user")))

    def not_whole(self, count: int, after: Mailbox | None = None) -> tuple[Proof, ...]:
        """So many of the mailboxes of which a restore would lack something (their newest drill failed), by
        partition, group, user; those behind ``after``, to page through all."""
        with reading(self._staging) as database:
            rows = database.execute(
                f"SELECT * FROM proofs WHERE outcome = 'failed' AND {_BEHIND}"  # noqa: S608
                " ORDER BY partition, grp, user LIMIT ?",
                (*_key(after or _FIRST), count),
            )
            return tuple(map(_proof, rows))

    def deadly(self, least: int) -> tuple[Proof, ...]:
        """Those of the mailboxes at which a drill has ended by force so many times in a row at least."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM proofs WHERE deaths >= ? ORDER BY partition, grp, user", (least,)
            )
            return tuple(map(_proof, rows))

    def of_drill(self, drill: int, count: int, after: Mailbox | None = None) -> tuple[Proof, ...]:
        """So many of the mailboxes that a drill took and none after it, as ``not_whole``."""
        with reading(self._staging) as database:
            rows = database.execute(
                f"SELECT * FROM proofs WHERE drill = ? AND {_BEHIND}"  # noqa: S608
                " ORDER BY partition, grp, user LIMIT ?",
                (drill, *_key(after or _FIRST), count),
            )
            return tuple(map(_proof, rows))

    def counts(self, since: datetime) -> tuple[Counts, ...]:
        """By partition and group. A mailbox that failed after it had been proven does not count as proven."""
        with reading(self._staging) as database:
            rows = database.execute(
                """SELECT partition, grp,
                    sum(proven >= ? AND outcome <> 'failed') AS proven,
                    sum(outcome = 'failed') AS failed,
                    count(proven) AS ever,
                    min(proven) AS oldest
                FROM proofs GROUP BY partition, grp ORDER BY partition, grp""",
                (stamp(since),),
            )
            return tuple(
                Counts(
                    partition=row["partition"],
                    group=row["grp"],
                    proven=row["proven"] or 0,
                    failed=row["failed"],
                    ever=row["ever"],
                    oldest=moment(row["oldest"]),
                )
                for row in rows
            )

    def untried(self) -> tuple[Untried, ...]:
        """Why nothing could be tried of mailboxes, by group."""
        with reading(self._staging) as database:
            rows = database.execute(
                """SELECT partition, grp, error, count(*) AS mailboxes FROM proofs
                WHERE outcome = 'untried' AND error <> ''
                GROUP BY partition, grp, error ORDER BY partition, grp, error"""
            )
            return tuple(
                Untried(
                    partition=row["partition"],
                    group=row["grp"],
                    error=row["error"],
                    mailboxes=row["mailboxes"],
                )
                for row in rows
            )

    def forget(self, mailboxes: Iterable[Mailbox]) -> None:
        """Nothing more is known of these: they are not kept any more."""
        keys = list(map(_key, mailboxes))
        with writing(self._staging) as database:
            for table in _OF_MAILBOXES:
                database.executemany(f"DELETE FROM {table} WHERE {_NAMED}", keys)  # noqa: S608

    def forget_named(self, names: Callable[[object], bool]) -> None:
        """Drop what names somebody who was erased, as a JSON document of it says; nothing of it is left in
        the file."""
        with reading(self._staging) as database:
            database.execute("PRAGMA secure_delete = ON")
            with transaction(database):
                _forget_named(database, names)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _forget_named(database: Connection, names: Callable[[object], bool]) -> None:
    for proof in map(_proof, database.execute("SELECT * FROM proofs").fetchall()):
        told = [*(text for lack in proof.lacks for text in astuple(lack)), proof.error]
        if names(["/" + "/".join(proof.mailbox), proof.user, *told]):
            database.execute(f"DELETE FROM proofs WHERE {_NAMED}", _key(proof.mailbox))  # noqa: S608
    for table in ("begun", "parts"):
        for row in database.execute(f"SELECT DISTINCT partition, grp, user FROM {table}").fetchall():  # noqa: S608
            if names(["/" + "/".join(row), row["user"]]):
                database.execute(f"DELETE FROM {table} WHERE {_NAMED}", _key(tuple(row)))  # noqa: S608
    for row in database.execute("SELECT * FROM parts").fetchall():
        told = [text for lack in _part(row).lacks for text in astuple(lack)]
        if names([row["folder"], *told]):
            database.execute(
                f"DELETE FROM parts WHERE {_NAMED} AND folder = {_TEXT} AND first = ?",  # noqa: S608
                (*_key(tuple(row)[:3]), raw(row["folder"]), row["first"]),
            )
    for drill in map(_drill, database.execute("SELECT * FROM drills WHERE error <> ''").fetchall()):
        if names([drill.error]):
            database.execute("UPDATE drills SET error = '' WHERE id = ?", (drill.id,))


def _key(mailbox: Mailbox) -> tuple[bytes, ...]:
    """Names may hold bytes of file names that are not UTF-8: see ``catalog.schema``."""
    return tuple(map(raw, mailbox))


def _drill(row: Row) -> Drill:
    return Drill(
        id=row["id"],
        seed=row["seed"],
        started=datetime.fromisoformat(row["started"]),
        ended=moment(row["ended"]),
        state=row["state"],
        proven=row["proven"],
        failed=row["failed"],
        untried=row["untried"],
        messages=row["messages"],
        size_bytes=row["size_bytes"],
        error=row["error"],
    )


def _row(proof: Proof) -> tuple[object, ...]:
    """Its values, as ``_COLUMNS`` has them."""
    return (
        *_key(proof.mailbox),
        proof.drill,
        stamp(proof.tried),
        proof.outcome,
        stamp(proof.proven),
        proof.run,
        raw(proof.place),
        proof.messages,
        proof.size_bytes,
        proof.alive,
        proof.gone,
        proof.altered,
        json.dumps([astuple(lack) for lack in proof.lacks[:MOST_LACKS]]),
        max(proof.lacking, len(proof.lacks)),
        raw(proof.error),
        stamp(proof.largest),
        proof.deaths,
        proof.parts,
        proof.parts_proven,
    )


def _part_row(part: PartProof) -> tuple[object, ...]:
    """Its values, as ``_PART_COLUMNS`` has them behind the mailbox."""
    return (
        raw(part.folder),
        part.first,
        part.uidvalidity,
        part.messages,
        part.size_bytes,
        stamp(part.tried),
        part.outcome,
        stamp(part.proven),
        raw(part.place),
        json.dumps([astuple(lack) for lack in part.lacks[:MOST_LACKS]]),
    )


def _part(row: Row) -> PartProof:
    return PartProof(
        folder=row["folder"],
        first=row["first"],
        uidvalidity=row["uidvalidity"],
        messages=row["messages"],
        size_bytes=row["size_bytes"],
        tried=moment(row["tried"]),
        outcome=row["outcome"],
        proven=moment(row["proven"]),
        place=row["place"],
        lacks=tuple(Skipped(*one) for one in json.loads(row["lacks"])),
    )


def _proof(row: Row) -> Proof:
    return Proof(
        partition=row["partition"],
        group=row["grp"],
        user=row["user"],
        drill=row["drill"],
        tried=datetime.fromisoformat(row["tried"]),
        outcome=row["outcome"],
        proven=moment(row["proven"]),
        run=RunId(row["run"]),
        place=row["place"],
        messages=row["messages"],
        size_bytes=row["size_bytes"],
        alive=row["alive"],
        gone=row["gone"],
        altered=row["altered"],
        lacks=tuple(Skipped(*load) for load in json.loads(row["lacks"])),
        lacking=row["lacking"],
        error=row["error"],
        largest=moment(row["largest"]),
        deaths=row["deaths"],
        parts=row["parts"],
        parts_proven=row["parts_proven"],
    )
