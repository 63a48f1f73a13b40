"""The files of a restored mailbox, and of its home, that are no messages, beside those of its backup:
filters, subscriptions, access lists."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from blake3 import blake3

from ...groups.paths import LogicalPath, printable
from ...proto.errors import MessageUnavailable
from ...proto.ports import MailboxReader
from ...proto.records import DIGEST_BYTES, ListedFile, Skipped, StoredFile
from ..stores import keywords
from ..stores.renumbering import COUNTER, COURIER

_READ_BYTES = 1 << 20

_WRITTEN_ANEW = COURIER | {keywords.NAME}
"""Files with numbers in them, which a restore raises, and the list of keywords, which it makes: each message
is compared with its UID and its keywords."""


def compare_files(
    stored: Iterable[StoredFile], whose: LogicalPath, reader: MailboxReader
) -> Iterator[Skipped]:
    """What of these files is not there as it was stored, in content or as a link. To be called when the
    folders of the reader are exhausted. Raises StoreError."""
    there = {(listed_file.home, listed_file.path): listed_file for listed_file in reader.files()}
    for file in stored:
        if not _is_written_anew(file):
            problem = _difference(file, there.get((file.home, file.path)), reader)
            if problem:
                yield Skipped(f"{whose}/{printable(file.path)}", "file", problem)


def _is_written_anew(file: StoredFile) -> bool:
    name = posixpath.basename(file.path)
    return not file.home and (name in _WRITTEN_ANEW or (name == file.path and name.startswith(COUNTER)))


def _difference(file: StoredFile, listed: ListedFile | None, reader: MailboxReader) -> str:
    """What is wrong with a file; empty: nothing. A home may hold more than what is listed of it."""
    found = listed or ListedFile(file.path, file.home, file.target)
    try:
        if file.target is not None:
            reader.link_stat(found)
            return "" if found.target == file.target else "it is no link to where it led"
        if found.target is not None:
            return "it is a link, and was none"
        size, digest = _read(reader, found)
    except MessageUnavailable as error:
        return f"it is not there: {error.message}"
    if size != file.size:
        return f"{size} bytes, {file.size} were stored"
    return "" if digest == file.digest else "the content is not what was stored"


def _read(reader: MailboxReader, file: ListedFile) -> tuple[int, bytes]:
    opened, digest, size = reader.open_file(file), blake3(), 0
    try:
        while data := opened.read(_READ_BYTES):
            digest.update(data)
            size += len(data)
    finally:
        opened.close()
    return size, digest.digest(length=DIGEST_BYTES)
