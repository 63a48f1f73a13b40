"""A look at a mail server as one of its users: connects, logs in, opens the INBOX, reads a message, and
tells how long each of these took.

Creates and changes nothing (EXAMINE, BODY.PEEK). A client of its own, as small as that: all of it ends by one
moment, and it takes no more of the server than ``MOST_BYTES``, whatever that says.
"""

from __future__ import annotations

import base64
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from ....proto.errors import AccessError
from ....proto.plain_text import shown
from ....proto.records import ServerAccess
from ....proto.structs import Record
from ..address import Address
from .answers import answer_of
from .errors import ConnectionLostError, RefusedError, UntrustedError
from .login import tls_context

MOST_BYTES = 1 << 20
"""What one look reads at most."""

MESSAGE_BYTES = 1 << 16
"""So much is read of a message at most."""

STEPS = ("connect", "login", "select", "fetch")
"""What is timed, in order."""

_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n\Z")
_EXISTS = re.compile(rb"\* ([0-9]{1,10}) EXISTS\r\n")
_LITERAL_BYTES = 20
_CHUNK_BYTES = 1 << 16


class Look(Record, kw_only=True):
    """What each step took, in seconds. ``fetch_seconds`` is None where there is no message to read."""

    connect_seconds: float
    login_seconds: float
    select_seconds: float
    fetch_seconds: float | None

    @property
    def seconds(self) -> float:
        """All of it: what somebody waits who opens the mailbox and reads a message."""
        return sum(step for step in self.steps.values() if step is not None)

    @property
    def steps(self) -> dict[str, float | None]:
        """By the names of STEPS."""
        return {name: getattr(self, f"{name}_seconds") for name in STEPS}


