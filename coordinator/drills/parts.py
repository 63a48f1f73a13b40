"""A mailbox that is too large for one drill, cut into parts that are proven one after the other. Pure.

A part is a folder, or messages of one that follow each other by UID; the files that are no messages are one,
too. Where it begins is on record, so that the same part comes again in later nights, whatever mail came and
went. It is divided where it has become too large, and is no more when nothing is left of it. A part is as if
it had never been proven (begins anew) when the UIDVALIDITY of its folder is another, as its messages are
others then, and when it has grown by more than a quarter of what is restored at once; new mail in smaller
amounts matters as little as in a mailbox that is proven as a whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby, pairwise

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.records import Skipped
from ...proto.structs import Record, replace
from ...worker.portion import Portion, Run
from ..service.proofs import PartProof
from .sizes import FolderSizes, MailboxSizes
from .trial import Trial

MESSAGE_BYTES = 4096
"""What a message takes on a disk beyond its bytes, about."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_FILES = ""
"""Stands for the name of a folder in the part of the files that are no messages."""

_Sizes = list[tuple[bytes, int]]


class Part(Record, kw_only=True):
    """A part as it is now, up to the key ``end`` (empty: the end of its folder), and what is on record of
    it."""

    proof: PartProof
    end: bytes = b""
    messages: int = 0
    size_bytes: int = 0

    @property
    def run(self) -> Run:
        """Its messages."""
        return Run(folder=self.proof.folder, first=self.proof.first, end=self.end)


def cut(mailbox: MailboxSizes, known: Iterable[PartProof], most_bytes: int) -> list[Part]:
    """The parts of a mailbox, none larger than ``most_bytes`` unless it is a single message."""
    before: defaultdict[tuple[str, int], dict[bytes, PartProof]] = defaultdict(dict)
    for proof in known:
        before[proof.folder, proof.uidvalidity][proof.first] = proof
    files = before[_FILES, 0].get(b"", PartProof(folder=_FILES))
    parts = [Part(proof=files)]
    for folder in mailbox.folders:
        parts += _cut(folder, before[folder.name, folder.uidvalidity], most_bytes)
    return parts


def _cut(folder: FolderSizes, known: dict[bytes, PartProof], most_bytes: int) -> Iterator[Part]:
    sizes = sorted(folder.sizes)
    new = PartProof(folder=folder.name, uidvalidity=folder.uidvalidity)
    pieces: list[tuple[PartProof, _Sizes]] = []
    for first, end in pairwise([*sorted({b"", *known}), b""]):
        run = Run(folder=folder.name, first=first, end=end)
        if some := [(key, size) for key, size in sizes if run.holds(key)]:
            proof = known.get(first, replace(new, first=first))
            begin, *others = _divided(some, most_bytes)
            pieces.append((proof, begin))
            pieces += [(replace(new, first=piece[0][0]), piece) for piece in others]
    if not pieces:
        pieces = [(known.get(b"", new), [])]
    # What is the first of a folder now begins at its beginning, whatever was before it.
    pieces[0] = (replace(pieces[0][0], first=b""), pieces[0][1])
    ends = [proof.first for proof, _ in pieces[1:]]
    for (proof, some), end in zip(pieces, [*ends, b""], strict=True):
        size_bytes = sum(size for _, size in some)
        if size_bytes - proof.size_bytes > most_bytes // 4:
            proof = replace(proof, proven=None, tried=None)
        yield Part(proof=proof, end=end, messages=len(some), size_bytes=size_bytes)


def _divided(some: _Sizes, most_bytes: int) -> list[_Sizes]:
    """Messages as one piece, or where they are too many in pieces that have room to grow. Messages of one key
    stay together."""
    if sum(size for _, size in some) <= most_bytes:
        return [some]
    pieces: list[_Sizes] = [[]]
    filled = 0
    for _, group in groupby(some, key=lambda message: message[0]):
        alike = list(group)
        size_bytes = sum(size for _, size in alike)
        if pieces[-1] and filled + size_bytes > most_bytes // 2:
            pieces.append([])
            filled = 0
        pieces[-1] += alike
        filled += size_bytes
    return pieces


