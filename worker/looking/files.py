"""The table of contents of a look at where mail becomes files of another format. Nothing is changed there but
for what is tried by writing, and removed again.

    on which file systems the files come to lie          rooms
    whether these can be written                         trial
    for each folder, as long as there is time
      what its files hold already                        exports.folder_index, exports.mbox_text
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from ...proto.archive.stored import StoredMailbox
from ...proto.errors import BackupError
from ...proto.records import Message, Partition
from ...proto.structs import Record
from ...proto.target_facts import FolderFate, TargetFacts, Trial
from ..archives.opened import OpenArchives
from ..exports import folder_index, mbox_target
from ..exports.file_names import folder_path
from ..exports.mbox_text import Held
from ..exports.places import Places
from .findings import Findings
from .rooms import Rooms, nearest
from .sought import Sought
from .trial import try_writing

_FROM_LINES_BYTES = 512
_TAR_HEADER_BYTES = 2048

Holds = Callable[[Message], bool]
"""Whether a message is there already; each that is there stands for one."""


class _Format(Record):
    """How a format lies in its place: what a message takes beside its bytes (None: a part of a block, as it
    is a file of its own), how many files a folder is; and what a file holds that is there."""

    overhead_bytes: int | None
    per_folder: int
    file: Callable[[bytes, Sequence[bytes]], bytes] | None
    holds: Callable[[BinaryIO], Holds]


def _nothing(_: BinaryIO) -> Holds:
    return lambda _message: False


def _of_index(file: BinaryIO) -> Holds:
    known = folder_index.Known(file)
    return known.take


def _of_mbox(file: BinaryIO) -> Holds:
    held = Held(file)
    return lambda message: held.take(message.digest)


_FORMATS: Mapping[str, _Format] = {
    "eml": _Format(None, 2, lambda root, path: b"/".join((root, *path, folder_index.NAME)), _of_index),
    "mbox": _Format(_FROM_LINES_BYTES, 2, mbox_target.file_of, _of_mbox),
    "tar": _Format(_TAR_HEADER_BYTES, 0, None, _nothing),
}


def look_at_files(
    archives: OpenArchives, sought: Sequence[Sought], target: Partition, host: str, seconds: float
) -> TargetFacts:
    """See ``look.look``."""
    until = time.monotonic() + seconds
    work = _Look(archives, target, host)
    unseen = 0
    for one in sought:
        work.place(one)
    for number, one in enumerate(sought):
        if time.monotonic() >= until:
            unseen = len(sought) - number
            break
        work.mailbox(one)
    return work.facts(unseen)


class _Look:
    def __init__(self, archives: OpenArchives, target: Partition, host: str) -> None:
        self._archives = archives
        self._target = target
        self._host = host
        self._format = _FORMATS[target.format]
        self._places = Places(target.path)
        self._rooms = Rooms(
            host, overhead_bytes=self._format.overhead_bytes, per_folder=self._format.per_folder
        )
        self._trials: dict[bytes, Trial] = {}
        self._found = Findings()

    def facts(self, unseen: int) -> TargetFacts:
        rooms = self._found.rooms(self._rooms)
        return TargetFacts(
            target=self._target,
            rooms=rooms,
            trials=tuple(self._trials.values()),
            fates=self._found.fates,
            counts=self._found.counts,
            unseen=unseen,
            troubles=self._found.troubles,
        )

    def place(self, sought: Sought) -> None:
        """Where a mailbox comes to lie: how much room is there, and may it be written?"""
        try:
            path = self._path(sought)
            self._rooms.add(path, sought.folders, sought.messages, sought.size_bytes)
            self._try(nearest(os.path.dirname(path)))
        except (BackupError, OSError) as error:
            self._found.trouble(f"{sought.choice.path}: {error}")

    def _try(self, place: bytes) -> None:
        if place not in self._trials:
            self._trials[place] = try_writing(self._host, place, None)

    def mailbox(self, sought: Sought) -> None:
        try:
            root = self._path(sought)
            if os.path.isdir(root):
                self._try(root)
            stored = StoredMailbox(self._archives, sought.choice.archive, sought.choice.user)
            for entry in sought.chosen(stored):
                path = folder_path(sought.becomes(entry.folder.name))
                with self._there(root, path) as file:
                    added = present = 0
                    holds = self._format.holds(file) if file is not None else None
                    for message in sought.messages_of(stored, entry):
                        if holds is not None and holds(message):
                            present += 1
                        else:
                            added += 1
                    self._found.folder(
                        FolderFate(path=sought.shown(entry.folder.name), added=added, present=present),
                        recreated=file is None,
                    )
        except (BackupError, OSError, ValueError) as error:
            self._found.trouble(f"{sought.choice.path}: {error}")

    def _path(self, sought: Sought) -> bytes:
        if self._format.file is None:
            return os.fsencode(self._target.path)
        return self._places.of(sought.choice.to_user).path

    @contextmanager
    def _there(self, root: bytes, path: Sequence[bytes]) -> Iterator[BinaryIO | None]:
        """The file that tells what a folder holds, if it is there; no link is followed to it."""
        if self._format.file is None:
            yield None
            return
        name = self._format.file(root, path)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(f"{os.fsdecode(name)} is there and no file")
            yield file
