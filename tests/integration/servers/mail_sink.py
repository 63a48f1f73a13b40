"""A real SMTP server (aiosmtpd) that keeps what it gets, and one that behaves badly."""

from __future__ import annotations

import email
import socket
import ssl
import threading
from asyncio import Server, Transport
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Answer = Callable[[str], str]


class MailSink:
    """Keeps mail. ``recipient`` and ``content`` may answer otherwise than with yes."""

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.envelopes: list[tuple[str, str]] = []
        self.raw: list[bytes] = []
        self.recipient: Answer = lambda _: "250 fine"
        self.content: Answer = lambda _: "250 taken"
        self.logged_in: list[str] = []
        self.over_tls: list[bool] = []
        self.port = 0

    @property
    def mails(self) -> list[EmailMessage]:
        return [email.message_from_bytes(one, policy=default) for one in self.raw]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.recipient(address)
        if self.password and not session.authenticated:
            answer = "530 5.7.0 Authentication required"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        (to,) = envelope.rcpt_tos
        answer = self.content(to)
        if answer == "drop":
            assert isinstance(server.transport, Transport)
            server.transport.abort()
            return "451 gone"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.envelopes.append((str(envelope.mail_from), to))
            self.raw.append(envelope.content)
            self.over_tls.append(session.ssl is not None or isinstance(_transport_ssl(server), ssl.SSLObject))
            self.logged_in.append(_who(session))
        return answer


def _transport_ssl(server: SMTP) -> object:
    return server.transport.get_extra_info("ssl_object") if server.transport is not None else None


def _who(session: Session) -> str:
    data = session.auth_data
    return data.login.decode() if isinstance(data, LoginPassword) else ""


class _Controller(Controller):
    """At a port that the system chose."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_sink(
    context: ssl.SSLContext | None = None, *, implicit: bool = False, password: str = ""
) -> Iterator[MailSink]:
    """Serve on loopback: with STARTTLS where there is a certificate, or TLS from the first byte; with a
    password, nobody gets in without."""
    sink = MailSink(password)

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.password == password.encode()
        return AuthResult(success=right, handled=False, auth_data=data)

    options: dict[str, Any] = {"timeout": 20}
    if context is not None and not implicit:
        options |= {"tls_context": context, "require_starttls": True}
    if password:
        # It knows of no TLS but by STARTTLS, so it is here that nobody gets further without a password.
        options |= {"authenticator": check, "auth_require_tls": not implicit}
    controller = _Controller(
        sink, hostname="127.0.0.1", port=0, ssl_context=context if implicit else None, **options
    )
    controller.start()
    sink.port = controller.port
    try:
        yield sink
    finally:
        controller.stop()


@contextmanager
def bad_server(greeting: bytes, every_seconds: float = 0.0) -> Iterator[int]:
    """A port where a greeting comes: a byte at a time with these pauses, or at once and nothing more."""
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    open_ones: list[socket.socket] = []

    def serve() -> None:
        while not stop.is_set():
            with suppress(TimeoutError, OSError):
                connection, _ = listener.accept()
                open_ones.append(connection)
                with suppress(OSError):
                    if not every_seconds:
                        connection.sendall(greeting)
                    while every_seconds and not stop.wait(every_seconds):
                        connection.sendall(greeting[:1])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        thread.join()
        for one in (*open_ones, listener):
            one.close()
