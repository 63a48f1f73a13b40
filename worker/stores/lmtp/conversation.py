"""One connection to a server that takes mail over LMTP (RFC 2033). A message is sent in pieces, and the time
for it ends when nothing moves any more."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from ....proto.errors import StoreError
from ....proto.structs import Record
from ..address import Address
from ..patience import Patience

_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_FULL = frozenset({("2", "2"), ("3", "1")})
"""Of the mailbox, of the system (RFC 3463)."""


class LostError(StoreError):
    """The connection is gone. ``unanswered``: all of a message was sent, and whether it was delivered is not
    known."""

    code = "connection-lost"
    retryable = True

    def __init__(self, message: str, *, unanswered: bool) -> None:
        super().__init__(message, unanswered=unanswered)
        self.unanswered = unanswered


class Reply(Record):
    """What the server says: ``code`` as RFC 5321 has it, ``words`` are its own, with the code. ``of_user``:
    it is about the user, not about the message."""

    code: int
    words: str
    of_user: bool = False

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.code < 300

    @property
    def is_passing(self) -> bool:
        """Whether the same may be done if it is asked again later."""
        return 400 <= self.code < 500

    @property
    def is_full(self) -> bool:
        """Whether there is no room left."""
        found = _STATUS.search(self.words)
        return self.code == 552 or (found is not None and (found[2], found[3]) in _FULL)


class Conversation:
    """Raises LostError from all of its methods."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address = address
        self._ended = False
        self._in_message = False
        self._client = smtplib.LMTP(timeout=patience.connect_seconds)
        with self._translated():
            code, words = self._client.connect(address.host, address.port)
            if code != 220:
                raise LostError(f"{address}: {_shown(code, words)}", unanswered=False)
            if self._client.sock is not None:
                self._client.sock.settimeout(patience.silence_seconds)
            self._client.ehlo_or_helo_if_needed()

    def deliver(
        self, user: str, size: int, pieces: Iterable[bytes], before_end: Callable[[], object]
    ) -> Reply:
        """Hand one message over to one user. ``before_end`` is called when all of it was sent but its end:
        without that nothing of it is delivered."""
        with self._translated():
            options = [f"SIZE={size}"] if self._client.has_extn("size") else []
            if self._client.has_extn("8bitmime"):
                options.append("BODY=8BITMIME")
            # Nobody is to be answered: a sender would get what filters send.
            reply = self._said(*self._client.mail("", options))
            if reply is None:
                reply = self._said(*self._client.rcpt(user), of_user=True)
            if reply is None:
                reply = self._said(*self._client.docmd("DATA"))
            if reply is not None:
                return reply
            self._in_message = True
            for piece in stuffed(pieces):
                self._client.send(piece)
            before_end()
            with self._unanswered():
                self._client.send(b".\r\n")
                code, words = self._client.getreply()
            self._in_message = False
            return Reply(code, _shown(code, words))

    def close(self) -> None:
        """Break off, politely if that can be done: in the midst of a message, where a restore that is
        interrupted leaves, QUIT would be a line of that. Repeatable."""
        if not self._in_message:
            with suppress(smtplib.SMTPException, OSError):
                self._client.quit()
        self._client.close()

    def _said(self, code: int, words: bytes, *, of_user: bool = False) -> Reply | None:
        """What the server has against it; None if it wants to hear more."""
        if 200 <= code < 400:
            return None
        self._client.rset()
        return Reply(code, _shown(code, words), of_user=of_user)

    @contextmanager
    def _unanswered(self) -> Iterator[None]:
        self._ended = True
        yield
        self._ended = False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (smtplib.SMTPException, OSError) as error:
            raise LostError(f"{self._address}: {error}", unanswered=self._ended) from error


def stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A message as it stands behind DATA, without the line that ends it: a dot more where a line begins with
    one, and a line end at the end."""
    before = b"\r\n"
    for piece in pieces:
        text = piece.replace(b"\n.", b"\n..")
        yield b"." + text if before.endswith(b"\n") and piece.startswith(b".") else text
        before = (before + piece)[-2:]
    if before != b"\r\n":
        yield b"\r\n"


def _shown(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"{code} {' '.join(text.split())}"