def chosen(
    parts: Sequence[Part],
    most_bytes: int,
    room_bytes: int,
    next_place: Callable[[PartProof], str],
    *,
    alone_bytes: int,
) -> list[Part]:
    """What is tried next: the part that has waited for longest, and of the others those that wait, as many as
    fit beside it, in bytes and on the disk, and are to come from the same place. Parts that failed go before,
    unless they were just tried: one that can't be mended must not keep the others out. A message that is
    larger than ``most_bytes`` is tried by itself, up to ``alone_bytes``.

    Nothing where no folder fits: the files that are no messages would look like a proof."""

    def fits(part: Part, left: int, room: int) -> bool:
        return part.size_bytes <= left and part.size_bytes + part.messages * MESSAGE_BYTES <= room

    most = {part: alone_bytes if part.messages == 1 else most_bytes for part in parts}
    if not any(fits(part, most[part], room_bytes) for part in parts if part.proof.folder != _FILES):
        return []
    newest = max((part.proof.tried or _NEVER for part in parts), default=_NEVER)

    def turn(part: Part) -> tuple[bool, datetime]:
        tried = part.proof.tried or _NEVER
        return part.proof.outcome != "failed" or tried == newest, tried

    taken: list[Part] = []
    left, room = most_bytes, room_bytes
    for part in sorted(parts, key=turn):
        if not fits(part, left if taken else most[part], room):
            continue
        if not taken or next_place(part.proof) == next_place(taken[0].proof):
            taken.append(part)
            left -= part.size_bytes
            room -= part.size_bytes + part.messages * MESSAGE_BYTES
    return taken


def portion_of(parts: Iterable[Part]) -> Portion:
    """What is restored of a mailbox to prove these parts."""
    some = list(parts)
    return Portion(
        runs=tuple(part.run for part in some if part.proof.folder != _FILES),
        files=any(part.proof.folder == _FILES for part in some),
    )


def lacking_in(parts: Sequence[Part], lacks: Iterable[Skipped]) -> list[tuple[Skipped, ...]]:
    """What is lacking of each of these parts, which were tried together. What can't be told to be of one of
    them is lacking in each."""
    found: list[list[Skipped]] = [[] for _ in parts]
    for lack in lacks:
        places = [number for number, part in enumerate(parts) if _may_lack(part, lack)]
        for number in places or range(len(parts)):
            found[number].append(lack)
    return list(map(tuple, found))


def _may_lack(part: Part, lack: Skipped) -> bool:
    """Whether something that is lacking is of a part, as far as its path tells."""
    if lack.reason == "file" or part.proof.folder == _FILES:
        return lack.reason == "file" and part.proof.folder == _FILES
    try:
        path = LogicalPath.parse(lack.path)
    except UsageError:
        return False
    key = b"%010d" % path.uid if path.uid is not None else b"~" + path.name if path.name else None
    return path.folder == part.proof.folder and (key is None or part.run.holds(key))


def counted(trial: Trial, taken: Iterable[Part], path: LogicalPath) -> Trial:
    """A trial of parts of a mailbox, which has failed if it compared more or less than they hold."""
    expected = sum(part.messages for part in taken)
    if trial.outcome != "proven" or trial.messages == expected:
        return trial
    detail = f"{expected} messages were stored, and {trial.messages} were compared"
    return replace(trial, outcome="failed", lacks=(Skipped(str(path), "count", detail),))


def noted(parts: Sequence[Part], taken: Sequence[Part], trial: Trial, now: datetime) -> list[PartProof]:
    """What is on record of all parts after some were tried at a time."""
    lacks = dict(zip(taken, lacking_in(taken, trial.lacks), strict=True))
    return [_noted(part, lacks[part], trial, now) if part in lacks else part.proof for part in parts]


def _noted(part: Part, lacks: tuple[Skipped, ...], trial: Trial, now: datetime) -> PartProof:
    proof = part.proof
    if trial.outcome == "untried":
        # A place that is away takes no part's turn.
        return proof if trial.away else replace(proof, tried=now)
    return replace(
        proof,
        messages=part.messages,
        size_bytes=part.size_bytes,
        tried=now,
        outcome="failed" if lacks else "proven",
        proven=proof.proven if lacks else now,
        place=trial.place,
        lacks=lacks,
    )


def lacks_of(parts: Iterable[PartProof]) -> tuple[Skipped, ...]:
    """What is known to be lacking of all parts."""
    return tuple(dict.fromkeys(lack for part in parts for lack in part.lacks))


def proven_since(parts: Iterable[PartProof]) -> datetime | None:
    """When the part was proven whose proof is the oldest; None if one of them has none."""
    times = [part.proven for part in parts]
    return None if None in times else min((when for when in times if when is not None), default=None)
