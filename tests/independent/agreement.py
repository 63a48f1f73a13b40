"""What the product reads of archives, and what the reader that was written from FORMAT.md alone does: the
same, or one of them is wrong. Only this module of the folder imports the product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mailhaul.coordinator.backup_set import from_files
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.worker.archives.opened import opened_archives

from .archives import Archives, Mail
from .columns import Refused
from .mail import digest

Content = tuple[bytes, str, bytes, int, bytes, bytes]
"""Archive, user, folder or file, UID, name, digest of what was read."""


def disagreements(files: Iterable[Path]) -> list[str]:
    """What only one of the two readers gives of these archives, a line each; empty where they agree."""
    paths = sorted(files)
    ours, theirs = set(read_by_product(paths)), set(_theirs(paths))
    found = Archives(path.read_bytes() for path in paths).found.values()
    return [
        f"archive {one.id.hex()} refers to others than it tells the names of"
        for one in found
        if one.named() != set(one.told_names())
    ] + [
        f"{who}: archive {one[0].hex()}, {one[1]!r}, {one[2]!r}, UID {one[3]}, {one[4]!r}"
        for who, found in (("only the product", ours - theirs), ("only the other reader", theirs - ours))
        for one in sorted(found, key=repr)
    ]


def read_by_product(paths: list[Path]) -> Iterator[Content]:
    """All that the product reads of these files."""
    readable = []
    for path in paths:
        try:
            from_files([path])
        except (DamagedError, UnsupportedError):
            continue
        readable.append(path)
    if not readable:
        return
    found = from_files(readable)
    with opened_archives(found.archives) as archives:
        contents = Contents(archives)
        for version in found.versions:
            try:
                stored = StoredMailbox(archives, version.archive, version.user)
            except DamagedError:
                continue
            for folder in stored.mailbox.folders:
                for rows in stored.frames(folder):
                    try:
                        messages = rows.messages()
                    except DamagedError:
                        continue
                    for message in messages:
                        try:
                            read = digest(b"".join(contents.message(message)))
                        except DamagedError:
                            continue
                        name = folder.folder.path
                        yield version.archive, version.user, name, message.uid, message.base, read
            for file in stored.mailbox.files:
                try:
                    read = digest(b"".join(contents.message(file)))
                except DamagedError:
                    continue
                yield version.archive, version.user, file.path, 0, b"", read


def _theirs(paths: list[Path]) -> Iterator[Content]:
    archives = Archives(path.read_bytes() for path in paths)
    for archive in archives.found.values():
        for user, home in archive.users().items():
            if archives.hidden(archive, user):
                continue
            try:
                mailbox = archives.mailbox(home)
            except Refused:
                continue
            for folder in mailbox["folders"]:
                for mail in archives.messages(mailbox, folder):
                    try:
                        if isinstance(mail, Mail):
                            read = digest(archives.content(mail))
                            yield archive.id, user, folder["path"], mail.uid, mail.name, read
                    except Refused:
                        continue
            for file in mailbox["files"]:
                try:
                    read = digest(archives.file_content(mailbox, file))
                except Refused:
                    continue
                yield archive.id, user, file[0], 0, b"", read
