"""What people hear of drills: a notice for each mailbox that could not be restored whole, until it is
proven, for each at which drills end by force, and for each place that was away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.records import STAGING
from ..notices.raising import over, raise_notice
from ..notices.records import Notice, tidy_cause
from ..service.notices import NoticeRecord
from ..service.proofs import Proof, Proofs
from .drill import Drilled

_FEW_LACKS = 10
_FEW_MAILBOXES = 20
_DEATHS = 2
"""So often in a row a drill ends by force at a mailbox before people hear of it: once may be anything."""


def tell_people(staging: Path, done: Drilled, now: datetime) -> None:
    """Put on record what people should hear of a drill, and what is over by it. Raises as
    ``raise_notice``."""
    failed = [one for one in done.proofs if one.outcome == "failed"]
    for proof in failed[:_FEW_MAILBOXES]:
        raise_notice(staging, _failed(proof), now)
    if len(failed) > _FEW_MAILBOXES:
        raise_notice(staging, _many(len(failed), done.drill.id), now)
    tell_of_ends(staging, now)
    _end_what_is_not_so(staging, now)
    if not failed:
        over(staging, _MANY, now)
    for place in {one.place for one in done.proofs} - done.away.keys():
        over(staging, _place_cause(place), now)
    for place, why in done.away.items():
        raise_notice(staging, _away(place, why), now)
    if done.drill.proven or done.drill.failed:
        over(staging, _NOTHING, now)
    elif not done.away:
        raise_notice(staging, _nothing(done), now)


def tell_of_ends(staging: Path, now: datetime) -> None:
    """Put on record at which mailboxes drills end by force: also for who begins one, as it may end so, too.
    Raises as ``raise_notice``."""
    for proof in Proofs(staging).deadly(_DEATHS):
        raise_notice(staging, _ends(proof), now)


def _end_what_is_not_so(staging: Path, now: datetime) -> None:
    """What was said of a mailbox and is not so any more: it was proven, or it is not kept, or is in another
    group now, and no drill will ever prove that it is whole."""
    proofs = Proofs(staging)
    failed = {tidy_cause(_cause(proof)) for proof in proofs.all() if proof.outcome == "failed"}
    ends = {tidy_cause(_end_cause(one)) for one in proofs.deadly(_DEATHS)}
    for standing in NoticeRecord(staging).lasting(("drill-failed",)):
        if "path" in standing.notice.facts and standing.notice.cause not in failed | ends:
            over(staging, standing.notice.cause, now)


_MANY = "drill-failed:many"
_NOTHING = "drill-failed:nothing"


def _cause(proof: Proof) -> str:
    return f"drill-failed:{_path(proof)}"


def _end_cause(proof: Proof) -> str:
    return f"drill-failed:ends:{_path(proof)}"


def _place_cause(place: str) -> str:
    return f"drill-failed:place:{place}"


def _path(proof: Proof) -> LogicalPath:
    return LogicalPath(proof.partition, proof.group, proof.user)


def _failed(proof: Proof) -> Notice:
    return Notice(
        event="drill-failed",
        cause=_cause(proof),
        subject=f"{_path(proof)} can't be restored whole from {proof.place or 'its copies'}",
        lines=tuple(_lines(proof)),
        facts={"path": str(_path(proof)), "place": proof.place, "run": proof.run, "lacking": proof.lacking},
    )


def _ends(proof: Proof) -> Notice:
    return Notice(
        event="drill-failed",
        cause=_end_cause(proof),
        subject=f"drills end by force at {_path(proof)}: {proof.deaths} times in a row",
        lines=(
            f"the last began with it {proof.tried:%Y-%m-%d %H:%M} UTC, and was killed or ran out of memory",
            "others are proven before it is tried again, and nothing is known to be damaged",
            f"`mailhaul drill {_path(proof)}` tries it alone",
        ),
        facts={"path": str(_path(proof)), "deaths": proof.deaths},
    )


def _lines(proof: Proof) -> Iterator[str]:
    yield f"as of run {proof.run}, a restore of it would lack:"
    for lack in proof.lacks[:_FEW_LACKS]:
        yield f"{lack.path}: {lack.reason}: {lack.detail}"
    if proof.lacking > _FEW_LACKS:
        yield f"and {proof.lacking - _FEW_LACKS:,} more: `mailhaul proof {_path(proof)}`"
    yield remedy(proof.partition, proof.group, proof.place)


def remedy(partition: str, group: str, place: str) -> str:
    """What helps where a copy at a place is damaged."""
    scope = LogicalPath(partition, group)
    if place in ("", STAGING):
        return f"`mailhaul verify {scope} --data` says what is damaged, `--fix` mends it from other copies"
    return (
        f"`mailhaul verify {scope} --from {place}` finds the damaged copies, and the next `mailhaul sweep` "
        "puts others in their place; until then restores take another copy, where there is one"
    )


def _many(count: int, drill: int) -> Notice:
    return Notice(
        event="drill-failed",
        cause=_MANY,
        subject=f"{count:,} mailboxes can't be restored whole",
        lines=("`mailhaul proof --failed` lists them, with what a restore would lack",),
        facts={"drill": drill, "mailboxes": count},
    )


def _away(place: str, why: str) -> Notice:
    return Notice(
        event="drill-failed",
        cause=_place_cause(place),
        subject=f"no mailbox could be proven from {place}: it can't be read now",
        lines=(why, "nothing is known to be damaged; the next drill tries again"),
        facts={"place": place},
    )


def _nothing(done: Drilled) -> Notice:
    reasons = dict.fromkeys(proof.error for proof in done.proofs if proof.error)
    return Notice(
        event="drill-failed",
        cause=_NOTHING,
        subject="a drill could try no mailbox",
        lines=(*list(reasons)[:_FEW_LACKS], "nothing is known to be damaged, and nothing is proven"),
        facts={"drill": done.drill.id},
    )
