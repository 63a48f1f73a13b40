"""A mailbox that is to be restored, as those see it who look at where it goes."""

from __future__ import annotations

from collections.abc import Iterator

from ...groups.paths import LogicalPath
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.records import Message
from ...proto.structs import Record, replace
from ..choice import Choice


class Sought(Record, kw_only=True):
    """A mailbox that is to be restored, and what the plan knows of it."""

    choice: Choice
    folders: int
    messages: int
    size_bytes: int

    def shown(self, folder: str) -> str:
        """The path of a folder as a report prints it."""
        choice = self.choice
        return str(replace(LogicalPath(choice.path.partition, choice.path.group, choice.user), folder=folder))

    def becomes(self, folder: str) -> str:
        """What a folder is called where it is restored to."""
        return f"{self.choice.into}/{folder}" if self.choice.into else folder

    def chosen(self, stored: StoredMailbox) -> Iterator[FolderEntry]:
        """The folders of the mailbox that are to be restored."""
        folders = stored.mailbox.folders
        path = self.choice.path.resolve([entry.folder.name for entry in folders])
        return (entry for entry in folders if path.selects_folder(entry.folder.name))

    def messages_of(self, stored: StoredMailbox, entry: FolderEntry) -> Iterator[Message]:
        """The messages of one of them that are."""
        path = self.choice.path.resolve([folder.folder.name for folder in stored.mailbox.folders])
        for message in stored.messages(entry, path.uid):
            if path.selects_message(message.uid, message.base, message.suffix, message.place):
                yield message
