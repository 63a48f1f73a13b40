"""The digest of a night: a record, and its text, made by pure functions, for somebody who has ten seconds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo

from ...proto.structs import Record, field
from ..drills.shares import Share
from ..history import RunState
from ..texts import counted, duration, size
from .records import Event
from .space import PlaceSpace, outlook, room_of

_LISTED = 12


class RunNight(Record, kw_only=True):
    """A run of the night."""

    run: str
    paths: str
    state: RunState
    seconds: float
    error: str = ""


class GroupNight(Record, kw_only=True):
    """What the night brought a group: of all its ``mailboxes``, so many messages ``added``, ``new_bytes`` of
    them stored. ``failed`` units (also those that were not done), ``skipped`` entries. ``seconds`` is how
    long it took, from its first unit to its last as far as they ran one after the other."""

    partition: str
    group: str
    mailboxes: int
    added: int
    new_bytes: int
    seconds: float
    skipped: int = 0
    failed: int = 0
    error: str = ""


class GroupBehind(Record, kw_only=True):
    """A group of which ``behind`` mailboxes were not stored whole by the newest run, ``never`` by any.
    ``since`` is by when all of it was (None: it never was)."""

    partition: str
    group: str
    mailboxes: int
    behind: int
    never: int
    since: datetime | None


class Lasting(Record, kw_only=True):
    """A notice that lasts."""

    event: Event
    cause: str
    subject: str
    since: datetime
    acknowledged_by: str = ""


class Unreached(Record, kw_only=True):
    """A receiver of notices who can't be reached."""

    receiver: str
    since: datetime
    error: str


class Coming(Record, kw_only=True):
    """What the schedule does next."""

    moment: datetime
    what: str


class Digest(Record, kw_only=True):
    """The night from ``since`` to ``until``, and how things are then; all times are aware UTC.

    ``not_good`` says why the night was none that works the switch (empty: it was a good one). ``reasons`` is
    what runs left out, by reason. Of ``alone`` archives copies count in one place only, since then;
    ``unswept`` ones are in the staging area only. A ``drill`` of the night has proven and failed so many
    mailboxes; ``untried`` says why nothing of a group (PARTITION/GROUP) could be tried, where that is so.
    The audit log ends with ``audit_end`` (empty: there is none), or its end was cut off.
    """

    site: str
    since: datetime
    until: datetime
    not_good: tuple[str, ...] = ()
    runs: tuple[RunNight, ...] = ()
    groups: tuple[GroupNight, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    behind: tuple[GroupBehind, ...] = ()
    copied: bool = False
    alone: int = 0
    alone_since: datetime | None = None
    unswept: int = 0
    unswept_since: datetime | None = None
    spaces: tuple[PlaceSpace, ...] = ()
    drilled: bool = False
    proven: int = 0
    failed_drills: int = 0
    proofs: tuple[Share, ...] = ()
    untried: Mapping[str, str] = field(default_factory=dict)
    lasting: tuple[Lasting, ...] = ()
    unreached: tuple[Unreached, ...] = ()
    coming: tuple[Coming, ...] = ()
    audit_end: str = ""
    audit_is_cut: bool = False


def problems(digest: Digest) -> list[str]:
    """What wants somebody, the worst first: what nobody has acknowledged, and why the night was not good."""
    return [text for text, _ in _problems(digest)]


def _problems(digest: Digest) -> Iterator[tuple[str, datetime | None]]:
    """The same, with since when that is so."""
    open_ones = [one for one in digest.lasting if not one.acknowledged_by]
    yield from ((one.subject, one.since) for one in sorted(open_ones, key=_urgency))
    yield from ((why, None) for why in digest.not_good if not _is_said(why, open_ones))
    yield from ((f"{one.receiver} gets no notices", one.since) for one in digest.unreached)
    if digest.audit_is_cut:
        yield "The end of the audit log was cut off", None


def _is_said(why: str, lasting: Sequence[Lasting]) -> bool:
    """Whether a notice says already why a night was not good."""
    if " has ended as " in why:
        return any(one.cause.startswith(_BACKUP_FAILED) for one in lasting)
    return why.startswith("drill ") and any(one.event == "drill-failed" for one in lasting)


def subject(digest: Digest) -> str:
    """What a phone shows."""
    found = problems(digest)
    if not found:
        return "Backups: all is well"
    return f"Backups: {found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")


def lines(digest: Digest, zone: tzinfo) -> list[str]:
    """The text: first whether all is well, then the night, then how things are, with times of the zone."""
    return [
        *_headline(digest),
        "",
        *_night(digest, zone),
        "",
        *_titled("Copies", _copies(digest, zone)),
        *_titled("Space", _spaces(digest)),
        *_titled("Proof", _proofs(digest)),
        *_titled("Known", _known(digest, zone)),
        *_titled("Next", _next(digest, zone)),
        *_titled("The audit log ends so", iter([digest.audit_end] if digest.audit_end else [])),
    ]


def _headline(digest: Digest) -> Iterator[str]:
    found = list(_problems(digest))
    if not found:
        yield "All is well."
        return
    yield f"NOT ALL IS WELL: {counted(len(found), 'thing needs', 'things need')} somebody."
    for text, since in found[:_LISTED]:
        days = (digest.until - since).days if since else 0
        yield f"  - {text}" + (f" (for {counted(days, 'day')})" if days > 0 else "")
    if len(found) > _LISTED:
        yield f"  and {len(found) - _LISTED:,} more: `mailhaul notify list`"


