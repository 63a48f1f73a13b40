"""Browsers in which somebody has logged in before: they keep a signed cookie that says as whom.

Whoever has it is not let in by it. It keeps failures of strangers, who try the same name, from being theirs.
"""

from __future__ import annotations

import secrets

from ...proto.ports import Clock
from ...proto.structs import Record, asdict
from .accounts import Account
from .signing import Signer

GOOD_SECONDS = 180 * 86400.0
_PURPOSE = "device"


class Device(Record, kw_only=True):
    """A browser in which ``name`` has logged in, whose account had this ``mark``, in seconds since 1970."""

    id: str
    name: str
    mark: str
    logged_in: float


class Devices:
    """The browsers that are known to a staging area. For any thread."""

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock

    def cookie(self, account: Account) -> str:
        """What the browser keeps in which somebody has just logged in. Each log-in makes another device of
        it: what is done with a copy of an earlier cookie is nothing to this one."""
        device = Device(
            id=secrets.token_urlsafe(16), name=account.name, mark=account.mark, logged_in=self._clock.now()
        )
        return self._signer.sealed(_PURPOSE, asdict(device))

    def id_of(self, cookie: str, account: Account | None) -> str:
        """By what a browser is known in which this account has logged in, within 180 days and since it was
        changed last; empty for all others. (Else whoever had a password once, and many such cookies, could
        guess the next one with each of them.)"""
        document = self._signer.opened(_PURPOSE, cookie)
        if document is None or account is None:
            return ""
        device = Device(**document)
        is_theirs = (device.name, device.mark) == (account.name, account.mark)
        return device.id if is_theirs and self._clock.now() - device.logged_in <= GOOD_SECONDS else ""
