"""Which message of a backup is which that was found. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...proto.records import Message


class AsMail(NamedTuple):
    """What a mail server has to show of a file: with the line ends of mail. ``likeness`` is that of one which
    servers are known to alter, else empty (see ``stores.imap.likeness``)."""

    size: int
    digest: bytes
    likeness: bytes


class Found(NamedTuple):
    """A message as it was found: ``flags`` are the letters of the Maildir convention, ``digest`` is BLAKE3 as
    archives have it; of what can't be read that is empty. ``as_mail``: where that is wanted."""

    uid: int
    flags: str
    keywords: frozenset[str]
    date_ns: int
    size: int
    digest: bytes
    as_mail: AsMail | None = None


Pair = tuple[Message | None, Found | None]


def pairs(stored: Iterable[Message], found: Iterable[Found], *, numbered: bool = True) -> Iterator[Pair]:
    """Each message with its counterpart, or without one. Both come ascending by UID, those without one
    last; where they do not, more of them are in memory, and the pairs are the same. By UID first, where the
    folder is ``numbered``, then those that are left by content."""
    lost: list[Message] = []
    extra: list[Found] = []
    rest = iter(found)
    ahead = next(rest, None) if numbered else None
    for message in stored:
        while ahead is not None and message.uid and 0 < ahead.uid < message.uid:
            extra.append(ahead)
            ahead = next(rest, None)
        if ahead is not None and message.uid and ahead.uid == message.uid:
            yield message, ahead
            ahead = next(rest, None)
        else:
            lost.append(message)
    if ahead is not None:
        extra.append(ahead)
    extra.extend(rest)
    yield from _matched(lost, extra, numbered=numbered)


def _matched(lost: list[Message], extra: list[Found], *, numbered: bool) -> Iterator[Pair]:
    by_uid = {one.uid: one for one in extra if one.uid} if numbered else {}
    left: list[Message] = []
    for message in lost:
        if message.uid and (same := by_uid.pop(message.uid, None)) is not None:
            yield message, same
        else:
            left.append(message)
    by_content: defaultdict[bytes, list[Found]] = defaultdict(list)
    for found in extra:
        if found.uid in by_uid or not numbered or not found.uid:
            by_content[found.digest].append(found)
    for message in left:
        alike = by_content[message.digest]
        # Of several copies of one mail that which is most like it.
        best = max(alike, key=lambda one: _likeness(message, one), default=None)
        if best is not None:
            alike.remove(best)
        yield message, best
    for unmatched in by_content.values():
        for one in unmatched:
            yield None, one


def _likeness(message: Message, found: Found) -> int:
    return (found.date_ns == message.date_ns) + (sorted(found.flags) == sorted(message.flags))
