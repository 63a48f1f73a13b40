"""What is asked of the messages of a folder that lies on the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from blake3 import blake3
from imapclient import IMAPClient

from ....proto.records import DIGEST_BYTES
from .likeness import Likeness

AT_ONCE = 500
_PIECE_BYTES = 1 << 20

_SIZE, _FLAGS, _DATE = b"RFC822.SIZE", b"FLAGS", b"INTERNALDATE"


class Seen(NamedTuple):
    """What a server says of a message. ``date`` is in UTC; None where there is none."""

    size: int
    flags: frozenset[str]
    date: datetime | None


class Content(NamedTuple):
    """The digests of a message as the server gives it; ``likeness``: see there."""

    digest: bytes
    likeness: bytes


def uids_from(client: IMAPClient, first: int) -> list[int]:
    """The UIDs from ``first`` on, ascending, of the folder that is opened."""
    found: Iterable[int] = client.search(["UID", f"{first}:*"])
    # "5:*" means the last message at least, even if its UID is smaller.
    return sorted(uid for uid in found if uid >= first)


def sizes(client: IMAPClient, uids: Sequence[int]) -> dict[int, int]:
    """The sizes of messages, by UID."""
    answers: Mapping[int, Mapping[bytes, int]] = client.fetch(uids, [_SIZE.decode()])
    return {uid: answer[_SIZE] for uid, answer in answers.items() if _SIZE in answer}


def seen(client: IMAPClient, uids: Sequence[int]) -> dict[int, Seen]:
    """Size, flags and date of messages, by UID."""
    found: dict[int, Seen] = {}
    client.normalise_times = False
    for uid, answer in client.fetch(uids, [one.decode() for one in (_SIZE, _FLAGS, _DATE)]).items():
        if _SIZE in answer:
            flags = frozenset(one.decode("ascii", "replace") for one in answer.get(_FLAGS, ()))
            found[uid] = Seen(answer[_SIZE], flags, answer.get(_DATE))
    return found


def contents(client: IMAPClient, uids: Sequence[int]) -> dict[int, Content]:
    """The digests of messages, by UID; all are in memory together."""
    answers = client.fetch(uids, ["BODY.PEEK[]"])
    return {uid: _content([answer[b"BODY[]"]]) for uid, answer in answers.items() if answer.get(b"BODY[]")}


def large_content(client: IMAPClient, uid: int, size: int) -> Content:
    """The digests of one message, read in pieces."""
    return _content(_pieces(client, uid, size))


def _pieces(client: IMAPClient, uid: int, size: int) -> Iterator[bytes]:
    for at in range(0, size, _PIECE_BYTES):
        answers = client.fetch([uid], [f"BODY.PEEK[]<{at}.{_PIECE_BYTES}>"])
        yield answers.get(uid, {}).get(f"BODY[]<{at}>".encode()) or b""


def _content(pieces: Iterable[bytes]) -> Content:
    hashed, likeness = blake3(), Likeness()
    for piece in pieces:
        hashed.update(piece)
        likeness.update(piece)
    return Content(hashed.digest(length=DIGEST_BYTES), likeness.digest())


def chunks(uids: Iterable[int], size: int = AT_ONCE) -> Iterator[list[int]]:
    """So many at a time."""
    rest = iter(uids)
    while chunk := list(islice(rest, size)):
        yield chunk
