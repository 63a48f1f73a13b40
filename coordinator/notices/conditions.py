"""What lasts by itself and can be looked at any time: volumes that are wanted, keys that nobody has tried.

Each look gives all that is so now; what was so before and is not among it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import BackupError
from ..drills.shares import PROVEN_WITHIN, Share
from ..holds import Hold, read_holds
from ..key_checks import checked_recipients, known_recipients
from ..service.notices import NoticeRecord
from ..wanted_volumes import wanted_volumes
from .raising import over, raise_notice
from .records import Event, Notice, tidy_cause


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
    when somebody acknowledges it. Raises as ``raise_notice``."""
    for one in NoticeRecord(staging).lasting(("alarm",)):
        run = one.notice.facts.get("run")
        if not one.notice.facts.get("held") and one.acknowledged is not None:
            over(staging, one.notice.cause, now)
        if one.notice.facts.get("held") and isinstance(run, str) and not held_for(staging, run):
            over(staging, one.notice.cause, now)


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
