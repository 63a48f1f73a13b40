"""An overview of a staging area as lines for people; what there is nothing to say about is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import click

from ...groups.paths import LogicalPath
from ...proto.errors import AccessError
from ...proto.records import FOLDERS, STAGING
from ...worker.archives.names import parse_name
from ...worker.staging.receiver_status import ReceiverStatus, StreamStatus
from ..governing.state import GovernorState
from ..history import Behind, GoodBackup, RunRecord
from ..monitoring.overview import RECEIVER_SECONDS, Overview
from ..monitoring.status import RunStatus, UnitStatus
from ..places import device_warning
from ..reasons import EXCLUDED, NO_FAULT
from ..restores.status import ALL, NOTHING, RestoreStatus
from ..serving.standing import QueueStanding
from . import output
from .operation_lines import called
from .output import Column, counted, duration, number, say, shown, size
from .place_lines import place_lines
from .times import both

STALE_SECONDS = 15.0
"""A status that is older was left by a program that hangs, or whose disk is full."""

_LISTED_FAILURES = 10
_LISTED_OPERATIONS = 5
_UNITS = [
    Column("running unit", "<"),
    Column("host", "<"),
    Column("for"),
    Column("messages"),
    Column("read"),
    Column("of"),
    Column("user", "<", extra=True),
]
_STREAMS = [
    Column("receiving", "<"),
    Column("host", "<"),
    Column("for"),
    Column("written"),
    Column("epoch", extra=True),
]
_RUNS = [
    Column("last runs", "<"),
    Column("took"),
    Column("state", "<"),
    Column("messages"),
    Column("read"),
    Column("skipped"),
]
_GOOD = [
    Column("last good backup of", "<"),
    Column("sealed", "<"),
    Column("age"),
    Column("mailboxes"),
    Column("behind"),
]


def show(
    overview: Overview,
    again: str = "mailhaul backup --resume latest",
    restore_again: Callable[[str, str], str] = "mailhaul restore {1} {0}".format,
) -> None:
    """Print it; ``again`` is the command that goes on with the last run, ``restore_again`` gives that for a
    restore and an option."""
    if overview.run is not None:
        _show_run(overview.run, overview.taken)
    elif overview.owner is not None:
        say(shown(f"in use by {overview.owner}"))
        say("it tells nothing: no run, or one that just begins")
    else:
        _show_last(overview, again)
    for host in overview.governed:
        _show_governed(host)
    for restore in overview.restores:
        _show_restore(restore, restore_again)
    say()
    _show_room(overview)
    if overview.same_device:
        say(shown(device_warning(overview.same_device)))
    if overview.queue is not None:
        _show_queue(overview.queue)
    if overview.receiver is not None:
        _show_receiver(overview.receiver, overview.taken.timestamp())
    if overview.runs:
        say()
        output.print_table(_RUNS, map(_run_row, overview.runs))
    if overview.good:
        say()
        output.print_table(_GOOD, (_good_row(backup, overview.taken) for backup in overview.good))
        if any(good_backup.behind or good_backup.never for good_backup in overview.good):
            say("that of the worst mailbox; `mailhaul status --behind` lists those behind")
    if overview.sweeps or any(place.place != STAGING for place in overview.copies.places):
        say()
        _show_copies(overview)
    for erasure in overview.erasures:
        due = f"{counted(len(erasure.remaining), 'copy', 'copies')} due"
        told = due if erasure.staged else "not done in the staging area"
        say(f"erasure {erasure.erasure}: {told} (`mailhaul erase --certificate {erasure.erasure}`)")
    if overview.runs:
        say(shown(_encryption(overview)))
    for recipient in overview.recipients:
        if recipient.overdue:
            say(shown(recipient.warning(overview.taken)))
    for receiver in overview.unreached:
        since = output.moment(receiver.failing_since)
        click.secho(shown(f"{receiver.name} gets no notices since {since}: {receiver.error}"), fg="red")
    for volume in overview.wanted_volumes:
        click.secho(
            shown(f"{volume.destination} wants {volume.told}, since {output.moment(volume.since)}"), fg="red"
        )


def _encryption(overview: Overview) -> str:
    if overview.encrypted is None:
        return "whether archives are encrypted is not known: the directory of keys can't be read"
    if not overview.encrypted:
        return "archives are not encrypted"
    names = ", ".join(recipient.name for recipient in overview.recipients)
    return (
        f"archives are encrypted, for {names}" if names else "archives are encrypted; the keys are not here"
    )


def _show_governed(state: GovernorState) -> None:
    if state.blind or state.p95_seconds is None:
        say(
            shown(f"{state.host}: how long users wait is not known: {state.blind or 'nobody has looked yet'}")
        )
    else:
        p95, target = output.milliseconds(state.p95_seconds), output.milliseconds(state.target_seconds)
        say(shown(f"{state.host}: 95 of 100 times users wait {p95} at most, target {target}"))
    say(f"  the work there goes on at {state.level:.0%}, by {counted(state.workers, 'worker')}")
    if state.why:
        say(f"  because {state.why}")


def _show_restore(status: RestoreStatus, again: Callable[[str, str], str]) -> None:
    state = {
        "running": "goes on",
        "interrupted": "was interrupted",
        "done": f"is done, but: {number(status.absent)} not there, {number(status.altered)} there, "
        "not as it was",
    }.get(status.state, f"was stopped: {status.error}")
    say(shown(f"restore {status.restore}, begun {both(status.begun)}, {state}"))
    say(
        f"  done: {number(status.mailboxes_done)} of {counted(status.mailboxes, 'mailbox', 'mailboxes')}, "
        f"{number(status.messages_done)} of {counted(status.messages, 'message')}, "
        f"{size(status.bytes_done)} of {size(status.size_bytes)}"
    )
    for part in status.reached:
        say(f"  {counted(part.mailboxes, 'mailbox', 'mailboxes')}: {reach_in_words(part.reach)}")
    if status.report:
        say(shown(f"  the list, with what to do: {status.report}"))
    if status.absent and not status.undoes:
        say(shown(f"  try again what is not there: {again(status.restore, '--retry')}"))
    elif status.state in ("interrupted", "stopped"):
        say(shown(f"  go on with: {again(status.restore, '--resume')}"))


def reach_in_words(reach: str) -> str:
    """How much is there of a mailbox, for people."""
    known = {NOTHING: "nothing yet", FOLDERS: "the folders, no mail yet", ALL: "all mail is back"}
    return known.get(reach) or f"mail is back to {both(datetime.fromisoformat(reach))}"


def _show_copies(overview: Overview) -> None:
    standing = overview.copies
    counting = [place for place in standing.places if place.state == "kept"]
    told = ", ".join(
        f"{place_standing.place} {number(place_standing.archives)} ({size(place_standing.size_bytes)})"
        for place_standing in counting
    )
    say(shown(f"copies that count: {told or 'none'}"))
    for state, what in (("copied", "to be looked at again before they count"), ("lost", "lost there")):
        some = [f"{one.place} {number(one.archives)}" for one in standing.places if one.state == state]
        if some:
            say(shown(f"{what}: {', '.join(some)}"))
    for many, since, what in (
        (standing.unswept, standing.unswept_since, "in the staging area only"),
        (standing.alone, standing.alone_since, "in one place only"),
    ):
        if many:
            say(f"{what}: {counted(many, 'archive')}, the oldest of {output.moment(since)}")
    for sweep in overview.sweeps:
        said = f": {sweep.error}" if sweep.error else ""
        failing = f", not all since {output.moment(sweep.failing_since)}{said}" if sweep.failing_since else ""
        say(shown(f"swept to {sweep.destination}: {output.moment(sweep.ended)}{failing}"))
    for line in place_lines(standing, overview.sweeps, overview.strays):
        say(shown(line))


def _show_last(overview: Overview, again: str) -> None:
    if not overview.runs:
        say("no run is going on; there was none yet")
        return
    last = overview.runs[0]
    say(f"no run is going on; the last one: {last.run}, {last.state}")
    if last.state in ("interrupted", "partial", "failed"):
        say("`mailhaul runs latest` says why")
        if last.sealed_units + last.unchanged_units < last.planned_units:
            say(shown(f"`{again}` goes on with it"))


def _show_run(run: RunStatus, now: datetime) -> None:
    say(
        f"run {run.run or '(being planned)'} for {duration(_seconds(run.since, now))} (pid {run.pid})"
        + (f": {run.state}" if run.state != "running" else "")
    )
    stale = _seconds(run.written, now)
    if stale > STALE_SECONDS:
        say(f"it has not told anything for {duration(stale)}: what follows is that old")
    if run.waiting:
        say(shown(f"it waits: {run.waiting}"))
    counts, done = run.counts, run.done
    planned = counts.planned + counts.running + counts.sealed + counts.failed
    if not planned:
        return
    failed = f", {number(counts.failed)} failed" if counts.failed else ""
    say(
        f"units: {number(counts.sealed)} of {number(planned)} sealed, {number(counts.running)} running, "
        f"{number(counts.planned)} waiting{failed}"
    )
    messages = counted(done.messages, "message")
    say(f"read: {size(done.size_bytes)} of about {size(run.expected_bytes)}, {messages}")
    left = f", about {duration(round(run.left_seconds))} left" if run.left_seconds is not None else ""
    say(f"rate: {run.bytes_per_second / 1e6:.1f} MB/s, {round(run.messages_per_second):,} messages/s{left}")
    for what, told in (
        ("skipped", {why: many for why, many in run.skipped.items() if why not in NO_FAULT}),
        ("excluded", {why: many for why, many in run.skipped.items() if why in EXCLUDED}),
    ):
        if told:
            listed = ", ".join(f"{number(many)} {shown(why)}" for why, many in sorted(told.items()))
            say(f"{what}: {listed}")
    _show_units(run, now)
    _show_troubles(run)


def _show_units(run: RunStatus, now: datetime) -> None:
    if run.units:
        say()
        output.print_table(_UNITS, (_unit_row(status, now) for status in run.units))
    for unit in run.units:
        if unit.waiting:
            say(shown(f"{unit.unit} waits: {unit.waiting}"))


def _show_troubles(run: RunStatus) -> None:
    for host in run.hosts:
        if host.lost:
            say(shown(f"host {host.host} is lost: {host.lost}"))
    for failure in run.failures[:_LISTED_FAILURES]:
        say(shown(f"{failure.what} failed: {failure.message}"))
    more = sum(run.failed.values()) - _LISTED_FAILURES
    if more > 0:
        say(f"and {number(more)} more failures")


def _show_queue(queue: QueueStanding) -> None:
    for operation in queue.going:
        reason = f"; it {operation.waits_for}" if operation.waits_for else ""
        say(shown(f"operation {operation.id} is {operation.state}: {called(operation)}{reason}"))
    for one in queue.waiting[:_LISTED_OPERATIONS]:
        reason = f": {one.waits_for}" if one.waits_for else ""
        say(shown(f"operation {one.id} is waiting: {called(one)}{reason}"))
    if len(queue.waiting) > _LISTED_OPERATIONS:
        say(f"and {number(len(queue.waiting) - _LISTED_OPERATIONS)} more (`mailhaul operations list`)")
    for one in queue.failed:
        say(shown(f"operation {one.id} failed: {called(one)}: {one.error.partition(chr(10))[0]}"))
    if queue.waiting and not queue.served:
        say("nobody carries operations out: `mailhaul serve` does not run")


def _show_receiver(receiver: ReceiverStatus, now: float) -> None:
    if now - receiver.time > RECEIVER_SECONDS:
        silent = duration(round(now - receiver.time))
        click.secho(f"receiver: not heard from for {silent} (pid {receiver.pid})", fg="red")
        return
    up = duration(max(0, round(receiver.time - receiver.started)))
    streams = counted(len(receiver.streams), "stream")
    say(f"receiver: up for {up}, {streams}, {size(receiver.received_bytes)} received")
    if receiver.credit_stalls:
        stalled = duration(round(receiver.credit_stall_seconds))
        say(f"workers had to wait for it {counted(receiver.credit_stalls, 'time')}, {stalled} in all")
    turned_away = [
        counted(count, one, many)
        for count, one, many in (
            (receiver.strangers, "stranger", "strangers"),
            (receiver.malformed, "malformed message", "malformed messages"),
            (receiver.refused, "request", "requests"),
        )
        if count
    ]
    if turned_away:
        say(f"it turned away {', '.join(turned_away)}")
    if receiver.streams:
        say()
        output.print_table(_STREAMS, (_stream_row(status, now) for status in receiver.streams))
    for stream in receiver.streams:
        if stream.waiting:
            say(shown(f"{_unit_of(stream)} waits: {stream.waiting}"))


def _show_room(overview: Overview) -> None:
    room = overview.room
    say(shown(f"staging area {overview.staging}"))
    kept = f"; {size(overview.reserve_bytes)} of it stay free" if overview.reserve_bytes else ""
    text = f"room: {size(room.free_bytes)} of {size(room.total_bytes)} free{kept}"
    full = not room.available_bytes
    click.secho(f"{text}: it is full, workers wait", fg="red") if full else say(text)


def _unit_row(status: UnitStatus, now: datetime) -> tuple[str, ...]:
    again = f" (try {status.attempt})" if status.attempt > 1 else ""
    return (
        shown(status.unit) + again,
        shown(status.host) or "here",
        duration(_seconds(status.since, now)),
        number(status.messages),
        size(status.size_bytes),
        size(status.expected_bytes),
        output.name(status.user),
    )


def _stream_row(status: StreamStatus, now: float) -> tuple[str, ...]:
    return (
        shown(_unit_of(status)),
        shown(status.host),
        duration(max(0, round(now - status.since))),
        size(status.written_bytes),
        str(status.epoch),
    )


def _unit_of(stream: StreamStatus) -> str:
    """Of which unit of which run an archive is: the rest of its name says nothing to people."""
    with suppress(AccessError):
        name = parse_name(stream.file)
        return f"{name.partition}/{name.group}/{name.run}.{name.shard}"
    return stream.file


def _run_row(record: RunRecord) -> tuple[str, ...]:
    return (
        record.run,
        duration(_seconds(record.started, record.ended)) if record.ended else "-",
        record.state,
        number(record.messages),
        size(record.size_bytes),
        number(record.skipped),
    )


def _good_row(backup: GoodBackup, now: datetime) -> tuple[str, ...]:
    return (
        shown(f"{backup.partition}/{backup.group}"),
        both(backup.sealed),
        _age(_seconds(backup.sealed, now)) if backup.sealed else "none",
        number(backup.mailboxes),
        number(backup.behind) if backup.behind else "",
    )


def _age(seconds: float) -> str:
    """``3 h``, ``12 days``: as exactly as it matters."""
    for limit, unit, name in ((5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds / 86400)} days"


def _seconds(since: datetime, until: datetime) -> float:
    return max(0, round((until - since).total_seconds()))


_BEHIND = [
    Column("mailbox", "<"),
    Column("last good backup", "<"),
    Column("age"),
    Column("why", "<"),
]


def show_behind(behind: Sequence[Behind], since: datetime | None, now: datetime) -> None:
    """Print the mailboxes that have no good backup."""
    asked = "by the newest run" if since is None else f"since {both(since)}"
    if not behind:
        say(f"every mailbox that is there has a good backup {asked}")
        return
    say(f"{counted(len(behind), 'mailbox', 'mailboxes')} without a good backup {asked}:")
    output.print_table(_BEHIND, (_behind_row(one, now) for one in behind))


def _behind_row(behind: Behind, now: datetime) -> tuple[str, ...]:
    return (
        shown(str(LogicalPath(behind.partition, behind.group, behind.user))),
        both(behind.stored) if behind.stored else "none",
        _age(_seconds(behind.stored, now)) if behind.stored else "",
        shown(
            f"{behind.reason}: {behind.detail}"
            if behind.detail
            else behind.reason or "no run has tried since"
        ),
    )
