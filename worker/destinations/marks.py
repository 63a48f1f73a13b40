"""The mark of a destination: a small file that says which staging area's archives lie there.

Without it an empty directory may be the mount point of a disk that is not there, and one with archives may be
somebody else's.
"""

from __future__ import annotations

import json

from ...proto.errors import PlaceError

MARK = "mailhaul-destination.json"
"""What the file is called; no other file in a destination has this name."""

MOST_MARK_BYTES = 4096

_VERSION = 1


def encode_mark(area: str) -> bytes:
    """The mark of the destination of the staging area with this id."""
    return json.dumps({"mailhaul_destination": _VERSION, "area": area}).encode() + b"\n"


def decode_mark(data: bytes, where: str) -> str:
    """The id of the staging area that a mark names. Raises PlaceError."""
    try:
        facts = json.loads(data)
        version, area = facts["mailhaul_destination"], facts["area"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version, area = None, None
    if version != _VERSION or not isinstance(area, str):
        raise PlaceError(f"{where} is not the mark of a destination that this version knows", file=where)
    return area
