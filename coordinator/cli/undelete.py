"""``mailhaul undelete``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath, message_path
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EncryptedError, NotFoundError, UsageError
from ...proto.records import Message, Partition, RunId, Terms
from ...proto.structs import replace
from ...worker.archives.holdings import Holdings
from ...worker.archives.opened import OpenArchives, Unlock, opened_archives
from ..browsing.header_text import header_date, header_text
from ..browsing.levels import time_ns
from ..browsing.past import Past
from ..browsing.vanished import WhatVanished, find_vanished, folders_ever
from ..catalog import Catalog
from ..clock import RUN_ID
from ..undelete import plan_undelete, target_folder
from ..unlocking import ReadSlots, refuse_locked, refuse_without_vault, unlocked
from . import message_columns as columns
from . import output
from .options import (
    PATH,
    TARGET,
    checked_folder,
    identity_options,
    json_option,
    refuse,
    staging_option,
    workers_option,
)
from .output import counted, note, say, size
from .program import Invocation
from .restorers import open_restorers
from .restoring import carry_out, chosen_goal
from .sources import chosen_past, unlock_with
from .times import MOMENT

_COLUMNS = [*columns.MESSAGE, columns.LAST, columns.PATH]


@click.command("undelete")
@click.argument("path", type=PATH, metavar="PATH")
@click.option(
    "--from",
    "since",
    type=MOMENT,
    metavar="T",
    help="Begin at this time. Default: the oldest kept run.",
)
@click.option("--until", type=MOMENT, metavar="T", help="What is missing at this time. Default: latest.")
@click.option(
    "--into",
    metavar="FOLDER",
    help='The folder to restore into. Default: "Restored" and the day of --until.',
)
@click.option(
    "--to",
    "place",
    type=TARGET,
    metavar="FORMAT:PLACE",
    help="Restore to this place, not to where the mail was.",
)
@click.option("--as", "as_user", metavar="USER", help="Restore into the mailbox of this user.")
@workers_option
@identity_options
@click.option("--list", "--dry-run", "dry_run", is_flag=True, help="Only list what was deleted.")
@staging_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    since: str | None,
    until: str | None,
    into: str | None,
    place: Partition | None,
    as_user: str | None,
    workers: int | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    dry_run: bool,
    staging: Path | None,
    as_json: bool,
) -> int:
    """Restore what was deleted from PATH, a mailbox or a folder: messages that some kept run between the two
    times has, and that are nowhere in the mailbox at the second. Messages that were only moved are listed,
    and left where they are.

    They are restored into a folder of their own, without the flag \\Deleted; those of folders below PATH
    into folders below it. What was restored before is not restored again.

    \b
    Example: list what Jane deleted since Tuesday, then restore it
      mailhaul undelete /primary/user/jane@example.org --from 2026-11-17 --list
      mailhaul undelete /primary/user/jane@example.org --from 2026-11-17
    """
    refuse(path.user is None, f"{path} is no mailbox: undelete takes a mailbox or a folder")
    folder = checked_folder(into)
    unlock = unlock_with(identities, passphrase_files, at_hand=invocation.identity)
    goal = None if dry_run else chosen_goal(invocation, place, workers, staging)
    with (
        chosen_past(invocation, path, staging=staging) as (catalog, past),
        opened_archives(past.archives, unlock=unlock) as archives,
    ):
        last = catalog.resolve_time("latest" if until is None else until)
        folder = folder or f"Restored {catalog.run(last).started:%Y-%m-%d}"
        path, found = _what_vanished(archives, past, path, _first(catalog, past, since), last)
        if goal is None:
            locked = _why_locked(past.archives, archives, found, unlock)
            return _tell(found, path, folder, locked, as_json=as_json)
        (timeline,) = past.timelines
        targets = goal.targets([timeline.partition])
        if timeline.partition not in targets:
            raise UsageError(
                f"no target for partition {timeline.partition!r}: say where to with --to FORMAT:DIR"
            )
        holdings = _with_keys(past.archives, archives, found, unlock)
        with open_restorers(goal.config, goal.workers, alone=goal.alone, minding=goal.minding) as (
            engine,
            access,
        ):
            planned = plan_undelete(
                found,
                path,
                folder,
                targets[timeline.partition],
                holdings,
                as_user=as_user,
                access=access,
                load=goal.load,
            )
            tasks = [planned] if found.vanished else []
            done = carry_out(tasks, engine, holdings, as_json=as_json)
        return done.tell(
            {"into": output.name(folder), "moved": len(found.moved)}, found.damaged, as_json=as_json
        )


def _with_keys(
    every: Holdings, archives: OpenArchives, found: WhatVanished, unlock: Unlock | None
) -> Holdings:
    """All archives, with the keys of those that are needed. Raises EncryptedError, which names who could open
    them, if they are encrypted and there is no key."""
    user = found.whose.user or ""
    needed = {vanished.archive for vanished in found.vanished}
    for archive in tuple(needed):
        entry = archives(archive).entry(user)
        needed.update(entry.archives if entry is not None else ())
    slots = ReadSlots()
    keyed = unlocked(every.of(needed), unlock, slots)
    refuse_locked([keyed], slots)
    refuse_without_vault([keyed], slots)
    return replace(every, unlocked=keyed.unlocked)


def _why_locked(every: Holdings, archives: OpenArchives, found: WhatVanished, unlock: Unlock | None) -> str:
    """Why what vanished could not be decrypted; empty if it can."""
    try:
        _with_keys(every, archives, found, unlock)
    except EncryptedError as error:
        return error.message
    return ""


def _first(catalog: Catalog, past: Past, since: str | None) -> RunId:
    """The moment to look from: that of the version that held at the time that was said; the oldest one that
    is kept of the mailbox, if that time lies before it."""
    (timeline,) = past.timelines
    firsts = [span.first for span in timeline.spans]
    if since is None:
        return firsts[0]
    try:
        run = catalog.resolve_time(since)
    except NotFoundError:
        if RUN_ID.fullmatch(since):
            raise
        return firsts[0]
    return max((first for first in firsts if first <= run), default=run)


def _what_vanished(
    archives: OpenArchives, past: Past, path: LogicalPath, first: RunId, last: RunId
) -> tuple[LogicalPath, WhatVanished]:
    refuse(first > last, f"--from {first} is later than --until {last}")
    (timeline,) = past.timelines
    names = folders_ever(archives, timeline)
    path = path.resolve(names)
    refuse(
        path.uid is not None or path.name is not None,
        f"{path} is one message: `mailhaul restore {path} --at T` brings it back",
    )
    if not any(map(path.selects_folder, names)):
        raise NotFoundError(f"{path}: the mailbox has had no such folder; it had: {', '.join(sorted(names))}")
    return path, find_vanished(archives, timeline, first, last, path.selects_folder)


# What vanished


def _tell(found: WhatVanished, path: LogicalPath, into: str, locked: str, *, as_json: bool) -> int:
    output.list_skipped(found.damaged, "damaged")
    total = sum(vanished.message.size for vanished in found.vanished)
    if as_json:
        output.print_json(
            {
                "path": str(path),
                "into": output.name(into),
                "vanished": _vanished(found, path, into),
                "moved": _moved(found),
                "messages": len(found.vanished),
                "size_bytes": total,
                "locked": locked,
                "damaged": found.damaged,
            }
        )
    else:
        output.stream_table(_COLUMNS, _rows(found))
        for move in found.moved:
            note(f"moved: {_shown(found, move.folder, move.message)} is in {move.into} now")
        say()
        count = counted(len(found.vanished), "message")
        say(f"{count}, {size(total)} would be restored into {output.shown(into)}")
        if locked:
            note(output.shown(f"they can't be restored: {locked}"))
    return EXIT_DAMAGED if found.damaged else EXIT_OK


def _rows(found: WhatVanished) -> Iterator[Sequence[str]]:
    for vanished in found.vanished:
        date = header_date(vanished.terms.date) or time_ns(vanished.message.date_ns)
        cells = columns.message_cells(
            date, header_text(vanished.terms.sender), header_text(vanished.terms.subject)
        )
        yield *cells, vanished.last, _shown(found, vanished.folder, vanished.message)


def _shown(found: WhatVanished, folder: str, message: Message) -> str:
    whose = found.whose
    named = message.uid or message.base
    return message_path(whose.partition or "", whose.group or "", whose.user or "", folder, named)


def _vanished(found: WhatVanished, path: LogicalPath, into: str) -> Iterable[dict[str, object]]:
    for vanished in found.vanished:
        yield {
            "path": _shown(found, vanished.folder, vanished.message),
            "last": vanished.last,
            "archive": vanished.archive,
            "into": output.name(target_folder(path, into, vanished.folder)),
            **_told(vanished.message, vanished.terms),
        }


def _moved(found: WhatVanished) -> Iterable[dict[str, object]]:
    for move in found.moved:
        yield {
            "path": _shown(found, move.folder, move.message),
            "folder": output.name(move.into),
            **_told(move.message, move.terms),
        }


def _told(message: Message, terms: Terms) -> dict[str, object]:
    return {
        "date": header_date(terms.date),
        "arrived": time_ns(message.date_ns),
        "from": header_text(terms.sender),
        "subject": header_text(terms.subject),
        "message_id": header_text(terms.message_id),
        "size_bytes": message.size,
    }
