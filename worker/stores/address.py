"""Where a mail server is: ``imap://HOST[:PORT]``, ``imaps://HOST[:PORT]`` for TLS from the first byte, or
``lmtp://HOST[:PORT]``."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from ...proto.structs import Record

FORMATS = {"imap": "imap", "imaps": "imap", "lmtp": "lmtp"}
"""How addresses begin -> the format of the targets that they name."""

_PORTS = {"imap": 143, "imaps": 993, "lmtp": 24}


class Address(Record, kw_only=True):
    """A server. ``tls`` is whether the connection begins with TLS."""

    host: str
    port: int
    tls: bool

    @property
    def is_here(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read an address. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in FORMATS or not parts.hostname:
        raise ValueError("expected imap://HOST[:PORT], imaps://HOST[:PORT] or lmtp://HOST[:PORT]")
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "expected a host and no more: users are called as in the backup, and the password is read from "
            "the file that --password-file names"
        )
    try:
        port = parts.port
    except ValueError:
        raise ValueError("expected a port from 1 to 65535") from None
    return Address(host=parts.hostname, port=port or _PORTS[parts.scheme], tls=parts.scheme == "imaps")
