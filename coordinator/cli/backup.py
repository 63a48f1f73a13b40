"""``mailhaul backup``."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...groups.selection import check_pattern
from ...proto.records import BackupMode, Partition
from ...proto.structs import replace
from ..request import Request, paths_without
from ..settings import Codec, Config, MetricsConfig
from ..users_file import read_users
from .configuration import configured, described, recorded, resume_command, staging_area
from .fresh_area import removed_if_failed
from .options import (
    PATH,
    SINCE,
    STDIO,
    json_option,
    log_option,
    metrics_option,
    refuse,
    staging_option,
    store_option,
    workers_option,
)
from .program import Invocation


@click.command("backup")
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH]...")
@store_option
@staging_option
@workers_option
@click.option("--full", is_flag=True, help="Read every message again, also those that are stored.")
@click.option(
    "--since",
    type=SINCE,
    metavar="T",
    help="Of what is not stored yet only messages that arrived then or later: an ISO date or time, or "
    "YYYYMMDD:HHMMSS. UTC, unless it says otherwise.",
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Check the file of each stored message (size, time), also in folders that seem unchanged.",
)
@click.option(
    "--self-contained", is_flag=True, help="Write archives that need no others; reads every message."
)
@click.option(
    "--exclude-folder",
    "exclude_folders",
    metavar="NAME",
    multiple=True,
    help="Leave out folders of this name, and what lies below; * and ? match. May be repeated.",
)
@click.option(
    "--except-group",
    "except_groups",
    metavar="NAME",
    multiple=True,
    help="Everything but this group. May be repeated.",
)
@click.option(
    "--accept-empty",
    is_flag=True,
    help="Accept a partition that lists no mailbox: all that were stored of it have departed.",
)
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
    help="Continue a run that was interrupted, with everything that is not sealed yet: latest, or its id.",
)
@click.option(
    "--accept-moved",
    is_flag=True,
    help="Accept that a partition lies elsewhere than when it was backed up last.",
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
    full: bool,
    since: float | None,
    thorough: bool,
    self_contained: bool,
    exclude_folders: tuple[str, ...],
    except_groups: tuple[str, ...],
    accept_empty: bool,
    accept_moved: bool,
    users_file: Path | None,
    resume: str | None,
    now: bool,
    metrics_listen: str | None,
    log_file: Path | None,
    codec: Codec | None,
    file: str | None,
    as_json: bool,
) -> int:
    """Back up what each PATH selects: everything (/), a partition, a group, a user, a folder of a user. What
    is stored already, and has not changed, is not read again.

    \b
    Example: back up the group sales of the partition primary
      mailhaul backup /primary/sales
    """
    if file == STDIO:
        invocation.json = False  # no error either may get among the bytes of the archive
        refuse(as_json, "with -f - the standard output carries the archive: leave out --json")
    refuse(file is not None and workers is not None, "-f writes one file, in one process: no --workers")
    config = _adjusted(_config(invocation, store, staging, file, resume), workers, codec)
    if invocation.operation is not None:
        # Those of the coordinator that stays tell of the run, too, at the same address.
        config = replace(config, metrics=MetricsConfig())
    refuse(
        file is not None and config.dispatch.engine != "local",
        "-f reads the partitions of this host: not with the hosts of a cluster (dispatch.engine)",
    )
    mode = BackupMode(
        full=full or self_contained, thorough=thorough, since=since, self_contained=self_contained
    )
    _refuse_with_resume(
        resume,
        *(paths, users_file, store, file, exclude_folders, except_groups, accept_empty, accept_moved),
        mode != BackupMode(),
    )
    chosen = paths or (LogicalPath(),)
    if except_groups:
        partitions = [partition.name for partition in config.partitions]
        chosen = paths_without(chosen, except_groups, partitions, config.groups)
    request = Request(
        paths=chosen,
        users=read_users(users_file) if users_file else None,
        mode=mode,
        exclude_folders=tuple(map(check_pattern, exclude_folders)),
        accept_empty=accept_empty,
        accept_moved=accept_moved,
        rest=bool(except_groups),
    )
    reads_all = mode.full or not config.staging.path.joinpath(".mailhaul", "catalog.sqlite").exists()
    if reads_all and file is None and config.dispatch.engine == "local":
        from .workers import prepare_workers

        prepare_workers()
    from .backup_run import Asked, carry_out  # while the workers load their part

    asked = Asked(
        request=request,
        resume=resume,
        again=lambda run: resume_command(invocation.config, staging, run),
        begins=partial(_begins, invocation),
        config_file=invocation.config,
        file=file,
        now=now,
        metrics_listen=metrics_listen,
        log_file=log_file,
        as_json=as_json,
    )
    with removed_if_failed(config.staging.path) if store and file is None else nullcontext():
        return carry_out(config, asked)


def _begins(invocation: Invocation, run: str) -> None:
    invocation.begun = run
    if invocation.operation is not None:
        invocation.operation.begins(run)


def _refuse_with_resume(resume: str | None, *others: object) -> None:
    refuse(
        resume is not None and any(others),
        "--resume goes on with what its run has planned, in the same way: no PATH, --store or -f beside it, "
        "and none of the options that say what is backed up and how",
    )


def _config(
    invocation: Invocation,
    store: Partition | None,
    staging: Path | None,
    file: str | None,
    resume: str | None,
) -> Config:
    refuse(
        file is not None and staging is not None,
        "-f writes one file instead of a staging area: leave one out",
    )
    if store is None and staging is not None and resume is not None:
        return recorded(staging_area(invocation, staging), resume)
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
