"""What a server shows of folders, to who wants to see just that: their names, numbers, messages."""

from __future__ import annotations

import imaplib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple, TypeVar

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from ....proto.errors import StoreError
from .fetching import Content, chunks, contents, large_content, seen, uids_from
from .listing import listed_folders
from .outgoing import FLAGS

_AT_ONCE_BYTES = 4 << 20
_Result = TypeVar("_Result")


class Shown(NamedTuple):
    """A message as a server shows it: flags as IMAP has them, the date in seconds since 1970."""

    uid: int
    flags: frozenset[str]
    seconds: int | None
    size: int
    digest: bytes
    likeness: bytes


def imap_flags(letters: str) -> frozenset[str]:
    """System flags for the letters of the Maildir convention."""
    return frozenset(
        FLAGS[letter] for letter in letters if letter in FLAGS and FLAGS[letter].startswith("\\")
    )


class ShownAccount:
    """All methods raise StoreError where the server can't or will not."""

    def __init__(self, client: IMAPClient) -> None:
        self._client = client
        client.normalise_times = False

    def folders(self) -> list[str]:
        """The names of the folders that can hold messages, levels separated by ``/``."""
        return self._ask(listed_folders)

    def open(self, folder: str) -> int:
        """Open a folder for reading; its UIDVALIDITY."""
        told: Mapping[bytes, object] = self._ask(lambda client: client.select_folder(folder, readonly=True))
        validity = told.get(b"UIDVALIDITY", 0)
        return validity if isinstance(validity, int) else 0

    def messages(self) -> Iterator[Shown]:
        """Those of the opened folder, by UID; each is read whole."""
        for uids in chunks(self._ask(lambda client: uids_from(client, 1))):
            told = self._ask(partial(seen, uids=uids))
            for part in _parts(uids, {uid: one.size for uid, one in told.items()}):
                read = self._read(part, told[part[0]].size if len(part) == 1 else 0)
                for uid in part:
                    one, content = told[uid], read.get(uid)
                    yield Shown(
                        uid,
                        one.flags,
                        None if one.date is None else int(one.date.timestamp()),
                        one.size,
                        content.digest if content else b"",
                        content.likeness if content else b"",
                    )

    def _read(self, uids: list[int], size: int) -> Mapping[int, Content]:
        if size > _AT_ONCE_BYTES:
            return {uids[0]: self._ask(lambda client: large_content(client, uids[0], size))}
        return self._ask(lambda client: contents(client, uids))

    def _ask(self, work: Callable[[IMAPClient], _Result]) -> _Result:
        try:
            return work(self._client)
        except (IMAPClientError, imaplib.IMAP4.error, OSError, ValueError) as error:
            raise StoreError(f"the server says: {error}") from error


def _parts(uids: Iterable[int], sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """So many that they are in memory together; those that are gone meanwhile are left out."""
    part: list[int] = []
    total = 0
    for uid in uids:
        if uid not in sizes:
            continue
        if part and total + sizes[uid] > _AT_ONCE_BYTES:
            yield part
            part, total = [], 0
        part.append(uid)
        total += sizes[uid]
    if part:
        yield part
