"""What other hosts of the cluster ask about operations: put in, list, show, stop (proto/wire/WIRE.md,
"Questions to the coordinator").

Who asks is the host whose key the connection has shown. A mail host that was broken into has a key, and is to
gain nothing by it: what loses backups, changes mail, or tells of others is for ``trusted`` hosts only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Literal

from ...proto.errors import AccessError, BackupError, NotFoundError, StagingError, UsageError
from ...proto.plain_text import shown
from ...proto.structs import Record, replace
from ..people.audit import Act, AuditLog
from ..service.operations import Operations
from ..service.records import KINDS, NOT_ENDED, Kind, Operation, Request
from ..snapshots import as_json, from_json
from .files import read_output, read_stderr
from .progress import OperationProgress, read_progress
from .serve_lock import is_served
from .standing import listing
from .stopping import check_can_stop, stop

MOST_LISTED = 200
"""So many operations that have ended are listed for another host."""

MOST_WAITING = 50
"""So many operations of one host wait or run at a time."""

MOST_REFUSALS = 100
"""So many refusals of a host are on record of a day; the log has all of them."""

_ONCE_IN = timedelta(days=1)
"""Within this time hosts that are not trusted may ask for one operation of each kind, all together."""

_MOST_REASON = 1000
_MOST_SAID = 64 << 10
_MOST_RESULT = 512 << 10
_MOST_ARGUMENTS = 8 << 10

BY = "key:"
"""Who asks, in ``Request.asked_by``: this and the name of the host."""

Check = Callable[[Kind, Sequence[str]], tuple[str, ...]]
"""The arguments of an operation, if it may have them when it is asked for elsewhere. Raises UsageError."""

Told = Callable[[str, Mapping[str, object]], object]
"""Takes an event and its fields, for the log."""


SeenOut = Callable[[Collection[int]], object]
"""Sees to it that operations that are to stop, by their ids, end if nobody serves; does not wait for that."""


class HostAsk(Record, kw_only=True):
    """A question of another host; what its members mean is in WIRE.md."""

    command: Literal["add", "list", "show", "stop"]
    kind: str = ""
    arguments: tuple[str, ...] = ()
    reason: str = ""
    operations: tuple[int, ...] = ()
    everything: bool = False
    last: int = 20


class HostReply(Record, kw_only=True):
    """The answer to it."""

    operations: tuple[Operation, ...]
    served: bool
    progress: OperationProgress | None = None
    result: str = ""
    said: str = ""


class HostRequests:
    """Answers what other hosts ask of a staging area; for any thread. ``trusted`` says who may ask for all,
    ``check`` and ``is_harmless`` look at the arguments of operations as their commands do. Operations that
    are stopped while nobody serves are seen out by ``stopping``."""

    def __init__(
        self,
        staging: Path,
        trusted: Callable[[], Collection[str]],
        check: Check,
        is_harmless: Callable[[Kind, Sequence[str]], bool],
        now: Callable[[], datetime],
        told: Told,
        stopping: SeenOut,
    ) -> None:
        self._staging = staging
        self._trusted = trusted
        self._check = check
        self._is_harmless = is_harmless
        self._now = now
        self._told = told
        self._stopping = stopping
        self._operations = Operations(staging)
        self._audit = AuditLog(staging)
        self._refused: dict[str, list[datetime]] = {}
        self._adding = Lock()  # between looking how many there are and one more

    def __call__(self, host: str, payload: bytes) -> bytes:
        """The answer to what a host asks. Raises BackupError."""
        try:
            ask = from_json(payload, HostAsk)
        except ValueError as error:
            raise UsageError(f"this is no question: {error}"[:300]) from None
        try:
            answered = getattr(self, f"_{ask.command}")(host, ask)
        except BackupError as error:
            self._told("question.refused", {"host": host, "command": ask.command, "error": error.message})
            raise
        except Exception as error:
            self._told("question.failed", {"host": host, "error": f"{type(error).__name__}: {error}"})
            raise StagingError("the coordinator can't answer this; its log says why") from error
        return as_json(answered).encode("ascii")

    def _add(self, host: str, ask: HostAsk) -> HostReply:
        kind = next((one for one in KINDS if one == ask.kind), None)
        if kind is None:
            raise UsageError(f"{ask.kind[:100]!r} is no kind of operation: there are {', '.join(KINDS)}")
        text = " ".join(ask.arguments)
        if len(text) > _MOST_ARGUMENTS or not text.isprintable():
            raise UsageError(f"the arguments are longer than {_MOST_ARGUMENTS} bytes, or not printable")
        arguments = self._check(kind, ask.arguments)
        with self._adding:
            return self._added(host, kind, arguments, shown(ask.reason)[:_MOST_REASON])

    def _added(self, host: str, kind: Kind, arguments: tuple[str, ...], reason: str) -> HostReply:
        words = shown(" ".join((kind, *arguments)))
        if host not in self._trusted():
            if not self._is_harmless(kind, arguments):
                self._refuse(host, kind, words)
            self._refuse_one_more(kind)
        waiting = sum(state.request.asked_by == BY + host for state in self._operations.in_states(NOT_ENDED))
        if waiting >= MOST_WAITING:
            raise StagingError(f"{waiting} operations that {host} has asked for wait or run", host=host)
        request = Request(kind=kind, arguments=arguments, asked_by=BY + host, reason=reason)
        with self._audit.acting(self._act(host, "add operation", words, reason)) as found:
            operation = self._operations.add(request, self._now())
            found["operation"] = operation.id
        return self._reply((operation,))

    def _list(self, host: str, ask: HostAsk) -> HostReply:
        last = min(max(ask.last, 0), MOST_LISTED)
        found = listing(self._operations, last)
        return self._reply(tuple(one for one in found if self._may_see(host, one)))

    def _show(self, host: str, ask: HostAsk) -> HostReply:
        if len(ask.operations) != 1:
            raise UsageError("one operation is shown at a time")
        (number,) = ask.operations
        return shown_operation(self._staging, self._get(host, number), most_result=_MOST_RESULT)

    def _stop(self, host: str, ask: HostAsk) -> HostReply:
        if ask.everything == bool(ask.operations):
            raise UsageError("say which operations are to stop, by their ids, or all")
        if ask.everything:
            found = self._operations.in_states((*NOT_ENDED, "interrupted"))
            chosen = [one for one in found if self._may_see(host, one)]
        else:
            chosen = [self._get(host, number) for number in dict.fromkeys(ask.operations[:MOST_LISTED])]
            for operation in chosen:
                check_can_stop(operation)
        # One that stops already is not asked again: each time is two lines of the audit log.
        stopped = tuple(
            one if one.state == "stopping" else self._stopped(host, one, ask.reason) for one in chosen
        )
        self._stopping(tuple(one.id for one in stopped if one.state == "stopping"))
        return self._reply(stopped)

    def _stopped(self, host: str, operation: Operation, reason: str) -> Operation:
        act = self._act(host, "stop operation", f"operation {operation.id}", shown(reason)[:_MOST_REASON])
        with self._audit.acting(act):
            return stop(self._staging, operation.id, self._now)

    def _get(self, host: str, number: int) -> Operation:
        """An operation that this host may see; one that it may not see is none."""
        if not 0 < number < 1 << 62:
            raise UsageError(f"{number} is the id of no operation")
        operation = self._operations.get(number)
        if not self._may_see(host, operation):
            raise NotFoundError(f"there is no operation {number} that {host} may see", operation=number)
        return operation

    def _may_see(self, host: str, operation: Operation) -> bool:
        return host in self._trusted() or operation.request.asked_by == BY + host

    def _reply(self, operations: tuple[Operation, ...]) -> HostReply:
        return HostReply(operations=operations, served=is_served(self._staging))

    def _refuse(self, host: str, kind: Kind, words: str) -> None:
        if self._may_note(host):
            act = self._act(host, "add operation", words, "")
            self._audit.append(replace(act, outcome="refused"))
        raise AccessError(
            f"{host} may not put in {kind} with these arguments: it may ask for backups, sweeps, "
            "verifications, drills and inventories that change nothing else; serve.trusted_hosts says who "
            "may ask for all",
            host=host,
        )

    def _refuse_one_more(self, kind: Kind) -> None:
        """Refuse what was asked for not long ago: `retention.last` counts runs, so with enough of them a host
        could have those of before purged."""
        asked = self._operations.asked_since(self._now() - _ONCE_IN, kind)
        by = (
            operation.request.asked_by.removeprefix(BY)
            for operation in asked
            if operation.request.asked_by.startswith(BY)
        )
        trusted = self._trusted()
        if any(one not in trusted for one in by):
            raise StagingError(
                f"a {kind} was asked for less than a day ago: hosts that are not in serve.trusted_hosts may, "
                "all of them together, ask for one of each kind a day"
            )

    def _may_note(self, host: str) -> bool:
        """Whether a refusal goes on record: a host that asks all day must not fill the disk."""
        now = self._now()
        recent = [moment for moment in self._refused.get(host, ()) if timedelta(0) <= now - moment < _ONCE_IN]
        if len(recent) < MOST_REFUSALS:
            recent.append(now)
            self._refused[host] = recent
            return True
        return False

    def _act(self, host: str, what: str, on: str, why: str) -> Act:
        role = "trusted host" if host in self._trusted() else "host"
        return Act(when=self._now(), who=BY + host, role=role, where=host, what=what, on=on, why=why)


def shown_operation(staging: Path, operation: Operation, *, most_result: int | None) -> HostReply:
    """All that there is to show of an operation; what it printed only up to a size in bytes (None: any)."""
    result = read_output(staging, operation.id) or b""
    return HostReply(
        operations=(operation,),
        served=is_served(staging),
        progress=read_progress(staging, operation.id) if operation.attempts else None,
        result=_json_text(result) if most_result is None or len(result) <= most_result else "",
        said=read_stderr(staging, operation.id)[-_MOST_SAID:],
    )


def _json_text(printed: bytes) -> str:
    """What a command printed, if that is a document."""
    try:
        text = printed.decode()
        json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return text
