"""What the commands share that write into mail stores: where to, doing it, telling what became of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import click

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.records import Partition, RestoreReport, RestoreTaskReport, Skipped
from ...proto.structs import Record, field
from ...worker.archives.holdings import Holdings
from ...worker.load import NO_LIMITS, LoadLimits
from ...worker.stores.registry import is_one_file, is_stdout
from ..catalog import Catalog
from ..dispatch.engine import Engine, Outcome
from ..hooks import NO_HOOKS, Hooks
from ..newest_first import NAME, Ahead, passes_of, run_newest_first
from ..places import names_partition, of_partition, refuse_target
from ..restoration import RestoreWork, end_restore, note_damaged_copies, run_tasks
from ..restore_plan import PlannedTask, RestorePlan
from ..restores.failures import failure_of
from ..restores.journal import Journal
from ..settings import Config
from . import adapters, output
from .configuration import configured, default_workers, found_configuration, staging_area
from .options import refuse
from .output import counted, duration, number, say, size
from .program import Invocation
from .progress import Amount, make_display, watched

_WITHOUT_MODSEQ = (
    "{} came back with the old UIDVALIDITY but without HIGHESTMODSEQ: clients that know QRESYNC are not told "
    "what has changed or vanished since the backup. A restore with doveadm (of the partition, or --doveadm) "
    "sets it; with --new-uidvalidity clients download everything again"
)


class Goal(Record, kw_only=True):
    """Where mail goes: to a ``place`` for all of it, or to the partitions of a configuration; and how much of
    a host that may take; ``minding`` says whose users are minded meanwhile."""

    place: Partition | None
    config: Config | None
    workers: int
    load: LoadLimits
    minding: Config | None

    @property
    def alone(self) -> bool:
        """Whether only one process can write there."""
        return self.place is not None and is_one_file(self.place)

    def targets(self, partitions: Iterable[str]) -> Mapping[str, Partition]:
        """Where mail of each of these partitions goes, as far as that is known."""
        if self.place is not None:
            if names_partition(self.place):
                return {name: of_partition(self.place, name) for name in partitions}
            # One record for all: two mailboxes that would meet there are found by that.
            return dict.fromkeys(partitions, self.place)
        return {partition.name: partition for partition in self.config.partitions} if self.config else {}


def chosen_goal(
    invocation: Invocation, place: Partition | None, workers: int | None, staging: Path | None
) -> Goal:
    """Where the options say that mail goes. Raises UsageError, ConfigError."""
    if place is not None:
        adapters.check_target(of_partition(place, "partition"))
        if is_stdout(place):
            _leave_stdout(invocation)
        area = staging_area(invocation, staging) if staging or invocation.config else None
        stores = _known_stores(area)
        if place.access is None:
            each = [of_partition(place, store.name) for store in stores if names_partition(place)]
            for partition in (place, *each):
                refuse_target(partition, area, stores)
        bounds = _bounds(invocation) if staging is None else None
        return Goal(
            place=place,
            config=None,
            workers=workers or default_workers(),
            load=NO_LIMITS if bounds is None else bounds.load,
            minding=bounds,
        )
    refuse(
        staging is not None, "say where to with --to FORMAT:DIR: --staging stands instead of a configuration"
    )
    config = configured(invocation)
    workers = workers or config.dispatch.workers_per_host
    return Goal(place=None, config=config, workers=workers, load=config.load, minding=config)


def _bounds(invocation: Invocation) -> Config | None:
    """The configuration, if there is one: its limits hold for whatever is restored."""
    return configured(invocation) if found_configuration(invocation) is not None else None


def _leave_stdout(invocation: Invocation) -> None:
    """Mail goes to the standard output, so nothing else may."""
    refuse(invocation.json, "with tar:- the standard output carries the mail: leave out --json")
    refuse(sys.stdout.isatty(), "--to tar:- writes an archive to the standard output, which is a terminal")
    click.get_current_context().with_resource(output.results_aside())


def restore_hooks(
    invocation: Invocation, config: Config | None, *, files: Sequence[str], staging: Path | None
) -> Hooks:
    """The hooks of a restore: those of the configuration, where it has one."""
    if config is None and not files and staging is None:
        config = configured(invocation)  # it says where the archives are
    return adapters.hooks(config) if config is not None else NO_HOOKS


def _known_stores(area: Path | None) -> tuple[Partition, ...]:
    """The stores that were backed up into a staging area."""
    try:
        with Catalog.open(area or Path(os.devnull)) as catalog:
            return catalog.stores()
    except BackupError:  # whatever is wrong with it is told when it is needed
        return ()


class Done(Record):
    """What became of tasks, and how long it took; ``earlier`` is what was done before they were begun."""

    report: RestoreReport
    seconds: float
    earlier: RestoreReport = field(default_factory=RestoreReport)

    def facts(self) -> dict[str, object]:
        """What a hook is told."""
        report = self.report
        counts = {"restored": report.restored, "present": report.present, "skipped": len(report.skipped)}
        return {"state": "done", **counts, "damaged": len(report.damaged)}

    def tell(self, head: Mapping[str, object], damaged: Sequence[Skipped], *, as_json: bool) -> int:
        """Print it, with what was ``damaged`` before it began; returns the exit status."""
        report = self.report
        damaged = (*damaged, *report.damaged)
        output.list_skipped(damaged, "damaged")
        output.list_skipped(report.skipped)
        failures = [*(failure_of(skip, damaged=True) for skip in damaged), *map(failure_of, report.skipped)]
        for kind, remedy in dict.fromkeys((failure.kind, failure.remedy) for failure in failures):
            output.note(f"{kind}: {remedy}")
        copies = sorted(f"{location.place}:{location.name}" for _, location in report.replaced)
        for copy in copies:
            output.note(
                f"{output.shown(copy)} is damaged; what is wrong there was read elsewhere, and the "
                "next sweep "
                "puts another copy in its place"
            )
        if as_json:
            output.print_json(
                {
                    **head,
                    "restored": report.restored,
                    "present": report.present,
                    "linked": report.linked,
                    "files": report.files,
                    "flagged": report.flagged,
                    "moved": report.moved,
                    "aside": report.aside,
                    "size_bytes": report.size_bytes,
                    "folders_without_modseq": report.without_modseq,
                    "seconds": round(self.seconds, 3),
                    "skipped": [failure_of(one) for one in report.skipped],
                    "damaged": [failure_of(one, damaged=True) for one in damaged],
                    "uids": [{"mailbox": mailbox, **uid_map._asdict()} for mailbox, uid_map in report.uids],
                    "damaged_copies": copies,
                }
            )
        else:
            self._summary(head, len(damaged))
        if report.without_modseq:
            output.note(_WITHOUT_MODSEQ.format(counted(report.without_modseq, "folder")))
        if damaged:
            return EXIT_DAMAGED
        if report.skipped:
            nothing = not (report.restored or report.present or report.files)
            return EXIT_FAILED if nothing else EXIT_SKIPPED
        return EXIT_OK

    def _summary(self, head: Mapping[str, object], damaged: int) -> None:
        report, seconds = self.report, max(self.seconds, 0.001)
        messages = (report.restored - self.earlier.restored) / seconds
        megabytes = (report.size_bytes - self.earlier.size_bytes) / seconds / 1e6
        rows = [
            *((title, _fact(one), "") for title, one in head.items()),
            ("messages", number(report.restored), f"{messages:,.0f} messages/s"),
            ("size", size(report.size_bytes), f"{megabytes:,.1f} MB/s"),
            *([("  flags", number(report.flagged), "or keywords")] if report.flagged else []),
            *([("  moved", number(report.moved), "back to their folders")] if report.moved else []),
            *([("  aside", number(report.aside), "came since")] if report.aside else []),
            ("other files", number(report.files), ""),
            ("present", number(report.present), "were there already" if report.present else ""),
            ("skipped", number(len(report.skipped)), ""),
            ("damaged", number(damaged), ""),
        ]
        say(f"restored in {duration(self.seconds)}")
        for title, value, remark in rows:
            say(f"  {title:<11} {value:>12}   {remark}".rstrip())


def _fact(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int) else str(value)


def carry_out(
    tasks: Sequence[PlannedTask],
    engine: Engine,
    archives: Holdings,
    journal: Journal | None = None,
    *,
    targets: Sequence[Partition] = (),
    witness: Path | None = None,
    as_json: bool,
) -> Done:
    """Do the tasks, with a display of their progress; record which copies of ``archives`` are damaged.
    ``targets`` are those of the whole restore, where tasks are the rest of it. Raises as ``run_tasks``."""
    clock = adapters.clock()
    began = clock.monotonic()
    earlier = RestoreReport() if journal is None else journal.total
    with make_display(clock, as_json=as_json) as display:
        display.begin({task.task.label: Amount(task.messages, task.size_bytes) for task in tasks})
        report = run_tasks(
            tasks, watched(engine, display, _ended), display.progress, journal, witness=witness
        )
    _end((*targets, *(planned_task.task.target for planned_task in tasks)), engine, archives, report)
    return Done(report, clock.monotonic() - began, earlier)


def carry_out_newest_first(
    plan: RestorePlan,
    moment: datetime,
    engine: Engine,
    journal: Journal,
    ahead: Ahead,
    announcement: bytes,
    *,
    witness: Path | None,
    as_json: bool,
) -> Done:
    """The same for a whole plan, as of a moment, the newest mail first; ``ahead`` are those who come before
    all others, ``announcement`` is what all are told."""
    clock = adapters.clock()
    began = clock.monotonic()
    earlier = journal.total
    with make_display(clock, as_json=as_json) as display:
        display.begin({NAME: Amount(plan.messages, plan.size_bytes)})
        report = run_newest_first(
            plan,
            passes_of(moment),
            engine,
            display.progress,
            journal,
            ahead,
            announcement=announcement,
            witness=witness,
        )
        done = Amount(report.restored + report.present, report.size_bytes + report.present_bytes)
        passed = Amount(earlier.restored + earlier.present, earlier.size_bytes + earlier.present_bytes)
        display.end(NAME, done - passed)
    _end(plan.targets, engine, plan.archives, report)
    return Done(report, clock.monotonic() - began, earlier)


def _end(targets: Iterable[Partition], engine: Engine, archives: Holdings, report: RestoreReport) -> None:
    """What is left to do when tasks are done."""
    record_damaged_copies(archives, report)
    # What failed may have had links, too, before it did.
    if report.linked or report.skipped or report.damaged:
        for left in end_restore(targets, engine):
            output.note(f"a directory with hard links may be left: {output.shown(left.detail)}")


def record_damaged_copies(archives: Holdings, report: RestoreReport) -> None:
    """Record which copies were found damaged; where that can't be done the restore is none the worse."""
    try:
        note_damaged_copies(archives, report)
    except BackupError as error:
        output.note(f"which copies are damaged could not be recorded: {output.shown(error.message)}")


def _ended(outcome: Outcome[RestoreWork, RestoreTaskReport]) -> tuple[str, Amount]:
    report = outcome.report.total() if outcome.report else RestoreReport()
    passed = report.size_bytes + report.present_bytes
    return outcome.task.label, Amount(report.restored + report.present, passed)
