"""What a server can do, as it was found out and is kept beside the uploads of its destination."""

from __future__ import annotations

import json
from pathlib import Path

from ....proto.directories import make_private, sync_directory
from ....proto.errors import StagingError
from ....proto.structs import Record, asdict, field_names

_FILE = "dialect.json"


class Dialect(Record, kw_only=True):
    """What is not known is not relied on.

    ``only_new``: the server itself refuses to put over an object (``If-None-Match``). ``checks_md5``: it
    refuses bytes that are not what their Content-MD5 says; else all that was put is read back. ``versions``:
    each object of a name has an id. ``locks``: it refused to remove what was locked. ``removes``: these
    credentials may remove objects, which those for sweeping should not.
    """

    only_new: bool = False
    checks_md5: bool = False
    versions: bool = False
    locks: bool = False
    removes: bool = False


def kept_dialect(directory: str) -> Dialect | None:
    """The dialect that was kept in a directory; None if there is none, or none that this version knows."""
    try:
        told = json.loads((Path(directory) / _FILE).read_bytes())
        return Dialect(**{name: bool(told[name]) for name in field_names(Dialect)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_dialect(directory: str, dialect: Dialect) -> None:
    """Durable when this returns. Raises StagingError."""
    place = Path(directory)
    try:
        make_private(place)
        new = place / f"{_FILE}.new"
        new.write_text(json.dumps(asdict(dialect), indent=1) + "\n")
        new.replace(place / _FILE)
        sync_directory(place)
    except OSError as error:
        raise StagingError(f"{place}: {error.strerror}") from error
