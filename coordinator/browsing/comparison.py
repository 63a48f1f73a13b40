"""What came, went and changed between two versions of a mailbox.

A message is known by its lasting name within its folder. Frames that both versions have are passed over
undecoded, so the work is in proportion to what changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.pointers import FramePointer
from ...proto.archive.stored import StoredRows
from ...proto.records import Message, Terms
from ...proto.structs import Record
from .metadata import MailboxFrames, lasting_key

Change = Literal["came", "went", "flags"]

_Flagged = dict[bytes, tuple[str, str, tuple[str, ...]]]
"""Lasting name -> place, flags, names of keywords."""


class FolderDifference(Record, kw_only=True):
    """How a folder differs. ``came``, ``went`` and ``flags`` count messages; ``flags`` are those that are in
    both and have other flags.

    ``state`` is ``came`` (it was not there), ``went`` (it is not there any more) or ``changed``. Of one that
    came or went ``left_out`` says that the backup left it out on the other side: it may have been there.
    ``renamed_from`` is the name that it had. ``remade``: it has another UIDVALIDITY, so that clients take it
    for another folder; (before, after), else None.
    """

    name: str
    state: Literal["came", "went", "changed"]
    messages: int
    came: int
    went: int
    flags: int
    left_out: bool = False
    renamed_from: str = ""
    remade: tuple[int, int] | None = None


class ChangedMessage(Record):
    """A message that came, went or has other flags, as the version that still or already has it
    tells."""

    change: Change
    folder: str
    message: Message
    terms: Terms


class _Pair(Record):
    """A folder in both versions, by its later name; None where it is not."""

    name: str
    before: FolderEntry | None
    after: FolderEntry | None


def folder_differences(
    before: MailboxFrames | None, after: MailboxFrames | None, selects: Callable[[str], bool]
) -> list[FolderDifference]:
    """The folders that differ, of those that ``selects`` takes by a name that they have or had; by name.
    Raises DamagedError."""
    told = (_difference(before, after, pair) for pair in _pairs(before, after, selects))
    return sorted((difference for difference in told if difference is not None), key=lambda one: one.name)


def changed_messages(
    before: MailboxFrames | None, after: MailboxFrames | None, selects: Callable[[str], bool]
) -> Iterator[ChangedMessage]:
    """Each message that ``folder_differences`` counts: those that went, then those that came and those with
    other flags, folder by folder. Raises DamagedError."""
    for pair in _pairs(before, after, selects):
        old_frames, new_frames = _unlike(before, after, pair)
        old, new = _flagged(old_frames), _flagged(new_frames)
        if pair.before is not None:
            yield from _rows("went", pair.before, old_frames, old.keys() - new.keys())
        if pair.after is not None:
            yield from _rows("came", pair.after, new_frames, new.keys() - old.keys())
            yield from _rows("flags", pair.after, new_frames, _flagged_anew(old, new))


def _pairs(
    before: MailboxFrames | None, after: MailboxFrames | None, selects: Callable[[str], bool]
) -> Iterator[_Pair]:
    """The folders of both, the same ones side by side: by name, else by the id that a renamed one keeps."""
    old = dict(before.folders) if before else {}
    new = after.folders if after else {}
    lost = {
        folder_entry.folder.guid: name
        for name, folder_entry in old.items()
        if name not in new and folder_entry.folder.guid
    }
    for name, entry in new.items():
        earlier = old.pop(name, None)
        if earlier is None and entry.folder.guid in lost:
            earlier = old.pop(lost.pop(entry.folder.guid))
        if selects(name) or (earlier is not None and selects(earlier.folder.name)):
            yield _Pair(name, earlier, entry)
    for name, entry in old.items():
        if selects(name):
            yield _Pair(name, entry, None)


def _difference(
    before: MailboxFrames | None, after: MailboxFrames | None, pair: _Pair
) -> FolderDifference | None:
    old_frames, new_frames = _unlike(before, after, pair)
    old, new = _flagged(old_frames), _flagged(new_frames)
    found = FolderDifference(
        name=pair.name,
        state="came" if pair.before is None else "went" if pair.after is None else "changed",
        messages=pair.after.messages if pair.after else 0,
        came=len(new.keys() - old.keys()),
        went=len(old.keys() - new.keys()),
        flags=len(_flagged_anew(old, new)),
        left_out=_is_left_out(before, after, pair),
        renamed_from=_name_before(pair),
        remade=_remade(pair),
    )
    tells = found.came or found.went or found.flags or found.renamed_from or found.remade
    return found if tells or found.state != "changed" else None


def _is_left_out(before: MailboxFrames | None, after: MailboxFrames | None, pair: _Pair) -> bool:
    lacking = before if pair.before is None else after if pair.after is None else None
    return lacking is not None and lacking.leaves_out(pair.name)


def _name_before(pair: _Pair) -> str:
    if pair.before is None or pair.after is None or pair.before.folder.name == pair.after.folder.name:
        return ""
    return pair.before.folder.name


def _remade(pair: _Pair) -> tuple[int, int] | None:
    if pair.before is None or pair.after is None:
        return None
    validity = pair.before.folder.uidvalidity, pair.after.folder.uidvalidity
    return validity if all(validity) and validity[0] != validity[1] else None


def _unlike(
    before: MailboxFrames | None, after: MailboxFrames | None, pair: _Pair
) -> tuple[list[StoredRows], list[StoredRows]]:
    """The frames of a folder that only one of the versions has."""
    old = before.frames(pair.before) if before and pair.before else []
    new = after.frames(pair.after) if after and pair.after else []
    both = Counter(one.pointer for one in old) & Counter(one.pointer for one in new)
    return _without(old, both), _without(new, both)


def _without(frames: Iterable[StoredRows], known: Counter[FramePointer]) -> list[StoredRows]:
    left = Counter(known)
    kept = []
    for frame in frames:
        if left[frame.pointer]:
            left[frame.pointer] -= 1
        else:
            kept.append(frame)
    return kept


def _flagged(frames: Iterable[StoredRows]) -> _Flagged:
    found: _Flagged = {}
    for frame in frames:
        names = frame.names()
        called = zip(names.uid, names.base, names.place, names.flags, names.keywords, strict=True)
        for uid, base, place, flags, keywords in called:
            found[lasting_key(uid, base)] = place, flags, keywords
    return found


def _flagged_anew(old: _Flagged, new: _Flagged) -> set[bytes]:
    return {key for key, flags in new.items() if key in old and old[key] != flags}


def _rows(
    change: Change, entry: FolderEntry, frames: Iterable[StoredRows], keys: set[bytes]
) -> Iterator[ChangedMessage]:
    for frame in frames if keys else ():
        for message, terms in frame.rows():
            if lasting_key(message.uid, message.base) in keys:
                yield ChangedMessage(change, entry.folder.name, message, terms)
