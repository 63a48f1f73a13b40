"""``mailhaul ls``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ...worker.archives.opened import Unlock, opened_archives
from ..backup_set import BackupSet, opened
from ..browsing.chronicle import UNKNOWN, Entry, FolderHistory, mailbox_history
from ..browsing.levels import (
    Heading,
    StoredFolder,
    StoredMailbox,
    StoredMessage,
    groups,
    mailboxes_of,
    partitions,
    users,
)
from ..history import MailboxVersion
from . import output
from .options import (
    archives_option,
    at_option,
    host_option,
    identity_options,
    json_option,
    path_argument,
    refuse,
    staging_option,
)
from .output import Column, moment, number, say, size
from .program import Invocation
from .sources import chosen_backup, chosen_past, named_paths, unlock_with
from .times import both

_HEADINGS = [Column("users"), Column("messages"), Column("size"), Column("path", "<")]
_USERS = [
    Column("folders"),
    Column("messages"),
    Column("size"),
    Column("run", "<", extra=True),
    Column("path", "<"),
]
_FOLDERS = [Column("messages"), Column("uidvalidity"), Column("uidnext"), Column("path", "<")]
_MESSAGES = [
    (Column("date", "<"), 20),
    (Column("size"), 8),
    (Column("flags", "<"), 16),
    (Column("path", "<"), 4),
]


_HISTORY = [
    Column("run", "<"),
    Column("began", "<"),
    Column("messages"),
    Column("came"),
    Column("went"),
    Column("flags"),
    Column("what", "<"),
]


@click.command("ls")
@path_argument
@host_option
@at_option
@click.option("--history", is_flag=True, help="Every kept version of the mailbox or folder at PATH.")
@click.option(
    "--user",
    metavar="NAME",
    help="The mailboxes of this user in all partitions and groups; without its domain: of all of that name.",
)
@archives_option
@identity_options
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    host: str | None,
    at: str | None,
    history: bool,
    user: str | None,
    files: tuple[str, ...],
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    staging: Path | None,
    as_json: bool,
) -> int:
    """List what the backup holds at PATH: partitions, groups, users, folders, messages.

    Each line ends with a path, to be used with ls, show, restore. Of encrypted archives the structure key of
    the staging area opens what is listed, or a private key (--identity).

    \b
    Example: the folders of a mailbox
      mailhaul ls /primary/user/jane@example.org
    Example: wherever Jane has mail
      mailhaul ls --user jane
    Example: what became of a folder since it is backed up
      mailhaul ls --history /primary/user/jane@example.org/Projects
    """
    unlock = unlock_with(identities, passphrase_files)
    if user is not None:
        refuse(history, "--history tells of one mailbox, --user of several: leave one of them out")
        refuse(path.group is not None, f"--user looks into all groups: leave out {path}, or name a partition")
    if history:
        refuse(host is not None, "--history tells of one mailbox, --host of many: leave one of them out")
        refuse(at is not None, "--history tells of all moments, --at asks for one: leave one of them out")
        refuse(bool(files), "--history asks the catalog, -f reads archives without it: leave one of them out")
        refuse(path.user is None, f"{path} is no mailbox: --history tells of a mailbox or a folder")
        return _tell_history(invocation, path, staging, unlock, as_json=as_json)
    chosen = named_paths(invocation, [path], host, at=at, files=files, staging=staging)
    with chosen_backup(invocation, chosen, at=at, files=files, staging=staging, unlock=unlock) as backup:
        output.list_skipped(backup.damaged, "damaged")
        if user is not None:
            _list_users(path, mailboxes_of(backup, path, user), as_json=as_json)
        elif path.user is not None:
            with opened(backup) as archives:
                _list_mailbox(invocation, StoredMailbox(archives, backup, path), as_json=as_json)
        else:
            _list_above(backup, path, as_json=as_json)
        return EXIT_DAMAGED if backup.damaged else EXIT_OK


def _list_above(backup: BackupSet, path: LogicalPath, *, as_json: bool) -> None:
    if path.group is not None:
        _list_users(path, users(backup, path), as_json=as_json)
        return
    headings = partitions(backup) if path.partition is None else groups(backup, path)
    if as_json:
        level = "partitions" if path.partition is None else "groups"
        output.print_json({"path": str(path), level: headings})
    else:
        output.print_table(_HEADINGS, map(_heading_row, headings))


def _list_users(path: LogicalPath, held: Sequence[tuple[str, MailboxVersion]], *, as_json: bool) -> None:
    if as_json:
        output.stream_json({"path": str(path)}, "users", (_user(*one) for one in held))
    else:
        output.print_table(_USERS, [_user_row(*one) for one in held])


def _heading_row(heading: Heading) -> Sequence[str]:
    return number(heading.users), number(heading.messages), size(heading.size_bytes), heading.path


def _user_row(path: str, version: MailboxVersion) -> Sequence[str]:
    return number(version.folders), number(version.stored), size(version.size_bytes), version.run, path


def _user(path: str, version: MailboxVersion) -> dict[str, object]:
    return {
        "path": path,
        "user": output.name(version.user),
        "run": version.run,
        "archive": version.archive,
        "folders": version.folders,
        "messages": version.stored,
        "skipped": version.skipped,
        "size_bytes": version.size_bytes,
    }


# Through time


def _tell_history(
    invocation: Invocation, path: LogicalPath, staging: Path | None, unlock: Unlock | None, *, as_json: bool
) -> int:
    with (
        chosen_past(invocation, path, staging=staging) as (_, past),
        opened_archives(past.archives, unlock=unlock) as archives,
    ):
        (timeline,) = past.timelines
        reading = FolderHistory(archives, past, path)
        entries = mailbox_history(past, timeline) if path.folder is None else reading.entries(timeline)
        if as_json:
            output.print_json({"path": str(path), "versions": map(_version, entries)})
        else:
            output.print_table(_HISTORY, map(_version_row, entries))
        output.list_skipped(reading.damaged, "damaged")
        return EXIT_DAMAGED if reading.damaged else EXIT_OK


def _version_row(entry: Entry) -> Sequence[str]:
    flags = "" if entry.flags == UNKNOWN else number(entry.flags)
    counts = number(entry.messages), number(entry.came), number(entry.went), flags
    return entry.run, both(entry.started), *counts, output.shown(entry.what)


def _version(entry: Entry) -> dict[str, object]:
    return {
        "run": entry.run,
        "started": entry.started,
        "last": entry.last,
        "messages": entry.messages,
        "came": None if entry.came == UNKNOWN else entry.came,
        "went": None if entry.went == UNKNOWN else entry.went,
        "flags": None if entry.flags == UNKNOWN else entry.flags,
        "what": entry.what,
    }


# Within a mailbox


def _list_mailbox(invocation: Invocation, mailbox: StoredMailbox, *, as_json: bool) -> None:
    folders, messages = mailbox.folders(), mailbox.messages()
    if as_json:
        head: dict[str, object] = {"path": str(mailbox.path), "run": mailbox.version.run}
        if mailbox.path.folder is None:
            output.print_json({**head, "folders": map(_folder, folders)})
        else:
            invocation.json = False  # from here on the document itself tells of an error
            output.stream_json(
                {**head, "folders": map(_folder, folders)}, "messages", map(_message, messages)
            )
        return
    if folders:
        output.print_table(_FOLDERS, map(_folder_row, folders))
    if mailbox.path.folder is not None:
        if folders:
            say()
        output.stream_table(_MESSAGES, _message_rows(messages))


def _folder_row(folder: StoredFolder) -> Sequence[str]:
    return number(folder.messages), str(folder.uidvalidity or "-"), str(folder.uidnext or "-"), folder.path


def _message_rows(messages: Iterable[StoredMessage]) -> Iterator[Sequence[str]]:
    for message in messages:
        yield (
            moment(message.date),
            size(message.size_bytes),
            output.shown(" ".join(message.flags)) or "-",
            message.path,
        )


def _folder(folder: StoredFolder) -> dict[str, object]:
    return {
        "path": folder.path,
        "folder": output.name(folder.name),
        "messages": folder.messages,
        "uidvalidity": folder.uidvalidity or None,
        "uidnext": folder.uidnext or None,
    }


def _message(message: StoredMessage) -> dict[str, object]:
    return {
        "path": message.path,
        "uid": message.uid or None,
        "name": output.name(message.name.decode("utf-8", "surrogateescape")),
        "date": message.date,
        "size_bytes": message.size_bytes,
        "flags": message.flags,
    }
