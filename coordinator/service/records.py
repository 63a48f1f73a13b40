"""Operations, as they are on record."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from ...proto.structs import Record

Kind = Literal["backup", "restore", "undelete", "sweep", "purge", "verify", "drill", "inventory"]
State = Literal["waiting", "running", "stopping", "done", "partial", "failed", "stopped", "interrupted"]

KINDS: tuple[Kind, ...] = get_args(Kind)
UNDER_WAY: tuple[State, ...] = ("running", "stopping")
NOT_ENDED: tuple[State, ...] = ("waiting", *UNDER_WAY)
ENDED: tuple[State, ...] = ("done", "partial", "failed", "stopped", "interrupted")


class Request(Record, kw_only=True):
    """An operation that is asked for: a command of the program by its ``kind``, with the ``arguments`` that
    follow its name on a command line.

    ``asked_by`` says who did, as WHERE:NAME (``schedule:``, ``cli:root``, ``page:anna``, ``key:HOST``), with
    their ``reason``. What an ``entry`` of the schedule asked for was ``due`` at that moment.
    """

    kind: Kind
    arguments: tuple[str, ...] = ()
    asked_by: str
    reason: str = ""
    entry: str = ""
    due: datetime | None = None


class Texts(Record, kw_only=True):
    """All of an operation that may name somebody."""

    arguments: tuple[str, ...]
    reason: str
    waits_for: str
    error: str


class Operation(Record, kw_only=True):
    """An operation in the queue, or what became of it. All times are aware UTC.

    While it waits, ``waits_for`` says what for; of one that is under way, what it waits for itself, such as a
    tape that somebody has to bring (empty: it goes on). ``attempts`` counts its starts, ``deaths`` those
    whose process died. ``carries`` is the run or restore that it has begun, ``resumes`` the one that its next
    start goes on with (empty: it begins anew), ``pid`` the process that carries it out. ``exit_status`` is
    that of the command. One that is ``interrupted`` was ended, though nobody had asked it to stop: it goes on
    when there is a coordinator that stays.
    """

    id: int
    request: Request
    asked: datetime
    state: State
    waits_for: str = ""
    attempts: int = 0
    deaths: int = 0
    carries: str = ""
    resumes: str = ""
    pid: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    exit_status: int | None = None
    error: str = ""


class Handled(Record, kw_only=True):
    """What was done last about an entry of the schedule: at the newest ``moment`` that was seen to an
    operation was put in, or it was ``passed_over`` for this reason. ``full`` is the newest of its moments of
    full backups for which an operation was put in. Both are aware UTC."""

    moment: datetime
    full: datetime
    passed_over: str = ""
