"""The bytes of an object, in any stretch of it: one request each."""

from __future__ import annotations

from ....proto.errors import DamagedError, NotYetError
from .answers import Meaning
from .bucket import Bucket, StoredObject
from .connection import Told


class S3File:
    """A RandomAccess over one version of an object. Stays what it was when it was opened: where its size is
    another than then, reading it is refused."""

    def __init__(self, bucket: Bucket, name: str, found: StoredObject) -> None:
        self.name = name
        self.size = found.size_bytes
        self._bucket = bucket
        self._version = found.version

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess; and what every method of a place may raise."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        try:
            return self._bucket.read(self.name, self._version, offset, length, self.size)
        except Told as told:
            if told.meaning is Meaning.COLD:
                raise self._bucket.told(NotYetError, self.name, "lies in a cold class now") from None
            raise self._bucket.told(
                DamagedError, self.name, "is not there any more", reason="io-error"
            ) from None

    def close(self) -> None:
        """See RandomAccess."""
