"""What the product reads of archives, and what the reader that is laid beside them does, which was written
from FORMAT.md alone: the same, or one of them is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from blake3 import blake3

from mailhaul.coordinator.backup_set import from_files
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import DamagedError, EncryptedError, UnsupportedError
from mailhaul.tests.sealed import PRIVATE, everything_encrypted, recipient
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.keepsake import mailhaul_restore
from mailhaul.worker.keepsake.mailhaul_restore import Damaged, Identity, Keys

Content = tuple[bytes, str, bytes, int, bytes, bytes]
"""Archive, user, folder or file, UID, name, digest of what was read."""


def disagreements(files: Iterable[Path], *, with_keys: bool = False) -> list[str]:
    """What only one of the two readers gives of these archives, a line each; empty where they agree. Both
    have the private key of ``tests/sealed.py``, or no key."""
    paths = sorted(files)
    with everything_encrypted() if with_keys else nullcontext():
        ours = set(read_by_product(paths))
    theirs = set(_theirs(paths, with_keys=with_keys))
    return [
        *_untold(paths, with_keys=with_keys),
        *(
            f"{who}: archive {one[0].hex()}, {one[1]!r}, {one[2]!r}, UID {one[3]}, {one[4]!r}"
            for who, found in (("only the product", ours - theirs), ("only the other reader", theirs - ours))
            for one in sorted(found, key=repr)
        ),
    ]


def opened_by_other(paths: Iterable[Path], *, with_keys: bool) -> mailhaul_restore.Archives:
    """These archives, as the other reader has them."""
    identity = Identity(mailhaul_restore.X25519, recipient().id, PRIVATE)
    return mailhaul_restore.Archives(map(str, paths), keys=Keys([identity] if with_keys else []))


def _untold(paths: list[Path], *, with_keys: bool) -> Iterator[str]:
    """The archives that refer to others without telling what these are called."""
    archives = opened_by_other(paths, with_keys=with_keys)
    for archive in archives.found.values():
        named = {one for part in archive.directory() for one in part["archives"]} - {archive.id}
        if named - archive.references().keys():
            yield f"archive {archive.id.hex()} refers to others than it tells the names of"
    archives.close()


def read_by_product(paths: list[Path]) -> Iterator[Content]:
    """All that the product reads of these files."""
    readable: list[Path] = []
    # Of some nothing can be read by themselves: their keys may be those of another copy.
    for path in sorted(paths, key=lambda one: (not _is_readable([one]), one)):
        if _is_readable([*readable, path]):
            readable.append(path)
    if not readable:
        return
    found = from_files(readable)
    with opened_archives(found.archives) as archives:
        contents = Contents(archives)
        for version in found.versions:
            try:
                stored = StoredMailbox(archives, version.archive, version.user)
            except (DamagedError, EncryptedError):
                continue
            for folder in stored.mailbox.folders:
                for rows in stored.frames(folder):
                    try:
                        messages = rows.messages()
                    except (DamagedError, EncryptedError):
                        continue
                    for message in messages:
                        try:
                            read = _digest(b"".join(contents.message(message)))
                        except (DamagedError, EncryptedError):
                            continue
                        name = folder.folder.path
                        yield version.archive, version.user, name, message.uid, message.base, read
            for file in stored.mailbox.files:
                try:
                    read = _digest(b"".join(contents.message(file)))
                except (DamagedError, EncryptedError):
                    continue
                yield version.archive, version.user, file.path, 0, b"", read


def _is_readable(paths: list[Path]) -> bool:
    try:
        from_files(paths)
    except (DamagedError, EncryptedError, UnsupportedError):
        return False
    return True


def _theirs(paths: list[Path], *, with_keys: bool) -> Iterator[Content]:
    archives = opened_by_other(paths, with_keys=with_keys)
    yield from read_by_other(archives)
    archives.close()


def read_by_other(archives: mailhaul_restore.Archives) -> Iterator[Content]:
    """All that the other reader reads of these archives."""
    gone = _departures(archives)
    for archive in archives.found.values():
        for told in archive.told():
            whose = archive.partition, told.user
            if archive.run < max(gone.get((*whose, archive.group), ""), gone.get((*whose, ""), "")):
                continue
            try:
                mailbox = archives.mailbox(told.home)
            except Damaged:
                continue
            for folder in mailbox["folders"]:
                yield from _messages(archives, archive.id, told.user, mailbox, folder)
            for file in mailbox["files"]:
                with suppress(Damaged):
                    read = b"".join(archives.file_content(mailbox, file))
                    yield archive.id, told.user, file[0], 0, b"", _digest(read)


def _messages(
    archives: mailhaul_restore.Archives,
    archive: bytes,
    user: str,
    mailbox: dict[str, Any],
    folder: dict[str, Any],
) -> Iterator[Content]:
    for _, mails in archives.messages(mailbox, folder):
        if isinstance(mails, Damaged):
            continue
        for mail in mails:
            with suppress(Damaged):
                read = b"".join(archives.content(mail))
                yield archive, user, folder["path"], mail.uid, mail.name, _digest(read)


def _departures(archives: mailhaul_restore.Archives) -> dict[tuple[str, str, str], str]:
    """The last run as of which a user is gone from a partition and a group, or from all ("")."""
    gone: dict[tuple[str, str, str], str] = {}
    for archive in archives.found.values():
        for departure in archive.departures(lambda _: None):
            whose = archive.partition, departure.user, "" if departure.everywhere else archive.group
            gone[whose] = max(gone.get(whose, ""), departure.run)
    return gone


def _digest(data: bytes) -> bytes:
    return blake3(data).digest()[:16]
