"""Messages that were listed and gone when they were to be read, until it is known what became of them.

A message that is moved within its mailbox is found elsewhere, or comes again with a later look. One that does
not was removed if the mailbox held still at last; if not, nobody can say.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable

from ...groups.paths import LogicalPath
from ...proto.records import FolderLoss, Listed, Skipped
from ...proto.structs import Record
from .known_tally import KnownTally

UNSETTLED = "unsettled"
"""Why a message is not stored that was seen: it was moved, or removed, in a mailbox that never held still."""

_FEWEST_LOST = 10
"""With fewer messages no folder is reported to have lost a share of them."""


_Key = bytes | int


class _Lost(Record):
    """A message of this folder; ``told`` is how it is reported if it was removed."""

    folder: LogicalPath
    told: Skipped


class Whereabouts(Record, kw_only=True):
    """What became of the messages of a mailbox that were lost: so many counts of them are void, as they are
    stored or counted elsewhere; the others are ``skipped``. ``losses``: where many of a folder went."""

    void: int
    skipped: tuple[Skipped, ...]
    losses: tuple[FolderLoss, ...]


class Pursuit:
    """The messages of one mailbox that were listed and are not stored."""

    def __init__(self) -> None:
        self._lost: dict[_Key, _Lost] = {}
        self._counted = 0
        self._stored = array("q")  # hashes of the keys of what was stored anew
        self._listed: Counter[LogicalPath] = Counter()

    def list(self, folder: LogicalPath, count: int) -> None:
        """So many messages of a folder were listed."""
        self._listed[folder] += count

    def store(self, message: Listed) -> None:
        """A message that was not stored before is now."""
        self._stored.append(hash(message.inode or message.base))

    def lose(self, folder: LogicalPath, message: Listed, path: str, detail: str) -> None:
        """A message was gone when it was to be read; it is counted as listed."""
        self._counted += 1
        self._lost[_key(message.base, message.inode)] = _Lost(folder, Skipped(path, "vanished", detail))

    def lost(self) -> int:
        """How often a message was lost."""
        return self._counted

    def end(self, known: Iterable[KnownTally], *, held_still: bool) -> Whereabouts:
        """``known`` is what was stored before of the mailbox, and how much of it was met."""
        gone = dict(self._lost)
        for key in self._found(known):
            del gone[key]
        by_folder = Counter(lost.folder for lost in gone.values())
        return Whereabouts(
            void=self._counted - len(gone),
            skipped=tuple(one.told if held_still else _unsettled(one.told) for one in gone.values()),
            losses=tuple(
                FolderLoss(str(folder), self._listed[folder], count)
                for folder, count in by_folder.items()
                if count >= _FEWEST_LOST
            ),
        )

    def _found(self, known: Iterable[KnownTally]) -> Collection[_Key]:
        """Those that are stored after all."""
        if not self._lost:
            return ()
        stored = set(self._stored)
        there = {key for key in self._lost if hash(key) in stored}
        for tally in known:
            there.update(key for one in tally.met() if (key := _key(*one)) in self._lost)
        return there


def _key(base: bytes, inode: int) -> _Key:
    """What a message is known by wherever it goes: a server that moves it gives it another name."""
    return inode or base


def _unsettled(told: Skipped) -> Skipped:
    detail = "it was seen, and not found again while the mailbox kept changing"
    return Skipped(told.path, UNSETTLED, detail)
