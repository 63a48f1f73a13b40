"""APPEND as it goes over the wire: one message or many, with what the server offers for it.

A literal that the server does not have to agree to (``{N+}``) saves a round trip a message. A large message
is announced all the same, where that can be refused before it is sent. LITERAL- has this up to 4,096 bytes
only.
"""

from __future__ import annotations

from collections.abc import Sequence

from .answers import Answer
from .connection import Connection
from .outgoing import Outgoing

_UNASKED_BYTES = 1 << 20
_UNASKED_SHORT_BYTES = 4096


def quoted(name: bytes) -> bytes:
    """A folder's name in a command."""
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def takes_many(connection: Connection) -> bool:
    """Whether one command may carry several messages."""
    return "MULTIAPPEND" in connection.capabilities


def append(connection: Connection, folder: bytes, batch: Sequence[Outgoing]) -> Answer:
    """Send messages to a folder in one command: all are taken, or none. Raises ConnectionLostError; then what
    became of them is unknown."""
    tag = connection.begin(b"APPEND " + quoted(folder))
    for outgoing in batch:
        if (refused := _message(connection, tag, outgoing)) is not None:
            return refused
    connection.write(b"\r\n")
    return connection.end(tag)


def append_each(connection: Connection, folder: bytes, batch: Sequence[Outgoing]) -> list[Answer]:
    """Send messages in a command each, without waiting for one answer before the next is sent; none of them
    has to be agreed to. Raises ConnectionLostError."""
    tags = []
    for outgoing in batch:
        tags.append(connection.begin(b"APPEND " + quoted(folder)))
        _message(connection, tags[-1], outgoing)
        connection.write(b"\r\n")
    return [connection.end(tag) for tag in tags]


def is_unasked(connection: Connection, size: int) -> bool:
    """Whether a message of this size is sent without asking."""
    if "LITERAL+" in connection.capabilities:
        return size <= _UNASKED_BYTES
    return "LITERAL-" in connection.capabilities and size <= _UNASKED_SHORT_BYTES


def _message(connection: Connection, tag: bytes, outgoing: Outgoing) -> Answer | None:
    words = " ".join((*outgoing.flags, *outgoing.keywords))
    said = f" ({words})" + (f' "{outgoing.date}"' if outgoing.date else "")
    unasked = is_unasked(connection, outgoing.size)
    connection.write(f"{said} {{{outgoing.size}{'+' if unasked else ''}}}\r\n".encode("ascii"))
    if not unasked and (refused := connection.go_ahead(tag)) is not None:
        return refused
    for piece in outgoing.pieces():
        connection.write(piece)
    return None
