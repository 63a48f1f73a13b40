"""What goes wrong between us and a mail server, for the modules of this folder."""

from __future__ import annotations

from ....proto.errors import AccessError, StoreError
from .answers import Answer


class ConnectionLostError(StoreError):
    """The connection is gone, or was ``silent`` for too long: if the last command was done is unknown."""

    code = "connection-lost"
    retryable = True

    def __init__(self, message: str, *, silent: bool = False, **facts: object) -> None:
        super().__init__(message, silent=silent, **facts)
        self.silent = silent


class RefusedError(StoreError):
    """The server has refused a command, and so it was not done."""

    code = "refused"

    def __init__(self, message: str, *, answer: Answer) -> None:
        super().__init__(message, answer=answer)
        self.answer = answer


class UntrustedError(AccessError):
    """The server can't prove to be the one that was named, or the way to it is open to others: no password is
    sent there."""

    code = "untrusted"