def _night(digest: Digest, zone: tzinfo) -> Iterator[str]:
    span = f"{_when(digest.since, zone)} - {_when(digest.until, zone)}"
    if not digest.runs:
        yield f"Last night ({span}): no backup."
    else:
        took = duration(sum(one.seconds for one in digest.runs))
        new = counted(sum(one.added for one in digest.groups), "new message")
        stored = size(sum(one.new_bytes for one in digest.groups))
        yield f"Last night ({span}): {counted(len(digest.runs), 'backup')}, {took}, {new}, {stored}"
    groups = sorted(digest.groups, key=lambda one: (not one.failed, not one.skipped))
    yield from _table([_group_row(one) for one in groups[:_LISTED]])
    if len(groups) > _LISTED:
        rest = groups[_LISTED:]
        added = sum(one.added for one in rest)
        yield f"  and {counted(len(rest), 'group')} more: {added:,} new, {_bad(rest)}"
    if digest.reasons:
        told = ", ".join(f"{reason} {many:,}" for reason, many in Counter(digest.reasons).most_common())
        yield f"  left out: {told}"
    for behind in digest.behind[:_LISTED]:
        yield f"  NOT BACKED UP: {_behind(behind, zone)}"
    if len(digest.behind) > _LISTED:
        yield f"  NOT BACKED UP: {counted(len(digest.behind) - _LISTED, 'more group')}"


def _group_row(night: GroupNight) -> tuple[str, ...]:
    outcome = "done"
    if night.failed:
        outcome = f"FAILED: {night.error}" if night.error else "FAILED"
    elif night.skipped:
        outcome = f"done, {night.skipped:,} left out"
    return (
        f"{night.partition}/{night.group}",
        counted(night.mailboxes, "mailbox", "mailboxes"),
        f"{night.added:,} new",
        size(night.new_bytes),
        duration(night.seconds),
        outcome,
    )


def _bad(groups: Sequence[GroupNight]) -> str:
    failed = sum(bool(group.failed) for group in groups)
    skipped = sum(night.skipped for night in groups)
    told = [*([f"{failed} FAILED"] if failed else []), *([f"{skipped:,} left out"] if skipped else [])]
    return ", ".join(told) or "all done"


def _behind(behind: GroupBehind, zone: tzinfo) -> str:
    count = counted(behind.behind, "mailbox", "mailboxes")
    never = f", {behind.never:,} of them never" if behind.never else ""
    since = f", whole on {_when(behind.since, zone)}" if behind.since else ""
    return f"{behind.partition}/{behind.group}: {count} of {behind.mailboxes:,}{never}{since}"


def _copies(digest: Digest, zone: tzinfo) -> Iterator[str]:
    if not digest.copied:
        yield "the staging area only, as nothing is swept"
        return
    if digest.unswept and digest.unswept_since is not None:
        count = counted(digest.unswept, "archive")
        yield f"{count} in the staging area only, the oldest since {_when(digest.unswept_since, zone)}"
    if digest.alone and digest.alone_since is not None:
        count = counted(digest.alone, "archive")
        yield f"{count} in 1 place only, the oldest since {_when(digest.alone_since, zone)}"
    if not digest.alone and not digest.unswept:
        yield "each archive in 2 places or more"


def _spaces(digest: Digest) -> Iterator[str]:
    for space in sorted(
        digest.spaces, key=lambda space: math.inf if space.days_left is None else space.days_left
    ):
        yield f"{space.place}: {room_of(space)}, {outlook(space)}"


def _proofs(digest: Digest) -> Iterator[str]:
    if digest.drilled:
        failed = f", {digest.failed_drills:,} FAILED" if digest.failed_drills else ""
        yield f"{counted(digest.proven, 'mailbox', 'mailboxes')} restored and compared last night{failed}"
    groups = sorted(digest.proofs, key=lambda group: (not group.failed, group.share))
    for group in groups[:_LISTED]:
        name = f"{group.partition}/{group.group}"
        failed = f", {group.failed:,} FAILED" if group.failed else ""
        why = f": {digest.untried[name]}" if not group.proven and name in digest.untried else ""
        yield f"{name}: {group.share:.0%} of mailboxes within 30 days{failed}{why}"
    if len(groups) > _LISTED:
        least = min(group.share for group in groups[_LISTED:])
        yield f"and {counted(len(groups) - _LISTED, 'group')} more, {least:.0%} or more of each"


def _known(digest: Digest, zone: tzinfo) -> Iterator[str]:
    known = [cause for cause in digest.lasting if cause.acknowledged_by]
    for cause in known[:_LISTED]:
        yield f"{cause.subject} (since {_when(cause.since, zone)}, known to {cause.acknowledged_by})"
    if len(known) > _LISTED:
        yield f"and {len(known) - _LISTED:,} more: `mailhaul notify list`"


def _next(digest: Digest, zone: tzinfo) -> Iterator[str]:
    for coming in digest.coming:
        yield f"{_when(coming.moment, zone)} {coming.what}"


def _titled(title: str, found: Iterator[str]) -> Iterator[str]:
    for index, line in enumerate(found):
        yield f"{title if index == 0 else '':<8}{line}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for name, *middle, outcome in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(middle, widths[1:], strict=False)]
        yield f"  {name:<{widths[0]}}  {'  '.join(cells)}  {outcome}".rstrip()


def _when(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%a %d %b %H:%M")


_ORDER: tuple[Event, ...] = ("alarm", "failed", "operation-died", "drill-failed", "tape-wanted", "space")


_BACKUP_FAILED = "failed:backup"


def _urgency(one: Lasting) -> tuple[int, bool, datetime]:
    """What may be a loss first, then backups that failed before all else that did."""
    rank = _ORDER.index(one.event) if one.event in _ORDER else len(_ORDER)
    return rank, not one.cause.startswith(_BACKUP_FAILED), one.since
