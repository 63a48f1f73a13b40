"""A portion of a mailbox: what is restored and compared of one that is too much to be done at once. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..proto.records import Folder, Message
from ..proto.structs import Record


class Run(Record, kw_only=True):
    """Messages of a folder that follow each other by their keys: from ``first`` on, up to the one before
    ``end`` (empty: up to the last)."""

    folder: str
    first: bytes = b""
    end: bytes = b""

    def holds(self, key: bytes) -> bool:
        """Whether the message with a key is one of them."""
        return self.first <= key and (not self.end or key < self.end)


class Portion(Record, kw_only=True):
    """Runs of messages, each with its folder; ``files``: and the files that are no messages."""

    runs: tuple[Run, ...]
    files: bool = False

    def has_folder(self, name: str) -> bool:
        """Whether there are messages of a folder in it, or may be."""
        return any(run.folder == name for run in self.runs)

    def of_folder(self, folder: Folder) -> Callable[[Message], bool]:
        """What tells which messages of a folder are in it."""
        runs = [run for run in self.runs if run.folder == folder.name]
        return lambda message: any(run.holds(key_of(folder, message)) for run in runs)


def key_of(folder: Folder, message: Message) -> bytes:
    """What stands for a message from one backup to the next, and orders those of a folder as they came: its
    UID; where UIDs mean nothing, or it has none, its lasting name, behind those."""
    if folder.uidvalidity and message.uid:
        return b"%010d" % message.uid
    return b"~" + message.base
