"""What an error of the operating system means for a place: full, refused, gone for now, or for good."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.errors import AccessError, BackupError, PlaceError, PlaceFullError, PlaceUnavailableError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM}
_FOR_GOOD = {
    errno.EROFS,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTDIR,
    errno.EISDIR,
}
"""Whatever else comes (EIO, ESTALE, ENODEV, …) may pass: the disk is put back, the server is up again."""


def place_error(place: str, error: OSError, what: str) -> BackupError:
    """The error of a place (by its name) for one that came while it did ``what``."""
    message = f"{place}: can't {what}: {error.strerror}"
    facts = {"place": place, "errno": error.errno}
    if error.errno in _FULL:
        return PlaceFullError(message, **facts)
    if error.errno in _REFUSED:
        return AccessError(message, **facts)
    if error.errno in _FOR_GOOD:
        return PlaceError(message, **facts)
    return PlaceUnavailableError(message, **facts)


@contextmanager
def told(place: str, what: str) -> Iterator[None]:
    """Raise errors of the operating system as those of a place."""
    try:
        yield
    except OSError as error:
        raise place_error(place, error, what) from error
