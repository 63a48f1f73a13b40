"""``mailhaul backup``."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.records import Partition, Progress, Unit, UnitReport
from ..inventory import Failure
from ..observers import RunObserver
from ..plan import Plan
from ..run import VANISHED, RunResult, resume_run, run_to_staging, run_to_stream
from ..settings import Codec, Config
from ..users_file import UserList, read_users
from . import adapters, output
from .archive_file import archive_stream
from .configuration import configured, described
from .means import admission, open_means
from .options import PATH, STDIO, json_option, refuse, staging_option, store_option, workers_option
from .output import counted, duration, note, number, say, size
from .program import Invocation
from .progress import Amount, Display, make_display
from .watching import log_option, metrics_option, watched_run

_LISTED_ARCHIVES = 4


@click.command("backup")
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH]...")
@store_option
@staging_option
@workers_option
@click.option(
    "--users",
    "users_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Only the users whose ids are in FILE, one a line.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that was ended early: with all of it that is not sealed. latest, or its id.",
)
@click.option("--now", is_flag=True, help="Begin at once, also outside of the configured window.")
@metrics_option
@log_option
@click.option("--codec", type=click.Choice(["lz4", "zstd"]), help="How archives are compressed.")
@click.option(
    "-f",
    "file",
    metavar="FILE",
    help="Write everything to this one file, without staging area and catalog. - is the standard output.",
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    paths: tuple[LogicalPath, ...],
    store: Partition | None,
    staging: Path | None,
    workers: int | None,
    users_file: Path | None,
    resume: str | None,
    now: bool,
    metrics_listen: str | None,
    log_file: Path | None,
    codec: Codec | None,
    file: str | None,
    as_json: bool,
) -> int:
    """Back up the mailboxes that each PATH selects: everything (/), a partition, a group, a user.

    \b
    Example: back up the group sales of the partition primary
      mailhaul backup /primary/sales
    """
    if file == STDIO:
        invocation.json = False  # no error either may get among the bytes of the archive
        refuse(as_json, "with -f - the standard output carries the archive: leave out --json")
    refuse(file is not None and workers is not None, "-f writes one file, in one process: no --workers")
    config = _adjusted(_config(invocation, store, staging, file), workers, codec)
    refuse(
        file is not None and config.dispatch.engine != "local",
        "-f reads the partitions of this host: not with the hosts of a cluster (dispatch.engine)",
    )
    _refuse_with_resume(resume, paths, users_file, store, file)
    what = _What(paths or (LogicalPath(),), read_users(users_file) if users_file else None, resume)
    clock = adapters.clock()
    began = clock.monotonic()
    with make_display(clock, as_json=as_json) as display:
        observer = _Observer(display, quiet=as_json)
        if file is not None:
            result = _to_stream(config, what, file, observer)
        else:
            with watched_run(config, clock, observer, metrics_listen, log_file) as watched:
                result = _to_staging(config, what, watched, now=now)
    seconds = clock.monotonic() - began
    files = _archive_files(result, config, file)
    output.list_skipped(result.left_out)
    if as_json:
        output.print_json(_document(result, seconds, files))
    else:
        tell = note if file == STDIO else say
        for line in _summary(result, seconds, files):
            tell(line)
    if result.failures:
        return EXIT_FAILED
    return EXIT_SKIPPED if result.left_out else EXIT_OK


@dataclass(frozen=True, slots=True)
class _What:
    """What is to be backed up: the paths, of these users; or what is left of a run."""

    paths: tuple[LogicalPath, ...]
    users: UserList | None
    resume: str | None


def _refuse_with_resume(resume: str | None, *others: object) -> None:
    refuse(
        resume is not None and any(others),
        "--resume goes on with what its run has planned: no PATH, --users, --store or -f beside it",
    )


def _to_staging(config: Config, what: _What, observer: RunObserver, *, now: bool) -> RunResult:
    admit = admission(config, now=now, waiting=observer.waiting)
    with open_means(config, observer, admit) as means:
        if what.resume is not None:
            return resume_run(config, what.resume, means)
        return run_to_staging(config, what.paths, means, what.users)


def _to_stream(config: Config, what: _What, file: str, observer: RunObserver) -> RunResult:
    name = "the standard output" if file == STDIO else os.path.abspath(file)
    with archive_stream(file) as stream:
        return run_to_stream(
            config,
            what.paths,
            stream,
            name,
            clock=adapters.clock(),
            inventory=adapters.make_engine(0),
            open_store=adapters.open_store,
            observer=observer,
            users=what.users,
        )


def _config(
    invocation: Invocation, store: Partition | None, staging: Path | None, file: str | None
) -> Config:
    refuse(
        file is not None and staging is not None,
        "-f writes one file instead of a staging area: leave one out",
    )
    if store is None:
        refuse(staging is not None, "--staging says where to: say with --store FORMAT:DIR what to back up")
        return configured(invocation)
    refuse(
        invocation.config is not None, "--store stands instead of a configuration: leave out --config or it"
    )
    refuse(staging is None and file is None, "say where to: --staging DIR (or -f FILE)")
    return described(store, staging)


def _adjusted(config: Config, workers: int | None, codec: Codec | None) -> Config:
    if workers is not None:
        config = replace(config, dispatch=replace(config.dispatch, workers_per_host=workers))
    if codec is not None:
        config = replace(config, archive=replace(config.archive, codec=codec))
    return config


class _Observer(RunObserver):
    """Shows a run on the terminal."""

    def __init__(self, display: Display, *, quiet: bool) -> None:
        self._display = display
        self._quiet = quiet
        self._waiting = ""

    def planned(self, plan: Plan) -> None:
        """See RunObserver."""
        if not self._quiet:
            mailboxes = {(unit.partition.name, user) for unit in plan.units for user in unit.users}
            found = Amount(sum(one.messages for one in plan.units), sum(one.size_bytes for one in plan.units))
            self._display.say(
                f"found {counted(len(mailboxes), 'mailbox', 'mailboxes')}, "
                f"{counted(found.messages, 'message')}, {size(found.size_bytes)}"
            )
        self._display.begin({one.label: Amount(one.messages, one.size_bytes) for one in plan.units})

    def progress(self, progress: Progress) -> None:
        """See RunObserver."""
        self._display.progress(progress)

    def sealed(self, unit: Unit, report: UnitReport) -> None:
        """See RunObserver."""
        self._display.end(unit.label, Amount(report.messages, report.size_bytes))

    def failed(self, failure: Failure) -> None:
        """See RunObserver."""
        self._display.say(f"failed: {failure.what}: {failure.error.message}")

    def host_changed(self, host: str, error: BackupError | None) -> None:
        """See RunObserver."""
        self._display.say(f"host {host} is lost: {error.message}" if error else f"host {host} is back")

    def waiting(self, reason: str) -> None:
        """See RunObserver."""
        if reason != self._waiting:
            self._waiting = reason
            self._display.say(reason or "the run goes on")


def _archive_files(result: RunResult, config: Config, file: str | None) -> list[str]:
    if file is not None:
        return [] if file == STDIO else [os.path.abspath(file)]
    return sorted(str(config.staging.path / one.file) for one in result.reports)


def _summary(result: RunResult, seconds: float, files: list[str]) -> list[str]:
    reports = result.reports
    messages = sum(one.messages for one in reports)
    size_bytes = sum(one.size_bytes for one in reports)
    archive_bytes = sum(one.archive_bytes for one in reports)
    failed = f", {number(len(result.failures))} failed" if result.failures else ""
    before = f"and {number(result.sealed_before)} before" if result.sealed_before else ""
    smaller = f"{size_bytes / archive_bytes:.1f} times smaller" if archive_bytes else ""
    rows = [
        ("units", f"{number(len(reports))} sealed{failed}", before),
        ("mailboxes", number(sum(len(one.mailboxes) for one in reports)), ""),
        ("messages", number(messages), f"{messages / max(seconds, 0.001):,.0f} messages/s"),
        ("read", size(size_bytes), f"{size_bytes / max(seconds, 0.001) / 1e6:,.1f} MB/s"),
        ("new", size(sum(one.new_bytes for one in reports)), "each piece once"),
        ("archives", size(archive_bytes), smaller),
        ("skipped", number(len(result.left_out)), _by_reason(result)),
    ]
    lines = [f"run {result.run}: {result.state} in {duration(seconds)}"]
    lines += [f"  {title:<10} {value:>12}   {remark}".rstrip() for title, value, remark in rows]
    lines += [f"  {output.shown(one)}" for one in files[:_LISTED_ARCHIVES]]
    if len(files) > _LISTED_ARCHIVES:
        lines.append(f"  and {counted(len(files) - _LISTED_ARCHIVES, 'archive')} more beside these")
    return lines


def _by_reason(result: RunResult) -> str:
    counts = Counter(one.reason for one in result.left_out)
    told = [f"{reason} {number(count)}" for reason, count in counts.most_common()]
    if vanished := len(result.skipped) - len(result.left_out):
        told.append(f"beside {number(vanished)} {VANISHED} meanwhile")
    return ", ".join(told)


def _document(result: RunResult, seconds: float, files: list[str]) -> dict[str, object]:
    reports = result.reports
    return {
        "run": result.run,
        "state": result.state,
        "seconds": round(seconds, 3),
        "mailboxes": sum(len(one.mailboxes) for one in reports),
        "messages": sum(one.messages for one in reports),
        "size_bytes": sum(one.size_bytes for one in reports),
        "new_bytes": sum(one.new_bytes for one in reports),
        "archive_bytes": sum(one.archive_bytes for one in reports),
        "archives": files,
        "sealed_before": result.sealed_before,
        "units": [_unit(one) for one in reports],
        "failures": [
            {"what": one.what, "code": one.error.code, "message": one.error.message}
            for one in result.failures
        ],
        "skipped": result.skipped,
    }


def _unit(report: UnitReport) -> dict[str, object]:
    return {
        "partition": report.partition,
        "group": report.group,
        "shard": report.shard,
        "archive": report.archive,
        "file": report.file,
        "mailboxes": len(report.mailboxes),
        "messages": report.messages,
        "size_bytes": report.size_bytes,
        "new_bytes": report.new_bytes,
        "archive_bytes": report.archive_bytes,
        "seconds": round(report.seconds, 3),
        "cpu_seconds": round(report.cpu_seconds, 3),
        "peak_memory_bytes": report.peak_memory_bytes,
        "skipped": len(report.skipped),
    }
