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
    for notice in notices:
        raise_notice(staging, notice, now)


def released(staging: Path, now: datetime) -> None:
    """End the alarms whose mailboxes somebody has looked at and released. One for which none was held ends
    when somebody acknowledges it, and so does a restore that failed. Raises as ``raise_notice``."""
    for standing in NoticeRecord(staging).lasting(("failed", "skipped")):
        if standing.acknowledged is not None and standing.notice.facts.get("command") in RESTORES:
            over(staging, standing.notice.cause, now)
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
    for standing in NoticeRecord(staging).lasting(("drill-failed", "switch-failed")):
        if standing.notice.event == "switch-failed":
            gone = not config.notices.switch.is_there
        else:
            gone = _is_left_alone(standing, config, now)
        if gone:
            over(staging, standing.notice.cause, now)


def _is_left_alone(drilled: Standing, config: Config, now: datetime) -> bool:
    """Whether what a drill said is of a place as a whole that is no destination any more, or that drills pass
    over, but for those by hand (``drill --from``)."""
    place = drilled.notice.facts.get("place")
    if place in (None, STAGING) or "path" in drilled.notice.facts:
        return False
    if place not in {destination.name for destination in config.destinations}:
        return True
    passed_over = bool(config.drill.places) and place not in config.drill.places
    return passed_over and now - drilled.last > BY_HAND


def held_for(staging: Path, run: str) -> tuple[Hold, ...]:
    """The holds that the alarms of a run have set and nobody has released. Raises DamagedError,
    StagingError."""
    return tuple(
        hold for hold in read_holds(staging).all if hold.automatic and hold.reason.startswith(f"run {run}:")
    )


def volumes(staging: Path) -> Iterator[Notice]:
    """Tape volumes that somebody has to bring."""
    for volume in wanted_volumes(staging):
        yield Notice(
            event="tape-wanted",
            cause=f"tape-wanted:{volume.destination}:{volume.pool}:{volume.volume}",
            subject=f"Tape wanted in {volume.destination}: {volume.label or f'pool {volume.pool}'}",
            lines=(
                f"The destination {volume.destination} wants {volume.told}.",
                "What waits for it goes on by itself when the volume is in a drive or in the robot.",
            ),
            facts={
                "destination": volume.destination,
                "pool": volume.pool,
                "label": volume.label,
                "why": volume.why,
            },
        )


def keys(staging: Path, now: datetime, check_every_seconds: float) -> Iterator[Notice]:
    """Private keys that were not seen to open what is written for too long. Nothing where this user may not
    read the directory of keys."""
    with suppress(BackupError, OSError):
        recipients, checks = known_recipients(staging)
        for recipient in checked_recipients(recipients, checks, now, check_every_seconds):
            if recipient.overdue:
                yield Notice(
                    event="key-overdue",
                    cause=f"key-overdue:{recipient.fingerprint}",
                    subject=f"The private key {recipient.name} was not tried for too long",
                    lines=(recipient.warning(now),),
                    facts={"recipient": recipient.name, "fingerprint": recipient.fingerprint},
                )


def proofs(groups: Iterable[Share]) -> Iterator[Notice]:
    """Groups of which drills have proven nothing for too long."""
    for group in groups:
        if group.mailboxes and not group.proven:
            name = f"{group.partition}/{group.group}"
            yield Notice(
                event="proof-old",
                cause=f"proof-old:/{name}",
                subject=f"Nothing of {name} was proven within {PROVEN_WITHIN.days} days",
                lines=(
                    f"No drill has restored any of its {group.mailboxes:,} mailboxes whole within that time.",
                    "`mailhaul drill` restores a sample now; `mailhaul proof` tells what drills have shown.",
                ),
                facts={"partition": group.partition, "group": group.group, "mailboxes": group.mailboxes},
            )
