"""URLs that notices go to. Whoever knows such a URL can often use it, so it lies in a file of mode 0600, and
is in no message: the name of its host is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ...proto.errors import AccessError
from ...proto.structs import Record, field
from .private_files import read_private

_URL = re.compile(r"[!-~]+", re.ASCII)
_HEADER = re.compile(r"([0-9A-Za-z!#$%&'*+.^_`|~-]+):[ \t]*([ -~]*)", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class WebAddress(Record, kw_only=True):
    """Where a request goes: over TLS if ``secure``; ``target`` is path and query, ``headers`` go with it."""

    secure: bool
    host: str
    port: int
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)


def read_address(path: Path) -> WebAddress:
    """The URL in the first line of a file, and in the others headers that go with each request. Plain http is
    refused but to this host. Raises AccessError."""
    first, *others = read_private(path).splitlines()
    headers = {}
    for number, line in enumerate(others, 2):
        found = _HEADER.fullmatch(line.rstrip())
        if line.strip() and not found:
            raise AccessError(f"{path}: line {number} is no header 'Name: value'", path=str(path))
        if found:
            headers[found[1]] = found[2]
    try:
        parts = urlsplit(first.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not _URL.fullmatch(first.strip()) or parts.username is not None:
        raise AccessError(f"{path}: the first line is no URL such as https://HOST/PATH", path=str(path))
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise AccessError(f"{path}: the URL does not begin with https:", path=str(path))
    secure = parts.scheme == "https"
    return WebAddress(
        secure=secure,
        host=host,
        port=port or (443 if secure else 80),
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=headers,
    )
