"""A link that can be cut: a proxy between a client and a server, byte for byte."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Listens on the loopback interface and forwards to ``port``. ``hold`` stops the bytes to and from there,
    while connections stay open; ``cut`` closes all connections; new ones are forwarded. Where ``loses`` says
    so of what comes from there, the connection is closed instead."""

    def __init__(self, port: int, loses: Callable[[bytes], bool] = lambda _: False) -> None:
        self._target = port
        self._loses = loses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.forwarded_bytes = 0
        self._held = {"to": False, "from": False}
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def hold(self, *directions: str) -> None:
        """Stop all bytes "to" and "from" there; those of directions that are not named flow (again)."""
        self._held = {direction: direction in directions for direction in ("to", "from")}

    def cut(self) -> int:
        """Close all connections; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    def _accept(self) -> None:
        threads = []
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                break
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            self.connections += 1
            thread = threading.Thread(target=self._forward, args=(near, far), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        other, directions = {near: far, far: near}, {near: "to", far: "from"}
        with near, far, selectors.DefaultSelector() as selector, suppress(OSError):
            for one in other:
                selector.register(one, selectors.EVENT_READ)
            while not self._closed:
                for key, _ in selector.select(0.05):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    if self._held[directions[source]]:
                        time.sleep(0.005)
                        continue
                    data = source.recv(1 << 16)
                    if not data or (source is far and self._loses(data)):
                        return
                    other[source].sendall(data)
                    self.forwarded_bytes += len(data)
