"""Tasks that hold keys of archives, sealed for the one worker that is to do them. WIRE.md, "Sealed tasks".

What carries a task, and keeps a copy of it for as long as it likes, can't read it; nor can, later, whoever
has the key pair of the host.
"""

from __future__ import annotations

from ..errors import AccessError, DamagedError
from ..keys.records import Kem
from .keys import KeyPair, raw_key

_MAGIC = b"mht\x01"
_INFO = b"mailhaul task 1 "


def seal_task(task: bytes, host: str, host_key: str, worker_key: str) -> bytes:
    """A task that only the worker on ``host`` opens that has made this public key, and only with the key pair
    of the host. Both keys are Z85. Raises AccessError for a key that can't be one."""
    from ..keys.recipients import recipient  # who sends no keys loads no cryptography
    from ..keys.wrapping import wrap

    sealed = task
    for layer, key in ((b"worker ", worker_key), (b"host ", host_key)):
        try:
            sealed = wrap(recipient(host, Kem.X25519, raw_key(key)), sealed, _info(layer, host))
        except ValueError as error:
            raise AccessError(f"{host}: nothing can be sealed with its public key", host=host) from error
    return _MAGIC + sealed


def open_task(sealed: bytes, host: str, host_pair: KeyPair, worker_pair: KeyPair) -> bytes:
    """The inverse, with the private halves of the two. Raises AccessError if it was sealed for others."""
    from ..keys.wrapping import unwrap

    task = sealed[len(_MAGIC) :]
    try:
        if not sealed.startswith(_MAGIC):
            raise DamagedError("no sealed task", reason="magic")
        for layer, pair in ((b"host ", host_pair), (b"worker ", worker_pair)):
            task = unwrap(Kem.X25519, raw_key(pair.secret), task, _info(layer, host))
    except DamagedError as error:
        told = f"a task for another worker, or another key of {host}: the public key on the staging host "
        raise AccessError(f"{told}must be that of {host}", host=host) from error
    return task


def _info(layer: bytes, host: str) -> bytes:
    return _INFO + layer + host.encode("ascii")
