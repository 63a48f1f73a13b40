"""What one archive says of mailboxes, without where in it the data lies: to compare two backups exactly."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.records import Directory, DirectoryKind, Folder, Message, Skipped, StoredFile
from mailhaul.proto.structs import replace

from .archives import messages_of

_NEXT_UID = re.compile(rb" N\d+")


class StoredMailbox(NamedTuple):
    """A mailbox as an archive has it; folders and messages in a fixed order."""

    place: bytes
    folders: tuple[tuple[Folder, tuple[Message, ...]], ...]
    files: tuple[StoredFile, ...]
    skipped: tuple[Skipped, ...]


def stored_mailboxes(staging: Path) -> dict[str, StoredMailbox]:
    """The mailboxes of all archives of a staging area to which one backup was made."""
    found: dict[str, StoredMailbox] = {}
    for path in sorted(staging.rglob("*.mha")):
        file = LocalFile(str(path))
        try:
            archive = open_sealed(file)
            for entry in archive.directory.mailboxes:
                mailbox = archive.mailbox(entry.home.number)
                folders = tuple(
                    (
                        replace(
                            folder.folder, directories=tuple(sorted(folder.folder.directories, key=repr))
                        ),
                        tuple(
                            sorted((_bare(each) for each in messages_of(archive, entry, folder)), key=repr)
                        ),
                    )
                    for folder in mailbox.folders
                )
                files = tuple(
                    sorted((replace(stored_file, pieces=()) for stored_file in mailbox.files), key=repr)
                )
                found[entry.user] = StoredMailbox(mailbox.place, folders, files, mailbox.skipped)
        finally:
            file.close()
    return found


def _lasting(record: Directory) -> Directory:
    """Without the time of a UID list: the server may have looked at it, and written it anew."""
    return replace(record, mtime_ns=0) if record.kind is DirectoryKind.UIDLIST else record


def _bare(message: Message) -> Message:
    return replace(message, pieces=())


def stored_differences(one: dict[str, StoredMailbox], other: dict[str, StoredMailbox]) -> list[str]:
    """What differs between two backups, a line each; empty where nothing does.

    A next UID may be greater in the other, and so may the counter of UIDVALIDITYs: a restore raises them.
    The number for the names of one file means nothing: which names these are is compared.
    """
    lines: list[str] = []
    for user in sorted(one.keys() | other.keys()):
        first, second = _facts(one.get(user)), _facts(other.get(user))
        lines += [
            f"{user}: {key}: {first.get(key)} | {second.get(key)}"
            for key in sorted(first.keys() | second.keys(), key=str)
            if first.get(key) != second.get(key)
        ]
    return lines


def _facts(mailbox: StoredMailbox | None) -> dict[object, object]:
    if mailbox is None:
        return {}
    facts: dict[object, object] = {"place": mailbox.place, "skipped": mailbox.skipped}
    names: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    for folder, messages in mailbox.folders:
        for message in messages:
            names[message.link].append((folder.path, message.base))
    for folder, messages in mailbox.folders:
        header = _NEXT_UID.sub(b"", folder.header)
        facts[folder.path] = replace(folder, directories=(), uidnext=0, header=header)
        facts |= {
            (folder.path, directory.kind, directory.path): _lasting(directory)
            for directory in folder.directories
        }
        for one in messages:
            shared = sorted(names[one.link]) if one.link and len(names[one.link]) > 1 else ()
            facts[folder.path, one.place, one.base] = (replace(one, link=0), shared)
    files = (file for file in mailbox.files if not file.path.startswith(b"dovecot-uidvalidity"))
    return facts | {(stored_file.home, stored_file.path): stored_file for stored_file in files}
