"""What a message of a mail store in use contains now."""

from __future__ import annotations

from blake3 import blake3

from ...proto.ports import FolderReader
from ...proto.records import DIGEST_BYTES, Listed

_READ_BYTES = 1 << 20


def digest_now(folder: FolderReader, listed: Listed) -> bytes:
    """The BLAKE3 digest of a message as it is now, as archives have it (``DIGEST_BYTES``). Raises
    MessageUnavailable."""
    opened, digest = folder.open_message(listed), blake3()
    try:
        while data := opened.read(_READ_BYTES):
            digest.update(data)
    finally:
        opened.close()
    return digest.digest(length=DIGEST_BYTES)
