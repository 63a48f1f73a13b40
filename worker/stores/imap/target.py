"""A mail server that is written to over IMAP: how a mailbox of it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ....groups.paths import printable
from ....proto.errors import ConfigError, StoreError
from ....proto.ports import MailboxWriter
from ....proto.records import Folder, ServerAccess
from ....proto.structs import replace
from ..address import parse_address
from ..patience import Patience
from .connection import connect
from .errors import ConnectionLostError, RefusedError
from .login import read_password, tls_context
from .mailbox import ImapMailbox
from .session import Session
from .survey import ImapSurvey

_PATIENCE = Patience()

_Result = TypeVar("_Result")


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
        with self._session(user) as session:
            mailbox = self._asked(user, lambda: ImapMailbox(session, layout, everything=self._access.verify))
            yield mailbox
            mailbox.close()

    @contextmanager
    def look_into(self, user: str, names: Sequence[str]) -> Iterator[ImapSurvey]:
        """Look at the mailbox of a user, into which folders of these ``names`` are to come. Raises as
        ``open_mailbox``."""
        with self._session(user) as session:
            yield self._asked(user, lambda: ImapSurvey(session, names))

    def finish(self) -> None:
        pass  # each mailbox has a connection of its own

    def abandon(self) -> None:
        pass

    @contextmanager
    def _session(self, user: str) -> Iterator[Session]:
        """A way to the server, logged in; logged out at the end."""
        if not user.isprintable():
            raise StoreError(
                f"user {printable(user.encode('utf-8', 'surrogateescape'))!r} can't log in anywhere"
            )
        # A server that could not be reached for one user is not waited for as long for each other one.
        patience = replace(self._patience, attempts=0) if self._was_unreachable else self._patience
        login = partial(connect, self._address, user, self._access, self._password, self._patience)
        session = Session(login, patience)
        try:
            self._let_in(session, user)
            yield session
            session.close()
        finally:
            session.drop()

    def _let_in(self, session: Session, user: str) -> None:
        try:
            _ = session.connection
        except ConnectionLostError:
            self._was_unreachable = True
            raise
        except RefusedError as error:
            raise StoreError(f"{self._address} does not let {user} in: {error.message}", user=user) from error
        self._was_unreachable = False
        session.patience = self._patience

    def _asked(self, user: str, work: Callable[[], _Result]) -> _Result:
        try:
            return work()
        except RefusedError as error:
            raise StoreError(
                f"{self._address} does not tell the folders of {user}: {error.message}"
            ) from error
