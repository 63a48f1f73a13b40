"""The ways in: from which addresses, under which names of the host, with whose word for who it is."""

from __future__ import annotations

import os
import pwd

from ...proto.structs import Record, field

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
"""What a browser calls a host that it reaches through a forwarded port (``ssh -L``)."""


class Proxy(Record, kw_only=True):
    """A reverse proxy that authenticates: it names the user in a ``header``, and is believed when it comes
    from one of the ``peers``: addresses, or ``unix:USER`` for a program of that user at the Unix socket."""

    header: str
    peers: frozenset[str]


class Ways(Record, kw_only=True):
    """Who comes in how. Requests for a host that is not among ``names`` are refused: no other site's name
    may lead a browser here. ``owners`` are users of this host (numbers) who are operators at the socket."""

    names: frozenset[str] = LOOPBACK_NAMES
    proxy: Proxy | None = None
    owners: frozenset[int] = field(default_factory=lambda: frozenset((0, os.geteuid())))


def user_name(uid: int) -> str:
    """The name of a user of this host; the number of one without."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
