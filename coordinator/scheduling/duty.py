"""What the schedule asks of ``mailhaul serve``: to put in what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo

from ...proto.structs import replace
from ..notices.raising import over, raise_notice
from ..notices.records import Notice
from ..service.handled import HandledMoments
from ..service.operations import Operations
from ..service.records import NOT_ENDED, Handled, Operation, State
from ..settings import Config
from .due import begun, due, next_due
from .entries import Due, entries, named, requests

Told = Callable[[str, Mapping[str, object]], object]
"""Takes an event and its fields, for the log."""

_GOING_ON: tuple[State, ...] = (*NOT_ENDED, "interrupted")
"""What was interrupted by the end of ``serve`` goes on with the next one."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class ScheduleDuty:
    """A duty: puts in what is due by the schedule of a configuration, in this zone. ``told`` hears of it.

    Of an entry whose last operation still waits or runs nothing is put in: it is passed over, people are
    told, and a full backup that was passed over is made up for by the entry's next one.
    """

    def __init__(self, config: Config, zone: tzinfo, told: Told) -> None:
        self._config = config
        self._staging = config.staging.path
        self._zone = zone
        self._told = told
        self._entries = entries(config.schedule)
        self._moments = HandledMoments(self._staging)
        self._operations = Operations(self._staging)
        self._looked = _NEVER
        self._next = _NEVER

    def tick(self, now: datetime) -> None:
        """See Duty. After a clock that was put back, and at first, it looks whatever the time is."""
        if self._looked <= now < self._next:
            self._looked = now
            return
        handled = self._begin(now)
        found = due(self._entries, handled, self._zone, now)
        if found:
            self._handle(found, handled, now)
            handled = self._moments.all()
        self._next = next_due(self._entries, handled, self._zone, now) or _NEVER
        self._looked = now

    def _begin(self, now: datetime) -> Mapping[str, Handled]:
        """What was handled, of all entries that there are."""
        names = [entry.name for entry in self._entries]
        handled = self._moments.all()
        fresh = begun(names, handled, now)
        for name in fresh.keys() & handled.keys():
            self._told("schedule.clock", {"entry": name, "handled": handled[name].moment.isoformat()})
        gone = handled.keys() - set(names)
        for name in gone:
            over(self._staging, _cause(name), now)
        if fresh or gone:
            self._moments.begin(fresh, names)
        return {name: fresh.get(name) or handled[name] for name in names}

    def _handle(self, found: Sequence[Due], handled: Mapping[str, Handled], now: datetime) -> None:
        busy = {
            name: state for state in self._operations.in_states(_GOING_ON) for name in named(state.request)
        }
        free = [one for one in found if one.entry.name not in busy]
        seen = {
            one.entry.name: _seen(one, handled[one.entry.name], busy.get(one.entry.name)) for one in found
        }
        put_in = self._moments.handle(seen, requests(free, self._config), now)
        if put_in is None:  # by another process
            return
        for operation in put_in:
            asked = operation.request
            self._told(
                "schedule.put_in", {"operation": operation.id, "kind": asked.kind, "entry": asked.entry}
            )
        for one in found:
            name, reason = one.entry.name, seen[one.entry.name].passed_over
            if not reason:
                over(self._staging, _cause(name), now)
                continue
            self._told("schedule.passed_over", {"entry": name, "reason": reason})
            raise_notice(self._staging, self._notice(one, reason), now)

    def _notice(self, one: Due, reason: str) -> Notice:
        when = one.moment.astimezone(self._zone).isoformat(" ", timespec="minutes")
        return Notice(
            event="passed-over",
            cause=_cause(one.entry.name),
            subject=f"{one.entry.name} was passed over: {reason}",
            lines=(
                f"What was due at {when} ({self._zone}) was not put in: {reason}.",
                "It takes longer than the schedule gives it, or is held up: see `mailhaul operations list`.",
            ),
            facts={"entry": one.entry.name, "due": one.moment.isoformat(), "reason": reason},
        )


def _seen(one: Due, before: Handled, busy: Operation | None) -> Handled:
    if busy is not None:
        doing = "waits" if busy.state == "waiting" else "runs"
        return replace(before, moment=one.moment, passed_over=f"operation {busy.id} still {doing}")
    return Handled(moment=one.moment, full=one.moment if one.full else before.full)


def _cause(entry: str) -> str:
    return f"passed-over:{entry}"
