"""A mail server that is written to over IMAP: how a mailbox of it is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from ....groups.paths import printable
from ....proto.errors import ConfigError, StoreError
from ....proto.ports import MailboxWriter
from ....proto.records import Folder, ServerAccess
from .address import parse_address
from .connection import connect
from .errors import ConnectionLostError, RefusedError
from .login import read_password, tls_context
from .mailbox import ImapMailbox
from .patience import Patience
from .session import Session

_PATIENCE = Patience()


class ImapTarget:
    """A MailTarget (see ``proto.ports``); ``path`` is the server's address. Raises ConfigError and
    AccessError."""

    def __init__(self, path: str, access: ServerAccess, patience: Patience = _PATIENCE) -> None:
        try:
            self._address = parse_address(path)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
        self._access = access
        self._password = read_password(access)
        tls_context(access)  # before anything else is done
        self._patience = patience
        self._was_unreachable = False

    @contextmanager
    def open_mailbox(
        self, user: str, _place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> Iterator[MailboxWriter]:
        if not user.isprintable():
            raise StoreError(
                f"user {printable(user.encode('utf-8', 'surrogateescape'))!r} can't log in anywhere"
            )
        # A server that could not be reached for one user is not waited for as long for each other one.
        patience = replace(self._patience, attempts=0) if self._was_unreachable else self._patience
        login = partial(connect, self._address, user, self._access, self._password, self._patience)
        session = Session(login, patience)
        try:
            mailbox = self._opened(session, user, layout)
            yield mailbox
            mailbox.close()
            session.close()
        finally:
            session.drop()

    def finish(self) -> None:
        pass  # each mailbox has a connection of its own

    def abandon(self) -> None:
        pass

    def _opened(self, session: Session, user: str, layout: Sequence[Folder]) -> ImapMailbox:
        try:
            _ = session.connection
        except ConnectionLostError:
            self._was_unreachable = True
            raise
        except RefusedError as error:
            raise StoreError(f"{self._address} does not let {user} in: {error.message}", user=user) from error
        self._was_unreachable = False
        session.patience = self._patience
        try:
            return ImapMailbox(session, layout, everything=self._access.verify)
        except RefusedError as error:
            raise StoreError(
                f"{self._address} does not tell the folders of {user}: {error.message}"
            ) from error
