"""A user's way to the server that goes on after a connection was lost, or after the server wanted to be left
alone for a while. One connection at a time: the user's own clients need some, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from imapclient import IMAPClient

from ....proto.errors import FolderStoppedError
from ..patience import Patience
from .connection import Connection
from .errors import ConnectionLostError, RefusedError

_MOST_SILENCES = 2

_Result = TypeVar("_Result")


class Session:
    """``open_connection`` connects and logs in. Raises ConnectionLostError and RefusedError when all patience
    has been spent; AccessError at once."""

    def __init__(self, open_connection: Callable[[], Connection], patience: Patience) -> None:
        self._open = open_connection
        self.patience = patience
        self._connection: Connection | None = None
        self._validities: dict[str, object] = {}
        self.stopped: FolderStoppedError | None = None
        """Why the server takes nothing more for this user, if it does not."""

    @property
    def connection(self) -> Connection:
        """The connection; a new one, if there is none (any more)."""
        return self.patiently(self._connected)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def patiently(self, work: Callable[[], _Result]) -> _Result:
        """Do what can be done again without harm, until it succeeds or is refused for good."""
        silences = 0
        for wait in self.patience.waits():
            try:
                return work()
            except ConnectionLostError as error:
                self.drop()
                silences += error.silent
                if silences == _MOST_SILENCES:
                    raise  # each has taken its time
                wait(0.0)
            except RefusedError as error:
                if not error.answer.is_passing:
                    raise
                wait(error.answer.wait_seconds)
        return work()

    def ask(self, work: Callable[[IMAPClient], _Result]) -> _Result:
        """Ask the server something, with imapclient."""
        return self.patiently(lambda: self._connected().ask(work))

    def examine(self, name: str) -> Mapping[bytes, object]:
        """Open a folder for reading, anew: what has come meanwhile is seen from now on. Raises
        FolderStoppedError if it is not the folder any more that it was."""
        found = self.patiently(lambda: self._open_folder(name, writing=False))
        self.check_validity(name, found.get(b"UIDVALIDITY", 0))
        return found

    def check_validity(self, name: str, uidvalidity: object) -> None:
        """Raise FolderStoppedError if a folder had another UIDVALIDITY before."""
        if (before := self._validities.setdefault(name, uidvalidity)) != uidvalidity:
            raise FolderStoppedError(
                f"its UIDVALIDITY became {uidvalidity}, it was {before}: this is another folder than the one "
                "that the restore began to fill",
                reason="uidvalidity",
            )

    def ask_in(self, name: str, work: Callable[[IMAPClient], _Result], *, writing: bool = False) -> _Result:
        """Ask something of an opened folder; it is opened again after a connection was lost. With ``writing``
        it may be changed."""

        def in_it() -> _Result:
            connection = self._connected()
            if connection.selected not in ((name, True), (name, writing)):
                found = self._open_folder(name, writing=writing)
                self.check_validity(name, found.get(b"UIDVALIDITY", 0))
            return connection.ask(work)

        return self.patiently(in_it)

    def _open_folder(self, name: str, *, writing: bool) -> Mapping[bytes, object]:
        connection = self._connected()
        connection.selected = ("", False)
        found: Mapping[bytes, object] = connection.ask(lambda one: one.select_folder(name, not writing))
        connection.selected = (name, writing)
        return found

    def drop(self) -> None:
        """Break the connection off. Repeatable."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Log out. Repeatable."""
        if self._connection is not None:
            self._connection.leave()
            self._connection = None
