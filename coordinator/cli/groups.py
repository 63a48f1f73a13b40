"""``mailhaul groups``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_FAILED, EXIT_OK
from ...proto.records import Partition, Skipped
from ..survey import GroupSurvey, Survey, take_survey
from . import output
from .configuration import configured, described
from .means import inventory_engine
from .options import json_option, path_argument, refuse, staging_option, store_option
from .output import Column, counted, name, note, number, say, size
from .program import Invocation

_GROUPS = [
    Column("users"),
    Column("shards"),
    Column("messages"),
    Column("size"),
    Column("path", "<"),
]
_LISTED = 20


@click.command("groups")
@path_argument
@store_option
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    store: Partition | None,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Show how the mailboxes that PATH selects fall into groups and shards, before a backup.

    Sizes are those of the last run, or an estimate from the names of the messages.

    \b
    Example: who is in the groups of the partition primary, who in none?
      mailhaul groups /primary
    """
    refuse(store is None and staging is not None, "--staging: say with --store FORMAT:DIR what to look at")
    refuse(
        store is not None and invocation.config is not None,
        "--store stands instead of a configuration: leave out --config or --store",
    )
    config = described(store, staging) if store else configured(invocation)
    survey = take_survey(config, [path], engine=inventory_engine(config))
    for failure in survey.failures:
        note(f"failed: {failure.what}: {failure.error.message}")
    if as_json:
        output.print_json(_document(survey))
    else:
        _tell(survey, several_is_error=config.groups.rules.several == "error")
    return EXIT_FAILED if survey.failures else EXIT_OK


def _tell(survey: Survey, *, several_is_error: bool) -> None:
    output.print_table(_GROUPS, map(_row, survey.groups))
    if survey.ungrouped:
        what = "left out by a backup of /" if survey.ungrouped_left_out else "backed up in the group user"
        say()
        say(f"{counted(len(survey.ungrouped), 'user')} in no group, {what}:")
        _list(survey.ungrouped)
    if survey.several:
        what = ", which ends a backup (groups.several)" if several_is_error else ""
        say()
        say(f"{counted(len(survey.several), 'user')} in several groups{what}:")
        _list([f"{path}: {', '.join(groups)}" for path, groups in survey.several.items()])
    if survey.left_out:
        say()
        say("left out, unless a path names it:")
        _list([_left_out(skip) for skip in survey.left_out])
    if survey.not_taken:
        say()
        say("looks like mail, and is not backed up:")
        _list([_left_out(one) for one in survey.not_taken])
    if survey.excluded_folders:
        say()
        say("folders left out, with those below, unless a path names them:")
        _list([_rule(group, patterns) for group, patterns in survey.excluded_folders.items()])


def _row(survey: GroupSurvey) -> Sequence[str]:
    path = str(LogicalPath(survey.partition, survey.group))
    return number(survey.users), number(survey.shards), number(survey.messages), size(survey.size_bytes), path


def _left_out(skipped: Skipped) -> str:
    return f"{skipped.path} ({skipped.reason}){f': {skipped.detail}' if skipped.detail else ''}"


def _rule(group: str, patterns: Sequence[str]) -> str:
    whose = f"group {group}" if group else "all groups"
    return f"{whose}: {', '.join(map(name, patterns))}"


def _list(lines: Sequence[str]) -> None:
    for line in lines[:_LISTED]:
        say(f"  {line}")
    if len(lines) > _LISTED:
        say(f"  and {number(len(lines) - _LISTED)} more (--json lists all)")


def _document(survey: Survey) -> dict[str, object]:
    return {
        "groups": survey.groups,
        "ungrouped": survey.ungrouped,
        "ungrouped_left_out": survey.ungrouped_left_out,
        "several": survey.several,
        "left_out": survey.left_out,
        "not_taken": survey.not_taken,
        "excluded_folders": survey.excluded_folders,
        "failures": [
            {"what": failure.what, "code": failure.error.code, "message": failure.error.message}
            for failure in survey.failures
        ],
    }
