"""``mailhaul restore``."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import cast

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_SKIPPED, UsageError
from ...proto.records import Partition, Renumbering, ServerAccess
from ...worker.destinations.settings import Destination
from ...worker.restore import Extent
from ...worker.stores.registry import keeps_places
from ..backup_set import BackupSet
from ..prospect import look_ahead
from ..recalling import to_recall
from ..restoration import RestorePlan, narrowed, plan_restore
from ..restores.journal import Journal
from ..restores.rates import measured_rate
from . import adapters, output, restore_damaged
from .checking import Where
from .configuration import chosen_site
from .means import open_restorers
from .options import (
    PATH,
    TARGET,
    archives_option,
    at_option,
    checked_folder,
    destination_option,
    from_option,
    host_option,
    json_option,
    refuse,
    staging_option,
    workers_option,
)
from .program import Invocation
from .recalling import bring_back, wait_option
from .restore_damaged import Mending
from .restore_plan import tell_missing, tell_moment, tell_plan
from .restore_record import (
    RestoreCommand,
    again_of,
    call_again,
    end,
    going_on,
    recorded,
    refuse_other_moment,
)
from .restoring import carry_out, chosen_goal, restore_hooks
from .sources import chosen_backup, named_paths


@click.command("restore", cls=RestoreCommand)
@click.argument("paths", type=PATH, nargs=-1, metavar="[PATH...]")
@host_option
@at_option
@click.option(
    "--to",
    "place",
    type=TARGET,
    metavar="FORMAT:PLACE|URL",
    help="Restore to this place, not to where the mail was. maildir:DIR: mailboxes lie below DIR as they lay "
    "below their root, or where {user}, {domain} and {partition} say; what lies elsewhere may follow, as "
    "with --store. mbox:DIR: a file for each folder. eml:DIR: a file for each message. tar:FILE, or tar:- "
    "for the standard output: the same as one archive. imap://HOST[:PORT] or imaps://HOST[:PORT]: into the "
    "mailboxes of a server, over its protocol.",
)
@click.option(
    "--password-file",
    metavar="FILE",
    type=click.Path(),
    help="With --to imap: its first line is the password, of each user or of --master.",
)
@click.option(
    "--master",
    metavar="USER",
    help="With --to imap: log in as this user, who may act for all others. Default: as each user.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="With --to imap: read every message back and compare it. Default: size, flags and date of all, and "
    "the bytes of a sample.",
)
@click.option("--as", "as_user", metavar="USER", help="Restore into the mailbox of this user.")
@click.option(
    "--into",
    metavar="FOLDER",
    help="Restore below this folder of the mailbox: what was Sent becomes FOLDER/Sent. Only mail, with new "
    "UIDs.",
)
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
@click.option(
    "--only-damaged",
    "only_damaged",
    metavar="REPORT|PATH",
    help="Put back the content of damaged messages, under their names and UIDs, and nothing else: those in a "
    "report of `check --json`, or what a check of this path finds now. Instead of PATH.",
)
@click.option(
    "--provision-only",
    is_flag=True,
    help="Make the folders, with UIDVALIDITY, UIDNEXT, subscriptions, filters and access lists, but without "
    "mail: in seconds, before the server opens. A later restore fills them, with the old UIDs.",
)
@from_option
@wait_option
@workers_option
@click.option(
    "--resume",
    metavar="ID",
    help="Go on with a restore that was ended early, or with the latest: same paths, moment and target, "
    "without the mailboxes that are done.",
)
@click.option(
    "--retry",
    metavar="REPORT",
    help="Restore exactly what failed in a restore: its id, latest, or the file of its report.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be restored, and what it would meet.")
@archives_option
@staging_option
@destination_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    paths: tuple[LogicalPath, ...],
    host: str | None,
    at: str | None,
    place: Partition | None,
    password_file: str | None,
    master: str | None,
    verify: bool,
    as_user: str | None,
    into: str | None,
    doveadm: str | None,
    uid_margin: int | None,
    new_uidvalidity: bool,
    only_damaged: str | None,
    provision_only: bool,
    only: str | None,
    wait: float,
    workers: int | None,
    resume: str | None,
    retry: str | None,
    dry_run: bool,
    files: tuple[str, ...],
    staging: Path | None,
    destinations: tuple[Destination, ...],
    as_json: bool,
) -> int:
    """Restore what each PATH selects: everything (/), a group, a user, a folder, one message. With --host,
    all that lay on a host.

    Messages that exist in the target are skipped, never overwritten. Without --to, mail is restored to the
    partition of the configuration that it was backed up from. Archives that have left the staging area are
    read where they are, or recalled first where they can't be read in parts, as on tape.

    With --dry-run the target is looked at, for some seconds, on the host where it lies: room, rights (tried
    by writing, and removed again), quotas, what would become of the UIDs of each folder, and what the server
    removes by itself.

    \b
    Example: one message, as it was in a mailbox on a day
      mailhaul restore /primary/user/jane@example.org/INBOX/17 --at 2026-11-20
    """
    if resume is not None or retry is not None:
        return call_again(context, staging, resume, retry)
    invocation = cast(Invocation, context.obj)
    if only_damaged is not None:
        others = (
            paths,
            host,
            as_user,
            into,
            doveadm,
            uid_margin,
            new_uidvalidity,
            only,
            dry_run,
            files,
            password_file,
        )
        refuse(
            any(others) or provision_only,
            "--only-damaged says what is restored, in place: beside it only --at, --to (where the mail store "
            "is), --staging, --destination, --wait, --workers and --json; `mailhaul check` only looks",
        )
        where = Where(store=place, staging=staging, destinations=destinations, at=at, workers=workers)
        return restore_damaged.carry_out(
            invocation, Mending(what=only_damaged, where=where, wait_seconds=wait, as_json=as_json)
        )
    folder = checked_folder(into) or ""
    refuse(
        provision_only and (bool(folder) or (place is not None and not keeps_places(place))),
        "--provision-only is for --to maildir:DIR, or none, and without --into",
    )
    again = again_of(context)
    area = None if files else chosen_site(invocation, staging, destinations).area
    if place is not None and place.format == "imap":
        refuse(password_file is None, f"--to {place.path} needs --password-file FILE")
        refuse(
            bool(doveadm or uid_margin is not None or new_uidvalidity),
            "over IMAP the server gives the numbers: leave out --doveadm, --uid-margin and --new-uidvalidity",
        )
        path = os.path.abspath(password_file or "")
        login = ServerAccess(password_file=path, master=master or "", verify=verify)
        place = replace(place, access=login)
    else:
        refuse(
            bool(password_file or master or verify),
            "--password-file, --master and --verify are for --to imap://HOST",
        )
    if provision_only:
        refuse(
            place is not None and place.format != "maildir",
            "--provision-only is for --to maildir:DIR, or none",
        )
        refuse(
            new_uidvalidity,
            "--provision-only with --new-uidvalidity: a later restore could not tell that these folders were "
            "made for it",
        )
        named = [path for path in paths if path.uid is not None or path.name is not None]
        refuse(bool(named), f"--provision-only makes folders, and {named[0] if named else ''} is a message")
    extent = Extent.FRAME if provision_only else Extent.ALL
    goal = chosen_goal(invocation, place, workers, staging)
    command_words = _words(doveadm)
    chosen = named_paths(invocation, paths, host, at=at, files=files, staging=staging)
    with (
        going_on(again) as earlier,
        chosen_backup(
            invocation,
            chosen,
            at=at,
            files=files,
            staging=staging,
            destinations=destinations,
            only=only,
            departed=True,
        ) as backup,
        open_restorers(goal.config, goal.workers, dry_run=dry_run, alone=goal.alone) as (engine, access),
    ):
        refuse_other_moment(again, backup)
        targets = {
            name: _renumbering(
                one, command_words, uid_margin, new_uidvalidity=new_uidvalidity, reserves=provision_only
            )
            for name, one in goal.targets(one.partition for one in backup.versions).items()
        }

        def planned(there: BackupSet) -> RestorePlan:
            plan = plan_restore(
                there,
                chosen,
                targets,
                as_user=as_user,
                into=folder,
                workers=goal.workers,
                access=access,
                exact=dry_run,
                extent=extent,
            )
            done = earlier.journal if earlier else Journal()
            return narrowed(plan, done, again.only) if again else plan

        plan = planned(backup)
        tell_moment(backup.moment)
        wanted = to_recall(backup.archives, [one.archive for one in plan.needs], far=access is not None)
        if dry_run:
            tell_missing(plan)
            prospect = look_ahead(plan, engine, lambda _: None, workers=goal.workers, access=access)
            rate = measured_rate(area) if area is not None else None
            return tell_plan(plan, backup, wanted, prospect, rate, as_json=as_json)
        # Folders need little more than what lies in the staging area of every archive.
        if wanted and not provision_only:
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
            plan = planned(there)
            if recalled.failed and access is None and not goal.alone:
                # What is whole of them is read where it is, by one worker: a drive is for one.
                engine = adapters.make_engine(1)
        tell_missing(plan)
        hooks = restore_hooks(invocation, goal.config, files=files, staging=staging)
        # One file for all is whole at its end only: nothing of it could be gone on with.
        place_of_record = None if goal.alone else area
        with recorded(context, staging, place_of_record, backup, plan, earlier) as record:
            known_as = {"restore": record.order.restore} if record else {}
            with hooks.around("restore", {"paths": list(map(str, chosen)), **known_as}) as around:
                journal = record.journal if record else None
                done = carry_out(plan.tasks, engine, backup.archives, journal, as_json=as_json)
                around.facts.update(done.facts())
            end(record, done.report, backup.damaged)
        head: dict[str, object] = {
            **known_as,
            "mailboxes": record.order.mailboxes if record else len(plan.mailboxes),
        }
        if backup.moment is not None:
            head["moment"] = backup.moment.run
        status = done.tell(head, backup.damaged, as_json=as_json)
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
    target: Partition,
    doveadm: tuple[str, ...],
    uid_margin: int | None,
    *,
    new_uidvalidity: bool,
    reserves: bool,
) -> Partition:
    """A target with what the options say of its server and its numbers."""
    margin = target.renumbering.uid_margin if uid_margin is None else uid_margin
    renumbering = Renumbering(uid_margin=margin, new_uidvalidity=new_uidvalidity, reserves=reserves)
    return replace(target, doveadm=doveadm or target.doveadm, renumbering=renumbering)
