"""What can be set of the page: where it listens, and who is believed."""

from __future__ import annotations

from pathlib import Path

from ...proto.structs import Record


class ProxyConfig(Record, kw_only=True):
    """A reverse proxy that authenticates. It names the user in ``header``; it is believed when it comes from
    an address among ``peers``, or from a program of USER at the Unix socket (``unix:USER``)."""

    header: str
    peers: tuple[str, ...]


class PageConfig(Record, kw_only=True):
    """The page is at a Unix ``socket`` (None: ``.mailhaul/serve.sock`` of the staging area), for its owner
    and, where there is a ``socket_group``, for that group of this host; and at ``listen`` (``ADDRESS:PORT``;
    empty: nowhere else), with the certificate ``tls_cert`` and its ``tls_key``, or behind a ``proxy``.
    ``names`` are what browsers call this host, beside the address itself."""

    socket: Path | None = None
    socket_group: str = ""
    listen: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: tuple[str, ...] = ()
    proxy: ProxyConfig | None = None


def socket_path(page: PageConfig, staging: Path) -> Path:
    """Where the Unix socket is."""
    return page.socket or staging / ".mailhaul" / "serve.sock"


def split_address(listen: str) -> tuple[str, int]:
    """Address and port of ``ADDRESS:PORT``; an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) < 65_536 or not host:
        raise ValueError("no ADDRESS:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
