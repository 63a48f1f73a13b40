"""What a partition holds, looked at where it lies: its users, and the sizes that nobody knows yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..groups.paths import LogicalPath
from ..proto.ports import MailStore
from ..proto.records import MailboxSize


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """How many mailboxes a partition lists, which of them were asked for, and what was measured of these."""

    listed: int
    users: tuple[str, ...]
    measured: tuple[MailboxSize, ...]


def take_stock(
    store: MailStore,
    paths: Sequence[LogicalPath],
    known: Collection[str],
    only: Collection[str] | None = None,
) -> Stock:
    """List the users that any of the paths selects (and are in ``only``, if that is given), and measure
    those that are not ``known``.

    Raises StoreError if the partition can't be listed.
    """
    listed = list(store.users())
    users = tuple(
        user
        for user in listed
        if (only is None or user in only) and any(path.selects_user(user) for path in paths)
    )
    measured = tuple(store.measure(user) for user in users if user not in known)
    return Stock(listed=len(listed), users=users, measured=measured)
