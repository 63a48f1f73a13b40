"""Tasks as bytes, on their way to workers on other hosts: sealed where keys of archives are in them.

Whether there are any is found out when a task is pickled, not told by who makes it: nobody can forget.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...proto.errors import AccessError
from ...proto.keys.records import Keyring, MailboxSecret, StructureKey

if TYPE_CHECKING:
    from ...proto.wire.keys import KeyPair


def packed(task: object, host: str, keys: str, worker_key: str) -> bytes:
    """A task for a worker on ``host`` that has told this public key (Z85; empty: none). The public keys of
    hosts lie in the directory ``keys``. Raises AccessError if it has to be sealed, and can't be."""
    buffer = io.BytesIO()
    pickler = _Noticing(buffer)
    pickler.dump(task)
    data = buffer.getvalue()
    if not pickler.has_keys:
        return data
    if not (keys and worker_key):
        raise AccessError(f"host {host} has no key pair: nothing that is encrypted can be done there")
    from ...proto.wire.keys import read_public
    from ...proto.wire.tasks import seal_task

    return seal_task(data, host, read_public(Path(keys), host), worker_key)


def is_sealed(data: bytes) -> bool:
    """Whether there were keys in a task."""
    return data[:1] != pickle.PROTO


def unpacked(data: bytes, host: str, keys: str, worker: KeyPair | None) -> Any:
    """The inverse, on that host, where its own pair lies in the directory ``keys``. Raises AccessError."""
    if is_sealed(data):
        from ...proto.wire.keys import read_pair
        from ...proto.wire.tasks import open_task

        if worker is None:
            raise AccessError("a sealed task for a worker that has no key", host=host)
        data = open_task(data, host, read_pair(Path(keys), host), worker)
    return pickle.loads(data)  # noqa: S301


class _Noticing(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.has_keys = False

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, StructureKey | MailboxSecret) or (
            isinstance(value, Keyring) and bool(value.structures or value.contents or value.secrets)
        ):
            self.has_keys = True
        return NotImplemented
