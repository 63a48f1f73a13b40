"""The key with which a destination lets us in, from a file that nobody else may read."""

from __future__ import annotations

import os

from ....proto.errors import AccessError
from ....proto.structs import Record

_OTHERS = 0o077
_MOST_BYTES = 64 << 10


class Credentials(Record, kw_only=True):
    """A key of a server. No part but the key's name is ever shown."""

    key: str
    secret: str
    session: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.key!r})"


def read_credentials(path: str) -> Credentials:
    """The key in a file of lines ``NAME=value``, as a shell or a systemd unit takes it; lines that begin
    with ``#`` and other names are passed over.

    Raises AccessError if it can't be read, is open to others, or has no key.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise AccessError(f"credentials {path}: {error.strerror}", file=path) from error
    if mode & _OTHERS:
        raise AccessError(
            f"credentials {path} can be read by others (mode {mode & 0o777:04o}): chmod 600", file=path
        )
    values = dict(_values(text))
    try:
        return Credentials(
            key=values["AWS_ACCESS_KEY_ID"],
            secret=values["AWS_SECRET_ACCESS_KEY"],
            session=values.get("AWS_SESSION_TOKEN", ""),
        )
    except KeyError as error:
        raise AccessError(f"credentials {path}: {error.args[0]} is not there", file=path) from None


def _values(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        if equals and value and not name.startswith("#"):
            found.append((name.strip(), value))
    return found
