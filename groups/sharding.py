"""How a group too big for one unit is split. Pure: sizes are handed in, the users of each shard come back.

What is balanced is the time that a mailbox takes, told in bytes: a message costs time whatever its size.

A mailbox keeps its shard from run to run while balance allows, because its history lies in the archives of
that shard. Where balance does not, mailboxes move from shards that are too full to the emptiest.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from operator import itemgetter

from ..proto.records import MailboxSize
from ..proto.structs import Mutable, field

WORTH_SPLITTING_BYTES = 64 * 2**20
"""A group with less than this for each worker stays whole: more archives would cost more than they gain."""

MESSAGE_BYTES = 64 * 2**10
"""What can be read while one message is opened, looked up and recorded: 24 to 30 KiB were measured with all
mail in memory (66 to 81 us, 360 to 380 MB/s), and it is more where a disk has to look for each."""

UNKNOWN_BYTES = 256 * 2**20
"""How large mailboxes are taken to be when the size of none is known."""

_Mailbox = tuple[int, str]
"""Weight and user."""


def weight(size_bytes: int, messages: int) -> int:
    """How long mail takes to back up, beside other mail: its bytes, and ``MESSAGE_BYTES`` for each message. A
    count that is not known (negative) counts nothing."""
    return size_bytes + max(messages, 0) * MESSAGE_BYTES


class _Shard(Mutable):
    load: int = 0
    mailboxes: list[_Mailbox] = field(default_factory=list)

    def add(self, mailbox: _Mailbox) -> None:
        self.load += mailbox[0]
        self.mailboxes.append(mailbox)

    def take(self, index: int) -> _Mailbox:
        mailbox = self.mailboxes.pop(index)
        self.load -= mailbox[0]
        return mailbox


def shard(
    sizes: Sequence[MailboxSize],
    workers: int,
    largest_bytes: int,
    previous: Mapping[str, int] | None = None,
) -> list[tuple[str, ...]]:
    """Split mailboxes (each user once) into shards: the users of each, sorted; no shard is empty.

    There is one shard for each of ``workers`` if the group is worth it, else one; or a multiple of that,
    which keeps their mean at or below ``largest_bytes`` and gives no worker one more than the others. There
    are never more than mailboxes. Shards are balanced by ``weight``; a mailbox of unknown size (negative)
    counts as the mean of the others. ``previous`` gives the shard of each user in the run before: as long as
    no shard weighs more than 1.2 times the mean (or than the heaviest mailbox) nobody moves, and no more do
    than it takes to get there. The same input always gives the same result.
    """
    if not sizes:
        return []
    total_bytes = _total_bytes(sizes)
    wanted = workers if total_bytes >= workers * WORTH_SPLITTING_BYTES else 1
    rounds = max(1, -(-total_bytes // (largest_bytes * wanted)))
    count = min(rounds * wanted, len(sizes))
    mailboxes = _weighed(sizes)
    total = sum(each for each, _ in mailboxes)
    allowed = max(total * 6 // (count * 5), mailboxes[0][0])
    shards = _distribute(mailboxes, count, previous or {})
    _occupy(shards)
    _relieve(shards, allowed)
    if _fullest(shards) > allowed:
        shards = min(shards, _distribute(mailboxes, count, {}), key=_fullest)
    return [tuple(sorted(user for _, user in each.mailboxes)) for each in shards]


def _total_bytes(sizes: Sequence[MailboxSize]) -> int:
    known = [size.size_bytes for size in sizes if size.size_bytes >= 0]
    mean = sum(known) // len(known) if known else UNKNOWN_BYTES
    return sum(known) + (len(sizes) - len(known)) * mean


def _weighed(sizes: Sequence[MailboxSize]) -> list[_Mailbox]:
    """The mailboxes, heaviest first."""
    known = [weight(size.size_bytes, size.messages) for size in sizes if size.size_bytes >= 0]
    mean = sum(known) // len(known) if known else UNKNOWN_BYTES
    mailboxes = [
        (weight(size.size_bytes, size.messages) if size.size_bytes >= 0 else mean, size.user)
        for size in sizes
    ]
    return sorted(mailboxes, key=lambda mailbox: (-mailbox[0], mailbox[1]))


def _distribute(mailboxes: Sequence[_Mailbox], count: int, previous: Mapping[str, int]) -> list[_Shard]:
    """Mailboxes of the run before go where they were, the others, largest first, to the emptiest shard."""
    shards = [_Shard() for _ in range(count)]
    others = []
    for mailbox in mailboxes:
        place = previous.get(mailbox[1], count)
        if 0 <= place < count:
            shards[place].add(mailbox)
        else:
            others.append(mailbox)
    emptiest = [(each.load, len(each.mailboxes), place) for place, each in enumerate(shards)]
    heapq.heapify(emptiest)
    for mailbox in others:
        place = emptiest[0][2]
        shards[place].add(mailbox)
        heapq.heapreplace(emptiest, (shards[place].load, len(shards[place].mailboxes), place))
    return shards


def _occupy(shards: Sequence[_Shard]) -> None:
    """Give every empty shard the largest mailbox of the fullest shard that has more than one."""
    for empty in (each for each in shards if not each.mailboxes):
        donor = max((each for each in shards if len(each.mailboxes) > 1), key=lambda each: each.load)
        donor.mailboxes.sort()
        empty.add(donor.take(-1))


def _relieve(shards: Sequence[_Shard], allowed: int) -> None:
    """Move mailboxes, as few as a greedy choice finds, until no shard holds more than ``allowed``.

    One mailbox that is enough goes first (the smallest such), else the largest that fits. Nothing is moved
    twice, since no shard is filled beyond ``allowed``; where nothing fits any more, a shard stays too full.
    """
    for donor in sorted((each for each in shards if each.load > allowed), key=lambda each: -each.load):
        donor.mailboxes.sort()
        while donor.load > allowed:
            emptiest = min(shards, key=lambda each: each.load)
            room = allowed - emptiest.load
            index = bisect_left(donor.mailboxes, donor.load - allowed, key=itemgetter(0))
            if index == len(donor.mailboxes) or donor.mailboxes[index][0] > room:
                index = bisect_right(donor.mailboxes, room, key=itemgetter(0)) - 1
            if index < 0 or donor.mailboxes[index][0] == 0:
                break
            emptiest.add(donor.take(index))


def _fullest(shards: Sequence[_Shard]) -> int:
    return max(each.load for each in shards)
