"""The ways in: from which addresses, under which names of the host, with whose word for who it is."""

from __future__ import annotations

import os

from ...proto.structs import Record, field
from .settings import ProxyConfig

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
"""What a browser calls a host that it reaches through a forwarded port (``ssh -L``)."""


class Ways(Record, kw_only=True):
    """Who comes in how. Requests for a host that is not among ``names`` are refused: no other site's name
    may lead a browser here. Who comes without TLS, and is not the proxy, is let in at ``loopback_port`` of
    this host alone. ``owners`` are users of this host (numbers) who are operators at the socket."""

    names: frozenset[str] = LOOPBACK_NAMES
    loopback_port: int = 0
    proxy: ProxyConfig | None = None
    owners: frozenset[int] = field(default_factory=lambda: frozenset((0, os.geteuid())))
