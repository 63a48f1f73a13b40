"""One connection to a mail server, logged in; and what can be said over it that imapclient has no words for.

APPEND is ours: messages of any size are sent in pieces, many in one command, and the time for it ends when
nothing moves any more, not after so many seconds.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from ....proto.records import ServerAccess
from ..address import Address
from ..patience import Patience
from .answers import Answer, answer_of
from .errors import ConnectionLostError, RefusedError, UntrustedError
from .login import log_in, tls_context

_PIECE_BYTES = 1 << 16
_LITERAL = re.compile(rb"\{(\d{1,10})\+?\}\r\n\Z")
_FAILED = re.compile(
    r"^(?:[A-Za-z-]+ failed: |[A-Z-]+ command error: (?:BAD|NO) \[b['\"]|)(.*?)(?:['\"]\])?$", re.DOTALL
)
_MOST_LINE_BYTES = 1 << 20

_Result = TypeVar("_Result")


class Connection:
    """Raises ConnectionLostError from all of its methods; it is of no use then, but for ``close``."""

    def __init__(self, client: IMAPClient, address: Address) -> None:
        self._client = client
        self._address = address
        self._tag = 0
        self._unsent = bytearray()
        self.selected = ("", False)
        """The folder that was opened last, as the server calls it, and whether for writing."""
        self.capabilities: frozenset[str] = self.ask(
            lambda one: frozenset(word.decode("ascii", "replace") for word in one.capabilities())
        )

    def ask(self, work: Callable[[IMAPClient], _Result]) -> _Result:
        """Do something with imapclient. Raises RefusedError, too."""
        with _translated(self._address):
            return work(self._client)

    # Commands of our own

    def begin(self, command: bytes) -> bytes:
        """The beginning of a command; returns its tag."""
        self._tag += 1
        tag = b"MH%d" % self._tag
        self.write(tag + b" " + command)
        return tag

    def write(self, data: bytes) -> None:
        """Further bytes of the command."""
        self._unsent += data
        if len(self._unsent) >= _PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was written so far."""
        data, self._unsent = bytes(self._unsent), bytearray()
        with _translated(self._address):
            # In pieces: the time that a socket is given is for all that one call sends.
            for at in range(0, len(data), _PIECE_BYTES):
                self._client._imap.send(data[at : at + _PIECE_BYTES])

    def go_ahead(self, tag: bytes) -> Answer | None:
        """Wait until the server wants the bytes that were announced; or its answer, if it does not."""
        self.flush()
        while True:
            line = self._line()
            if line.startswith(b"+"):
                return None
            if (answer := self._answer_to(tag, line)) is not None:
                return answer

    def end(self, tag: bytes) -> Answer:
        """Wait for the answer to a command that was sent whole."""
        self.flush()
        while (answer := self._answer_to(tag, self._line())) is None:
            pass
        return answer

    def close(self) -> None:
        """Break off. Repeatable."""
        with suppress(Exception):
            self._client.shutdown()

    def leave(self) -> None:
        """Log out, if that can be done."""
        try:
            self.ask(IMAPClient.logout)
        except (ConnectionLostError, RefusedError):
            self.close()

    def _answer_to(self, tag: bytes, line: bytes) -> Answer | None:
        if line.startswith(b"* BYE"):
            raise ConnectionLostError(f"{self._address} ends the connection: {_shown(line[6:])}")
        if not line.startswith(tag + b" "):
            return None
        status, _, text = line[len(tag) + 1 :].partition(b" ")
        return answer_of(status.decode("ascii", "replace"), _shown(text))

    def _line(self) -> bytes:
        """A line of the server, with what it says in literals."""
        line = b""
        with _translated(self._address):
            while True:
                part: bytes = self._client._imap.readline()
                if not part.endswith(b"\n"):
                    raise ConnectionLostError(f"{self._address} has closed the connection")
                line += part
                found = _LITERAL.search(part)
                if found is None:
                    return line
                if len(line) + int(found[1]) > _MOST_LINE_BYTES:
                    raise ConnectionLostError(f"{self._address} says more than a mail server would")
                line += self._client._imap.read(int(found[1]))


def connect(
    address: Address, user: str, access: ServerAccess, password: str, patience: Patience
) -> Connection:
    """Connect and log in. Raises ConnectionLostError, RefusedError (also where the password is wrong), and
    UntrustedError rather than send a password in the clear over a network, or to a server that can't prove to
    be the one that was named."""
    timeout = SocketTimeout(connect=patience.connect_seconds, read=patience.silence_seconds)
    tls = tls_context(access)
    with _translated(address):
        # What the server says first is waited for as long as the connection was.
        client = IMAPClient(address.host, address.port, ssl=address.tls, ssl_context=tls, timeout=timeout)
    try:
        with _translated(address):
            if not address.tls and (not address.is_here or client.has_capability("LOGINDISABLED")):
                if not client.has_capability("STARTTLS"):
                    raise UntrustedError(
                        f"{address} offers no encryption (STARTTLS): a password is not sent over a network "
                        "in the clear; try imaps://"
                    )
                client.starttls(tls)
            log_in(client, user, access, password)
        return Connection(client, address)
    except BaseException:
        with suppress(Exception):
            client.shutdown()
        raise


@contextmanager
def _translated(address: Address) -> Iterator[None]:
    """The errors of imapclient and of the system as ours."""
    try:
        yield
    except IMAPClientAbortError as error:
        raise ConnectionLostError(f"{address}: {error}") from error
    except IMAPClientError as error:
        found = _FAILED.match(str(error))
        words = found[1] if found else str(error)
        raise RefusedError(words, answer=answer_of("NO", words)) from error
    except TimeoutError as error:
        raise ConnectionLostError(f"{address} does not answer any more", silent=True) from error
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(
            f"{address} can't prove to be that: {error.verify_message.rstrip('.')}; the password was not "
            "sent (--ca-file names the authorities that are believed)"
        ) from error
    except ssl.SSLError as error:
        raise ConnectionLostError(f"{address}: {error}") from error
    except OSError as error:
        raise ConnectionLostError(f"{address}: {error.strerror or error}") from error


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip()
