"""``mailhaul restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from .options import (
    PATH,
    TARGET,
    archives_option,
    at_option,
    destination_option,
    from_option,
    host_option,
    identity_options,
    json_option,
    staging_option,
    wait_option,
    workers_option,
)
from .program import Invocation
from .restore_options import (
    NEWEST,
    RestoreCommand,
    RestoreOptions,
    checked,
    refuse_beside_only_damaged,
)


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
    "mailboxes of a server, over its protocol. lmtp://HOST[:PORT]: delivered to a server as new mail, with "
    "--sieve-runs-again.",
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
    "--ca-file",
    metavar="FILE",
    type=click.Path(),
    help="With --to imap: certificates (PEM) of the authorities that may certify the server. Default: those "
    "of the system.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="With --to imap: read every message back and compare it. Default: size, flags and date of all, and "
    "the bytes of a sample.",
)
@click.option(
    "--sieve-runs-again",
    is_flag=True,
    help="With --to lmtp: let the filters of users run again on all that is restored. Vacation answers, "
    "forwards and notifications go out to third persons; flags, keywords, dates and folders are lost.",
)
@click.option(
    "--delivered",
    metavar="DIR",
    type=click.Path(),
    help="With --to lmtp: where it is written down what was delivered, so that nothing is delivered twice.",
)
@click.option("--as", "as_user", metavar="USER", help="Restore into the mailbox of this user.")
@click.option(
    "--map",
    "map_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Users who are called differently now, and partitions whose mail goes to others: lines such as "
    "jane@old.example = jane@new.example, old1:[a-m].* = new1:, old2: = new1: | new2: (spread over both). "
    "Access lists and subscriptions follow.",
)
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
@click.option(
    "--full-speed",
    is_flag=True,
    help="Without the limits of [load]: nobody works on the server yet.",
)
@click.option(
    "--state-only",
    is_flag=True,
    help="Give the messages that are there the flags and keywords that they had, put those back that were "
    "moved to other folders since, and restore subscriptions, without touching any content. The server may "
    "be in use.",
)
@click.option(
    "--flags",
    type=click.Choice(["merge", "exact"]),
    default="merge",
    help="With --state-only: merge each flag with what was done since (default), or have them exactly as "
    "they were.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Let each mailbox become just as it was, with flags and folders of messages. What came since goes "
    "into folders below 'Set aside DATE'. Repeatable: where all is as it was, nothing is changed.",
)
@from_option
@wait_option
@workers_option
@click.option(
    "--order",
    type=click.Choice([NEWEST]),
    help="newest: first the folders of all, then the newest mail of all, and so on back; active users before "
    "idle ones. For a server that is open already.",
)
@click.option(
    "--announce",
    "announcement",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --order newest: a message (RFC 5322) that is put into each INBOX with the folders, and taken "
    "away when all mail is back.",
)
@click.option(
    "--first-from",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --order newest: whoever has a file of that name in this directory comes before all others. A "
    "script makes it that the server calls at each login.",
)
@click.option(
    "--first",
    metavar="USER|-",
    help="Tell the restore with --order newest that goes on who comes first. -: read names, or lines of a "
    "mail server's log, from the standard input until it ends. Alone, or with --staging.",
)
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
@click.option(
    "--undo",
    metavar="ID",
    help="Take back what a restore has done, by its id, or the latest: messages that it added go, unless "
    "somebody has used them since. With --dry-run: only show how many.",
)
@identity_options
@click.option("--dry-run", is_flag=True, help="Only show what would be restored, and what it would meet.")
@archives_option
@staging_option
@destination_option
@json_option
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Restore what each PATH selects: everything (/), a group, a user, a folder, one message. With --host,
    all that lay on a host.

    Messages that exist in the target are skipped, never overwritten. Without --to, mail is restored to the
    partition of the configuration that it was backed up from, or that --map names. Archives that have left
    the staging area are read where they are, or recalled first where they can't be read in parts, as on tape.

    With --dry-run the target is looked at, for some seconds, on the host where it lies: room, rights (tried
    by writing, and removed again), quotas, what would become of the UIDs of each folder, and what the server
    removes by itself.

    \b
    Example: one message, as it was in a mailbox on a day
      mailhaul restore /primary/user/jane@example.org/INBOX/17 --at 2026-11-20
    """
    asked = RestoreOptions(**options)
    if asked.first is not None:
        from .restore_ahead import name_first

        return name_first(context, asked.staging, asked.first)
    if any(one is not None for one in (asked.resume, asked.retry, asked.undo)):
        from .restore_record import call_again

        return call_again(context, asked)
    if asked.only_damaged is not None:
        refuse_beside_only_damaged(context)
        from .restore_damaged import carry_out

        return carry_out(cast(Invocation, context.obj), asked.only_damaged, asked)
    asked = checked(asked)
    from .restore_run import restore  # half a second of imports, which --help does without

    return restore(context, asked)