def look(
    address: Address,
    user: str,
    access: ServerAccess,
    password: str,
    patience_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Look once. Raises ConnectionLostError (``silent`` where the patience was over), RefusedError (also
    where the password is wrong), UntrustedError rather than send the password in the clear over a network
    or to a server that can't prove to be the one that was named, AccessError for a bad ``ca_file``."""
    began = clock()
    until = began + patience_seconds
    client = None
    try:
        client = _Client(_connect(address, access, until, clock), address, until, clock)
        client.greeted(access)
        connected = clock()
        client.log_in(user, password)
        logged_in = clock()
        messages = client.select()
        selected = clock()
        if messages:
            client.fetch(random.randint(1, messages))  # noqa: S311 (no secret)
        fetched = clock()
        client.leave()
    except TimeoutError as error:
        raise ConnectionLostError(
            f"{address} did not answer within {patience_seconds:.1f} s", silent=True
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise UntrustedError(
            f"{address} can't prove to be that: {error.verify_message.rstrip('.')}; the password was not sent"
        ) from error
    except OSError as error:  # ssl.SSLError among them
        raise ConnectionLostError(f"{address}: {error.strerror or error}") from error
    finally:
        if client is not None:
            client.close()
    return Look(
        connect_seconds=connected - began,
        login_seconds=logged_in - connected,
        select_seconds=selected - logged_in,
        fetch_seconds=fetched - selected if messages else None,
    )


def _connect(
    address: Address, access: ServerAccess, until: float, clock: Callable[[], float]
) -> socket.socket:
    channel = socket.create_connection((address.host, address.port), _left(until, clock))
    try:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _encrypted(channel, address, access, until, clock) if address.tls else channel
    except BaseException:
        channel.close()
        raise


def _encrypted(
    channel: socket.socket,
    address: Address,
    access: ServerAccess,
    until: float,
    clock: Callable[[], float],
) -> socket.socket:
    channel.settimeout(_left(until, clock))
    return tls_context(access).wrap_socket(channel, server_hostname=address.host)


def _left(until: float, clock: Callable[[], float]) -> float:
    left = until - clock()
    if left <= 0:
        raise TimeoutError
    return left


class _Client:
    """The few commands. Raises what ``look`` translates, and what that raises."""

    def __init__(
        self, channel: socket.socket, address: Address, until: float, clock: Callable[[], float]
    ) -> None:
        self._channel = channel
        self._address = address
        self._until = until
        self._clock = clock
        self._unread = bytearray()
        self._read_bytes = 0
        self._tag = 0
        self._capabilities: frozenset[str] = frozenset()

    def greeted(self, access: ServerAccess) -> None:
        """Take the greeting; encrypt what follows, where that has to be."""
        greeting = self._line()
        if not greeting.startswith((b"* OK", b"* PREAUTH")):
            raise ConnectionLostError(f"{self._address} does not want us: {_shown(greeting)}")
        self._ask_capabilities()
        if self._address.tls or (self._address.is_here and "LOGINDISABLED" not in self._capabilities):
            return
        if "STARTTLS" not in self._capabilities:
            raise UntrustedError(
                f"{self._address} offers no encryption (STARTTLS): a password is not sent over a network in "
                "the clear; try imaps://"
            )
        self._command(b"STARTTLS")
        if self._unread:
            raise UntrustedError(f"{self._address} goes on in the clear after STARTTLS; nothing was sent")
        self._channel = _encrypted(self._channel, self._address, access, self._until, self._clock)
        self._ask_capabilities()

    def log_in(self, user: str, password: str) -> None:
        if "AUTH=PLAIN" not in self._capabilities:
            self._command(b"LOGIN " + _quoted(user) + b" " + _quoted(password))
            return
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        if "SASL-IR" in self._capabilities:
            self._command(b"AUTHENTICATE PLAIN " + secret)
        else:
            self._command(b"AUTHENTICATE PLAIN", secret)

    def select(self) -> int:
        """Open the INBOX; how many messages it has."""
        answers = self._command(b"EXAMINE INBOX")
        found = [_EXISTS.fullmatch(line) for line in answers]
        return next((int(one[1]) for one in found if one), 0)

    def fetch(self, number: int) -> None:
        """Read the beginning of a message."""
        self._command(b"FETCH %d (FLAGS BODY.PEEK[]<0.%d>)" % (number, MESSAGE_BYTES))

    def leave(self) -> None:
        """Say good-bye, and do not wait for the answer."""
        with suppress(OSError):
            self._channel.sendall(b"Z LOGOUT\r\n")

    def close(self) -> None:
        self._channel.close()

    def _ask_capabilities(self) -> None:
        words = b" ".join(line for line in self._command(b"CAPABILITY") if line.startswith(b"* CAPABILITY "))
        self._capabilities = frozenset(words.decode("ascii", "replace").upper().split())

    def _command(self, text: bytes, more: bytes | None = None) -> list[bytes]:
        """The lines that come before the answer, those of ``more`` sent when the server waits for it."""
        self._tag += 1
        tag = b"P%d" % self._tag
        self._send(tag + b" " + text + b"\r\n")
        lines: list[bytes] = []
        while not (line := self._line()).startswith(tag + b" "):
            if line.startswith(b"+") and more is not None:
                self._send(more + b"\r\n")
                more = None
            elif line.startswith(b"* BYE"):
                raise ConnectionLostError(f"{self._address} ends the connection: {_shown(line[6:])}")
            else:
                lines.append(line)
        status, _, words = line[len(tag) + 1 :].partition(b" ")
        if status.upper() != b"OK":
            said = _shown(words)
            raise RefusedError(
                f"{self._address} refuses {text.split()[0].decode()}: {said}", answer=answer_of("NO", said)
            )
        return lines

    def _send(self, data: bytes) -> None:
        self._channel.settimeout(_left(self._until, self._clock))
        self._channel.sendall(data)

    def _line(self) -> bytes:
        """A line, with what it says in literals."""
        end = 0
        while True:
            while (found := self._unread.find(b"\n", end)) < 0:
                self._receive()
            end = found + 1
            literal = _LITERAL.search(self._unread[:end][-_LITERAL_BYTES:])
            if literal is None:
                break
            end += self._room_for(int(literal[1]))
            while len(self._unread) < end:
                self._receive()
        line = bytes(self._unread[:end])
        del self._unread[:end]
        return line

    def _receive(self) -> None:
        self._channel.settimeout(_left(self._until, self._clock))
        data = self._channel.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionLostError(f"{self._address} has closed the connection")
        self._read_bytes += self._room_for(len(data))
        self._unread += data

    def _room_for(self, size: int) -> int:
        if self._read_bytes + size > MOST_BYTES:
            raise ConnectionLostError(f"{self._address} says more than a mail server would")
        return size


def _quoted(text: str) -> bytes:
    if not text.isascii() or any(one in text for one in "\r\n\0"):
        raise AccessError("this server takes no names and passwords beyond ASCII (it offers no AUTH=PLAIN)")
    return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def _shown(text: bytes) -> str:
    """What a server says, in one line without control characters."""
    return shown(text.decode("utf-8", "replace").strip()[:200])
