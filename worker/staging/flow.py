"""What both sides of a connection keep to: how much is sent at a time, and how errors cross it."""

from __future__ import annotations

from ...proto.archive.frames import HEADER_BYTES, LARGEST_FRAME
from ...proto.errors import (
    AccessError,
    BackupError,
    DamagedError,
    FencedError,
    NotFoundError,
    StagingError,
    UsageError,
)
from ...proto.wire.envelopes import Refused

_MOST_MESSAGE = 500
_ERRORS: dict[str, type[BackupError]] = {
    kind.code: kind for kind in (AccessError, DamagedError, FencedError, NotFoundError, UsageError)
}

CHUNK_BYTES = 1 << 20
"""About how much a client sends at a time."""

LARGEST_BATCH = HEADER_BYTES + LARGEST_FRAME
"""No batch is larger: it is one frame then. It may be sent when nothing else is on its way, however small
the window is."""

CLOSED = "closed"
"""The code of Refused for a stream that is not open (any more): the client may open it again."""


def refusal(what: str, number: int, error: BackupError) -> Refused:
    """An error of the receiver, as its client is told of it."""
    # A message may quote a file name, which need not be text.
    text = error.message[:_MOST_MESSAGE].encode(errors="backslashreplace").decode()
    return Refused(what, number, error.code, text, error.retryable)


def error_of(refused: Refused) -> BackupError:
    """What the client raises: the error that it was, or a StagingError."""
    return _ERRORS.get(refused.code, StagingError)(refused.message)
