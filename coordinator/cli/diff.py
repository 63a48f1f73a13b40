"""``mailhaul diff``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ..backup_set import opened
from ..browsing.comparison import FolderDifference
from ..browsing.differences import Comparison, MailboxDifference, MessageDifference
from . import output
from .options import identity_options, json_option, path_argument, staging_option
from .output import Column, moment, number, say
from .program import Invocation
from .sources import chosen_backup, unlock_with
from .times import MOMENT

_COLUMNS = [Column("came"), Column("went"), Column("flags"), Column("path", "<"), Column("what", "<")]
_SENDER, _SUBJECT = 30, 40
_MESSAGES = [
    (Column("change", "<"), 6),
    (Column("date", "<"), 20),
    (Column("from", "<"), _SENDER),
    (Column("subject", "<"), _SUBJECT),
    (Column("path", "<"), 4),
]


@click.command("diff")
@click.argument("before", type=MOMENT, metavar="A")
@click.argument("after", type=MOMENT, metavar="B")
@path_argument
@click.option("--messages", "each", is_flag=True, help="Tell of each message.")
@staging_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    before: str,
    after: str,
    path: LogicalPath,
    each: bool,
    staging: Path | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Show what changed at PATH from time A to time B: mailboxes and folders that came or went, and how many
    messages came, went, or have other flags.

    A time is a run, latest, an ISO date or time (UTC unless it says otherwise), or yesterday.

    \b
    Example: what happened to a mailbox since Tuesday
      mailhaul diff 2026-11-17 latest /primary/user/jane@example.org
    """
    unlock = unlock_with(identities, passphrase_files)
    with (
        chosen_backup(invocation, [path], at=before, files=(), staging=staging, unlock=unlock) as old,
        chosen_backup(invocation, [path], at=after, files=(), staging=staging, unlock=unlock) as new,
        opened(new) as archives,
    ):
        comparison = Comparison(archives, old, new, path)
        if as_json:
            invocation.json = False  # from here on the document itself tells of an error
            head = {"from": before, "to": after, "path": str(path)}
            if each:
                output.stream_json(head, "messages", comparison.messages())
            else:
                output.stream_json(head, "mailboxes", comparison.mailboxes())
        elif each:
            output.stream_table(_MESSAGES, _message_rows(comparison.messages()))
        else:
            found = list(comparison.mailboxes())
            if found:
                output.print_table(_COLUMNS, list(_rows(found)))
            elif not comparison.damaged:
                say("nothing changed")
        output.list_skipped(comparison.damaged, "not compared")
        return EXIT_DAMAGED if comparison.damaged else EXIT_OK


def _rows(found: Iterable[MailboxDifference]) -> Iterator[Sequence[str]]:
    for mailbox in found:
        if mailbox.state != "changed":
            what = "new mailbox" if mailbox.state == "came" else "mailbox gone"
            yield number(mailbox.came), number(mailbox.went), "0", mailbox.path, what
        for folder in mailbox.folders:
            path = f"{mailbox.path}/{output.shown(folder.name)}"
            yield number(folder.came), number(folder.went), number(folder.flags), path, _what(folder)


def _what(folder: FolderDifference) -> str:
    came, went = "new folder", "folder gone"
    if folder.left_out:
        came, went = "not left out any more", "left out of the backup"
    told = {"came": [came], "went": [went], "changed": []}[folder.state]
    if folder.renamed_from:
        told.append(f"was {output.shown(folder.renamed_from)}")
    if folder.remade:
        told.append(f"recreated: UIDVALIDITY {folder.remade[0]}, now {folder.remade[1]}")
    return "; ".join(told)


def _message_rows(found: Iterable[MessageDifference]) -> Iterator[Sequence[str]]:
    for difference in found:
        sender, subject = output.cut(difference.sender, _SENDER), output.cut(difference.subject, _SUBJECT)
        yield difference.change, moment(difference.date), sender, subject, difference.path
