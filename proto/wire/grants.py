"""Grants: what one worker may do, signed by the coordinator, checked by the receiver. WIRE.md, "Grants".

Only these two know the secret, so nothing has to be registered: a token says all there is to know.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated, cast, get_args, get_type_hints

import msgpack

from ..directories import make_private, sync_directory
from ..errors import AccessError
from ..structs import Record, astuple, field_names
from .envelopes import MOST_FILE_BYTES, MOST_GRANT_BYTES, Host
from .fields import Field, OneOf, Text, Whole
from .files import new_file, read_small

VERSION = 1
SECRET_BYTES = 32

_MAC_BYTES = hashlib.sha256().digest_size
_PURPOSE = b"mailhaul grant\0"


class Grant(Record):
    """Leave to ``write`` one file, or to ``read`` archives, for the worker on ``host``.

    ``file`` is relative to the staging area; for ``read`` it is empty where any archive may be read.
    ``epoch`` numbers the attempt. The grant ends at ``expires``, in seconds since 1970.
    """

    kind: Annotated[str, OneOf(("write", "read"))]
    host: Host
    file: Annotated[str, Text(MOST_FILE_BYTES)]
    epoch: Annotated[int, Whole(0, (1 << 63) - 1)]
    expires: Annotated[int, Whole(0, (1 << 63) - 1)]


_HINTS = get_type_hints(Grant, include_extras=True)
FIELDS: tuple[tuple[str, Field], ...] = tuple(
    (name, get_args(_HINTS[name])[1]) for name in field_names(Grant)
)


def issue(secret: bytes, grant: Grant) -> bytes:
    """The token of a grant. Raises ValueError if a field holds what it must not."""
    row = list(astuple(grant))
    _check_fields(row)
    body = cast(bytes, msgpack.packb([VERSION, *row]))
    return _mac(secret, body) + body


def check(secret: bytes, token: bytes, now: float) -> Grant:
    """The grant that a token stands for. Raises AccessError if it was not issued with this secret, has been
    altered, or has expired; ``now`` is in seconds since 1970."""
    if len(token) > MOST_GRANT_BYTES:
        raise AccessError("the grant is too long")
    mac, body = token[:_MAC_BYTES], token[_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, body)):
        raise AccessError("the grant was not issued by the coordinator of this staging area")
    grant = _decode(body)
    if now >= grant.expires:
        raise AccessError("the grant has expired", host=grant.host, file=grant.file)
    return grant


def load_secret(path: Path) -> bytes:
    """The secret in this file, which is made if it is absent; whoever comes first makes it, for all.

    Raises AccessError if it can't be read or made, is no secret, or lies open to others.
    """
    try:
        if not path.exists():
            _make_secret(path)
    except OSError as error:
        raise AccessError(f"{path}: can't be made: {error.strerror}", path=str(path)) from error
    secret = read_small(path, SECRET_BYTES, secret=True)
    if len(secret) != SECRET_BYTES:
        raise AccessError(f"{path}: is no secret of {SECRET_BYTES} bytes", path=str(path))
    return secret


def _make_secret(path: Path) -> None:
    """Under a name of its own first: whoever sees the final name sees all of the secret."""
    make_private(path.parent)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        with new_file(draft, 0o600) as write:
            write(secrets.token_bytes(SECRET_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def _decode(body: bytes) -> Grant:
    """What was signed was checked before, unless another version wrote it."""
    try:
        row = msgpack.unpackb(body, max_map_len=0, max_ext_len=0)
        if type(row) is not list or row[:1] != [VERSION]:
            raise ValueError("is of another version")
        _check_fields(row[1:])
    except (ValueError, msgpack.UnpackException) as error:
        raise AccessError(f"the grant can't be read: {error}") from error
    return Grant(*row[1:])


def _check_fields(row: list[object]) -> None:
    for (name, field), value in zip(FIELDS, row, strict=True):
        try:
            field.check(value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error


def _mac(secret: bytes, body: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + body, "sha256")
