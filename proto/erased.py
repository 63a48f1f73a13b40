"""Whose mail was erased: enough to know it when it turns up again, without the name."""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from .records import RunId
from .structs import Record

SALT_BYTES = 16


class ErasedMailbox(Record, kw_only=True):
    """A mailbox of which all is erased that runs before ``before`` have stored. ``digest`` stands for its
    partition and user. A mailbox of that name which a later run finds is another one.

    Who has this and guesses a name can find out whether it is meant: it hides names from readers of lists,
    not from who knows them.
    """

    before: RunId
    salt: bytes
    digest: bytes

    def names(self, partition: str, user: str) -> bool:
        """Whether this is a mailbox of that name."""
        return digest_of(self.salt, partition, user) == self.digest


def digest_of(salt: bytes, partition: str, user: str) -> bytes:
    """What stands for a mailbox where its name must not stand."""
    text = f"{partition}\0{user}".encode("utf-8", "surrogateescape")
    return blake3(salt + text).digest(length=16)


class Erased:
    """All mailboxes that were erased in a staging area. Costs one digest for each mailbox and erasure that is
    asked for."""

    def __init__(self, mailboxes: Iterable[ErasedMailbox] = ()) -> None:
        self._mailboxes = tuple(mailboxes)
        self._known: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._mailboxes)

    def reaches(self, run: str) -> bool:
        """Whether of something that a run has stored anything is erased."""
        return any(run < mailbox.before for mailbox in self._mailboxes)

    def before(self, partition: str, user: str) -> str:
        """What runs before this one have stored of a mailbox is erased; empty: none of it is."""
        key = partition, user
        if key not in self._known:
            found = (mailbox.before for mailbox in self._mailboxes if mailbox.names(partition, user))
            self._known[key] = max(found, default="")
        return self._known[key]

    def names_any(self, user: str, run: str) -> bool:
        """Whether what a run has stored of a user of that name is erased, as far as was asked before."""
        return any(name == user and run < before for (_, name), before in self._known.items())

    def holds(self, partition: str, user: str, run: str) -> bool:
        """Whether what a run has stored of a mailbox is erased."""
        return run < self.before(partition, user)


NOBODY = Erased()
