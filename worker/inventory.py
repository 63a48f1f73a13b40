"""What a partition holds, looked at where it lies: its users, and the sizes that nobody knows yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..groups.nearness import hint
from ..groups.paths import LogicalPath
from ..groups.selection import Selection, Verdict
from ..proto.ports import MailStore
from ..proto.records import MailboxSize, Skipped
from ..proto.structs import Record


class Stock(Record, kw_only=True):
    """How many mailboxes a partition lists, which of them were asked for, and what was measured of these.
    ``missing`` are paths to folders that their mailboxes don't have. ``left_out`` is what looks like mail and
    is no mailbox, if all of the partition was asked for; its paths are relative to the partition's root.
    ``hints`` are the users that were named and are not there, each with what may have been meant."""

    listed: int
    users: tuple[str, ...]
    measured: tuple[MailboxSize, ...]
    missing: tuple[LogicalPath, ...] = ()
    left_out: tuple[Skipped, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()


def take_stock(
    store: MailStore,
    paths: Sequence[LogicalPath],
    known: Collection[str],
    only: Collection[str] | None = None,
) -> Stock:
    """List the users that any of the paths selects (and are in ``only``, if that is given), and measure
    those that are not ``known``.

    Raises StoreError if the partition can't be listed, or a mailbox of which single folders are asked for.
    """
    listed = list(store.users())
    users = tuple(
        user
        for user in listed
        if (only is None or user in only) and any(path.selects_user(user) for path in paths)
    )
    measured = tuple(store.measure(user) for user in users if user not in known)
    missing = tuple(
        path for path in paths if path.folder and path.user in users and not _has_folder(store, path)
    )
    named = {path.user for path in paths if path.user is not None}
    asked_for_all = only is None and any(path.user is None for path in paths)
    return Stock(
        listed=len(listed),
        users=users,
        measured=measured,
        missing=missing,
        left_out=tuple(store.left_out()) if asked_for_all else (),
        hints=tuple((user, hint(user, listed)) for user in sorted(named.difference(listed))),
    )


def _has_folder(store: MailStore, path: LogicalPath) -> bool:
    """Whether the mailbox of a path has the folder that it names, or one below."""
    selection = Selection(paths=(path,))
    partition, group, user = path.partition or "", path.group or "", path.user or ""

    def wanted(folder: str) -> bool:
        return selection.judge(partition, group, user, folder) is Verdict.TAKEN

    with store.open_mailbox(user, wanted=wanted) as mailbox:
        return any(wanted(reader.folder.name) for reader in mailbox.folders())
