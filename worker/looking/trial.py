"""Whether a directory can be written, tried by writing: a directory and a file in it, removed again."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from ...proto.records import Ownership
from ...proto.target_facts import Trial
from ..stores.location import RESERVED


def try_writing(host: str, path: bytes, owner: Ownership | None) -> Trial:
    """Try it in a directory that is there. ``owner`` is who owned mail in the backup: the file is given to
    them. Whoever looks for mail passes over what is tried; the next restore removes what a crash leaves."""
    place = os.path.join(path, RESERVED + secrets.token_hex(8).encode())
    told = os.fsdecode(path)
    try:
        os.mkdir(place, 0o700)
    except OSError as error:
        return Trial(host=host, path=told, error=error.strerror or str(error))
    file = os.path.join(place, b"trial")
    try:
        with open(file, "xb") as written:
            written.write(b"\n")
            written.flush()
            os.fsync(written.fileno())
        return Trial(host=host, path=told, owner=None if owner is None else _try_giving(file, owner))
    except OSError as error:
        return Trial(host=host, path=told, error=error.strerror or str(error))
    finally:
        with suppress(OSError):
            os.unlink(file)
        with suppress(OSError):
            os.rmdir(place)


def _try_giving(file: bytes, owner: Ownership) -> str:
    try:
        os.chown(file, owner.uid, owner.gid)
    except OSError as error:
        return f"{error.strerror} (to user {owner.uid}, group {owner.gid})"
    return ""
