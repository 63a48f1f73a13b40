"""``mailhaul restore``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from ...groups.paths import LogicalPath, printable
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_SKIPPED, UsageError
from ...proto.records import Partition, Renumbering, Skipped
from ...worker.destinations.settings import Destination
from ..backup_set import NeededFile
from ..recalling import to_recall
from ..restoration import PlannedMailbox, RestorePlan, plan_restore
from . import adapters, output
from .means import open_restorers
from .options import (
    PATH,
    PLACE,
    archives_option,
    at_option,
    destination_option,
    from_option,
    json_option,
    refuse,
    staging_option,
    workers_option,
)
from .output import Column, counted, number, say, size
from .program import Invocation
from .recalling import bring_back, wait_option
from .restoring import carry_out, chosen_goal, restore_hooks
from .sources import chosen_backup

_NEEDS_LISTED = 50


@click.command("restore")
@click.argument("paths", type=PATH, nargs=-1, required=True, metavar="PATH...")
@at_option
@click.option(
    "--to",
    "place",
    type=PLACE,
    metavar="FORMAT:DIR",
    help="Restore to this place, not to where the mail was: maildir:DIR; mailboxes lie below DIR as they lay "
    "below their root, or where {user} and {domain} say. What lies elsewhere may follow, as with --store.",
)
@click.option("--as", "as_user", metavar="USER", help="Restore into the mailbox of this user.")
@click.option(
    "--doveadm",
    metavar="COMMAND",
    help="The command that reaches the server of the target, so that HIGHESTMODSEQ is set above what "
    "clients remember. Default: doveadm of the partition; with --to, none.",
)
@click.option(
    "--uid-margin",
    type=click.IntRange(0, 2**31),
    metavar="N",
    help="How far above the recorded UIDNEXT the UIDs of recreated folders continue. Default: uid_margin of "
    "the partition, 10000000.",
)
@click.option(
    "--new-uidvalidity",
    is_flag=True,
    help="Give recreated folders a UIDVALIDITY that they never had: all clients download them again.",
)
@from_option
@wait_option
@workers_option
@click.option("--dry-run", is_flag=True, help="Only show what would be restored, from where, to where.")
@archives_option
@staging_option
@destination_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    paths: tuple[LogicalPath, ...],
    at: str | None,
    place: Partition | None,
    as_user: str | None,
    doveadm: str | None,
    uid_margin: int | None,
    new_uidvalidity: bool,
    only: str | None,
    wait: float,
    workers: int | None,
    dry_run: bool,
    files: tuple[str, ...],
    staging: Path | None,
    destinations: tuple[Destination, ...],
    as_json: bool,
) -> int:
    """Restore what each PATH selects: everything (/), a group, a user, a folder, one message.

    Messages that exist in the target are skipped, never overwritten. Without --to, mail is restored to the
    partition of the configuration that it was backed up from. Archives that have left the staging area are
    read where they are, or recalled first where they can't be read in parts, as on tape.

    \b
    Example: one message, as it was in a mailbox on a day
      mailhaul restore /primary/user/jane@example.org/INBOX/17 --at 2026-11-20
    """
    goal = chosen_goal(invocation, place, workers, staging)
    command_words = _words(doveadm)
    with (
        chosen_backup(
            invocation, paths, at=at, files=files, staging=staging, destinations=destinations, only=only
        ) as backup,
        open_restorers(None if dry_run else goal.config, goal.workers) as (engine, access),
    ):
        targets = {
            name: _renumbering(one, command_words, uid_margin, new_uidvalidity=new_uidvalidity)
            for name, one in goal.targets(one.partition for one in backup.versions).items()
        }
        plan = plan_restore(
            backup, paths, targets, as_user=as_user, workers=goal.workers, access=access, exact=dry_run
        )
        needs = [one.archive for one in plan.needs]
        if not dry_run and (wanted := to_recall(backup.archives, needs, far=access is not None)):
            recalled = bring_back(
                invocation,
                staging,
                backup.archives,
                wanted,
                goal.workers,
                wait,
                as_json=as_json,
                # Who names a destination wants to see that its copy is good.
                afresh=only is not None,
            )
            there = replace(backup, archives=backup.archives.back(dict(recalled.now)))
            plan = plan_restore(there, paths, targets, as_user=as_user, workers=goal.workers, access=access)
            if recalled.failed and access is None:
                # What is whole of them is read where it is, by one worker: a drive is for one.
                engine = adapters.make_engine(1)
        _tell_missing(plan)
        if dry_run:
            return _tell_plan(plan, backup.damaged, as_json=as_json)
        hooks = restore_hooks(invocation, goal.config, files=files, staging=staging)
        with hooks.around("restore", {"paths": list(map(str, paths))}) as around:
            done = carry_out(plan.tasks, engine, backup.archives, as_json=as_json)
            around.facts.update(done.facts())
        status = done.tell({"mailboxes": len(plan.mailboxes)}, backup.damaged, as_json=as_json)
        for trouble in around.troubles:
            output.note(output.shown(trouble))
            status = status or EXIT_SKIPPED
        return status


def _words(command: str | None) -> tuple[str, ...]:
    """The words of a command, as a shell would take it. Raises UsageError."""
    try:
        words = tuple(shlex.split(command or ""))
    except ValueError as error:
        raise UsageError(f"--doveadm {command}: {error}") from error
    refuse(command is not None and not words, "--doveadm: no command")
    return words


def _renumbering(
    target: Partition, doveadm: tuple[str, ...], uid_margin: int | None, *, new_uidvalidity: bool
) -> Partition:
    """A target with what the options say of its server and its numbers."""
    margin = target.renumbering.uid_margin if uid_margin is None else uid_margin
    renumbering = Renumbering(uid_margin=margin, new_uidvalidity=new_uidvalidity)
    return replace(target, doveadm=doveadm or target.doveadm, renumbering=renumbering)


# The plan


def _tell_missing(plan: RestorePlan) -> None:
    output.list_skipped(
        [Skipped(output.shown(_named(one)), "missing", _sized(one)) for one in plan.missing], "not at hand"
    )


def _tell_plan(plan: RestorePlan, damaged: Sequence[Skipped], *, as_json: bool) -> int:
    output.list_skipped(damaged, "damaged")
    if as_json:
        output.print_json(
            {
                "dry_run": True,
                "mailboxes": [_planned(plan, one) for one in plan.mailboxes],
                "messages": plan.messages,
                "size_bytes": plan.size_bytes,
                "lacking": plan.lacking,
                "needs": plan.needs,
                "missing": [one.archive for one in plan.missing],
                "damaged": damaged,
            }
        )
    else:
        for file, group in _by_archive(plan).items():
            say(output.shown(f"from {file}"))
            rows = [
                (number(one.messages), size(one.size_bytes), str(one.choice.path), output.shown(_where(one)))
                for one in group
            ]
            output.print_table(
                [Column("messages"), Column("size"), Column("what", "<"), Column("to", "<")], rows
            )
            say()
        _tell_needs(plan)
        say(
            f"{counted(len(plan.mailboxes), 'mailbox', 'mailboxes')}, {counted(plan.messages, 'message')}, "
            f"{size(plan.size_bytes)} would be restored"
            + (f"; {counted(plan.lacking, 'message')} can't be: archives are missing" if plan.lacking else "")
        )
    return EXIT_DAMAGED if damaged or plan.lacking else EXIT_OK


def _tell_needs(plan: RestorePlan) -> None:
    """The files that it takes: whoever keeps some of them elsewhere fetches these."""
    say(f"needs {counted(len(plan.needs), 'archive')}, {size(sum(one.size_bytes for one in plan.needs))}:")
    for one in plan.needs[:_NEEDS_LISTED]:
        say(output.shown(f"  {_named(one)}  {_sized(one)}" + ("" if one.there else "  not at hand")))
    if len(plan.needs) > _NEEDS_LISTED:
        say(f"  and {number(len(plan.needs) - _NEEDS_LISTED)} more (--json lists all)")
    say()


def _named(one: NeededFile) -> str:
    return one.file or f"archive {one.archive.hex()}"


def _sized(one: NeededFile) -> str:
    return size(one.size_bytes) if one.size_bytes else ""


def _by_archive(plan: RestorePlan) -> dict[str, list[PlannedMailbox]]:
    grouped: dict[str, list[PlannedMailbox]] = {}
    for one in plan.mailboxes:
        grouped.setdefault(_file(plan, one), []).append(one)
    return grouped


def _planned(plan: RestorePlan, one: PlannedMailbox) -> dict[str, object]:
    return {
        "path": str(one.choice.path),
        "run": one.version.run,
        "archive": one.version.archive,
        "file": _file(plan, one),
        "messages": one.messages,
        "lacking": one.lacking,
        "size_bytes": one.size_bytes,
        "to": {
            "format": one.target.format,
            "path": one.target.path,
            "place": printable(one.choice.place),
            "user": output.name(one.choice.to_user),
        },
    }


def _file(plan: RestorePlan, one: PlannedMailbox) -> str:
    """Where the metadata of a mailbox lies."""
    return plan.archives.path(one.version.archive) or f"archive {one.version.archive.hex()}"


def _where(one: PlannedMailbox) -> str:
    """The place of a mailbox, as far as it is known before the target is opened."""
    if "{" in one.target.path:
        return f"{one.target.path} of {output.name(one.choice.to_user)}"
    return f"{one.target.path}/{printable(one.choice.place) or output.name(one.choice.to_user)}"
