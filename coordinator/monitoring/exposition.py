"""How metrics leave a process: over HTTP while it lives, or into a file that outlives it.

prometheus_client keeps a registry of its own for the whole process; it is not used.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.registry import Collector

from ...proto.errors import BackupError, UsageError


def make_registry(*collectors: Collector) -> CollectorRegistry:
    """A registry of its own, with these."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


class MetricsServer:
    """Metrics over HTTP at ``/metrics``, answered by threads; until it is closed. A context manager."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        """Use ``serve_metrics``."""
        self._server = server
        self._thread = thread
        self.port = server.server_port
        """The real one, where port 0 was asked for."""

    def close(self) -> None:
        """Not repeatable."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_metrics(registry: CollectorRegistry, address: str) -> MetricsServer:
    """Answer at ``ADDRESS:PORT`` (``127.0.0.1:9410``, ``[::1]:9410``).

    Raises UsageError for what is no address, BackupError if it can't be had: another program uses the port,
    or this host does not have the address.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"{address!r} is no ADDRESS:PORT such as 127.0.0.1:9410")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        hint = "; another program uses the port" if error.errno == errno.EADDRINUSE else ""
        raise BackupError(
            f"can't serve metrics at {address}: {error.strerror}{hint}", address=address
        ) from error
    return MetricsServer(server, thread)


def write_textfile(registry: CollectorRegistry, path: Path) -> None:
    """Put the metrics as they are now into a file for node_exporter's textfile collector: whole, and for
    everybody to read. Its counters are those of this process alone. Raises BackupError."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")  # the collector reads *.prom only
    try:
        with partial.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(generate_latest(registry))
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise BackupError(f"can't write metrics to {path}: {error.strerror}", path=str(path)) from error
