"""Passwords on record: scrypt (RFC 7914), with its parameters beside each."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading

from ...proto.errors import UsageError
from ...proto.structs import Record

SHORTEST = 10
LONGEST = 1024
_SALT_BYTES = 16
_DIGEST_BYTES = 32
_MOST_MEMORY = 2**28

_one_at_a_time = threading.Lock()
"""Each computation takes 32 MiB with the parameters below: those of many log-ins wait for each other."""


class Cost(Record, kw_only=True):
    """The parameters of scrypt: a computation takes 128 * n * r bytes of memory."""

    n: int = 2**15
    r: int = 8
    p: int = 1


class Password(Record, kw_only=True):
    """What is on record of a password."""

    salt: bytes
    digest: bytes
    cost: Cost


def keep(password: str, cost: Cost) -> Password:
    """What to put on record. Raises UsageError as ``check``."""
    check(password)
    salt = os.urandom(_SALT_BYTES)
    return Password(salt=salt, digest=_digest(password, salt, cost), cost=cost)


def check(password: str) -> None:
    """Raises UsageError for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsageError(f"a password has {SHORTEST} to {LONGEST} characters; better are several words")


def matches(password: str, kept: Password) -> bool:
    """Whether it is this one. Takes the same time for each that is not."""
    if len(password) > LONGEST:
        return False
    return hmac.compare_digest(_digest(password, kept.salt, kept.cost), kept.digest)


def nobodys(cost: Cost) -> Password:
    """One that no password matches, which costs the same: for names that there are not."""
    return Password(salt=bytes(_SALT_BYTES), digest=b"", cost=cost)


def _digest(password: str, salt: bytes, cost: Cost) -> bytes:
    with _one_at_a_time:
        return hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"),
            salt=salt,
            n=cost.n,
            r=cost.r,
            p=cost.p,
            maxmem=_MOST_MEMORY,
            dklen=_DIGEST_BYTES,
        )
