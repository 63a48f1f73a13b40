"""The queue, and what became of what was in it.

Each change of state is made by who finds the state before, so that nothing is begun or ended twice, whoever
else is about to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sized
from datetime import datetime
from pathlib import Path

from ...proto.errors import NotFoundError
from ..catalog.database import Connection, Row, transaction
from .database import reading, writing
from .records import ENDED, UNDER_WAY, Kind, Operation, Request, State, Texts
from .values import moment, stamp

_MOST = 1000
"""So many are told of at a time."""


class Operations:
    """The operations of a staging area. For any thread: each call has a connection of its own.

    What a method writes is durable on return. All raise StagingError, DamagedError, UnsupportedError.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging

    def add(
        self, request: Request, now: datetime, keep: Callable[[int], object] = lambda _number: None
    ) -> Operation:
        """Put an operation in, behind the others. ``keep`` is called with its id before anybody else knows of
        it; if that raises there is none."""
        with writing(self._staging) as database:
            operation = insert(database, request, now)
            keep(operation.id)
        return operation

    def get(self, number: int) -> Operation:
        """The operation of this id. Raises NotFoundError."""
        with reading(self._staging) as database:
            return _known(database, number)

    def in_states(self, states: tuple[State, ...], kinds: tuple[Kind, ...] = ()) -> tuple[Operation, ...]:
        """Those in one of the states (and of one of the kinds, if any are named), the oldest first."""
        with reading(self._staging) as database:
            rows = database.execute(
                f"SELECT * FROM operations WHERE state IN ({_marks(states)})"  # noqa: S608 (question marks)
                + (f" AND kind IN ({_marks(kinds)})" if kinds else "")
                + " ORDER BY id",
                (*states, *kinds),
            )
            return tuple(map(_operation, rows))

    def newest(self, count: int, before: int | None = None) -> tuple[Operation, ...]:
        """So many, the newest first; those with smaller ids than ``before``, to page through all."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM operations WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2",
                (before, count),
            )
            return tuple(map(_operation, rows))

    def asked_since(self, then: datetime, kind: Kind) -> tuple[Operation, ...]:
        """Those of a kind that were put in then or later, the oldest first."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM operations WHERE kind = ? AND asked >= ? ORDER BY id", (kind, stamp(then))
            )
            return tuple(map(_operation, rows))

    def wait_for(self, number: int, what: str) -> None:
        """Note what an operation waits for; one that does not wait is left as it is."""
        with reading(self._staging) as database:
            database.execute(
                "UPDATE operations SET waits_for = ? WHERE id = ? AND state = 'waiting' AND waits_for <> ?1",
                (what, number),
            )

    def begin(self, number: int, pid: int, now: datetime) -> bool:
        """A process begins with an operation that waits. False if it does not wait any more."""
        return self._change(
            number,
            ("waiting",),
            "state = 'running', waits_for = '', attempts = attempts + 1, pid = ?, started = ?",
            (pid, stamp(now)),
        )

    def stopping(self, number: int) -> bool:
        """An operation that runs was asked to stop. False if it does not run."""
        return self._change(number, ("running",), "state = 'stopping'", ())

    def carries(self, number: int, what: str) -> None:
        """Note the run or restore that an operation under way is about to begin."""
        self._change(number, UNDER_WAY, "carries = ?", (what,))

    def held_up(self, number: int, why: str) -> None:
        """Note what an operation under way waits for itself (empty: it goes on)."""
        self._change(number, UNDER_WAY, "waits_for = ?", (why,))

    def again(self, number: int, resumes: str) -> bool:
        """An operation whose process died waits again, to go on with a run or restore (empty: to begin anew).
        False if it was not under way."""
        return self._change(
            number,
            ("running",),
            "state = 'waiting', waits_for = '', pid = 0, deaths = deaths + 1, resumes = ?1, carries = ?1",
            (resumes,),
        )

    def go_on(self, number: int, resumes: str) -> bool:
        """The same for one that was interrupted. False if it was not."""
        return self._change(
            number,
            ("interrupted",),
            "state = 'waiting', ended = NULL, exit_status = NULL, error = '', told = 0, resumes = ?",
            (resumes,),
        )

    def put_back(self, number: int, why: str, resumes: str) -> bool:
        """An operation under way found that somebody else holds what it needs, and waits again: ``why``, and
        what it goes on with then (empty: it begins anew). False if it does not run, or is to stop."""
        return self._change(
            number,
            ("running",),
            "state = 'waiting', pid = 0, waits_for = ?1, resumes = ?2, carries = ?2",
            (why, resumes),
        )

    def withdraw(self, number: int, now: datetime) -> bool:
        """An operation that waits, or was interrupted, is not to begin. False if it is neither."""
        return self._change(
            number,
            ("waiting", "interrupted"),
            "state = 'stopped', waits_for = '', ended = ?, exit_status = NULL, error = '', told = 0",
            (stamp(now),),
        )

    def end(
        self, number: int, state: State, now: datetime, *, exit_status: int | None = None, error: str = ""
    ) -> bool:
        """An operation has ended, in this state. False if it had before, other than interrupted. Raises
        ValueError for a state in which it has not."""
        if state not in ENDED:
            raise ValueError(f"{state} is no end")
        return self._change(
            number,
            ("waiting", "running", "stopping", "interrupted"),
            "state = ?, waits_for = '', pid = 0, ended = ?, exit_status = ?, error = ?, told = 0",
            (state, stamp(now), exit_status, error),
        )

    def untold(self) -> tuple[Operation, ...]:
        """Those that have ended, and nobody was told of that: the oldest first."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT * FROM operations WHERE ended IS NOT NULL AND NOT told ORDER BY id LIMIT ?", (_MOST,)
            )
            return tuple(map(_operation, rows))

    def told(self, number: int) -> None:
        """The end of an operation was told."""
        self._change(number, ENDED, "told = 1", ())

    def rewrite(self, texts: Callable[[Texts], Texts], also: Collection[int] = ()) -> tuple[int, ...]:
        """Change the texts of operations as ``texts`` does, and leave nothing of before in the file. Returns
        the ids of those that it changes, and ``also`` these; one of them that waits is stopped, and does not
        begin."""
        with reading(self._staging) as database:
            database.execute("PRAGMA secure_delete = ON")
            changed = []
            with transaction(database):
                for operation in map(_operation, database.execute("SELECT * FROM operations").fetchall()):
                    before = _texts(operation)
                    if (after := texts(before)) != before or operation.id in also:
                        _rewrite(database, operation.id, after)
                        changed.append(operation.id)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return tuple(changed)

    def counts(self) -> dict[tuple[Kind, State], int]:
        """How many there are of each kind in each state."""
        with reading(self._staging) as database:
            rows = database.execute("SELECT kind, state, count(*) FROM operations GROUP BY kind, state")
            return {(kind, state): count for kind, state, count in rows}

    def last_ends(self) -> dict[Kind, Operation]:
        """Of each kind the one that ended last."""
        with reading(self._staging) as database:
            rows = database.execute(
                "SELECT *, max(ended) FROM operations WHERE ended IS NOT NULL GROUP BY kind"
            )
            found = map(_operation, rows)
            return {operation.request.kind: operation for operation in found}

    def _change(
        self, number: int, states: tuple[State, ...], assignments: str, values: tuple[object, ...]
    ) -> bool:
        with writing(self._staging) as database:
            changed = database.execute(
                f"UPDATE operations SET {assignments} WHERE id = ? AND state IN ({_marks(states)})",  # noqa: S608
                (*values, number, *states),
            ).rowcount
            if not changed:
                _known(database, number)
            return changed > 0


def _texts(operation: Operation) -> Texts:
    return Texts(
        arguments=operation.request.arguments,
        reason=operation.request.reason,
        waits_for=operation.waits_for,
        error=operation.error,
    )


def _rewrite(database: Connection, number: int, texts: Texts) -> None:
    database.execute(
        "UPDATE operations SET arguments = ?, reason = ?, waits_for = ?, error = ?,"
        " ended = CASE state WHEN 'waiting' THEN asked ELSE ended END,"
        " state = CASE WHEN state IN ('waiting', 'interrupted') THEN 'stopped' ELSE state END"
        " WHERE id = ?",
        (json.dumps(texts.arguments), texts.reason, texts.waits_for, texts.error, number),
    )


def insert(database: Connection, request: Request, now: datetime) -> Operation:
    """Put an operation in, within the caller's transaction."""
    number = database.execute(
        "INSERT INTO operations (kind, arguments, asked_by, reason, asked, entry, due, state)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting')",
        (
            request.kind,
            json.dumps(request.arguments),
            request.asked_by,
            request.reason,
            stamp(now),
            request.entry,
            stamp(request.due),
        ),
    ).lastrowid
    return _known(database, number)


def _marks(values: Sized) -> str:
    return ", ".join("?" * len(values))


def _known(database: Connection, number: int | None) -> Operation:
    row = database.execute("SELECT * FROM operations WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no operation {number}", operation=number)
    return _operation(row)


def _operation(row: Row) -> Operation:
    return Operation(
        id=row["id"],
        request=Request(
            kind=row["kind"],
            arguments=tuple(json.loads(row["arguments"])),
            asked_by=row["asked_by"],
            reason=row["reason"],
            entry=row["entry"],
            due=moment(row["due"]),
        ),
        asked=datetime.fromisoformat(row["asked"]),
        state=row["state"],
        waits_for=row["waits_for"],
        attempts=row["attempts"],
        deaths=row["deaths"],
        carries=row["carries"],
        resumes=row["resumes"],
        pid=row["pid"],
        started=moment(row["started"]),
        ended=moment(row["ended"]),
        exit_status=row["exit_status"],
        error=row["error"],
    )
