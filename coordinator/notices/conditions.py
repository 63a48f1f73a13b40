"""What lasts by itself and can be looked at any time: volumes that are wanted, keys that nobody has tried.

Each look gives all that is so now; what was so before and is not among it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.errors import BackupError
from ...proto.records import STAGING
from ..drills.shares import PROVEN_WITHIN, Share
from ..holds import Hold, read_holds
from ..key_checks import checked_recipients, known_recipients
from ..service.notices import NoticeRecord
from ..settings import Config
from ..wanted_volumes import wanted_volumes
from .raising import over, raise_notice
from .records import Event, Notice, Standing, tidy_cause
from .restore_notices import RESTORES

BY_HAND = timedelta(days=1)
"""So long it counts what a drill by hand has found at a place that others pass over."""


def reconcile(staging: Path, event: Event, found: Iterable[Notice], now: datetime) -> None:
    """Put on record what is so of an event now, and that all else of it is over. Raises as
    ``raise_notice``."""
    notices = list(found)
    causes = {tidy_cause(one.cause) for one in notices}
    for standing in NoticeRecord(staging).lasting((event,)):
        if standing.notice.cause not in causes:
            over(staging, standing.notice.cause, now)
    for one in notices:
        raise_notice(staging, one, now)


def released(staging: Path, now: datetime) -> None:
    """End the alarms whose mailboxes somebody has looked at and released. One for which none was held ends
    when somebody acknowledges it, and so does a restore that failed. Raises as ``raise_notice``."""
    for one in NoticeRecord(staging).lasting(("failed", "skipped")):
        if one.acknowledged is not None and one.notice.facts.get("command") in RESTORES:
            over(staging, one.notice.cause, now)
    for one in NoticeRecord(staging).lasting(("alarm",)):
        run = one.notice.facts.get("run")
        if not one.notice.facts.get("held") and one.acknowledged is not None:
            over(staging, one.notice.cause, now)
        if one.notice.facts.get("held") and isinstance(run, str) and not held_for(staging, run):
            over(staging, one.notice.cause, now)


def taken_out(config: Config, now: datetime) -> None:
    """End what is said of places that no drill reads any more, and of a switch that there is not: nothing
    will ever find that these are well. Raises as ``raise_notice``."""
    staging = config.staging.path
    for one in NoticeRecord(staging).lasting(("drill-failed", "switch-failed")):
        if one.notice.event == "switch-failed":
            gone = not config.notices.switch.is_there
        else:
            gone = _is_left_alone(one, config, now)
        if gone:
            over(staging, one.notice.cause, now)


def _is_left_alone(drilled: Standing, config: Config, now: datetime) -> bool:
    """Whether what a drill said is of a place as a whole that is no destination any more, or that drills pass
    over, but for those by hand (``drill --from``)."""
    place = drilled.notice.facts.get("place")
    if place in (None, STAGING) or "path" in drilled.notice.facts:
        return False
    if place not in {one.name for one in config.destinations}:
        return True
    passed_over = bool(config.drill.places) and place not in config.drill.places
    return passed_over and now - drilled.last > BY_HAND


def held_for(staging: Path, run: str) -> tuple[Hold, ...]:
    """The holds that the alarms of a run have set and nobody has released. Raises DamagedError,
    StagingError."""
    return tuple(
        one for one in read_holds(staging).all if one.automatic and one.reason.startswith(f"run {run}:")
    )


def volumes(staging: Path) -> Iterator[Notice]:
    """Tape volumes that somebody has to bring."""
    for one in wanted_volumes(staging):
        yield Notice(
            event="tape-wanted",
            cause=f"tape-wanted:{one.destination}:{one.pool}:{one.volume}",
            subject=f"Tape wanted in {one.destination}: {one.label or f'pool {one.pool}'}",
            lines=(
                f"The destination {one.destination} wants {one.told}.",
                "What waits for it goes on by itself when the volume is in a drive or in the robot.",
            ),
            facts={"destination": one.destination, "pool": one.pool, "label": one.label, "why": one.why},
        )


def keys(staging: Path, now: datetime, check_every_seconds: float) -> Iterator[Notice]:
    """Private keys that were not seen to open what is written for too long. Nothing where this user may not
    read the directory of keys."""
    with suppress(BackupError, OSError):
        recipients, checks = known_recipients(staging)
        for one in checked_recipients(recipients, checks, now, check_every_seconds):
            if one.overdue:
                yield Notice(
                    event="key-overdue",
                    cause=f"key-overdue:{one.fingerprint}",
                    subject=f"The private key {one.name} was not tried for too long",
                    lines=(one.warning(now),),
                    facts={"recipient": one.name, "fingerprint": one.fingerprint},
                )


def proofs(groups: Iterable[Share]) -> Iterator[Notice]:
    """Groups of which drills have proven nothing for too long."""
    for one in groups:
        if one.mailboxes and not one.proven:
            name = f"{one.partition}/{one.group}"
            yield Notice(
                event="proof-old",
                cause=f"proof-old:/{name}",
                subject=f"Nothing of {name} was proven within {PROVEN_WITHIN.days} days",
                lines=(
                    f"No drill has restored any of its {one.mailboxes:,} mailboxes whole within that time.",
                    "`mailhaul drill` restores a sample now; `mailhaul proof` tells what drills have shown.",
                ),
                facts={"partition": one.partition, "group": one.group, "mailboxes": one.mailboxes},
            )
