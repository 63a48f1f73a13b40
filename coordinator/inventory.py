"""What there is to back up: the users of each partition and how big their mailboxes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..groups.paths import LogicalPath
from ..proto.errors import EmptyStoreError
from ..proto.ports import MailStore
from ..proto.records import MailboxSize, Partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A partition and its mailboxes, by user."""

    partition: Partition
    sizes: Mapping[str, MailboxSize]


def take_inventory(
    partition: Partition,
    store: MailStore,
    paths: Iterable[LogicalPath],
    known: Mapping[str, MailboxSize],
    expected: Callable[[], Iterable[str]],
) -> Inventory:
    """List the users that any of the paths selects, with the sizes that are ``known`` or else measured.

    Raises EmptyStoreError if the partition lists nobody though ``expected`` users were there in the run
    before (a file system that is not mounted must not look like a thousand deletions), StoreError if it
    can't be listed.
    """
    users = list(store.users())
    if not users and (missing := sum(1 for _ in expected())):
        raise EmptyStoreError(
            f"partition {partition.name!r} lists no mailbox, the last run stored {missing} there: "
            f"is {partition.path} mounted?",
            partition=partition.name,
            missing=missing,
        )
    chosen = [user for user in users if any(path.selects_user(user) for path in paths)]
    return Inventory(
        partition=partition,
        sizes={user: known[user] if user in known else store.measure(user) for user in chosen},
    )
