"""A proxy in front of a server that speaks HTTP: it counts what passes, and spoils planned requests."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Kind = Literal["answer", "reset", "lost", "spoil", "half", "short"]


@dataclass(frozen=True)
class Seen:
    """A request that came: ``path`` without its query, and the bytes of both bodies."""

    method: str
    path: str
    query: frozenset[str]
    sent_bytes: int
    received_bytes: int
    status: int


@dataclass
class Fault:
    """What happens to the next ``times`` requests of a method whose query has ``query``.

    ``answer``: the server is not asked, a status and an error come back. ``reset``: not asked, the connection
    breaks. ``lost``: asked, but the connection breaks before the answer. ``spoil``: one bit
    of what is sent is another. ``half``: the connection breaks while it is sent. ``short``: the answer
    breaks off.
    """

    kind: Kind
    method: str
    query: str = ""
    times: int = 1
    status: int = 500
    code: str = "InternalError"
    fired: int = field(default=0, init=False)

    def hits(self, method: str, query: frozenset[str]) -> bool:
        return self.fired < self.times and method == self.method and (not self.query or self.query in query)


class HttpProxy:
    """Listens on the loopback interface, as a context, and forwards to ``port``."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def plan(self, *faults: Fault) -> None:
        """From now on these; those before must have fired."""
        self.check()
        self.faults = list(faults)

    def check(self) -> None:
        """Every planned fault has happened."""
        assert [fault for fault in self.faults if fault.fired < fault.times] == []

    def count(self, method: str, query: str = "") -> int:
        """How many such requests came."""
        return sum(seen.method == method and (not query or query in seen.query) for seen in self.seen)

    def fault_of(self, method: str, query: frozenset[str]) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.hits(method, query):
                    fault.fired += 1
                    return fault
        return None

    def __enter__(self) -> HttpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: HttpProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = frozenset(parse_qs(parts.query, keep_blank_values=True))
        fault = self.proxy.fault_of(self.command, query)
        kind = fault.kind if fault else None
        length = int(self.headers.get("Content-Length") or 0)
        if kind == "half":
            self.rfile.read(length // 2)
            self._break()
            return
        body = self.rfile.read(length)
        if kind == "reset":
            self._break()
            return
        if fault is not None and kind == "answer":
            error = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>planned</Message></Error>"
            self._answer(fault.status, {"Content-Type": "application/xml"}, error.encode())
            return
        if kind == "spoil":
            body = body[:-1] + bytes([body[-1] ^ 1])
        status, headers, data = self._forward(body)
        with self.proxy.lock:
            self.proxy.seen.append(Seen(self.command, parts.path, query, len(body), len(data), status))
        if kind == "lost":
            self._break()
            return
        self._answer(status, headers, data, short=kind == "short")

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, short: bool = False) -> None:
        self.send_response_only(status)
        told = headers.get("Content-Length") if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", told or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if short else data)
        if short:
            self._break()

    def _break(self) -> None:
        """End the connection as if the other side had crashed."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle
