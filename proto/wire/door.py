"""The door of a server: whose key is allowed. Answers ZeroMQ's questions (ZAP, RFC 27) at each handshake.

Without an answer nobody comes in. The questions are answered in the thread that uses the server, in between
the mail. To read a long list of keys takes a while, so those who have come meanwhile are answered together,
and most of the time is for the mail, however many strangers knock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import zmq
from zmq.utils import z85

from ..errors import BackupError
from .visitors import Visitors

Allowed = Callable[[], Mapping[str, str]]
"""The names of hosts by their public keys. May raise BackupError or OSError: then nobody new is let in."""

_PLACE = "inproc://zeromq.zap.01"  # where ZeroMQ asks, once in a context
_VERSION = b"1.0"
_LET_IN = b"200"
_NOT_NOW = b"300"
_REFUSED = b"400"
_REVIEW_SECONDS = 5.0
_MOST_AT_ONCE = 500
_MAIL_SHARE = 9
"""After each reading of the list, the mail has so many times as long to itself."""


class Door:
    """Open it before the server's socket is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: Allowed, visitors: Visitors) -> None:
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_PLACE)
        self._allowed = allowed
        self._visitors = visitors
        self._hosts: Mapping[str, str] = {}
        self._reviewed = self._due = float("-inf")

    @property
    def pause_seconds(self) -> float:
        """How long the door is not to be attended to; 0 where it may be."""
        return max(0.0, self._due - time.monotonic())

    def answer(self) -> None:
        """Answer what was asked, without waiting: by a list that is read once the first question is there."""
        trouble: str | None = None
        for request, key, address in self._questions():
            if trouble is None:
                trouble = self._read_list()
            status = self._judge(key, address, trouble)
            user = key.encode() if status == _LET_IN else b""
            self.socket.send_multipart([_VERSION, request, status, b"", user, b""])

    def host_of(self, key: str) -> str | None:
        """The host whose key this is; None if it is allowed no more, which is noticed within seconds."""
        if time.monotonic() - self._reviewed > _REVIEW_SECONDS:
            self._read_list()
        return self._hosts.get(key)

    def close(self) -> None:
        self.socket.close()

    def _questions(self) -> Iterator[tuple[bytes, str, str]]:
        """Request, key and address of each that is waiting. It must be answered before the next is taken."""
        for _ in range(_MOST_AT_ONCE):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            _version, request, _domain, address, _identity, _mechanism, *credentials = parts
            key = z85.encode(credentials[0]).decode() if credentials else ""
            yield request, key, address.decode("ascii", "replace")

    def _judge(self, key: str, address: str, trouble: str) -> bytes:
        if trouble:
            self._visitors.turned_away(address, f"the keys that are allowed can't be read: {trouble}")
            return _NOT_NOW
        if key not in self._hosts:
            self._visitors.turned_away(address, f"the key {key} is not allowed")
            return _REFUSED
        self._visitors.admitted(address)
        return _LET_IN

    def _read_list(self) -> str:
        """Ask for the list again. If it can't be read the last one stays, for those who are in; says why."""
        began = time.monotonic()
        try:
            self._hosts = self._allowed()
        except (BackupError, OSError) as error:
            return str(error)
        finally:
            self._reviewed = time.monotonic()
            self._due = self._reviewed + _MAIL_SHARE * (self._reviewed - began)
        return ""
