"""``mailhaul find``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime, time
from itertools import chain
from pathlib import Path
from typing import Any

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ...worker.archives.opened import opened_archives
from ..backup_set import opened
from ..browsing.finding import Finder, FoundMessage
from ..browsing.search import Query
from . import message_columns as columns
from . import output
from .options import (
    SINCE,
    archives_option,
    at_option,
    host_option,
    identity_options,
    json_option,
    path_argument,
    refuse,
    staging_option,
)
from .program import Invocation
from .sources import chosen_backup, chosen_past, named_paths, unlock_with
from .times import from_now, here

_COLUMNS = [*columns.MESSAGE, columns.PATH]
_PAST = [*columns.MESSAGE, columns.FIRST, columns.LAST, columns.PATH]


class _UntilType(click.ParamType[float]):
    """A time up to which: a date means its last moment. In seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (when := from_now(value, here())) is not None:
            return when.timestamp()
        try:
            when = datetime.combine(date.fromisoformat(value), time.max, UTC)
        except ValueError:
            return SINCE.convert(value, param, ctx)
        return when.timestamp()


@click.command("find")
@path_argument
@click.option("--from", "sender", default="", metavar="TEXT", help="In the From field.")
@click.option("--to", "recipients", default="", metavar="TEXT", help="In the To or Cc field.")
@click.option("--subject", default="", metavar="TEXT", help="In the subject.")
@click.option("--message-id", default="", metavar="TEXT", help="In the Message-ID.")
@click.option("--attachment", default="", metavar="NAME", help="In the file name of an attachment.")
@click.option("--since", type=SINCE, metavar="D", help="Dated then or later: an ISO date or time (UTC).")
@click.option("--until", type=_UntilType(), metavar="D", help="Dated then or earlier; a date is meant whole.")
@host_option
@at_option
@click.option("--any-time", is_flag=True, help="At all kept moments, not at one.")
@click.option("--deleted", is_flag=True, help="At all kept moments, and not there any more.")
@archives_option
@staging_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    sender: str,
    recipients: str,
    subject: str,
    message_id: str,
    attachment: str,
    since: float | None,
    until: float | None,
    host: str | None,
    at: str | None,
    any_time: bool,
    deleted: bool,
    files: tuple[str, ...],
    staging: Path | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Find messages at PATH: a folder, a mailbox, a group.

    Texts are found in letters of any case, anywhere in the decoded field; a message must match all that is
    said. Dates are those of the messages' own Date field. Each line ends with a path for show and restore;
    with --any-time and --deleted, say --at with the run under "last" too.

    \b
    Example: what Jane had from Joe and deleted since
      mailhaul find /primary/user/jane@example.org --from joe@ --deleted
    """
    through = any_time or deleted
    unlock = unlock_with(identities, passphrase_files, files)
    refuse(through and bool(at), "--at asks for one moment, --any-time and --deleted for all: leave one out")
    refuse(through and bool(files), "--any-time and --deleted ask the catalog: leave out -f")
    query = Query(
        sender=sender,
        recipients=recipients,
        subject=subject,
        message_id=message_id,
        attachments=attachment,
        since=since,
        until=until,
    )
    chosen = named_paths(invocation, [path], host, at=at, files=files, staging=staging)
    if through:
        with ExitStack() as stack:
            finders: list[Finder] = []
            found: list[Iterator[FoundMessage]] = []
            for logical_path in chosen:
                _, past = stack.enter_context(chosen_past(invocation, logical_path, staging=staging))
                archives = stack.enter_context(opened_archives(past.archives, unlock=unlock))
                finders.append(Finder(archives, logical_path, query))
                found.append(finders[-1].at_any_time(past, deleted=deleted))
            _tell(invocation, path, chain.from_iterable(found), past=True, as_json=as_json)
            return max(map(_tell_damaged, finders))
    with (
        chosen_backup(invocation, chosen, at=at, files=files, staging=staging, unlock=unlock) as backup,
        opened(backup) as archives,
    ):
        output.list_skipped(backup.damaged, "damaged")
        finder = Finder(archives, path, query)
        _tell(invocation, path, finder.at_one_time(backup), past=False, as_json=as_json)
        return _tell_damaged(finder) or (EXIT_DAMAGED if backup.damaged else EXIT_OK)


def _tell_damaged(finder: Finder) -> int:
    output.list_skipped(finder.damaged, "not searched")
    return EXIT_DAMAGED if finder.damaged else EXIT_OK


def _tell(
    invocation: Invocation,
    path: LogicalPath,
    found: Iterable[FoundMessage],
    *,
    past: bool,
    as_json: bool,
) -> None:
    if as_json:
        invocation.json = False  # from here on the document itself tells of an error
        output.stream_json(
            {"path": str(path)}, "messages", (_message(message, past=past) for message in found)
        )
    else:
        output.stream_table(_PAST if past else _COLUMNS, _rows(found, past=past))


def _rows(found: Iterable[FoundMessage], *, past: bool) -> Iterator[Sequence[str]]:
    for message in found:
        moments = (message.first, message.last) if past else ()
        yield (
            *columns.message_cells(message.date or message.arrived, message.sender, message.subject),
            *moments,
            message.path,
        )


def _message(message: FoundMessage, *, past: bool) -> dict[str, object]:
    told: dict[str, object] = {"path": message.path}
    if past:
        told |= {"first": message.first, "last": message.last}
    return told | {
        "date": message.date,
        "arrived": message.arrived,
        "from": message.sender,
        "to": message.recipients,
        "subject": message.subject,
        "message_id": message.message_id,
        "attachments": message.attachments,
        "size_bytes": message.size_bytes,
    }
