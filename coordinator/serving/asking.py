"""Asking the coordinator from another host of the cluster, by its receiver (proto/wire/WIRE.md)."""

from __future__ import annotations

import time
from pathlib import Path

from ...proto.errors import BackupError, StagingError, UsageError
from ...proto.wire.client import Arrival, Client, Connected, Lost
from ...proto.wire.envelopes import (
    MOST_ASK_BYTES,
    MOST_REPLY_BYTES,
    VERSION,
    Ask,
    Hello,
    Refused,
    Reply,
    Welcome,
)
from ...proto.wire.keys import read_pair, read_public
from ...worker.staging.flow import error_of
from ..snapshots import as_json, from_json
from .host_requests import HostAsk, HostReply

PATIENCE_SECONDS = 30.0
CONNECTING_SECONDS = 10.0

_RECEIVER = "receiver"
_TURN_SECONDS = 0.5


def ask(
    endpoint: str, keys: Path, host: str, question: HostAsk, *, connecting_seconds: float = CONNECTING_SECONDS
) -> HostReply:
    """Ask the receiver at ``endpoint``, as the host whose pair of keys lies in the directory ``keys``, with
    the receiver's public key. Asked once: of an answer that is lost nobody knows whether it was done.

    Raises AccessError for keys that are none, or are not let in, StagingError if there is no answer, and what
    the coordinator refuses.
    """
    payload = as_json(question).encode("ascii")
    if len(payload) > MOST_ASK_BYTES:
        raise UsageError("the arguments are too long to be sent")
    deadline = time.monotonic() + connecting_seconds
    pair, receiver = read_pair(keys, host), read_public(keys, _RECEIVER)
    with Client(endpoint, pair, receiver, most_payload_bytes=MOST_REPLY_BYTES) as client:
        asked = False
        while (left := deadline - time.monotonic()) > 0:
            happening = client.receive(min(left, _TURN_SECONDS))
            if isinstance(happening, Connected):
                client.send(Hello(VERSION, host), timeout_seconds=left)
            elif isinstance(happening, Lost) and asked:
                break
            elif isinstance(happening, Arrival):
                said = happening.envelope
                if isinstance(said, Welcome):
                    asked = client.send(Ask(0), payload, left)
                    deadline = time.monotonic() + PATIENCE_SECONDS
                elif isinstance(said, Refused):
                    raise error_of(said)
                elif isinstance(said, Reply):
                    return _reply(endpoint, bytes(happening.payload))
        raise _no_answer(endpoint, client.trouble, asked=asked)


def _reply(endpoint: str, payload: bytes) -> HostReply:
    try:
        return from_json(payload, HostReply)
    except ValueError as error:
        raise StagingError(f"{endpoint}: the answer is none: {error}"[:300]) from None


def _no_answer(endpoint: str, trouble: str, *, asked: bool) -> BackupError:
    if asked:
        return StagingError(
            f"{endpoint}: no answer came: `mailhaul operations list` shows whether it was done",
            endpoint=endpoint,
        )
    return StagingError(f"{endpoint}: {trouble or 'nothing answers there'}", endpoint=endpoint)
