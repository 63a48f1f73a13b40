"""The page is served: by uvicorn, in the thread that asks for it, until it is told to stop.

Nobody holds a connection by saying nothing: the handshake, the head of a request and all of it have to be
here in time, however slowly they come.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...proto.errors import ConfigError
from .certificates import Certificate
from .doors import Door
from .identification import PEER
from .settings import PageConfig

_LOOKS_SECONDS = 0.1
_GRACE_SECONDS = 5
_MOST_CONNECTIONS = 200
_LONGEST_HEAD = 32 * 1024
_HANDSHAKE_SECONDS = 15.0
_HEAD_SECONDS = 15.0
_BODY_SECONDS = 60.0
_CERTIFICATE_SECONDS = 2.0
_CERTIFICATE_PATIENCE = 30
"""So often a certificate can't be used, one look after the other, until somebody hears of it."""
_CREDENTIALS = struct.Struct("3i")


class _Protocol(H11Protocol):
    """HTTP/1.1, which says of whoever comes over the Unix socket what user of this host they are, and waits
    for a request as long as a browser may need, and no longer."""

    _awaited: object = None
    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, uid, _ = _CREDENTIALS.unpack(packed)
            self.client = (f"{PEER}{uid}", 0)
        self._set_the_clock()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_the_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_the_clock()
        super().connection_lost(exc)

    def _set_the_clock(self) -> None:
        """The time begins when something else is waited for; another byte of the same wins none."""
        awaited = self.conn.their_state
        if awaited is self._awaited:
            return
        self._awaited = awaited
        self._stop_the_clock()
        if awaited is h11.IDLE:
            self._too_late = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)
        elif awaited is h11.SEND_BODY:
            self._too_late = self.loop.call_later(_BODY_SECONDS, self.transport.abort)

    def _stop_the_clock(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()


class _Server(uvicorn.Server):
    """Several run beside each other: signals are for whoever has started them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As usual, but for the time that a handshake may take."""
        config, loop = self.config, asyncio.get_running_loop()

        def protocol() -> _Protocol:
            return _Protocol(config, self.server_state, {}, loop)

        seconds = _HANDSHAKE_SECONDS if config.ssl else None
        self.servers = [
            await loop.create_server(protocol, sock=one, ssl=config.ssl, ssl_handshake_timeout=seconds)
            for one in sockets or ()
        ]
        self.started = True


def serve(
    app: Starlette,
    page: PageConfig,
    doors: Sequence[Door],
    stop: threading.Event,
    report: Callable[[Exception], object],
) -> None:
    """Answer at all doors until ``stop`` is set. What is being answered then has five seconds to end.

    A certificate that is renewed is used from then on; ``report`` gets what is wrong with it. Raises
    ConfigError for one that can't be used from the beginning.
    """
    plain = [door.socket for door in doors if not door.has_tls]
    encrypted = [door.socket for door in doors if door.has_tls]
    certificate = Certificate(page) if encrypted else None
    servers = [(_server(app, None), plain)] if plain else []
    if certificate is not None:
        servers.append((_server(app, certificate), encrypted))
    asyncio.run(_served(app, servers, certificate, stop, report))


async def _served(
    app: Starlette,
    servers: Sequence[tuple[_Server, list[socket.socket]]],
    certificate: Certificate | None,
    stop: threading.Event,
    report: Callable[[Exception], object],
) -> None:
    ending = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set() and not ending.is_set():
            await asyncio.sleep(_LOOKS_SECONDS)
        renewing.cancel()
        app.state.watch.close()
        for server, _ in servers:
            server.should_exit = True

    async def run(server: _Server, sockets: list[socket.socket]) -> None:
        try:
            await server.serve(sockets)
        finally:
            ending.set()  # where one is down, the others go, too

    async with app.router.lifespan_context(app), asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(_renewed(certificate, report))
        tasks.create_task(watch())
        for server, sockets in servers:
            tasks.create_task(run(server, sockets))


async def _renewed(certificate: Certificate | None, report: Callable[[Exception], object]) -> None:
    """Keep a certificate up to date, until cancelled."""
    failures = 0
    while certificate is not None:
        await asyncio.sleep(_CERTIFICATE_SECONDS)
        try:
            certificate.renewed()
            failures = 0
        except ConfigError as error:
            failures += 1
            if failures == _CERTIFICATE_PATIENCE:
                report(error)


def _server(app: Starlette, certificate: Certificate | None) -> _Server:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # whoever serves says that it does
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        ssl_context_factory=None if certificate is None else lambda _config, _default: certificate.context,
    )
    config.load()
    return _Server(config)
