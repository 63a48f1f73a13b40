"""The page is served: by uvicorn, in the thread that asks for it, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...proto.errors import ConfigError
from .doors import Door
from .identification import PEER
from .settings import PageConfig

_LOOKS_SECONDS = 0.1
_GRACE_SECONDS = 5
_MOST_CONNECTIONS = 200
_LONGEST_HEAD = 32 * 1024
_CREDENTIALS = struct.Struct("3i")


class _Protocol(H11Protocol):
    """HTTP/1.1, which says of whoever comes over the Unix socket what user of this host they are."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            packed = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, uid, _ = _CREDENTIALS.unpack(packed)
            self.client = (f"{PEER}{uid}", 0)


class _Server(uvicorn.Server):
    """Several run beside each other: signals are for whoever has started them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(app: Starlette, page: PageConfig, doors: Sequence[Door], stop: threading.Event) -> None:
    """Answer at all doors until ``stop`` is set. What is being answered then has five seconds to end. Raises
    ConfigError for a certificate that can't be used."""
    servers = []
    for has_tls in (False, True):
        sockets = [door.socket for door in doors if door.has_tls == has_tls]
        if sockets:
            servers.append((_server(app, page if has_tls else None), sockets))
    asyncio.run(_served(app, servers, stop))


async def _served(
    app: Starlette, servers: Sequence[tuple[_Server, list[socket.socket]]], stop: threading.Event
) -> None:
    ending = asyncio.Event()

    async def watch() -> None:
        while not stop.is_set() and not ending.is_set():
            await asyncio.sleep(_LOOKS_SECONDS)
        app.state.watch.close()
        for server, _ in servers:
            server.should_exit = True

    async def run(server: _Server, sockets: list[socket.socket]) -> None:
        try:
            await server.serve(sockets)
        finally:
            ending.set()  # where one is down, the others go, too

    async with app.router.lifespan_context(app), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for server, sockets in servers:
            tasks.create_task(run(server, sockets))


def _server(app: Starlette, tls: PageConfig | None) -> _Server:
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
        ssl_context_factory=None if tls is None else lambda _config, _default: _context(tls),
    )
    config.load()
    return _Server(config)


def _context(page: PageConfig) -> ssl.SSLContext:
    assert page.tls_cert is not None  # noqa: S101 (checked when the doors were opened)
    assert page.tls_key is not None  # noqa: S101
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _load(context, page.tls_cert, page.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"serve.tls_cert = {str(page.tls_cert)!r}: expected a certificate with its key in serve.tls_key: "
            f"{error.strerror or error}",
            keys=["serve.tls_cert", "serve.tls_key"],
        ) from None
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    def no_passphrase() -> str:
        raise OSError(0, "the key has a passphrase, which nobody can be asked for")

    context.load_cert_chain(cert, key, password=no_passphrase)
