"""What a folder's directories and lists are like on disk: a few stats, from which its mark is made.

Of a folder, ``new/`` and ``cur/`` tell of messages and flags, ``dovecot-uidlist`` of UIDs,
``dovecot-keywords`` of keywords. The folder's own directory and ``tmp/`` are no part of its mark: a server
touches them all the time (index files), and what they hold is told by other records.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from ...proto.records import Attributes, Directory, DirectoryKind
from ...proto.structs import Record, field
from . import keywords, uidlist
from .directories import described, joined
from .listing import PLACES
from .marks import HASH_BYTES, has_settled, identity_hash, state_hash
from .survey import Contents

_BY_PLACE = tuple((place, place.encode()) for place in PLACES)
_PLACES = tuple(name for _, name in _BY_PLACE)
_DIRECTORIES = (*_PLACES, b"tmp")
_LISTS = (uidlist.NAME, keywords.NAME)
_MARKED = (*_PLACES, *_LISTS)
ALL_PARTS = (*_DIRECTORIES, *_LISTS)
"""The names of all parts that a folder may have, in the order of ``FolderState.all_parts``."""
_RECORDED = {**dict.fromkeys(_DIRECTORIES, DirectoryKind.PART), uidlist.NAME: DirectoryKind.UIDLIST}


class FolderState(Record):
    """The status of a folder's directory, and of what is there of its parts, by name. ``attributes`` are
    theirs; of the directory itself by ``b""``. ``control`` is the directory of its lists, if that is
    another one."""

    own: os.stat_result
    parts: Mapping[bytes, os.stat_result]
    attributes: Mapping[bytes, Attributes] = field(default_factory=dict)
    control: Directory | None = None

    def records(self, path: bytes) -> list[Directory]:
        """The records of a folder that lies there."""
        parts, attributes = self.parts, self.attributes
        return [
            described(path, self.own, DirectoryKind.FOLDER, attributes.get(b"", ())),
            *(
                described(joined(path, name), parts[name], kind, attributes.get(name, ()))
                for name, kind in _RECORDED.items()
                if name in parts
            ),
            *([self.control] if self.control else []),
        ]

    def all_parts(self) -> list[os.stat_result | None]:
        """The status of the directory and of every part of it, in order."""
        return [self.own, *map(self.parts.get, ALL_PARTS)]

    def times(self) -> dict[str, int]:
        """When messages last came or went, by place."""
        parts = self.parts
        return {place: parts[name].st_mtime_ns for place, name in _BY_PLACE if name in parts}

    def hash(self) -> bytes:
        """What messages, flags, UIDs and keywords are like: the same as long as these are."""
        return state_hash(map(self.parts.get, _MARKED))

    def has_settled(self, now_ns: int) -> bool:
        """Whether its hash shows every change from ``now_ns`` on."""
        return all(has_settled(self.parts[name], now_ns) for name in _MARKED if name in self.parts)


def glance(directory: int, own: os.stat_result, contents: Contents, lists: int | None = None) -> FolderState:
    """The state of the folder in this open directory, which has this status and contents. Its lists are there
    too, or in another directory (``lists``). Raises OSError."""
    names = [name for name in _DIRECTORIES if name in contents.directories]
    parts = {name: os.stat(name, dir_fd=directory, follow_symlinks=False) for name in names}
    for name in _LISTS:
        if lists not in (None, directory):
            with suppress(FileNotFoundError):
                parts[name] = os.stat(name, dir_fd=lists, follow_symlinks=False)
        elif lists == directory and name in contents.files:
            parts[name] = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return FolderState(own, parts)


class Mark(Record):
    """What is kept of a folder's state: its hash, and which ``new/`` and ``cur/`` they are."""

    state: bytes
    identity: bytes

    def encoded(self) -> bytes:
        """The bytes of ``FolderReader.mark``."""
        return self.state + self.identity


def mark_of(state: FolderState, places: Mapping[str, int]) -> Mark:
    """The mark of a folder whose ``new/`` and ``cur/`` are open. Raises OSError."""
    return Mark(state.hash(), identity_hash(map(places.get, PLACES)))


def decoded(mark: bytes) -> Mark | None:
    """What ``Mark.encoded`` gave; None for anything else."""
    return Mark(mark[:HASH_BYTES], mark[HASH_BYTES:]) if len(mark) == 2 * HASH_BYTES else None
