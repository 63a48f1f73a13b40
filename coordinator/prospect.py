"""What a restore would meet, before anything is restored: workers look at the targets, each on the host where
its target lies, and what they found is added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ..proto.ports import ProgressSink
from ..proto.records import Partition
from ..proto.structs import Record, replace
from ..proto.target_facts import (
    ExpiryRule,
    ExpiryToll,
    FateCounts,
    FileSystemRoom,
    QuotaExcess,
    ServerTalk,
    TargetFacts,
    Trial,
)
from ..worker.looking.sought import Sought
from ..worker.stores.registry import can_be_asked
from ..worker.tasks.looking import LookTask, run_look
from .access import Access, grants_for, reached
from .dispatch.engine import Engine
from .restore_plan import PlannedMailbox, RestorePlan

LOOK_SECONDS = 10.0
"""So long the targets on a host are looked at. What there was no time for is told as that."""


class Prospect(Record, kw_only=True):
    """What was found: ``rooms`` by host and file system, everything else by target."""

    rooms: tuple[FileSystemRoom, ...] = ()
    targets: tuple[TargetFacts, ...] = ()
    unreached: tuple[tuple[Partition, str], ...] = ()

    @property
    def excesses(self) -> tuple[QuotaExcess, ...]:
        """The users whose quotas leave too little room."""
        return tuple(excess for facts in self.targets for excess in facts.excesses)


_DELIVERED = (
    "over LMTP a server can't be asked what it has; all messages would come as new mail, without flags, "
    "keywords, date and folder, and filters (Sieve) would run again: answers, forwards and notifications go "
    "out to third persons"
)

_MOST_AT_ONCE = 5000
"""A worker has no more mailboxes than these in memory."""


def look_ahead(
    plan: RestorePlan,
    engine: Engine,
    on_progress: ProgressSink,
    *,
    workers: int,
    access: Access | None = None,
    seconds: float = LOOK_SECONDS,
) -> Prospect:
    """Look at the targets of a plan, with so many ``workers`` on each host. What can't be looked at is told;
    never raises for it."""
    tasks = list(_tasks(plan, workers, access, seconds))
    found: dict[Partition, list[TargetFacts]] = {}
    delivered = dict.fromkeys(mailbox.target for mailbox in plan.mailboxes if mailbox.target.format == "lmtp")
    unreached = dict.fromkeys(delivered, _DELIVERED)
    for outcome in engine(run_look, tasks, on_progress):
        target = outcome.task.target
        if outcome.report is not None:
            found.setdefault(target, []).append(outcome.report)
        else:
            unreached[target] = outcome.failure().message
    return Prospect(
        rooms=tuple(_rooms(room for facts in found.values() for each in facts for room in each.rooms)),
        targets=tuple(_together(target, facts) for target, facts in found.items()),
        unreached=tuple(unreached.items()),
    )


def _tasks(plan: RestorePlan, workers: int, access: Access | None, seconds: float) -> Iterator[LookTask]:
    """The mailboxes of each target in parts, which share the time of as many workers."""
    by_target: dict[Partition, list[PlannedMailbox]] = {}
    for mailbox in plan.mailboxes:
        if can_be_asked(mailbox.target):
            by_target.setdefault(mailbox.target, []).append(mailbox)
    on_host = Counter(host for target in by_target for host in target.hosts)
    for target, mailboxes in by_target.items():
        share = seconds / max(on_host[host] for host in target.hosts)
        size = min(_MOST_AT_ONCE, -(-len(mailboxes) // workers))
        for number, first in enumerate(range(0, len(mailboxes), size)):
            part = mailboxes[first : first + size]
            yield LookTask(
                archives=reached(
                    plan.archives.of({need for planned_mailbox in part for need in planned_mailbox.needs}),
                    access,
                    [(one.version.partition, one.version.user) for one in part],
                ),
                sought=tuple(map(_sought, part)),
                target=target,
                label=f"look at {target.name} {number + 1}",
                seconds=share * min(1.0, workers * len(part) / len(mailboxes)),
                grants=grants_for(access, target),
            )


def _sought(mailbox: PlannedMailbox) -> Sought:
    whole = mailbox.choice.path.folder is None
    return Sought(
        choice=mailbox.choice,
        folders=mailbox.version.folders if whole else 1,
        messages=mailbox.messages,
        size_bytes=mailbox.size_bytes,
    )


def _together(target: Partition, found: Sequence[TargetFacts]) -> TargetFacts:
    """What several workers found of one target."""
    counts = [target_facts.counts for target_facts in found]
    return TargetFacts(
        target=target,
        trials=tuple(_trials(trial for facts in found for trial in facts.trials)),
        fates=tuple(fate for facts in found for fate in facts.fates),
        counts=FateCounts(
            recreated=sum(count.recreated for count in counts),
            existing=sum(fate_counts.existing for fate_counts in counts),
            another=sum(one.another for one in counts),
            kept=sum(one.kept for one in counts),
            renumbered=sum(one.renumbered for one in counts),
            added=sum(one.added for one in counts),
            present=sum(one.present for one in counts),
        ),
        unseen=sum(one.unseen for one in found),
        quotas_asked=sum(one.quotas_asked for one in found),
        excesses=tuple(excess for facts in found for excess in facts.excesses),
        expiry=_tolls(found),
        server=_talk([one.server for one in found if one.server is not None]),
        troubles=tuple(dict.fromkeys(trouble for facts in found for trouble in facts.troubles)),
    )


def _talk(told: Sequence[ServerTalk]) -> ServerTalk | None:
    """What a server has said to several workers."""
    if not told:
        return None
    return ServerTalk(
        logged_in=sum(talk.logged_in for talk in told),
        append_limit=min(
            (server_talk.append_limit for server_talk in told if server_talk.append_limit), default=0
        ),
        too_large=sum(one.too_large for one in told),
    )


def _tolls(found: Iterable[TargetFacts]) -> tuple[ExpiryToll, ...] | None:
    told = [facts.expiry for facts in found if facts.expiry is not None]
    sums: dict[ExpiryRule, ExpiryToll] = {}
    for one in (toll for tolls in told for toll in tolls):
        known = sums.get(one.rule, ExpiryToll(rule=one.rule))
        sums[one.rule] = ExpiryToll(
            rule=one.rule,
            messages=known.messages + one.messages,
            due=known.due + one.due,
            beyond=known.beyond + one.beyond,
        )
    return tuple(sums.values()) if told else None


def _trials(trials: Iterable[Trial]) -> Iterator[Trial]:
    """Each directory once, with what failed there."""
    by_place: dict[tuple[str, str], Trial] = {}
    for trial in trials:
        known = by_place.setdefault((trial.host, trial.path), trial)
        owner = known.owner or trial.owner if known.owner is not None else trial.owner
        by_place[trial.host, trial.path] = replace(known, error=known.error or trial.error, owner=owner)
    yield from by_place.values()


def _rooms(rooms: Iterable[FileSystemRoom]) -> Iterator[FileSystemRoom]:
    """Each file system of each host once, with all that comes onto it."""
    sums: dict[tuple[str, int], FileSystemRoom] = {}
    for room in rooms:
        known = sums.get((room.host, room.device))
        if known is not None:
            room = replace(
                known,
                free_bytes=min(known.free_bytes, room.free_bytes),
                mailboxes=known.mailboxes + room.mailboxes,
                messages=known.messages + room.messages,
                size_bytes=known.size_bytes + room.size_bytes,
                inodes=known.inodes + room.inodes,
                names=known.names + room.names,
                names_bytes=known.names_bytes + room.names_bytes,
                files={**known.files, **room.files},
            )
        sums[room.host, room.device] = room
    yield from sums.values()
