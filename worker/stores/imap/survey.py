"""A mailbox on the server that is looked at, and not changed: folders are opened for reading only."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from imapclient import IMAPClient
from imapclient.imap_utf7 import encode

from ....proto.records import Message
from ....proto.structs import Mutable, Record, field
from .appending import quoted
from .fetching import chunks, seen, uids_from
from .folder import append_limit
from .listing import listed_folders, namespace
from .names import FolderNames
from .session import Session

_NS = 1_000_000_000
_INSERT = "i"


class Quota(Record, kw_only=True):
    """A limit of a user: of ``kind`` (``storage``: bytes, or ``message``) so much is ``used``."""

    root: str
    kind: str
    used: int
    limit: int


class FolderThere(Mutable):
    """A folder that the server has. ``refusal`` says why nothing can be put into it, if that is known."""

    uidvalidity: int
    refusal: str = ""
    _sizes: dict[int, list[int]] = field(default_factory=dict)
    """By the second of their dates, ascending."""

    def take(self, message: Message) -> bool:
        """Whether a message of this date is there, of a size that it may have with the line ends of mail.
        Each stands for but one."""
        sizes = self._sizes.get(message.date_ns // _NS, [])
        found = next((size for size in sizes if message.size <= size <= 2 * message.size + 1), None)
        if found is None:
            return False
        sizes.remove(found)
        return True

    def note(self, second: int, size: int) -> None:
        """A message that is there."""
        self._sizes.setdefault(second, []).append(size)
        self._sizes[second].sort()


class ImapSurvey:
    """``names`` are those of the folders that are to come. Raises what a Session raises."""

    def __init__(self, session: Session, names: Iterable[str]) -> None:
        self._session = session
        self._names = FolderNames(*session.ask(namespace), names)
        self._there = set(session.ask(listed_folders))

    def name_of(self, folder: str) -> str:
        """What a folder is called there."""
        return self._names.on_server(folder)

    def is_altered(self, folder: str) -> bool:
        """Whether it can't be called there what it is called."""
        return self._names.is_altered(folder)

    def folder(self, folder: str) -> FolderThere | None:
        """What is there under the name of a folder; None if it would be made."""
        name = self.name_of(folder)
        if name not in self._there:
            return None
        opened = self._session.examine(name)
        validity = opened.get(b"UIDVALIDITY", 0)
        found = FolderThere(validity if isinstance(validity, int) else 0)
        rights = self._session.ask(partial(_rights, name=name))
        if rights is not None and _INSERT not in rights:
            found.refusal = f"the server says that nothing may be put into it (its rights are {rights!r})"
        if opened.get(b"EXISTS"):
            uids = self._session.ask_in(name, partial(uids_from, first=1))
            for some in chunks(uids):
                for one in self._session.ask_in(name, partial(seen, uids=some)).values():
                    if one.date is not None:
                        found.note(int(one.date.timestamp()), one.size)
        return found

    def append_limit(self) -> int:
        """How large a message may be; 0 if the server does not say."""
        return self._session.ask(partial(append_limit, name="INBOX"))

    def quotas(self) -> list[Quota] | None:
        """The limits of the user; None where the server tells of none. Raises RefusedError."""
        return self._session.ask(_quotas)


def _rights(client: IMAPClient, name: str) -> str | None:
    """What the user may do with a folder; None where the server does not say."""
    if not client.has_capability("ACL"):
        return None
    status, told = client._imap.myrights(quoted(encode(name)).decode("ascii"))
    if status != "OK" or not told or not isinstance(told[-1], bytes):
        return None
    return told[-1].rpartition(b" ")[2].decode("ascii", "replace").strip('"')


def _quotas(client: IMAPClient) -> list[Quota] | None:
    if not client.has_capability("QUOTA"):
        return None
    kinds = {"STORAGE": ("storage", 1024), "MESSAGE": ("message", 1)}
    found = []
    for one in client.get_quota("INBOX"):
        if one.resource.upper() in kinds:
            kind, unit = kinds[one.resource.upper()]
            found.append(Quota(root=one.quota_root, kind=kind, used=one.usage * unit, limit=one.limit * unit))
    return found
