"""Drills over made-up backups, with a clock that is set: for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.drills.drill import Drilled, Measure, Try, one_drill, run_drill
from mailhaul.coordinator.drills.sample import Candidate
from mailhaul.coordinator.drills.scratch import Scratch
from mailhaul.coordinator.drills.settings import DrillConfig
from mailhaul.coordinator.drills.sizes import sizes_of
from mailhaul.coordinator.drills.trial import Bench, Sources, try_mailbox
from mailhaul.coordinator.service.proofs import Proof
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import Progress
from mailhaul.worker.destinations.settings import Destination
from mailhaul.worker.load import NO_LIMITS, LoadLimits


class SetClock:
    """The port ``Clock``, as a test sets it."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> float:
        return self.time.timestamp()

    def monotonic(self) -> float:
        return self.time.timestamp()

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Nobody:
    """An observer that looks at nothing."""

    def begin(self, sample: Sequence[Candidate]) -> None:
        """See Observer."""

    def progress(self, mailbox: LogicalPath, told: Progress) -> None:
        """See Observer."""

    def end(self, mailbox: LogicalPath, proof: Proof) -> None:
        """See Observer."""


def real_trials(
    staging: Path,
    destinations: Sequence[Destination],
    doveadm: tuple[str, ...] = (),
    load: LoadLimits = NO_LIMITS,
) -> Try:
    """Mailboxes are really restored, in this process; there is no live store."""
    engine = adapters.make_engine(0)
    bench = Bench(here=engine, engine=engine, stores={}, doveadm=doveadm, load=load)
    return partial(try_mailbox, Sources(staging=staging, destinations=tuple(destinations)), bench)


def real_sizes(staging: Path, destinations: Sequence[Destination] = ()) -> Measure:
    """Mailboxes are measured as a drill does it."""
    return partial(sizes_of, Sources(staging=staging, destinations=tuple(destinations)))


def drill(
    staging: Path,
    config: DrillConfig,
    places: Sequence[str],
    trials: Try,
    clock: SetClock,
    paths: Sequence[LogicalPath] = (),
    seed: int | None = 1,
    measure: Measure | None = None,
) -> Drilled:
    """A drill, with its scratch directory beside the staging area."""
    with one_drill(staging):
        scratch = Scratch(staging.parent / "scratch", config.reserve_bytes)
        sizes = measure or real_sizes(staging)
        return run_drill(staging, paths, config, places, scratch, trials, sizes, clock, Nobody(), seed)
